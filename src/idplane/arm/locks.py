"""What locks and disabled subscriptions keep from happening, whoever asks.

A lock on a scope counts for all that lies in it, extensions such as role assignments included. `CanNotDelete` refuses deleting,
`ReadOnly` also writing and every action: what is left is what a Reader may do, as Azure documents it (listing keys is an action, and
refused). What deletes a scope deletes what is in it, so a lock below refuses that, too. Locks themselves are not subject to locks,
and the data planes (secrets of a vault, tokens of an identity) know none.

Every change of a lock, and of a subscription's state, rewrites the subscription's `LockMark`, and every write requires the version of
it that it was judged by. So a lock that commits while a delete is under way either comes too late or makes the delete look again, and
nothing is asked of the locks of a subscription that is known, at this version, to have none. Changes of locks themselves require no
version: any number of them go on at once.
"""

from __future__ import annotations

from collections.abc import Iterable

from idplane.model.directory import Subscription
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.locks import Lock, LockLevel, LockMark
from idplane.ports.collections import LOCK_MARKS, LOCKS, SUBSCRIPTIONS
from idplane.ports.store import ABSENT, ANY, Batch, Put, Reads, Require

__all__ = ["Locks", "locks_along", "locks_below", "marked"]

_KEPT = 5_000
"""Subscriptions of which it is remembered whether they have any lock."""
_TOLD = 20
"""Locks below a scope that a refusal names."""
_DISABLED = frozenset({"disabled", "warned"})
_ADDING = "Microsoft.Resources/subscriptions/resourceGroups/write"
_TAKING = "Microsoft.Resources/subscriptions/resourceGroups/delete"
_EXEMPT = ("microsoft.authorization/locks/", "microsoft.subscription/")
"""Locks are how locks are removed, and a disabled subscription can be enabled."""


class Locks:
    """Judges writes of one store."""

    def __init__(self, store: Reads) -> None:
        self._store = store
        self._any: dict[str, tuple[int, bool]] = {}
        """By subscription: the version of its mark, and whether there was a lock in it then."""

    async def require_unlocked(self, permission: str, target: ResourceId) -> Batch:
        """Refuse an operation that a lock or the subscription's state forbids; raises `Failure(LOCKED | SUBSCRIPTION_DISABLED)`.

        `permission` is the action's full name, whose last word says what kind it is. The batch is to be committed with the
        operation: it refuses the commit if the answer may have changed.
        """
        kind = permission.rpartition("/")[2].lower()
        if target.subscription is None or kind == "read" or permission.lower().startswith(_EXEMPT):
            return Batch()
        mark = await self._store.get(LOCK_MARKS, target.subscription)
        subscription = await self._store.get(SUBSCRIPTIONS, target.subscription)
        if subscription is not None and kind != "delete":
            _require_enabled(subscription.value)
        if mark is not None and await self._has_any(target.subscription, mark.version):
            await self._require(kind, target)
        expect = ABSENT if mark is None else mark.version
        return Batch.of(Require(collection=LOCK_MARKS, key=target.subscription, expect=expect))

    async def require_movable(self, moved: Iterable[ResourceId], target: ResourceId) -> Batch:
        """Refuse to take resources from where they are locked, or to where nothing may be added; as `require_unlocked`.

        Whoever may move a resource but not remove its locks would otherwise move it out from under them.
        """
        added = await self.require_unlocked(_ADDING, target)
        taken = [await self.require_unlocked(_TAKING, one) for one in moved]
        # They are all of one group: the oldest answer stands for all.
        return added + (taken[0] if taken else Batch())

    async def _has_any(self, subscription: str, version: int) -> bool:
        """Whether a subscription has locks. Asked after its mark's version is known, so that the answer is never older than it."""
        then, known = self._any.get(subscription, (0, False))
        if then != version:
            page = await self._store.page(LOCKS, under=("scope_key", f"/subscriptions/{subscription}"), limit=1)
            known = bool(page.items)
            if len(self._any) >= _KEPT:
                self._any.clear()
            self._any[subscription] = (version, known)
        return known

    async def _require(self, kind: str, target: ResourceId) -> None:
        found = [
            lock for lock in await locks_along(self._store, target) if kind == "delete" or lock.level is LockLevel.READ_ONLY
        ]
        if not found and kind == "delete":
            found = await locks_below(self._store, target)
        if not found:
            return
        scopes = dict.fromkeys(str(lock.id.scope) for lock in found)
        raise Failure(
            FailureKind.LOCKED,
            "the scope is locked",
            scope=str(target),
            operation="delete" if kind == "delete" else "write",
            locks="','".join(scopes),
        )


async def locks_along(store: Reads, target: ResourceId) -> list[Lock]:
    """The locks on a scope and on everything that it lies in, nearest first."""
    found: list[Lock] = []
    for key in target.lineage_keys[:-1]:
        found += [one.value for one in await store.all(LOCKS, where={"scope_key": key})]
    return found


async def locks_below(store: Reads, target: ResourceId) -> list[Lock]:
    """Some of the locks on a scope and what lies in it; none if there are none."""
    page = await store.page(LOCKS, under=("scope_key", target.key), limit=_TOLD)
    return [one.value for one in page.items]


def marked(subscription_id: str) -> Batch:
    """What goes with every change of a subscription's locks or state: writes that were judged without it start again."""
    return Batch.of(Put(collection=LOCK_MARKS, value=LockMark(subscription_id=subscription_id), expect=ANY))


def _require_enabled(subscription: Subscription) -> None:
    if subscription.state.lower() in _DISABLED:
        raise Failure(FailureKind.SUBSCRIPTION_DISABLED, "the subscription is disabled", subscription=subscription.id)
