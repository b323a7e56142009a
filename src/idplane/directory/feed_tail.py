"""The end of the change feed in memory, and who waits for what of it: an agent that nothing concerns costs the store no question.

One listener per process keeps the last changes that agents may be told of, by the names that they concern: ids of resources, of
principals, of agents. Whoever waits does so under the names that concern it, so that a commit wakes those that it concerns and nobody
else. What is older than the memory goes back to is read from the store, by whoever asks for it.

Invariant: every change in (`start`, `end`] that agents may be told of is kept, in order. A commit of this process that was told ahead of
others' commits before it (`Store.subscribe` may do that while the database is away) is told at once as well, and moves neither bound: it comes
again, in its place.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Final

from idplane.ports.collections import (
    AGENTS,
    BINDINGS,
    CREDENTIALS,
    IDENTITY_ASSIGNMENTS,
    MEMBERSHIPS,
    PRINCIPALS,
    RESOURCES,
    ROLE_ASSIGNMENTS,
    SIGNING_KEYS,
    TENANTS,
)
from idplane.ports.store import Change, Store

__all__ = ["EVERYTHING", "FeedTail", "Watch", "concerning"]

EVERYTHING: Final = "*"
"""The name under which the agent of every resource waits."""
_EVERYBODY: Final = ""
"""The name of what concerns all agents."""
_TOLD: Final = frozenset(
    one.name
    for one in (
        RESOURCES,
        IDENTITY_ASSIGNMENTS,
        BINDINGS,
        PRINCIPALS,
        CREDENTIALS,
        ROLE_ASSIGNMENTS,
        MEMBERSHIPS,
        SIGNING_KEYS,
        TENANTS,
    )
)
_TOLD_TO_ALL: Final = frozenset({SIGNING_KEYS.name, TENANTS.name})
_KEPT: Final = 16_384
"""Changes that agents may be told of, of any collection in the feed: some ten megabytes when all are there."""
_READ_AT_FIRST: Final = 4_096
_READERS: Final = 2
"""Who reads what is older than the memory takes turns: agents that were all away come back together."""


class Watch:
    """Somebody who waits under some names; `woken` is set when something happened to one of them."""

    __slots__ = ("ahead", "names", "woken")

    def __init__(self) -> None:
        self.names: frozenset[str] = frozenset()
        self.woken = asyncio.Event()
        self.ahead: list[Change] = []
        """What was told ahead of its turn since this was last emptied."""


class FeedTail:
    """Follows the feed from the first `ready` until `close`."""

    def __init__(self, *, store: Store, kept: int = _KEPT) -> None:
        self._store = store
        self._most = kept
        self._start = self._end = 0
        self._kept: deque[Change] = deque()
        self._named: dict[str, deque[Change]] = {}
        self._watches: dict[str, set[Watch]] = {}
        self._unsubscribe: Callable[[], None] | None = None
        self._early: list[Change] | None = []
        """What was heard before the first reading came back; None since then."""
        self._beginning = asyncio.Lock()
        self._reading = asyncio.Semaphore(_READERS)

    @property
    def start(self) -> int:
        """The position behind which everything is known."""
        return self._start

    @property
    def end(self) -> int:
        """The position up to which everything is known."""
        return self._end

    async def ready(self) -> None:
        """Make sure that the feed is followed; one reading of the store the first time. Raises as `Store` does."""
        if self._early is None:
            return
        async with self._beginning:
            if self._early is not None:
                self._unsubscribe = self._unsubscribe or self._store.subscribe(self._heard)
                end = await self._store.position()
                self._begin(end, await self._store.changes(max(end - min(_READ_AT_FIRST, self._most), 0), limit=_READ_AT_FIRST))

    def close(self) -> None:
        """Follow no longer."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None

    async def read(self, after: int, limit: int) -> tuple[Change, ...] | None:
        """The feed after a position that may be older than the memory; None when it does not go on from there.

        It is trimmed beyond that position, or the position is of another life of the database.
        """
        async with self._reading:
            found = await self._store.changes(after, limit=limit)
            if found:
                return found if found[0].position == after + 1 else None
            return () if after == await self._store.position() else None

    def since(self, after: int, names: frozenset[str], limit: int) -> tuple[int, tuple[Change, ...]]:
        """What is kept behind a position (not before `start`) and concerns one of the names, and the position that it goes up to."""
        if after >= self._end:
            return after, ()
        found = self._all_since(after) if EVERYTHING in names else self._named_since(after, names)
        if len(found) > limit:
            return found[limit - 1].position, tuple(found[:limit])
        return self._end, tuple(found)

    @contextmanager
    def watching(self) -> Iterator[Watch]:
        """Somebody who waits, until the block ends."""
        watch = Watch()
        try:
            yield watch
        finally:
            self.name(watch, frozenset())

    def name(self, watch: Watch, names: frozenset[str]) -> None:
        """From now on, this is what concerns the watch; without any name nothing does."""
        if names:
            names |= {_EVERYBODY}
        for name in watch.names - names:
            others = self._watches[name]
            others.discard(watch)
            if not others:
                del self._watches[name]
        for name in names - watch.names:
            self._watches.setdefault(name, set()).add(watch)
        watch.names = names

    def wake(self) -> None:
        """Wake everybody."""
        for watch in self._watches.get(_EVERYBODY, ()):
            watch.woken.set()

    def _begin(self, end: int, rows: Sequence[Change]) -> None:
        """Go on from the rows, or without any from the end; what was heard meanwhile comes after them."""
        rows = rows if rows and rows[-1].position >= end else ()
        # Where a restored database begins its feed, positions are missing that somebody may have been told of.
        breaks = (one for before, one in pairwise(reversed(rows)) if before.position != one.position + 1)
        gap = next(breaks, None)
        rows = rows if gap is None else [one for one in rows if one.position > gap.position]
        self._start = self._end = rows[0].position - 1 if rows else end
        early, self._early = self._early or [], None
        self._heard([*rows, *early])

    def _heard(self, changes: Sequence[Change]) -> None:
        """Hear of commits; fits `Store.subscribe`."""
        if self._early is not None:
            self._early.extend(changes)
            return
        for change in changes:
            ahead = change.position > self._end + 1
            if change.position == self._end + 1:
                self._end = change.position
                if change.collection in _TOLD:
                    self._keep(change)
            for name in _woken_by(change) if self._watches else ():
                for watch in self._watches.get(name, ()):
                    watch.woken.set()
                    if ahead and change.collection in _TOLD:
                        watch.ahead.append(change)

    def _keep(self, change: Change) -> None:
        if len(self._kept) >= self._most:
            self._forget(self._kept.popleft())
        self._kept.append(change)
        for name in _names(change):
            self._named.setdefault(name, deque()).append(change)

    def _forget(self, oldest: Change) -> None:
        self._start = oldest.position
        for name in _names(oldest):
            same = self._named[name]
            same.popleft()
            if not same:
                del self._named[name]

    def _all_since(self, after: int) -> list[Change]:
        found = list(_behind(after, self._kept))
        found.reverse()
        return found

    def _named_since(self, after: int, names: Iterable[str]) -> list[Change]:
        found: dict[int, Change] = {}
        wanted, seen = [*names, _EVERYBODY], set(names)
        for name in wanted:  # which grows: whose identity came or went meanwhile concerns the agent as well
            for change in _behind(after, self._named.get(name, ())):
                found[change.position] = change
                principal = _assigned(change)
                if principal and principal not in seen:
                    seen.add(principal)
                    wanted.append(principal)
        return [found[position] for position in sorted(found)]


def concerning(changes: Sequence[Change], names: frozenset[str]) -> tuple[Change, ...]:
    """Those changes that concern one of the names, or everybody."""
    told = [change for change in changes if change.collection in _TOLD]
    if EVERYTHING in names:
        return tuple(told)
    assigned = {_assigned(change) for change in told if change.subject in names} - {None}
    wanted = names | assigned | {_EVERYBODY}
    return tuple(change for change in told if not wanted.isdisjoint(_names(change)))


def _names(change: Change) -> frozenset[str]:
    """What a change that agents may be told of concerns."""
    if change.collection in _TOLD_TO_ALL:
        return frozenset((_EVERYBODY,))
    return frozenset((change.key,) if change.subject is None else (change.key, change.subject))


def _woken_by(change: Change) -> Iterable[str]:
    """Whom a change wakes: whom it concerns, and the agent whose record it is."""
    if change.collection == AGENTS.name:
        return (change.key,)
    return (*_names(change), EVERYTHING) if change.collection in _TOLD else ()


def _assigned(change: Change) -> str | None:
    """The principal of an assignment that came or went."""
    return change.key.rpartition("|")[2] if change.collection == IDENTITY_ASSIGNMENTS.name else None


def _behind(after: int, changes: Sequence[Change] | deque[Change]) -> Iterator[Change]:
    """Those behind a position, newest first."""
    for change in reversed(changes):
        if change.position <= after:
            return
        yield change
