"""The world of a server as its settings describe it: the database, and the custody of what is sealed in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

from idplane.bootstrap.observed import observed, telemetry_of
from idplane.bootstrap.server_settings import ServerSettings
from idplane.bootstrap.settings_file import SettingsProblem
from idplane.bootstrap.world import SystemClock, SystemEntropy, World
from idplane.keys.sealing import unsealed_private_key
from idplane.model.failure import Failure
from idplane.model.keys import KeyPurpose
from idplane.ports.collections import SIGNING_KEYS
from idplane.ports.store import Store
from idplane.ports.world import KeyCustody
from idplane.store.custody import FileCustody
from idplane.store.datafolder import DataFolderProblem
from idplane.store.opening import open_shared_store

__all__ = ["open_world", "operable"]

_KEY_FILE = "custody.key"


async def open_world(settings: ServerSettings, stack: AsyncExitStack) -> World:
    """Connect to the database and open the custody; `stack` ends both. Raises `SettingsProblem` and `Failure`."""
    clock, entropy = SystemClock(), SystemEntropy()
    database = settings.tables.database
    store = await open_shared_store(
        settings.database_url(),
        clock=clock,
        connections=database.connections,
        connect_seconds=database.connect_seconds,
        statement_seconds=database.statement_seconds,
    )
    stack.push_async_callback(store.close)
    custody = await _open_custody(settings, store, entropy)
    tables = settings.tables
    telemetry = telemetry_of(tables.health, tables.tracing, clock=clock, entropy=entropy, stack=stack)
    store.observe(telemetry)
    world = World(clock=clock, entropy=entropy, store=store, custody=custody, profile=settings.profile)
    return observed(world, telemetry)


@contextmanager
def operable(settings: ServerSettings) -> Iterator[None]:
    """Turn what files and the database make go wrong into `SettingsProblem`."""
    try:
        yield
    except Failure as failure:
        cause = f" ({_reason(failure.__cause__)})" if failure.__cause__ else ""
        raise SettingsProblem(f"{settings.file}: {failure.detail or failure.kind.name.lower()}{cause}") from failure
    except DataFolderProblem as problem:
        raise SettingsProblem(f"{settings.file}: {problem}") from problem
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        named = error.filename2 or error.filename or settings.data
        raise SettingsProblem(f"{settings.file}: {named} cannot be read or written: {reason}") from error


async def _open_custody(settings: ServerSettings, store: Store, entropy: SystemEntropy) -> KeyCustody:
    """The custody that the database was sealed with; a new key file for a new database only."""
    named = settings.tables.custody.file
    key_file = settings.path(named) if named is not None else settings.data / _KEY_FILE
    sealed = (await store.page(SIGNING_KEYS, where={"purpose": KeyPurpose.TOKEN.value}, limit=1)).items
    if sealed and not key_file.exists():
        raise SettingsProblem(
            f"{settings.file}: the key file {key_file} is missing, and the database holds keys that were sealed with it: "
            "copy it from another server, or restore it from a backup"
        )
    custody = FileCustody.open(key_file, entropy=entropy)
    if sealed:
        try:
            unsealed_private_key(sealed[0].value, custody)
        except Failure as failure:
            raise SettingsProblem(
                f"{settings.file}: the key file {key_file} does not belong to this database: every server needs the same one"
            ) from failure
    return custody


def _reason(error: BaseException) -> str:
    """The first line of what the driver says. It names hosts, users and databases, never a password."""
    return (str(error).splitlines() or [type(error).__name__])[0]
