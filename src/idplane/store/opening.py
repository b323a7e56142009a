"""Which store an address means."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from idplane.model.failure import Failure, FailureKind
from idplane.ports.store import Store
from idplane.ports.world import Clock
from idplane.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from idplane.store.postgres import PostgresStore

__all__ = ["open_shared_store", "open_store"]


async def open_store(address: str | Path, *, clock: Clock) -> Store:
    """The store at a `postgresql://` URL, or in the SQLite file of that path; raises what its `open` raises.

    PostgreSQL's driver is imported only when it is asked for; without it, `Failure(UNAVAILABLE)` says what to install.
    """
    if not str(address).startswith(("postgresql://", "postgres://")):
        return await SqliteStore.open(address, clock=clock)
    return await open_shared_store(str(address), clock=clock)


async def open_shared_store(
    url: str, *, clock: Clock, connections: int = 8, connect_seconds: float = 5.0, statement_seconds: float = 30.0
) -> PostgresStore:
    """The PostgreSQL database at a URL, with at most so many connections and so much patience; raises as `open_store` does."""
    try:
        from idplane.store.postgres import PostgresStore  # noqa: PLC0415 - an optional extra, and costly to import
        from idplane.store.postgres_connections import Address  # noqa: PLC0415 - as above
    except ImportError as error:
        raise Failure(FailureKind.UNAVAILABLE, "PostgreSQL needs a driver: pip install 'idplane[postgresql]'") from error
    address = Address(url=url, connect_seconds=connect_seconds, statement_seconds=statement_seconds)
    return await PostgresStore.open(address, clock=clock, connections=connections)
