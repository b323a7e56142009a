"""PostgreSQL connections held open with their statements prepared, and what PostgreSQL's errors mean.

asyncpg's own pool resets a connection at each release, which costs a round trip; these keep their state, since nobody but the
store uses them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from idplane.model.failure import Failure, FailureKind

__all__ = ["ERRORS", "LOST", "Address", "Connections", "connect", "failure_of", "hang_up"]

LOST = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what asyncpg says while a connection that the server ended is still being taken apart
    asyncpg.OperatorInterventionError,
)
"""The connection is gone, or going: another one may serve."""
ERRORS = (*LOST, asyncpg.PostgresError, TimeoutError)
"""Everything that asyncpg raises for reasons outside the program."""

_HANG_UP_SECONDS = 5.0
_SETTINGS = {
    "application_name": "idplane",
    # A replica that stops in the middle of a commit must not stop the others for good.
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "15s",
    "default_transaction_isolation": "read committed",
}
# What is acknowledged must survive a crash of the server, whatever the server's default; stricter settings than "on" stay.
_DURABLE = "select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the database is, and how long it may take to answer."""

    url: str = field(repr=False)
    """May hold a password."""
    connect_seconds: float = 5.0
    statement_seconds: float = 30.0


def failure_of(error: BaseException) -> Failure:
    """What an error that is nobody's fault amounts to."""
    failure: Failure
    if isinstance(error, asyncpg.DiskFullError):
        failure = Failure(FailureKind.STORAGE_FULL, "the disk that holds the database is full")
    elif isinstance(error, asyncpg.ProgramLimitExceededError):
        failure = Failure(FailureKind.INVALID_PARAMETER, "a value is too long to be stored")
    elif isinstance(error, asyncpg.DataError):
        failure = Failure(FailureKind.INVALID_PARAMETER, "a value is of another kind than what it is compared with")
    else:
        failure = Failure(FailureKind.UNAVAILABLE, "the database cannot be used")
    failure.__cause__ = error
    return failure


async def connect(address: Address, *, hurried: bool = True) -> Any:
    """A new connection, set up for the store; raises what asyncpg raises. One that is not `hurried` may take its time over statements."""
    connection = await asyncpg.connect(
        address.url,
        timeout=address.connect_seconds,
        command_timeout=address.statement_seconds if hurried else None,
        statement_cache_size=512,
        max_cached_statement_lifetime=0,
        server_settings=_SETTINGS,
    )
    try:
        await connection.execute(_DURABLE)
    except BaseException:
        connection.terminate()
        raise
    return connection


async def hang_up(connection: Any) -> None:
    """Close a connection with a word to the server, or without one if it does not listen."""
    try:
        await connection.close(timeout=_HANG_UP_SECONDS)
    except ERRORS:
        connection.terminate()


class Connections:
    """At most `limit` connections, opened when needed, kept until they break or `close`."""

    def __init__(self, address: Address, *, limit: int) -> None:
        self._address = address
        self._free = asyncio.Semaphore(limit)
        self._idle: list[Any] = []
        self._closed = False

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Any]:
        """A connection for the duration of the block.

        One left inside a transaction is thrown away; one that was left in the middle of a statement, too: nobody knows yet in what state
        that leaves it.
        """
        async with self._free:
            if self._closed:
                raise Failure(FailureKind.UNAVAILABLE, "the store is closed")
            connection = self._pick() or await connect(self._address)
            try:
                yield connection
            except (*LOST, TimeoutError, asyncio.CancelledError):
                # One that did not answer in time may never: another one finds out sooner whether the server is there.
                connection.terminate()
                raise
            finally:
                self._put_back(connection)

    async def fetch(self, text: str, parameters: Sequence[object] = ()) -> list[Any]:
        """The rows of one reading statement; asks again on a new connection if the held one turned out to be dead."""
        try:
            async with self.held() as connection:
                return await connection.fetch(text, *parameters)  # type: ignore[no-any-return]  # asyncpg is untyped
        except TimeoutError as error:  # an OSError as well, but another connection would only double the wait
            self.drop_idle()
            raise failure_of(error) from error
        except LOST:
            self.drop_idle()
        except ERRORS as error:
            raise failure_of(error) from error
        try:
            async with self.held() as connection:
                return await connection.fetch(text, *parameters)  # type: ignore[no-any-return]  # as above
        except ERRORS as error:
            raise failure_of(error) from error

    async def close(self) -> None:
        """Close the idle connections; those in use are closed as they come back."""
        self._closed = True
        while self._idle:
            await hang_up(self._idle.pop())

    def _pick(self) -> Any:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    def _put_back(self, connection: Any) -> None:
        if connection.is_closed():
            return
        if self._closed or connection.is_in_transaction():
            connection.terminate()
        else:
            self._idle.append(connection)

    def drop_idle(self) -> None:
        """Forget all connections that nobody uses: a server that restarted has broken every one."""
        while self._idle:
            self._idle.pop().terminate()
