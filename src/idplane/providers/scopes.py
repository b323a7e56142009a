"""What hangs on scopes: whether a scope exists, and lists of records at, above and below one.

Role assignments and deny assignments are inherited downwards, so their lists look both ways (control-plane.md section 9):
`atScope()` means at or above the scope, without it everything below is listed too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from idplane.arm.context import Context
from idplane.arm.missing import resource_not_found
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ROOT, ResourceId
from idplane.model.resources import Resource
from idplane.ports.collections import MANAGEMENT_GROUPS, RESOURCES, SUBSCRIPTIONS
from idplane.ports.store import Collection, ColumnValue, Reads, Versioned

__all__ = ["ScopedQuery", "definition_scope", "require_scope", "scoped_page"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopedQuery(Generic[T]):
    """Which records of a collection with a `scope_key` column to list."""

    collection: Collection[T]
    scope: ResourceId
    below: bool
    keep: Callable[[T], bool]
    """What no column can tell."""
    where: Mapping[str, ColumnValue] = field(default_factory=dict)
    either: tuple[Mapping[str, ColumnValue], ...] = ({},)
    """Further columns, with alternatives: records of the first are listed ahead of those of the second."""


async def require_scope(context: Context, scope: ResourceId) -> Versioned[Resource] | None:
    """Refuse a scope that does not exist in the caller's tenant; the stored resource or group that proves it, if there is one.

    A child of a stored resource need not be stored itself: roles are assigned to single secrets of a vault, which are no resources.
    Raises `Failure(SUBSCRIPTION_NOT_FOUND, GROUP_NOT_FOUND, RESOURCE_NOT_FOUND)`.
    """
    if scope == ROOT or await _is_group(context, scope):
        return None
    if scope.subscription is not None:
        await _require_subscription(context, scope.subscription)
    if len(scope.segments) == 2 and scope.subscription is not None:  # noqa: PLR2004 - /subscriptions/{id}
        return None
    if scope.resource_group is not None:
        await _require_group(context, scope)
    found = await _nearest_resource(context.store, scope)
    if found is None:
        raise resource_not_found(scope)
    return found


def definition_scope(scope: ResourceId) -> str:
    """What role definition ids start with when they are shown at `scope`: its subscription, or nothing (control-plane.md section 7.3).

    At a management group they start with nothing, as at the tenant.
    """
    return f"/subscriptions/{scope.subscription}" if scope.subscription else ""


async def scoped_page(
    context: Context, query: ScopedQuery[T], *, after: str | None, top: int
) -> tuple[tuple[T, ...], str | None]:
    """One page of a query and the cursor of the next: first what stands above the scope, from the tenant down, then the rest.

    Pages hold at most `top` records and may hold fewer, even none, before the end. Raises `Failure(INVALID_PARAMETER)` for a
    cursor that is not ours.
    """
    store = context.store
    above = (await context.access.lineage(query.scope))[:0:-1]
    stages = (len(above) + 1) * len(query.either)
    stage, key = _cursor(after, stages=stages)
    found: list[T] = []
    room = top
    while room > 0:
        place, alternative = divmod(stage, len(query.either))
        where: dict[str, ColumnValue] = {**query.where, **query.either[alternative]}
        under: tuple[str, str] | None = None
        if place < len(above) or not query.below:
            where["scope_key"] = (*above, query.scope.key)[place]
        elif query.scope != ROOT:
            under = ("scope_key", query.scope.key)
        page = await store.page(query.collection, where=where, under=under, after=key, limit=room)
        found.extend(one.value for one in page.items if query.keep(one.value))
        room -= len(page.items)
        key = page.after
        if key is None:
            stage += 1
            if stage == stages:
                return tuple(found), None
    return tuple(found), f"{stage}|{key or ''}"


def _cursor(after: str | None, *, stages: int) -> tuple[int, str | None]:
    if after is None:
        return 0, None
    stage, _, key = after.partition("|")
    if not stage.isascii() or not stage.isdigit() or int(stage[:6]) >= stages:
        raise Failure(FailureKind.INVALID_PARAMETER, "The continuation token is not valid.", parameter="$skipToken")
    return int(stage), key or None


async def _is_group(context: Context, scope: ResourceId) -> bool:
    """Whether the scope is a management group of the caller's tenant. What lies in one by its form has records of other kinds."""
    if not scope.is_management_group:
        return False
    key = scope.name.lower()
    found = await context.store.get(MANAGEMENT_GROUPS, key)
    return key == context.tenant.id or (found is not None and found.value.tenant_id == context.tenant.id)


async def _require_subscription(context: Context, subscription_id: str) -> None:
    found = await context.store.get(SUBSCRIPTIONS, subscription_id)
    if found is None or found.value.tenant_id != context.tenant.id:
        raise Failure(FailureKind.SUBSCRIPTION_NOT_FOUND, "the subscription was not found", subscription=subscription_id)


async def _require_group(context: Context, scope: ResourceId) -> None:
    group = ResourceId(scope.segments[:4])
    if await context.store.get(RESOURCES, group.key) is None:
        raise Failure(FailureKind.GROUP_NOT_FOUND, "the resource group was not found", group=group.name, id=str(group))


async def _nearest_resource(store: Reads, scope: ResourceId) -> Versioned[Resource] | None:
    """The stored resource that the scope is, or is a child of; the group itself for a group, but never for what is in it."""
    group_depth = 4 if scope.resource_group is not None else 2 if scope.subscription is not None else 0
    for one in scope.lineage():
        if len(one.segments) <= group_depth and one != scope:
            return None
        found = await store.get(RESOURCES, one.key)
        if found is not None:
            return found
    return None
