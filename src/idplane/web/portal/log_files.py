"""Logs as files: comma-separated values that no spreadsheet takes for formulas, and JSON lines. Pure."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from idplane.model.failure import Failure, FailureKind
from idplane.web.portal.log_search import Sifting
from idplane.web.portal.view import Download

__all__ = ["EXPORT", "MOST_EXPORTED", "cell", "download"]

MOST_EXPORTED: Final = 10_000
EXPORT: Final = Sifting(limit=MOST_EXPORTED, looks=50_000)
"""What one file may hold, and look at."""
_FORMULAS: Final = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What makes a cell a formula, in either width."""


def download(
    kind: str,
    name: str,
    now: datetime,
    columns: Sequence[str],
    rows: Iterable[tuple[Sequence[object], Mapping[str, object]]],
    *,
    whole: bool,
) -> Download:
    """A file of rows, each as cells and as a document; its name says if it is not the whole. Raises `Failure(INVALID_PARAMETER)`."""
    part = "" if whole else "-newest"
    named = f"{name}-{now:%Y%m%d-%H%M%S}{part}"
    if kind == "csv":
        return Download(
            name=f"{named}.csv", media_type="text/csv; charset=utf-8", body=_csv(columns, (cells for cells, _ in rows))
        )
    if kind == "jsonl":
        lines = "".join(f"{json.dumps(document, ensure_ascii=True, default=str)}\n" for _, document in rows)
        return Download(name=f"{named}.jsonl", media_type="application/x-ndjson", body=lines.encode())
    raise Failure(FailureKind.INVALID_PARAMETER, "logs are exported as csv or jsonl", parameter="format")


def cell(value: object) -> str:
    """A value as a spreadsheet shows it and never runs it: what would be a formula has an apostrophe before it."""
    text = "" if value is None else value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)
    plain = "".join(one if one.isprintable() else " " for one in text)
    return f"'{plain}" if plain.lstrip().startswith(_FORMULAS) or (plain != text and text[:1].isspace()) else plain


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    writer.writerow(columns)
    writer.writerows([cell(one) for one in row] for row in rows)
    return out.getvalue().encode("utf-8", "replace")
