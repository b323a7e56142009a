"""Where scopes lie: their tenant, and the management groups above them, which no id tells.

A subscription lies in a management group, that one in another, and so on up to its tenant's root group. Roles are inherited along all
of them. What was read is kept until a commit moves a subscription or changes the tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from idplane.model.ids import ResourceId, management_group_id
from idplane.ports.collections import MANAGEMENT_GROUPS, SUBSCRIPTIONS, TENANTS
from idplane.ports.store import Change, Reads
from idplane.rbac.cache import FeedCache

__all__ = ["NOWHERE", "Place", "Places", "along"]

_SUBSCRIPTIONS_KEPT = 5_000
_GROUPS_KEPT = 5_000
_ROOT = "/"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a subscription or a management group stands."""

    tenant_id: str | None
    """None for what does not exist."""
    above: tuple[str, ...]
    """Scope keys of the management groups above it, nearest first, the tenant's root group last."""


NOWHERE = Place(None, ())


class Places:
    """Places of subscriptions and management groups, read once."""

    def __init__(self, store: Reads) -> None:
        self._store = store
        self._subscriptions: FeedCache[Place] = FeedCache(limit=_SUBSCRIPTIONS_KEPT)
        self._groups: FeedCache[Place] = FeedCache(limit=_GROUPS_KEPT)

    async def of(self, scope: ResourceId) -> Place:
        """The place of the subscription or management group that a scope is or lies in; nowhere for the tenant's own."""
        subscription = scope.subscription
        if subscription is not None:
            return await self._subscriptions.get(subscription, self._load_subscription)
        group = scope.management_group
        return NOWHERE if group is None else await self._groups.get(group.lower(), self._load_group)

    async def lineage(self, scope: ResourceId) -> tuple[str, ...]:
        """The keys of a scope and of all that it lies in, management groups included, up to the tenant."""
        return along(scope, await self.of(scope))

    def hear(self, changes: Sequence[Change]) -> None:
        """Forget what a commit changed."""
        for change in changes:
            if change.collection == SUBSCRIPTIONS.name:
                self._subscriptions.drop(change.key)
            elif change.collection in (MANAGEMENT_GROUPS.name, TENANTS.name):
                # The tree is small and rarely changes, and whatever hangs below a changed group has another lineage.
                self._subscriptions.clear()
                self._groups.clear()

    async def _load_subscription(self, subscription_id: str) -> Place:
        found = await self._store.get(SUBSCRIPTIONS, subscription_id)
        if found is None:
            return NOWHERE
        return Place(found.value.tenant_id, await self._chain(found.value.management_group or found.value.tenant_id))

    async def _load_group(self, key: str) -> Place:
        found = await self._store.get(MANAGEMENT_GROUPS, key)
        if found is not None:
            return Place(found.value.tenant_id, await self._chain(found.value.above))
        root = await self._store.get(TENANTS, key)
        return NOWHERE if root is None else Place(root.value.id, ())

    async def _chain(self, key: str | None) -> tuple[str, ...]:
        """A group and those above it. A group cannot come to lie in itself: every move requires the groups that it was judged by."""
        found: list[str] = []
        while key is not None:
            found.append(management_group_id(key).key)
            group = await self._store.get(MANAGEMENT_GROUPS, key)
            key = group.value.above if group is not None else None
        return tuple(found)


def along(scope: ResourceId, place: Place) -> tuple[str, ...]:
    """The lineage of a scope whose place is known."""
    return (*scope.lineage_keys[:-1], *place.above, _ROOT) if place.above else scope.lineage_keys
