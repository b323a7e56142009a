"""Where a log is, for commands that look at it past every server: a data folder, or the database that a settings file names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from idplane.audit.checkpoints import read_checkpoint
from idplane.bootstrap.world import SystemEntropy
from idplane.jose.notes import NoteKey, NoteProblem
from idplane.keys.log_keys import LogKey, log_keys_of, tainted_keys_of
from idplane.model.failure import Failure
from idplane.ports.world import KeyCustody
from idplane.store.custody import FileCustody
from idplane.store.datafolder import DataFolderProblem
from idplane.store.log_tree import SqlLogTree, open_log_tree

__all__ = ["LogPlace", "database_log", "folder_log", "settings_log"]

_DATABASE: Final = "idplane.sqlite"
_KEY_FILE: Final = "custody.key"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPlace:
    """A log to look at."""

    tree: SqlLogTree
    keys: tuple[NoteKey, ...]
    """Those that the custody vouches for; none without it."""
    tainted: tuple[NoteKey, ...]
    _private: tuple[LogKey, ...] = field(repr=False)

    @property
    def sealed(self) -> Callable[[str, bytes, str], bool] | None:
        """What checks seals; None without the custody."""
        return self._sealed if self._private else None

    def _sealed(self, log: str, doc: bytes, seal: str) -> bool:
        return any(one.seal(log, doc) == seal for one in self._private)


@asynccontextmanager
async def folder_log(folder: Path) -> AsyncIterator[LogPlace]:
    """The log of `idplane up` on a data folder, running or not; nothing is written.

    Raises `DataFolderProblem`, and `Failure(UNAVAILABLE)` for what is no database.
    """
    database, key_file = folder / _DATABASE, folder / _KEY_FILE
    if not database.exists():
        raise DataFolderProblem(f"there is no {_DATABASE} in {folder}: for a server's log, name its settings with --config")
    async with open_log_tree(database) as tree:
        custody = FileCustody.open(key_file, entropy=SystemEntropy(), create=False) if key_file.exists() else None
        yield await _place(tree, custody)


@asynccontextmanager
async def settings_log(settings_file: Path) -> AsyncIterator[LogPlace]:
    """The log in the database of a server's settings. Raises `SettingsProblem`."""
    from idplane.bootstrap.server_settings import read_server_settings  # noqa: PLC0415 - only who has servers waits for it
    from idplane.bootstrap.server_world import open_world, operable  # noqa: PLC0415 - as above

    settings = read_server_settings(settings_file)
    async with AsyncExitStack() as stack:
        with operable(settings):
            world = await open_world(settings, stack)
            async with open_log_tree(settings.database_url()) as tree:
                yield await _place(tree, world.custody)


@asynccontextmanager
async def database_log(address: str | Path, custody: KeyCustody) -> AsyncIterator[LogPlace]:
    """The log in a database whose custody is at hand; nothing is written."""
    async with open_log_tree(address) as tree:
        yield await _place(tree, custody)


async def _place(tree: SqlLogTree, custody: KeyCustody | None) -> LogPlace:
    newest = await tree.newest()
    private: tuple[LogKey, ...] = ()
    tainted: tuple[NoteKey, ...] = ()
    if custody is not None and newest is not None:
        try:
            origin = read_checkpoint(newest.note).origin
            records = await tree.keys()
            private = log_keys_of(records, origin=origin, custody=custody)
            tainted = tainted_keys_of(records, origin=origin)
        except (NoteProblem, Failure):
            private = ()  # the check says what is wrong with the checkpoint, or that no key is known
    return LogPlace(tree=tree, keys=tuple(one.note for one in private), tainted=tainted, _private=private)
