"""`idplane admin rewrap`: every sealed value moves to the key that seals now, while the servers go on."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from idplane.cli.options import json_option
from idplane.cli.output import CommandError, say_columns, say_json

if TYPE_CHECKING:
    from idplane.bootstrap.rewrap import Remaining
    from idplane.bootstrap.server_settings import ServerSettings

__all__ = ["command"]


@click.command("rewrap")
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="A server's settings file.")
@click.option(
    "--check", is_flag=True, help="Only tell how many values are sealed with which key; fails while any is sealed with another."
)
@click.option(
    "--new-key", type=click.Path(path_type=Path), metavar="FILE", help="Only make a key file, for [custody] of every server."
)
@json_option
def command(*, config: Path | None, check: bool, new_key: Path | None, as_json: bool) -> None:
    """Seal everything in the database anew with the key that [custody] names; [[custody.also]] names those that open the rest.

    Every server must know both keys beforehand. It may be stopped, or killed, at any time, and goes on where it was when it is started
    again. When nothing remains, no server needs the earlier key any more; backups of the database from before do.
    """
    if (config is None) is (new_key is None) or (check and config is None):
        raise click.UsageError("say one of --config FILE and --new-key FILE")
    if new_key is not None:
        _make_key(new_key)
        return
    assert config is not None  # the other one was asked for above
    from idplane.bootstrap.server_settings import read_server_settings  # noqa: PLC0415 - takes long to import

    moved, remaining = asyncio.run(_rewrapped(read_server_settings(config), check=check))
    if as_json:
        say_json({"current": remaining.current, "moved": moved, "byKey": remaining.by_key, "elsewhere": remaining.elsewhere})
    else:
        say_columns(
            [(key, str(count), "seals now" if key == remaining.current else "") for key, count in remaining.by_key.items()]
        )
    if remaining.elsewhere:
        raise CommandError(f"{remaining.elsewhere} values are sealed with another key than {remaining.current}")


async def _rewrapped(settings: ServerSettings, *, check: bool) -> tuple[int, Remaining]:
    from idplane.bootstrap.rewrap import remaining, rewrap  # noqa: PLC0415 - as above
    from idplane.bootstrap.server_world import open_world, operable  # noqa: PLC0415 - as above

    async with AsyncExitStack() as stack:
        with operable(settings):
            world = await open_world(settings, stack)
            moved = 0 if check else await rewrap(world.store, world.custody)
            return moved, await remaining(world.store, world.custody)


def _make_key(path: Path) -> None:
    from idplane.bootstrap.world import SystemEntropy  # noqa: PLC0415 - as above
    from idplane.store.custody import FileCustody  # noqa: PLC0415 - as above
    from idplane.store.datafolder import DataFolderProblem  # noqa: PLC0415 - as above

    path = path.expanduser().absolute()
    if path.exists():
        raise CommandError(f"{path} is there already")
    try:
        made = FileCustody.open(path, entropy=SystemEntropy())
    except DataFolderProblem as problem:
        raise CommandError(str(problem)) from problem
    click.echo(
        f"{path} holds {made.key_id}: copy it to every server, name it in [custody], and the earlier one in [[custody.also]]"
    )
