"""Which store an address means."""

from __future__ import annotations

from pathlib import Path

from idplane.model.failure import Failure, FailureKind
from idplane.ports.store import Store
from idplane.ports.world import Clock
from idplane.store.sqlite import SqliteStore

__all__ = ["open_store"]


async def open_store(address: str | Path, *, clock: Clock) -> Store:
    """The store at a `postgresql://` URL, or in the SQLite file of that path; raises what its `open` raises.

    PostgreSQL's driver is imported only when it is asked for; without it, `Failure(UNAVAILABLE)` says what to install.
    """
    if not str(address).startswith(("postgresql://", "postgres://")):
        return await SqliteStore.open(address, clock=clock)
    try:
        from idplane.store.postgres import PostgresStore  # noqa: PLC0415 - an optional extra, and costly to import
    except ImportError as error:
        raise Failure(FailureKind.UNAVAILABLE, "PostgreSQL needs a driver: pip install 'idplane[postgresql]'") from error
    return await PostgresStore.open(str(address), clock=clock)
