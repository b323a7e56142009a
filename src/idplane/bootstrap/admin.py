"""Backup, restore and check of an installation: by a server's settings, or of the data folder of `idplane up`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from idplane import __version__
from idplane.audit.log_check import check_log
from idplane.bootstrap.checks import NEWEST, Outcome, check_installation
from idplane.bootstrap.custody import KEY_FILE, CustodySection, open_custody
from idplane.bootstrap.log_place import database_log
from idplane.bootstrap.server_settings import ServerSettings
from idplane.bootstrap.world import SystemClock, SystemEntropy
from idplane.keys.sealing import check_intact
from idplane.model.failure import Failure, FailureKind, os_reason
from idplane.model.keys import KeyPurpose, SigningKey
from idplane.ports.collections import LOGS
from idplane.ports.world import KeyCustody
from idplane.store.backup import BackupProblem, Verified, check_seal, verify_backup, write_backup
from idplane.store.datafolder import DataFolder, DataFolderProblem, sync_folder
from idplane.store.log_tree import SqlLogTree
from idplane.store.restore import restore_backup
from idplane.store.schema import migrations
from idplane.store.snapshot import Snapshot, is_postgres, snapshot_of

__all__ = ["Installation", "back_up", "examine", "of_folder", "of_settings", "put_back"]

_DATABASE = "idplane.sqlite"
_BY_KEY_FILE = CustodySection()


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """Where an installation's database is, and what seals in it."""

    address: str | Path
    key_file: Path
    """Where a key file is that `custody` does not name."""
    folder: Path | None = None
    """The data folder of `up`, which one process uses at a time."""
    custody: CustodySection = _BY_KEY_FILE
    path: Callable[[str], Path] = Path
    """Makes the paths that `custody` names absolute."""

    @property
    def shown(self) -> str:
        """The database in words, without anything secret."""
        return "the PostgreSQL database" if is_postgres(self.address) else str(self.address)


def of_settings(settings: ServerSettings) -> Installation:
    """The installation that a server's settings describe. Raises `SettingsProblem`."""
    return Installation(
        address=settings.database_url(),
        key_file=settings.data / KEY_FILE,
        custody=settings.tables.custody,
        path=settings.path,
    )


def of_folder(folder: Path) -> Installation:
    """The installation of a data folder."""
    return Installation(address=folder / _DATABASE, key_file=folder / KEY_FILE, folder=folder)


async def back_up(installation: Installation, out: Path) -> dict[str, int]:
    """Write a backup, whole or not at all; how many rows each table has. Servers go on. Raises `BackupProblem`."""
    draft = out.with_name(f".{out.name}.{os.getpid()}.new")
    with _told(installation, out):
        async with snapshot_of(installation.address) as snapshot:
            custody = await _own_custody(installation, snapshot)
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
            check_seal(verified, _custody(installation, verified.sealed))
            await restore_backup(verified, installation.address, SystemClock().now())
    return verified


async def examine(installation: Installation, *, newest: int = NEWEST) -> Outcome:
    """Check an installation, and about so many of its logs' `newest` records against the tree; servers go on. Raises `BackupProblem`."""
    with _told(installation, None):
        async with snapshot_of(installation.address) as snapshot:
            key = await _token_key(snapshot)
            custody = _custody(installation, key.sealed if key else None)
            outcome = await check_installation(snapshot, custody)
        await _check_tree(installation, custody, outcome, newest)
    return outcome


async def _check_tree(installation: Installation, custody: KeyCustody, outcome: Outcome, newest: int) -> None:
    """The logs' newest records against the tree, as `idplane log verify` does for all of them."""
    async with database_log(installation.address, custody) as place:
        if not await _has_tree(place.tree):
            return
        if not place.keys and await place.tree.keys():
            return  # keys that the custody does not open: the check of seals has told
        report = await check_log(place.tree, keys=place.keys, sealed=place.sealed, tainted=place.tainted, newest=newest)
    outcome.examined["tree"] += report.size - report.begin + report.waiting
    outcome.passed_over["tree"] += report.begin
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
        raise BackupProblem(f"{named} cannot be read or written: {os_reason(error)}") from error


@asynccontextmanager
async def _alone(installation: Installation) -> AsyncIterator[None]:
    """With the data folder locked, if there is one: nobody may start on it meanwhile."""
    if installation.folder is None:
        yield
        return
    with DataFolder.open(installation.folder):
        yield


def _custody(installation: Installation, like: bytes | None) -> KeyCustody:
    """The custody, which is there already; `like` is something that it is to open."""
    return open_custody(
        installation.custody,
        SystemEntropy(),
        path=installation.path,
        default=installation.key_file,
        like=like,
        create=False,
    )


async def _own_custody(installation: Installation, snapshot: Snapshot) -> KeyCustody:
    """The custody, if it is this database's: a backup that its own custody does not open would be found out at the worst moment."""
    key = await _token_key(snapshot)
    custody = _custody(installation, key.sealed if key else None)
    if key is not None:
        try:
            check_intact(key, custody)
        except Failure as failure:
            if failure.kind is FailureKind.UNAVAILABLE:
                raise
            raise BackupProblem("the key custody does not belong to the database: nothing was written") from failure
    return custody


async def _token_key(snapshot: Snapshot) -> SigningKey | None:
    """A token-signing key whose private part is there. Those of authorities may be in a token of their own and sealed by nobody."""
    shape = next((one for one in snapshot.tables if one.name == "signing_keys"), None)
    if shape is None:
        return None
    async for row in snapshot.rows(shape):
        key = msgspec.json.decode(row[shape.columns.index("doc")], type=SigningKey)
        if key.purpose is KeyPurpose.TOKEN and key.sealed:
            return key
    return None
