"""The distributed store: PostgreSQL through asyncpg, one transaction for each commit.

Commits of records take turns on the feed's end (one locked row), which makes every version check hold until the commit and gives
feed positions in the order of commits. Commits that only append to a log take no turn, so token issuance scales with the
replicas.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, TypeVar, assert_never, cast

import asyncpg

from idplane.model.failure import Failure, FailureKind
from idplane.ports.sorting import Sort
from idplane.ports.store import (
    Batch,
    Change,
    Collection,
    ColumnValue,
    CommitRefused,
    Listener,
    Log,
    Logged,
    Order,
    Page,
    RefusedBecause,
    Tally,
    Versioned,
)
from idplane.ports.telemetry import Telemetry
from idplane.ports.tree import LogSealer
from idplane.ports.world import Clock
from idplane.store.listeners import Listeners
from idplane.store.log_tree import SqlLogTree
from idplane.store.plan import (
    AppendRow,
    DeleteRecord,
    ExtendTree,
    Plan,
    PutRecord,
    RequireRecord,
    Tables,
    TrimFeed,
    TrimLog,
    Written,
    findable,
    log_statements,
)
from idplane.store.postgres_connections import ERRORS, LOST, Address, Connections, failure_of
from idplane.store.postgres_feed import CHANNEL, FEED_END, PostgresFeed, read_changes
from idplane.store.postgres_quiet import quiet_statement
from idplane.store.postgres_schema import migrate
from idplane.store.schema import Migration, migrations
from idplane.store.sorted_pages import sorted_page
from idplane.store.tables import CollectionTable, Dialect, LogTable, Parameters, Query, Selection

__all__ = ["PostgresStore"]

T = TypeVar("T")

_CONNECTIONS = 8
_BEAT_SECONDS = 1.0
_BEGIN = "begin; select position from feed_end for update"
_FEED = f"""
with feed as (update feed_end set position = position + cardinality($1::text[]) returning position),
  fed as (
    insert into changes (position, collection, key, subject, deleted)
    select feed.position - cardinality($1::text[]) + row.number, row.collection, row.key, row.subject, row.deleted
    from feed, unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) with ordinality
      as row (collection, key, subject, deleted, number)
  )
select position, pg_notify('{CHANNEL}', '') from feed
"""  # noqa: S608 - the channel is a constant
_TURN = "begin; select pg_advisory_xact_lock(1768190060, hashtext('{log}'))"
"""Waits until every event of a log that has a position is committed; see `take_turn_in_log` in the migrations."""


class PostgresStore:
    """A `ports.store.Store` over a PostgreSQL database. Make one with `open`; one event loop uses it."""

    def __init__(self, connections: Connections, feed: PostgresFeed, listeners: Listeners, *, beat: float) -> None:
        self._connections = connections
        self._listeners = listeners
        self._feed = feed
        self._tables = Tables(Dialect.POSTGRESQL)
        self.tree = SqlLogTree(Dialect.POSTGRESQL, connections.fetch, self._horizon)
        """The tree over the logs."""
        self._commits: set[asyncio.Task[int]] = set()
        self._closed = False
        self._following = asyncio.ensure_future(feed.follow(beat))

    @classmethod
    async def open(
        cls,
        address: str | Address,
        *,
        clock: Clock,
        connections: int = _CONNECTIONS,
        beat_seconds: float = _BEAT_SECONDS,
        schema: Sequence[Migration] | None = None,
    ) -> PostgresStore:
        """Connect, bring the schema up to date and follow the feed.

        `beat_seconds` is how often the feed is read even if no notification came; `schema` are the migrations of another program than
        this one. Raises `Failure(UNAVAILABLE)` when the server cannot be
        reached or the database is too new for this program.
        """
        address = address if isinstance(address, Address) else Address(url=address)
        try:
            await migrate(address, clock, migrations("postgres") if schema is None else schema)
        except ERRORS as error:
            raise failure_of(error) from error
        pool = Connections(address, limit=connections)
        listeners = Listeners()
        ((end,),) = await pool.fetch(FEED_END)
        feed = PostgresFeed(address, pool, listeners, clock=clock, heard=end)
        await feed.listen()
        return cls(pool, feed, listeners, beat=beat_seconds)

    def observe(self, telemetry: Telemetry, /) -> None:
        """Tell of the feed from now on."""
        self._feed.telemetry = telemetry

    @property
    def heard_at(self) -> float:
        """When this replica last knew the feed's end (`Clock.monotonic`); one that is too far behind must not issue tokens."""
        return self._feed.heard_at

    async def get(self, collection: Collection[T], key: str, /) -> Versioned[T] | None:
        """One record."""
        table = self._table(collection)
        rows = await self._rows(table.get, (key,))
        return Versioned(table.decode(rows[0][1]), rows[0][0]) if rows else None

    async def page(  # noqa: PLR0913 - the port's query, spelled out
        self,
        collection: Collection[T],
        /,
        *,
        where: Mapping[str, ColumnValue] | None = None,
        under: tuple[str, str] | None = None,
        containing: tuple[str, str] | None = None,
        order: Sort | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Page[T]:
        """Records in the order of their places; see the port."""
        if limit < 1:
            raise ValueError("a page has at least one record")
        table, selected = self._table(collection), Selection(where, under, containing)
        if order is not None:
            return await sorted_page(table, self._rows, selected, order, after, limit)
        rows = await self._rows(*table.select(selected, after, limit + 1))
        shown = rows[:limit]
        return Page(
            tuple(Versioned(table.decode(doc), version) for _, version, doc in shown),
            shown[-1][0] if len(rows) > limit else None,
        )

    async def all(
        self,
        collection: Collection[T],
        /,
        *,
        where: Mapping[str, ColumnValue] | None = None,
        under: tuple[str, str] | None = None,
    ) -> tuple[Versioned[T], ...]:
        """Every matching record, in key order."""
        table = self._table(collection)
        rows = await self._rows(*table.select(Selection(where, under)))
        return tuple(Versioned(table.decode(doc), version) for _, version, doc in rows)

    async def count(
        self,
        collection: Collection[T],
        /,
        *,
        where: Mapping[str, ColumnValue] | None = None,
        under: tuple[str, str] | None = None,
        limit: int,
    ) -> int:
        """How many records match, at most `limit`."""
        rows = await self._rows(*self._table(collection).count(where, under, limit))
        return int(rows[0][0]) if rows else 0

    async def commit(self, batch: Batch, /) -> int:
        """Apply all or nothing, durably. A caller that is cancelled while it waits does not undo the commit.

        `Failure(UNAVAILABLE)` from a connection that broke during the commit leaves open whether it was applied: read again.
        """
        plan = self._tables.plan(batch)
        if not plan.steps:
            return await self.position()
        if self._closed:
            raise Failure(FailureKind.UNAVAILABLE, "the store is closed")
        task = asyncio.ensure_future(self._commit(plan))
        self._commits.add(task)
        task.add_done_callback(self._settled)
        return await asyncio.shield(task)

    def _settled(self, task: asyncio.Task[int]) -> None:
        self._commits.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, in case nobody waits any more

    async def read_log(  # noqa: PLR0913 - the port's query, spelled out
        self,
        log: Log[T],
        /,
        *,
        where: Mapping[str, ColumnValue] | None = None,
        since: int | None = None,
        until: int | None = None,
        position: int | None = None,
        order: Order = Order.NEWEST_FIRST,
        limit: int = 100,
    ) -> tuple[Logged[T], ...]:
        """Events; newest first is by time, then position; oldest first is by position, and never skips one that is still being written."""
        table = cast("LogTable[T]", self._tables.log(cast("Log[object]", log)))
        text, parameters = table.select(where=where, since=since, until=until, position=position, order=order, limit=limit)
        if not all(findable(value) for value in parameters):
            return ()
        if order is Order.OLDEST_FIRST:
            rows = await self._in_turn(table.name, text, parameters)
        else:
            rows = await self._rows(text, parameters)
        return tuple(Logged(at, table.decode(doc)) for at, doc in rows)

    async def tally(  # noqa: PLR0913 - the port's query, spelled out
        self,
        log: Log[T],
        by: str,
        /,
        *,
        where: Mapping[str, ColumnValue] | None = None,
        since: int,
        until: int,
        step: int,
        limit: int,
    ) -> tuple[Tally, ...]:
        """How many of the newest events there were, by step and value; see the port."""
        table = cast("LogTable[T]", self._tables.log(cast("Log[object]", log)))
        text, parameters = table.tally(by=by, where=where, since=since, until=until, step=step, limit=limit)
        if not all(findable(value) for value in parameters):
            return ()
        return tuple(Tally(step=slot, value=value, count=count) for slot, value, count in await self._rows(text, parameters))

    async def changes(self, after: int, /, *, limit: int = 1000) -> tuple[Change, ...]:
        """The feed after a position, oldest first."""
        return await read_changes(self._connections, after, limit)

    async def position(self) -> int:
        """The feed's current end."""
        ((end,),) = await self._connections.fetch(FEED_END)
        return int(end)

    def freshness(self) -> float:
        """Since the feed was last read to its end; infinite once changes were missed for good."""
        return self._feed.age

    def subscribe(self, listener: Listener, /) -> Callable[[], None]:
        """Hear of every commit: of this store before it is acknowledged, of other replicas as soon as the database tells."""
        return self._listeners.add(listener)

    def seal_logs(self, sealer: LogSealer, /) -> None:
        """Seal what is appended from now on."""
        self._tables.sealer = sealer

    async def close(self) -> None:
        """Settle what was submitted, then disconnect. Closing twice is fine."""
        if self._closed:
            return
        self._closed = True
        if self._commits:
            await asyncio.wait(self._commits)
        self._following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._following
        await self._feed.hang_up()
        await self._connections.close()

    def _table(self, collection: Collection[T]) -> CollectionTable[T]:
        return cast("CollectionTable[T]", self._tables.collection(cast("Collection[object]", collection)))

    async def _rows(self, text: str, parameters: Parameters) -> list[Any]:
        if not all(findable(value) for value in parameters):
            return []
        return await self._connections.fetch(text, parameters)

    async def _in_turn(self, log: str, text: str, parameters: Parameters) -> list[Any]:
        try:
            async with self._connections.held() as connection:
                await connection.execute(_TURN.format(log=log))
                rows = await connection.fetch(text, *parameters)
                await connection.execute("commit")
        except ERRORS as error:
            raise failure_of(error) from error
        return cast("list[Any]", rows)

    async def _horizon(self, log: str, text: str) -> list[Any]:
        return await self._in_turn(log, text, ())

    async def _commit(self, plan: Plan) -> int:
        appends = plan.appends
        try:
            if appends is not None and len(appends) == 1:
                async with self._connections.held() as connection:
                    appended = await _append(connection, appends)  # one statement is a transaction of its own
                self._tell_appended(appended)
                return self._feed.heard
            if (quiet := quiet_statement(plan)) is not None:
                self._tell_appended([await self._record(*quiet, plan)])
                return self._feed.heard
            async with self._begun(plan) as connection:
                changes, appended = await _transact(connection, plan)
        except ERRORS as error:
            raise failure_of(error) from error
        self._tell_appended(appended)
        if changes:
            await self._feed.hear_own(changes)
            return changes[-1].position
        return self._feed.heard

    async def _record(self, query: Query, row: AppendRow, plan: Plan) -> tuple[str, int, str]:
        """Where an event was appended. Raises `CommitRefused`: which record it was is not known, and nobody asks."""
        text, parameters = query
        async with self._connections.held() as connection:
            positions = await connection.fetch(text, *parameters)
        if not positions:
            first = plan.requirements[0]
            raise CommitRefused(RefusedBecause.VERSION, first.table.name, first.key)
        return row.table.name, positions[0][0], row.doc

    def _tell_appended(self, rows: Sequence[tuple[str, int, str]]) -> None:
        if rows and self._tables.sealer is not None:
            self._tables.sealer.appended(rows)

    @contextlib.asynccontextmanager
    async def _begun(self, plan: Plan) -> AsyncIterator[Any]:
        """A connection inside a new transaction. One that turns out to be dead is replaced: nothing was asked of it yet."""
        begin = "begin" if plan.is_of_logs else _BEGIN
        for last in (False, True):
            async with self._connections.held() as connection:
                try:
                    await connection.execute(begin)
                except LOST as error:
                    connection.terminate()
                    # Who has waited for one connection in vain is told so; another one would only double the wait.
                    if last or isinstance(error, TimeoutError):
                        raise
                    self._connections.drop_idle()
                    continue
                yield connection
                return


async def _transact(connection: Any, plan: Plan) -> tuple[tuple[Change, ...], list[tuple[str, int, str]]]:
    """Apply the steps in the transaction that was begun: the changes, and what was appended where. Raises `CommitRefused` with everything rolled back."""
    try:
        written: list[Written] = []
        rows: list[AppendRow] = []
        for step in plan.steps:
            if isinstance(step, AppendRow):
                rows.append(step)
            elif isinstance(step, TrimLog | TrimFeed):
                for text, parameters in step.queries:
                    await connection.execute(text, *parameters)
            elif isinstance(step, ExtendTree):
                await _extend(connection, step)
            elif (one := await _step(connection, step)) is not None:
                written.append(one)
        appended = await _append(connection, rows)
        changes = await _feed(connection, written)
        await connection.execute("commit")
    except BaseException:
        if not connection.is_closed() and connection.is_in_transaction():
            with contextlib.suppress(*ERRORS):
                await connection.execute("rollback")
        raise
    return changes, appended


async def _step(connection: Any, step: PutRecord | DeleteRecord | RequireRecord) -> Written | None:
    refused = CommitRefused(RefusedBecause.VERSION, step.table.name, step.key)
    text, parameters = step.query
    try:
        rows = await connection.fetch(text, *parameters)
    except asyncpg.UniqueViolationError as error:
        raise CommitRefused(RefusedBecause.UNIQUE, step.table.name, step.key) from error
    except asyncpg.ForeignKeyViolationError as error:
        raise CommitRefused(RefusedBecause.REFERENCE, step.table.name, step.key) from error
    match step:
        case PutRecord():
            if not rows:
                raise refused
            return step.written
        case DeleteRecord():
            if not rows and step.version is not None:
                raise refused
            return step.written(rows[0][0]) if rows else None
        case RequireRecord():
            if not step.met_by(rows[0][0] if rows else None):
                raise refused
            return None
        case _:
            assert_never(step)


async def _extend(connection: Any, step: ExtendTree) -> None:
    for text, parameters, needed in step.queries:
        if not await connection.fetch(text, *parameters) and needed:
            raise CommitRefused(RefusedBecause.VERSION, "log_entries", "")


async def _append(connection: Any, rows: Sequence[AppendRow]) -> list[tuple[str, int, str]]:
    """Append, and say where: log, position, document."""
    appended: list[tuple[str, int, str]] = []
    for (text, parameters), some in log_statements(rows):
        positions = await connection.fetch(text, *parameters)
        appended += ((row.table.name, at[0], row.doc) for at, row in zip(positions, some, strict=True))
    return appended


async def _feed(connection: Any, written: Sequence[Written]) -> tuple[Change, ...]:
    if not written:
        return ()
    columns = [
        [one.collection for one in written],
        [one.key for one in written],
        [one.subject for one in written],
        [int(one.deleted) for one in written],
    ]
    end = await connection.fetchval(_FEED, *columns)
    return tuple(
        Change(position=position, collection=one.collection, key=one.key, subject=one.subject, deleted=one.deleted)
        for position, one in enumerate(written, end - len(written) + 1)
    )
