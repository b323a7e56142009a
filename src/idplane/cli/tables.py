"""Tables for people, by rich: as wide as the terminal, and plain text where there is none."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["printable", "say_members", "say_table"]

_PIPED = 10_000
"""Columns where nothing is a terminal: whoever reads by a program must get whole cells."""


def say_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Rows below heads; what is in the cells is shown as it is, and never read as markup."""
    from rich.table import Table  # noqa: PLC0415 - most commands show no table, and rich takes long to load
    from rich.text import Text  # noqa: PLC0415 - as above

    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    _print(table)


def say_members(members: Sequence[tuple[str, str]]) -> None:
    """Names with values, one below the other."""
    say_table(("", ""), members)


def _print(table: object) -> None:
    from rich.console import Console  # noqa: PLC0415 - as above

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PIPED)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        console.file.write(line.rstrip() + "\n")


def printable(text: str) -> str:
    """Facts are others' words: what would steer a terminal is shown as an escape."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
