"""The world of a server as its settings describe it: the database, and the custody of what is sealed in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

from idplane.bootstrap.custody import KEY_FILE, custody_for
from idplane.bootstrap.observed import observed, telemetry_of
from idplane.bootstrap.server_settings import ServerSettings
from idplane.bootstrap.settings_file import SettingsProblem
from idplane.bootstrap.world import SystemClock, SystemEntropy, World
from idplane.model.failure import Failure, os_reason
from idplane.store.datafolder import DataFolderProblem
from idplane.store.opening import open_shared_store

__all__ = ["open_world", "operable"]


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
    custody = await custody_for(settings.tables.custody, store, entropy, path=settings.path, default=settings.data / KEY_FILE)
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
        named = error.filename2 or error.filename or settings.data
        raise SettingsProblem(f"{settings.file}: {named} cannot be read or written: {os_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """The first line of what the driver says. It names hosts, users and databases, never a password."""
    return (str(error).splitlines() or [type(error).__name__])[0]
