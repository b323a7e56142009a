"""Which groups a principal is in, directly and through other groups: kept per member until the change feed tells of a change.

A membership is one row, and a change of it concerns one member, so only what that member is directly in is forgotten. Whoever is in
a group that is in turn a member of another is asked for step by step; a principal in no group costs one look into a map.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from idplane.ports.collections import MEMBERSHIPS
from idplane.ports.store import Change, Store
from idplane.rbac.cache import FeedCache

__all__ = ["Groups", "groups_above"]

_MEMBERS_KEPT: Final = 20_000


async def groups_above(principal_id: str, direct: Callable[[str], Awaitable[Sequence[str]]]) -> tuple[str, ...]:
    """The groups that a principal is in, by what each is directly in: nearest first, each once, never the principal itself."""
    found: dict[str, None] = {}
    waiting = deque((principal_id,))
    while waiting:
        for group in await direct(waiting.popleft()):
            if group not in found and group != principal_id:
                found[group] = None
                waiting.append(group)
    return tuple(found)


class Groups:
    """Answers from memory what the store was asked before; a change counts before its commit is acknowledged in this process."""

    def __init__(self, *, store: Store) -> None:
        self._store = store
        self._direct: FeedCache[tuple[str, ...]] = FeedCache(limit=_MEMBERS_KEPT)
        self._unsubscribe = store.subscribe(self._on_changes)

    def close(self) -> None:
        """Stop listening to the store."""
        self._unsubscribe()

    async def of(self, principal_id: str) -> tuple[str, ...]:
        """The ids of every group that the principal is in, nearest first, each once. Groups that contain one another do no harm."""
        direct = await self._direct.get(principal_id, self._load)
        return await groups_above(principal_id, self._groups_of) if direct else ()

    async def _groups_of(self, member_id: str) -> tuple[str, ...]:
        return await self._direct.get(member_id, self._load)

    async def _load(self, member_id: str) -> tuple[str, ...]:
        return tuple(one.value.group_id for one in await self._store.all(MEMBERSHIPS, where={"member_id": member_id}))

    def _on_changes(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.collection == MEMBERSHIPS.name:
                self._direct.clear() if change.subject is None else self._direct.drop(change.subject)
