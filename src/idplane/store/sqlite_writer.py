"""The one writer of a SQLite database: a thread that commits whole groups of batches with a single durable commit.

Batches queue up while the disk syncs; the next transaction takes all of them. One that changes records runs in a savepoint, so that
its refusal leaves the others alone. One that only checks and appends, as every token does, has nothing to undo: its checks come
first, and its rows go in together with those of its neighbours. Encoding happened on the event loop already (`plan`), so the thread
holds the interpreter lock only briefly.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TypeAlias, assert_never

from idplane.model.failure import Failure, FailureKind
from idplane.ports.store import Change, CommitRefused, RefusedBecause
from idplane.store.listeners import Listeners
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
    log_statements,
)
from idplane.store.sqlite_connection import FEED_END, failure_of, refusal_of

__all__ = ["SqliteWriter"]

_GROUP = 512
"""Most batches in one transaction."""
_GATHER_SECONDS = 0.002
_GATHER_TIMES = 2
"""How long a group waits, and how often, until it is as large as the group before it. A durable commit costs 60 us of processor time
and more for each page, most of which are the same for all its rows: in groups of sixteen that is a quarter of what it is in groups
of three. A lone committer never waits.
"""
_FEED = "insert into changes (collection, key, subject, deleted) values (?, ?, ?, ?)"


_Versions: TypeAlias = dict[tuple[str, str], int | None]
"""By table and key; None for an absent record."""


@dataclass(slots=True, eq=False)
class _Work:
    """One batch on its way: what to do, who waits, and how it went."""

    plan: Plan
    future: asyncio.Future[int]
    changes: list[Change] = field(default_factory=list)
    position: int = 0
    error: Exception | None = None


@dataclass(slots=True, eq=False)
class _Stop:
    """Close after everything that was queued before."""

    future: asyncio.Future[None]


class SqliteWriter:
    """Owns the writing connection and its thread. `submit` and `stop` are called on the event loop."""

    def __init__(self, connection: sqlite3.Connection, listeners: Listeners, tables: Tables) -> None:
        self._connection = connection
        self._listeners = listeners
        self._tables = tables
        self._appended: list[tuple[str, int, str]] = []
        """Log, position and document of what this transaction has appended so far."""
        self._queue: SimpleQueue[_Work | _Stop] = SimpleQueue()
        self._position = _feed_end(connection)
        self._size_before = 0
        self._never = threading.Event()
        self._thread = threading.Thread(target=self._run, name="idplane-store-writer", daemon=True)
        self._thread.start()

    def submit(self, plan: Plan) -> asyncio.Future[int]:
        """The feed position after the batch, once it is durable and the listeners have heard of it."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._queue.put(_Work(plan=plan, future=future))
        return future

    async def stop(self) -> None:
        """Return when everything submitted has been settled and the thread has ended."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put(_Stop(future=future))
        await future
        self._thread.join()

    def _run(self) -> None:
        while True:
            group, stop = self._take()
            self._size_before = len(group)
            if group:
                self._commit(group)
                appended, self._appended = self._appended, []
                _call(group[0].future.get_loop(), self._settle, group, appended)
            if stop is not None:
                _call(stop.future.get_loop(), _finish, stop.future)
                return

    def _take(self) -> tuple[list[_Work], _Stop | None]:
        group: list[_Work] = []
        item = self._queue.get()
        self._gather()
        while isinstance(item, _Work):
            group.append(item)
            if len(group) == _GROUP:
                return group, None
            try:
                item = self._queue.get_nowait()
            except Empty:
                return group, None
        return group, item

    def _gather(self) -> None:
        for _ in range(_GATHER_TIMES):
            if self._queue.qsize() + 1 >= self._size_before:
                return
            self._never.wait(_GATHER_SECONDS)

    def _commit(self, group: Sequence[_Work]) -> None:
        try:
            self._transact(group)
        except sqlite3.Error as error:
            self._undo(group, failure_of(error))
            if len(group) > 1 and _is_full(error):
                # What does not fit together may fit alone: one huge batch must not refuse the small ones beside it.
                for one in group:
                    self._commit([one])
        except Exception as error:  # noqa: BLE001 - the thread must outlive any defect: whoever waits gets the failure
            failure = Failure(FailureKind.INTERNAL, "the commit failed")
            failure.__cause__ = error
            self._undo(group, failure)

    def _undo(self, group: Sequence[_Work], failure: Failure) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("rollback")
        except sqlite3.Error as error:
            failure.add_note(f"and the rollback failed: {error}")
        for one in group:
            one.changes.clear()
            one.error = failure

    def _transact(self, group: Sequence[_Work]) -> None:
        execute = self._connection.execute
        start, appended = self._position, len(self._appended)
        for one in group:
            one.error = None
        execute("begin immediate")
        try:
            if len(group) == 1 and not group[0].plan.is_quiet:
                self._alone(group[0])
            else:
                self._together(group)
            if self._connection.in_transaction:
                execute("commit")
        except BaseException:
            self._position = start
            del self._appended[appended:]
            raise

    def _alone(self, one: _Work) -> None:
        try:
            self._apply(one)
        except (CommitRefused, Failure) as refused:
            self._connection.execute("rollback")
            self._refuse(one, refused)

    def _together(self, group: Sequence[_Work]) -> None:
        rows: list[AppendRow] = []
        # Tokens of one identity rest on the same records: each is read once, until something in this transaction may have changed it.
        versions: _Versions = {}
        for one in group:
            if one.plan.is_quiet:
                self._quietly(one, versions, rows)
                continue
            self._append(rows)
            rows.clear()
            self._in_savepoint(one)
            versions.clear()
        self._append(rows)

    def _quietly(self, one: _Work, versions: _Versions, rows: list[AppendRow]) -> None:
        self._look_up([step for step in one.plan.requirements if step.record not in versions], versions)
        for step in one.plan.requirements:
            if not step.met_by(versions[step.record]):
                one.error = CommitRefused(RefusedBecause.VERSION, step.table.name, step.key)
                return
        rows += (step for step in one.plan.steps if isinstance(step, AppendRow))
        one.position = self._position

    def _look_up(self, unknown: Sequence[RequireRecord], versions: _Versions) -> None:
        """All in one statement: after each one, this thread has to get the interpreter lock back from a busy event loop."""
        if unknown:
            text = f"select {', '.join(f'({step.table.version_of(number)})' for number, step in enumerate(unknown, 1))}"
            found = self._connection.execute(text, [step.key for step in unknown]).fetchone()
            versions.update(zip((step.record for step in unknown), found, strict=True))

    def _in_savepoint(self, one: _Work) -> None:
        execute = self._connection.execute
        execute("savepoint batch")
        try:
            self._apply(one)
        except (CommitRefused, Failure) as refused:
            execute("rollback to batch")
            self._refuse(one, refused)
        execute("release batch")

    def _refuse(self, one: _Work, refused: CommitRefused | Failure) -> None:
        if one.changes:
            self._position = one.changes[0].position - 1
        one.changes.clear()
        one.error = refused

    def _apply(self, one: _Work) -> None:
        rows: list[AppendRow] = []
        for step in one.plan.steps:
            if isinstance(step, AppendRow):
                rows.append(step)  # nothing refers to a log row, so they go last, together
            elif isinstance(step, TrimLog | TrimFeed):
                for query in step.queries:
                    self._connection.execute(*query)
            elif isinstance(step, ExtendTree):
                self._extend(step)
            elif (written := self._step(step)) is not None:
                self._feed(one, written)
        self._append(rows)
        one.position = self._position

    def _step(self, step: PutRecord | DeleteRecord | RequireRecord) -> Written | None:
        refused = CommitRefused(RefusedBecause.VERSION, step.table.name, step.key)
        try:
            rows = self._connection.execute(*step.query).fetchall()
        except sqlite3.IntegrityError as error:
            because = refusal_of(error)
            raise error if because is None else CommitRefused(because, step.table.name, step.key) from error
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

    def _extend(self, step: ExtendTree) -> None:
        for text, parameters, needed in step.queries:
            if not self._connection.execute(text, parameters).fetchall() and needed:
                raise CommitRefused(RefusedBecause.VERSION, "log_entries", "")

    def _append(self, rows: Sequence[AppendRow]) -> None:
        for (text, parameters), some in log_statements(rows):
            last = self._connection.execute(text, parameters).lastrowid
            if self._tables.sealer is not None and last is not None:
                first = last - len(some) + 1
                self._appended += ((row.table.name, number, row.doc) for number, row in enumerate(some, first))

    def _feed(self, one: _Work, written: Written) -> None:
        values = (written.collection, written.key, written.subject, int(written.deleted))
        position = self._connection.execute(_FEED, values).lastrowid
        assert position is not None
        self._position = position
        one.changes.append(
            Change(
                position=position,
                collection=written.collection,
                key=written.key,
                subject=written.subject,
                deleted=written.deleted,
            )
        )

    def _settle(self, group: Sequence[_Work], appended: Sequence[tuple[str, int, str]]) -> None:
        if appended and self._tables.sealer is not None:
            self._tables.sealer.appended(appended)
        for one in group:
            self._listeners.tell(one.changes)
            if one.future.done():
                continue  # its committer was cancelled
            if one.error is not None:
                one.future.set_exception(one.error)
            else:
                one.future.set_result(one.position)


def _feed_end(connection: sqlite3.Connection) -> int:
    (position,) = connection.execute(FEED_END).fetchone()
    assert isinstance(position, int)
    return position


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *arguments: object) -> None:
    # A closed loop has nobody left who waits; what was committed stays committed.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function, *arguments)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _is_full(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
