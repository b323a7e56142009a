"""`idplane admin restore`: a backup into an empty database of either kind."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from idplane.cli.admin_options import installation_of, place_options, said
from idplane.cli.options import json_option
from idplane.cli.output import say_json

__all__ = ["command"]


@click.command("restore")
@place_options
@json_option
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
def command(*, config: Path | None, data: Path | None, as_json: bool, file: Path) -> None:
    """Make an empty database what FILE holds: all of it, or nothing if anything is wrong with it.

    PostgreSQL takes a backup of a data folder, and the other way round. The installation's key custody must be in its place already. Stop the servers first;
    they, and their agents, start afresh from what was restored. What was deleted or revoked after the backup is back: see to it.
    """
    from idplane.bootstrap.admin import put_back  # noqa: PLC0415 - takes long to import

    with said():
        installation = installation_of(config, data)
        verified = asyncio.run(put_back(installation, file.expanduser().absolute()))
    if as_json:
        say_json({"rows": verified.rows, "createdAt": verified.header.created_at})
    else:
        count = sum(verified.rows.values())
        click.echo(
            f"{installation.shown} is as it was at {verified.header.created_at}: {count} rows. Run `idplane admin check` next."
        )
