"""The table of a run: for people, and as JSON. Pure."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from faults.judge import Verdict

__all__ = ["as_json", "as_text"]

_HEAD = ("fault", "lasted", "requests", "allowed", "forbidden", "longest gap", "recovered in")


def as_text(verdicts: Sequence[Verdict]) -> str:
    """Plain text in columns; failures that nothing allows come below, at most a few of each fault."""
    rows = [_HEAD, *map(_row, verdicts)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = [
        "  ".join(_cell(text, width, column) for column, (text, width) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def _row(verdict: Verdict) -> tuple[str, ...]:
    gap = f"{verdict.gap:.1f} s" if verdict.gap else "-"
    return (
        verdict.fault,
        f"{verdict.seconds:.1f} s",
        f"{verdict.requests}",
        f"{verdict.allowed}" if verdict.allowed else "-",
        f"{len(verdict.forbidden)}" if verdict.forbidden else "-",
        gap,
        f"{verdict.recovery:.1f} s" if verdict.recovery else "-",
    )


def _cell(text: str, width: int, column: int) -> str:
    return text.ljust(width) if column == 0 else text.rjust(width)


def as_json(verdicts: Sequence[Verdict], **more: object) -> str:
    """The same, and whatever else is to be kept."""
    return json.dumps({"faults": [dataclasses.asdict(one) for one in verdicts], **more}, indent=2) + "\n"
