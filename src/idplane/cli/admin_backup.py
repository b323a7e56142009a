"""`idplane admin backup`: everything that an installation's database holds, in one file."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from idplane.cli.admin_options import installation_of, place_options, said
from idplane.cli.options import json_option
from idplane.cli.output import say_json

__all__ = ["command"]


@click.command("backup")
@place_options
@json_option
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
def command(*, config: Path | None, data: Path | None, as_json: bool, file: Path) -> None:
    """Write all records and both logs, as they are at one moment, to FILE. Servers go on meanwhile.

    The file mints nothing by itself: keys and secrets in it are sealed, and the key custody (custody.key, or the hardware token) is NOT in it. Keep
    that elsewhere; a backup cannot be restored without it. FILE holds names and addresses: it is readable by its owner only.
    """
    from idplane.bootstrap.admin import back_up  # noqa: PLC0415 - takes long to import

    with said():
        path = file.expanduser().absolute()
        rows = asyncio.run(back_up(installation_of(config, data), path))
    if as_json:
        say_json({"file": str(path), "rows": rows})
    else:
        click.echo(
            f"{path}: {sum(rows.values())} rows of {len(rows)} tables. The key custody is not in it: keep a copy of that elsewhere."
        )
