"""How commands speak: JSON for scripts, aligned lines for people, one sentence for what went wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import IO, Any

import click

__all__ = ["CommandError", "say_columns", "say_json"]

_WIDEST = 60


class CommandError(click.ClickException):
    """What ends a command, as one sentence for the person at the terminal; of what a plane refused, with the command that tells why."""

    def __init__(self, message: str, *, exit_code: int = 1, refusal: str | None = None) -> None:
        super().__init__(" ".join(message.split()))
        self.refusal = refusal
        self.exit_code = exit_code  # type: ignore[misc]  # click declares a class variable and documents overriding it

    def show(self, file: IO[Any] | None = None) -> None:
        """The sentence, on standard error, and the line below it."""
        click.echo(f"idplane: {self.format_message()}", file=file, err=file is None)
        if self.refusal is not None:
            click.echo(f"    why: idplane explain {self.refusal}", file=file, err=file is None)


def say_json(value: object) -> None:
    """One line of JSON."""
    click.echo(json.dumps(value, ensure_ascii=False))


def say_columns(rows: Sequence[Sequence[str]]) -> None:
    """Rows in columns as wide as they need to be, the last one free."""
    if not rows:
        return
    widths = [min(max(len(row[column]) for row in rows), _WIDEST) for column in range(len(rows[0]))]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        click.echo("  ".join((*cells, row[-1])).rstrip())
