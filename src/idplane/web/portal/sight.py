"""Which resources somebody may see: where to look for them, and whether one may be shown.

Whoever may read all of a subscription is shown all of it in one selection. Of others' subscriptions only what stands below their roles is
asked for, so that one group among ten thousand resources is found at once; each resource is checked by itself in any case.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from idplane.graph.permissions import Area, may
from idplane.model.directory import Principal, Subscription
from idplane.model.ids import ResourceId
from idplane.model.resources import Resource
from idplane.ports.collections import RESOURCES, ROLE_ASSIGNMENTS, SUBSCRIPTIONS
from idplane.ports.sorting import Sort
from idplane.ports.store import ColumnValue
from idplane.web.portal.lists import Part, Question
from idplane.web.portal.types import GROUP, read_action
from idplane.web.portal.view import Visit

__all__ = ["groups_of", "may_see", "may_see_principal", "parts_of", "subscription_scope", "subscriptions_of", "visible"]

_READ_ALL: Final = "Microsoft.Resources/subscriptions/resources/read"
_READ: Final = "Microsoft.Resources/subscriptions/read"
_MOST_SCOPES: Final = 64
"""Above that many roles in one subscription it is cheaper to look at all of it."""
_MOST_GROUPS: Final = 1000


def subscription_scope(subscription: Subscription) -> ResourceId:
    """A subscription's id."""
    return ResourceId(("subscriptions", subscription.id))


async def subscriptions_of(visit: Visit) -> tuple[Subscription, ...]:
    """The subscriptions in which the person holds any role, by name."""
    found = await visit.desk.store.all(SUBSCRIPTIONS, where={"tenant_id": visit.desk.tenant.id})
    seen = [
        one.value
        for one in found
        if await visit.desk.may(_READ, subscription_scope(one.value)) or await _held_in(visit, one.value)
    ]
    return tuple(sorted(seen, key=lambda it: it.display_name.lower()))


async def parts_of(visit: Visit, where: Mapping[str, ColumnValue]) -> tuple[Part, ...]:
    """Where to look for the resources that the person may see among those that columns select."""
    wanted = where.get("subscription_id")
    found = await visit.desk.store.all(SUBSCRIPTIONS, where={"tenant_id": visit.desk.tenant.id})
    parts: list[Part] = []
    for one in found:
        if wanted in (None, one.value.id):
            parts += await _parts_in(visit, one.value, _narrowest(where, one.value))
    return tuple(parts)


def _narrowest(where: Mapping[str, ColumnValue], subscription: Subscription) -> Mapping[str, ColumnValue]:
    """With the subscription, unless a group is asked for: that says it too, and is fewer records to look at."""
    if "group_key" in where:
        return {name: value for name, value in where.items() if name != "subscription_id"}
    return {**where, "subscription_id": subscription.id}


async def _parts_in(visit: Visit, subscription: Subscription, where: Mapping[str, ColumnValue]) -> list[Part]:
    if await visit.desk.may(_READ_ALL, subscription_scope(subscription)):
        return [Part(where=where)]
    scopes = await _held_in(visit, subscription)
    if len(scopes) > _MOST_SCOPES:
        return [Part(where=where)]
    return [Part(where=where, under=("path", scope)) for scope in scopes]


async def _held_in(visit: Visit, subscription: Subscription) -> tuple[str, ...]:
    """The scopes in a subscription at which the person holds roles, without those inside of others."""
    within = ("scope_key", subscription_scope(subscription).key)
    held = {
        one.value.scope_key
        for principal_id in sorted(visit.person.caller.principal_ids)
        for one in await visit.desk.store.all(ROLE_ASSIGNMENTS, where={"principal_id": principal_id}, under=within)
    }
    return tuple(sorted(one for one in held if not any(one.startswith(f"{other}/") for other in held)))


async def visible(visit: Visit, resource: Resource) -> bool:
    """Whether a resource may be shown to the person."""
    return await may_see(visit, resource.id)


async def may_see(visit: Visit, identifier: ResourceId) -> bool:
    """Whether a resource of that id may be shown to the person."""
    return await visit.desk.may(read_action(identifier), identifier)


async def may_see_principal(visit: Visit, principal: Principal) -> bool:
    """Whether a service principal may be shown: to who may read the directory's, and to who may read the resource whose identity it is."""
    desk, caller = visit.desk, visit.person.caller
    if principal.tenant_id != desk.tenant.id or not principal.type.is_client:
        return False
    if await may(caller, desk.access, Area.APPLICATIONS, writes=False):
        return True
    return principal.resource_id is not None and await may_see(visit, ResourceId.parse(principal.resource_id))


async def groups_of(visit: Visit) -> tuple[Resource, ...]:
    """The resource groups that the person may see, by name; at most a thousand."""
    parts = await parts_of(visit, {"type": GROUP.lower()})
    question = Question(store=visit.desk.store, parts=parts, order=Sort("name"), limit=_MOST_GROUPS)
    page = await question.page(RESOURCES, None, lambda it: visible(visit, it))
    return tuple(one.value for one in page.items)
