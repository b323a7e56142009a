"""`idplane admin check`: whether what the database holds agrees with itself."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from idplane.cli.admin_options import installation_of, place_options, said
from idplane.cli.options import json_option
from idplane.cli.output import say_json

if TYPE_CHECKING:
    from idplane.bootstrap.checks import Outcome

__all__ = ["command"]

_FOUND = 2
_SHOWN = 50


@click.command("check")
@place_options
@json_option
def command(*, config: Path | None, data: Path | None, as_json: bool) -> None:
    """Read everything at one moment, while servers go on, and say what does not agree. Exit code 2 when something does not.

    Of the logs the newest 100000 records are held against the signed tree: `idplane log verify` looks at all.
    """
    from idplane.bootstrap.admin import examine  # noqa: PLC0415 - takes long to import
    from idplane.bootstrap.checks import CHECKS  # noqa: PLC0415 - as above

    with said():
        outcome = asyncio.run(examine(installation_of(config, data)))
    if as_json:
        counts = {
            name: {
                "examined": outcome.examined[name],
                "passedOver": outcome.passed_over[name],
                "found": outcome.found[name],
            }
            for name in CHECKS
        }
        say_json({"good": outcome.good, "checks": counts, "findings": [asdict(one) for one in outcome.findings]})
    else:
        _show(outcome, dict(CHECKS))
    if not outcome.good:
        raise click.exceptions.Exit(_FOUND)


def _show(outcome: Outcome, checks: dict[str, str]) -> None:
    from rich.console import Console  # noqa: PLC0415 - takes long to import
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    table = Table("check", "that", "examined", "found", box=None, pad_edge=False)
    for name, meaning in checks.items():
        table.add_row(name, meaning, _amount(outcome, name), str(outcome.found[name]))
    console = Console(soft_wrap=True)
    console.print(table)
    for one in outcome.findings[:_SHOWN]:
        # Keys are what somebody wrote: as text, never as markup.
        console.print(Text(f"{one.check}: {one.table} {one.key!r} {one.what}"))
    more = sum(outcome.found.values()) - _SHOWN
    if more > 0:
        console.print(Text(f"and {more} more; --json tells up to a thousand of each check"))


def _amount(outcome: Outcome, name: str) -> str:
    """How much was looked at, and of how much."""
    examined, over = outcome.examined[name], outcome.passed_over[name]
    return f"{examined} of {examined + over}" if over else str(examined)
