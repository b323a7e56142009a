"""Backup, restore and check of an installation: by a server's settings, or of the data folder of `idplane up`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from idplane import __version__
from idplane.audit.log_check import check_log
from idplane.bootstrap.checks import Outcome, check_installation
from idplane.bootstrap.log_place import database_log
from idplane.bootstrap.server_settings import ServerSettings
from idplane.bootstrap.world import SystemClock, SystemEntropy
from idplane.keys.sealing import check_intact
from idplane.model.failure import Failure
from idplane.model.keys import SigningKey
from idplane.ports.collections import LOGS
from idplane.ports.world import KeyCustody
from idplane.store.backup import BackupProblem, Verified, check_seal, verify_backup, write_backup
from idplane.store.custody import FileCustody
from idplane.store.datafolder import DataFolder, DataFolderProblem, sync_folder
from idplane.store.log_tree import SqlLogTree
from idplane.store.restore import restore_backup
from idplane.store.schema import migrations
from idplane.store.snapshot import Snapshot, is_postgres, snapshot_of

__all__ = ["Installation", "back_up", "examine", "of_folder", "of_settings", "put_back"]

_DATABASE, _KEY_FILE = "idplane.sqlite", "custody.key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """Where an installation's database and key file are."""

    address: str | Path
    key_file: Path
    folder: Path | None = None
    """The data folder of `up`, which one process uses at a time."""

    @property
    def shown(self) -> str:
        """The database in words, without anything secret."""
        return "the PostgreSQL database" if is_postgres(self.address) else str(self.address)


def of_settings(settings: ServerSettings) -> Installation:
    """The installation that a server's settings describe. Raises `SettingsProblem`."""
    named = settings.tables.custody.file
    key_file = settings.path(named) if named is not None else settings.data / _KEY_FILE
    return Installation(address=settings.database_url(), key_file=key_file)


def of_folder(folder: Path) -> Installation:
    """The installation of a data folder."""
    return Installation(address=folder / _DATABASE, key_file=folder / _KEY_FILE, folder=folder)


async def back_up(installation: Installation, out: Path) -> dict[str, int]:
    """Write a backup, whole or not at all; how many rows each table has. Servers go on. Raises `BackupProblem`."""
    draft = out.with_name(f".{out.name}.{os.getpid()}.new")
    with _told(installation, out):
        custody = _custody(installation)
        async with snapshot_of(installation.address) as snapshot:
            await _fits(snapshot, custody)
            try:
                with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                    now = SystemClock().now().isoformat()
                    rows = await write_backup(snapshot, file, custody, program=__version__, created_at=now)
                    file.flush()
                    os.fsync(file.fileno())
                os.link(draft, out)  # which, unlike a rename, never replaces
            finally:
                draft.unlink(missing_ok=True)
        sync_folder(out.parent)
    return rows


async def put_back(installation: Installation, backup: Path) -> Verified:
    """Restore a backup into an empty database, whole or not at all. Raises `BackupProblem`."""
    with _told(installation, backup):
        database = "postgres" if is_postgres(installation.address) else "sqlite"
        verified = verify_backup(backup, migrations(database))
        async with _alone(installation):
            check_seal(verified, _custody(installation))
            await restore_backup(verified, installation.address, SystemClock().now())
    return verified


async def examine(installation: Installation) -> Outcome:
    """Check an installation; servers go on. Raises `BackupProblem`."""
    with _told(installation, None):
        custody = _custody(installation)
        async with snapshot_of(installation.address) as snapshot:
            outcome = await check_installation(snapshot, custody)
        await _check_tree(installation, custody, outcome)
    return outcome


async def _check_tree(installation: Installation, custody: KeyCustody, outcome: Outcome) -> None:
    """The log against its tree, as `idplane log verify` does without a checkpoint that was kept elsewhere."""
    async with database_log(installation.address, custody) as place:
        if not await _has_tree(place.tree):
            return
        report = await check_log(place.tree, keys=place.keys, sealed=place.sealed, tainted=place.tainted)
    outcome.examined["tree"] += report.size + report.waiting
    for one in report.findings:
        table, position = one.place or ("log_checkpoints", 0)
        outcome.tell("tree", table, position, str(one))


async def _has_tree(tree: SqlLogTree) -> bool:
    """Whether a program that keeps a tree ever wrote here: restored from an older one's backup, a log has none until a server starts."""
    for log in LOGS:
        end = await tree.end(log)
        if any(row.seal is not None for row in await tree.rows(log, end - 1, end, 1)):
            return True
    return await tree.newest() is not None or bool(await tree.keys())


@contextmanager
def _told(installation: Installation, file: Path | None) -> Iterator[None]:
    """Turn what files and the database make go wrong into `BackupProblem`."""
    try:
        yield
    except Failure as failure:
        raise BackupProblem(f"{installation.shown}: {failure.detail or failure.kind.name.lower()}") from failure
    except DataFolderProblem as problem:
        raise BackupProblem(str(problem)) from problem
    except FileExistsError as error:
        raise BackupProblem(f"{file} is there already: choose another name, or remove it") from error
    except OSError as error:
        named = error.filename2 or error.filename or file
        raise BackupProblem(f"{named} cannot be read or written: {(error.strerror or type(error).__name__).lower()}") from error


@asynccontextmanager
async def _alone(installation: Installation) -> AsyncIterator[None]:
    """With the data folder locked, if there is one: nobody may start on it meanwhile."""
    if installation.folder is None:
        yield
        return
    with DataFolder.open(installation.folder):
        yield


def _custody(installation: Installation) -> KeyCustody:
    if not installation.key_file.exists():
        raise BackupProblem(
            f"the key file {installation.key_file} is missing: no backup holds it, so put the installation's own there first"
        )
    return FileCustody.open(installation.key_file, entropy=SystemEntropy(), create=False)


async def _fits(snapshot: Snapshot, custody: KeyCustody) -> None:
    """A backup that its own custody does not open would be found out at the worst moment."""
    shape = next((one for one in snapshot.tables if one.name == "signing_keys"), None)
    if shape is None:
        return
    async for row in snapshot.rows(shape):
        key = msgspec.json.decode(row[shape.columns.index("doc")], type=SigningKey)
        try:
            check_intact(key, custody)
        except Failure as failure:
            raise BackupProblem("the key custody does not belong to the database: nothing was written") from failure
        return
