"""The tree of management groups as their providers read it: groups, the root group that needs no record, and what lies below.

A tenant has one tree. Its root group has the tenant's id for its name and is there from the start; a record of it exists once somebody
has changed it. Every change of the tree requires the groups that it was judged by, so two moves at once cannot make a ring.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from idplane.arm.context import Context
from idplane.model.directory import Subscription, Tenant
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.management_groups import ManagementGroup
from idplane.ports.collections import MANAGEMENT_GROUPS, SUBSCRIPTIONS
from idplane.ports.store import Batch, Require, Versioned

__all__ = [
    "ROOT_NAME",
    "Tree",
    "chain_of",
    "find_group",
    "group_refusal",
    "missing_group",
    "parent_named",
    "require_group",
    "subscriptions_in",
    "unchanged",
]

ROOT_NAME = "Tenant Root Group"


def missing_group(name: str) -> Failure:
    """The refusal of a group that is not there."""
    return Failure(FailureKind.MANAGEMENT_GROUP_NOT_FOUND, "the management group was not found", name=name)


def group_refusal(words: str) -> Failure:
    """A change that the tree does not admit."""
    return Failure(FailureKind.INVALID_PARAMETER, words, code="BadRequest")


async def find_group(context: Context, name: str) -> Versioned[ManagementGroup] | None:
    """A group of the caller's tenant by its name in any case. Version 0 is the root group without a record."""
    found = await context.store.get(MANAGEMENT_GROUPS, name.lower())
    if found is not None:
        return found if found.value.tenant_id == context.tenant.id else None
    return Versioned(_root(context.tenant), 0) if name.lower() == context.tenant.id else None


async def require_group(context: Context, name: str) -> Versioned[ManagementGroup]:
    """A group of the caller's tenant; raises `Failure(MANAGEMENT_GROUP_NOT_FOUND)`."""
    found = await find_group(context, name)
    if found is None:
        raise missing_group(name)
    return found


def _root(tenant: Tenant) -> ManagementGroup:
    return ManagementGroup(
        name=tenant.id, tenant_id=tenant.id, display_name=ROOT_NAME, parent=None, changed_at=tenant.created_at
    )


async def chain_of(context: Context, group: Versioned[ManagementGroup]) -> list[Versioned[ManagementGroup]]:
    """A group and those above it, the root group last."""
    chain = [group]
    while (above := chain[-1].value.above) is not None:
        chain.append(await require_group(context, above))
    return chain


def unchanged(chain: Sequence[Versioned[ManagementGroup]]) -> Batch:
    """Refuse the commit if one of these groups has changed. The root group is above all others whatever is in its record."""
    return Batch.of(
        *(
            Require(collection=MANAGEMENT_GROUPS, key=one.value.key, expect=one.version)
            for one in chain
            if not one.value.is_root
        )
    )


async def subscriptions_in(context: Context, group: ManagementGroup) -> tuple[Versioned[Subscription], ...]:
    """The subscriptions right below a group."""
    key = None if group.is_root else group.key
    return await context.store.all(SUBSCRIPTIONS, where={"tenant_id": context.tenant.id, "management_group_key": key})


class Tree:
    """A tenant's whole tree, for questions about all that lies below a group."""

    def __init__(self, root: ManagementGroup, groups: Sequence[ManagementGroup], subscriptions: Sequence[Subscription]) -> None:
        self.root = root
        self.groups: Mapping[str, ManagementGroup] = {root.key: root, **{one.key: one for one in groups}}
        self._children: defaultdict[str, list[ManagementGroup]] = defaultdict(list)
        self._subscriptions: defaultdict[str, list[Subscription]] = defaultdict(list)
        for group in self.groups.values():
            if group.above is not None:
                self._children[group.above].append(group)
        for subscription in subscriptions:
            self._subscriptions[subscription.management_group or root.key].append(subscription)

    @classmethod
    async def of(cls, context: Context) -> Tree:
        """Read it. Groups are at most ten thousand in Azure."""
        root = await require_group(context, context.tenant.id)
        groups = await context.store.all(MANAGEMENT_GROUPS, where={"tenant_id": context.tenant.id})
        subscriptions = await context.store.all(SUBSCRIPTIONS, where={"tenant_id": context.tenant.id})
        return cls(root.value, [one.value for one in groups], [one.value for one in subscriptions])

    def children(self, group: ManagementGroup) -> Sequence[ManagementGroup]:
        """The groups right below one."""
        return self._children.get(group.key, ())

    def subscriptions(self, group: ManagementGroup) -> Sequence[Subscription]:
        """The subscriptions right below one."""
        return self._subscriptions.get(group.key, ())

    def below(self, group: ManagementGroup) -> Iterator[ManagementGroup]:
        """Every group below one, each ahead of those below itself."""
        waiting = list(self.children(group))
        while waiting:
            one = waiting.pop(0)
            yield one
            waiting.extend(self.children(one))

    def chain(self, group: ManagementGroup) -> list[ManagementGroup]:
        """The groups above one, the root group last."""
        found: list[ManagementGroup] = []
        while group.above is not None:
            group = self.groups[group.above]
            found.append(group)
        return found

    def height(self, group: ManagementGroup) -> int:
        """Levels of groups below one."""
        return max((self.height(one) + 1 for one in self.children(group)), default=0)


def parent_named(text: str) -> str:
    """The name in a parent's id; raises `Failure(INVALID_PARAMETER | INVALID_RESOURCE_ID)`."""
    identifier = ResourceId.parse(text)
    if not identifier.is_management_group:
        raise group_refusal(f"'{text[:200]}' is not the ID of a management group.")
    return identifier.name
