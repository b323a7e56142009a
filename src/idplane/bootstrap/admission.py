"""Letting an operator in: a key of its own that the installation trusts, in a folder with all that commands need."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

from idplane.bootstrap.operator import OPERATOR_FILE, OperatorKey, write_private_file
from idplane.bootstrap.process import PlaneInfo
from idplane.bootstrap.replica import certified_names, describe, make_folder, origins_of, publish
from idplane.bootstrap.seed import trust_operator
from idplane.bootstrap.server import Server
from idplane.bootstrap.server_settings import ServerSettings
from idplane.bootstrap.server_world import open_world, operable

__all__ = ["OperatorFolderTaken", "make_operator_folder"]


class OperatorFolderTaken(Exception):  # noqa: N818 - it is what the person at the terminal reads
    """The folder holds an operator's key already; the text is one sentence."""


async def make_operator_folder(settings: ServerSettings, folder: Path, *, replace: bool) -> PlaneInfo:
    """Make `folder` with a new key, which the installation trusts besides earlier ones, or instead of them.

    Raises `OperatorFolderTaken`, and `SettingsProblem` for what is wrong with settings, files and database.
    """
    key_file = folder / OPERATOR_FILE
    if key_file.exists():
        raise OperatorFolderTaken(f"{key_file} exists: name another folder, or remove it first")
    async with AsyncExitStack() as stack:
        with operable(settings):
            make_folder(folder, mode=0o700)
            world = await open_world(settings, stack)
            port = settings.listen[1]
            server = await Server.open(world, names=certified_names(origins_of(settings, port)))
            stack.push_async_callback(server.close)
            key = OperatorKey.create(world.clock, world.entropy)
            write_private_file(key_file, key.pem())
            await trust_operator(world, server.installation.operator, key.certificate, only=replace)
            info = describe(settings, server, folder, port=port)
            publish(settings, server, info)
    return info
