"""Idplane.Diagnostics: why a request was refused, and whether one would be. A namespace of our own; Azure has none.

    GET  /providers/Idplane.Diagnostics/refusals/{id}         one refusal with its explanation
    GET  {scope}/providers/Idplane.Diagnostics/refusals       what was refused at a scope and below it, newest first
    POST {scope}/providers/Idplane.Diagnostics/explain        whether a principal could do something, and what decides

A refused caller may see its own refusals. Others need `Idplane.Diagnostics/refusals/read` at the scope that was asked for, at the host that asked,
or at the root of the tenant. An id that is unknown, one whose time is over and one that is not for the caller get the same answer after the same
time, and what the explanation says is reduced to what its reader may know (`explain.sight`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from idplane.arm.context import Context, Diagnostics
from idplane.arm.declare import (
    ANY_SCOPE,
    Action,
    Invocation,
    Item,
    Listed,
    Listing,
    Lookup,
    OperationInfo,
    Outcome,
    Own,
    Provider,
    ResourceType,
    Visibility,
)
from idplane.model.attributes import Attributes, AttributeValue
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ROOT, ResourceId, is_guid
from idplane.model.refusals import Refusal
from idplane.model.values import JsonObject
from idplane.ports.collections import IDENTITY_ASSIGNMENTS, PRINCIPALS, REFUSALS, RESOURCES
from idplane.ports.store import ColumnValue
from idplane.providers.fields import Fields
from idplane.providers.filters import Comparison, invalid_filter, parse_filter
from idplane.providers.refusal_documents import refusal_document

__all__ = ["DIAGNOSTICS", "REFUSALS_TYPE"]

_NAMESPACE: Final = "Idplane.Diagnostics"
REFUSALS_TYPE: Final = f"{_NAMESPACE}/refusals"
_VERSIONS: Final = ("2026-11-01",)
_READ: Final = f"{REFUSALS_TYPE}/read"
_READ_ASSIGNMENTS: Final = "Microsoft.Authorization/roleAssignments/read"
_SCANNED: Final = 10
"""Pages of the table that one page of a list may look through."""
_MOST_ATTRIBUTES: Final = 50
_MOST_VALUES: Final = 20


# One refusal ---------------------------------------------------------------------------------------------------------


async def _get(lookup: Lookup) -> Item | None:
    context, refusal_id = lookup.context, lookup.id.name
    diagnostics = _diagnostics(context)
    found = await _visible(context, diagnostics, refusal_id)
    if found is None:
        # Another server may have shown it this moment. Whoever may not see it waits as long as who asks for nothing.
        await diagnostics.settled()
        found = await _visible(context, diagnostics, refusal_id)
    if found is None:
        return None
    explanation = await diagnostics.explain(found.refusal, context.caller)
    return Item(body=_rendered(found, {"explanation": explanation}))


def _missing(identifier: ResourceId) -> Failure:
    words = (
        f"There is no refusal with the id '{identifier.name[:100]}' that you may see. Refusals are kept for 30 days; of those that come very fast "
        "not all are kept, so take the id of a later one. A refused caller may see its own, others need "
        f"'{_READ}' at the scope that was asked for."
    )
    return Failure(FailureKind.REFUSAL_NOT_FOUND, words)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A refusal that the caller may see: as a reader of refusals, or since it is its own."""

    refusal: Refusal
    as_reader: bool


async def _visible(context: Context, diagnostics: Diagnostics, refusal_id: str) -> _Seen | None:
    found = await diagnostics.find(refusal_id) if is_guid(refusal_id) else None
    return None if found is None else await _seen(context, diagnostics, found)


async def _seen(context: Context, diagnostics: Diagnostics, refusal: Refusal) -> _Seen | None:
    owner = refusal.tenant_id or diagnostics.home_tenant
    if owner != context.tenant.id:
        return None
    for scope in (_place(refusal), ROOT):
        if (await context.access.check(context.caller.principal_ids, _READ, scope)).allowed:
            return _Seen(refusal, as_reader=True)
    return _Seen(refusal, as_reader=False) if refusal.principal_id == context.caller.principal_id else None


def _place(refusal: Refusal) -> ResourceId:
    """Where it takes the right to read refusals. What is no id of today is the whole tenant's."""
    try:
        return ResourceId.parse(refusal.scope or refusal.host or "/")
    except Failure:
        return ROOT


def _rendered(seen: _Seen, more: JsonObject) -> JsonObject:
    refusal = seen.refusal
    return {
        "id": f"/providers/{REFUSALS_TYPE}/{refusal.id}",
        "name": refusal.id,
        "type": REFUSALS_TYPE,
        "properties": {**refusal_document(refusal, to_reader=seen.as_reader), **more},
    }


# Lists ---------------------------------------------------------------------------------------------------------------

_FILTERS: Final[Mapping[str, Callable[[Refusal], str]]] = {
    "principalid": lambda it: it.principal_id or "",
    "clientid": lambda it: it.client_id,
    "surface": lambda it: it.surface,
    "kind": lambda it: it.kind,
    "action": lambda it: it.action or "",
    "host": lambda it: it.host or "",
    "correlationid": lambda it: it.correlation_id,
}


async def _list(listing: Listing) -> Listed:
    """What the caller may see of a scope's. At the root of the tenant that is everything that has no scope, too."""
    context, diagnostics = listing.context, _diagnostics(listing.context)
    wanted = _wanted(context.query.get("$filter"))
    may_read = (await context.access.check(context.caller.principal_ids, _READ, listing.scope)).allowed
    where = _columns(context, diagnostics, listing.scope, None if may_read else context.caller.principal_id, wanted)
    under = ("scope_key", listing.scope.key) if listing.scope.segments else None
    shown: list[JsonObject] = []
    after = listing.after
    await diagnostics.flush()
    for _ in range(_SCANNED):
        page = await context.store.page(REFUSALS, where=where, under=under, after=after, limit=listing.top)
        for row in page.items:
            refusal = row.value
            if len(shown) == listing.top:
                return Listed(items=tuple(shown), after=after)
            after = refusal.key
            owner = refusal.tenant_id or diagnostics.home_tenant
            if owner == context.tenant.id and all(_FILTERS[name](refusal).lower() == value for name, value in wanted.items()):
                shown.append(_rendered(_Seen(refusal, as_reader=may_read), {}))
        if page.after is None:
            return Listed(items=tuple(shown))
        after = page.after
    return Listed(items=tuple(shown), after=after)


def _columns(
    context: Context, diagnostics: Diagnostics, scope: ResourceId, own: str | None, wanted: Mapping[str, str]
) -> dict[str, ColumnValue]:
    """What the table selects by, the narrowest; the rest is sifted."""
    principal = own or wanted.get("principalid")
    if principal is not None:
        return {"principal_id": principal}
    # Those of nobody are the home tenant's, which is therefore not selected by its id.
    unowned = not scope.segments and context.tenant.id == diagnostics.home_tenant
    return {} if unowned else {"tenant_id": context.tenant.id}


def _wanted(text: str | None) -> dict[str, str]:
    wanted: dict[str, str] = {}
    for one in parse_filter(text):
        if not isinstance(one, Comparison) or one.operator != "eq" or one.field not in _FILTERS or one.field in wanted:
            raise invalid_filter(text or "")
        wanted[one.field] = one.value.lower()
    return wanted


# Questions -----------------------------------------------------------------------------------------------------------


async def _explain(invocation: Invocation) -> Outcome:
    """Everybody may ask about himself; to ask about others takes the right to read role assignments at the scope."""
    context = invocation.context
    fields = Fields(invocation.body).only("principalId", "resourceId", "action", "isDataAction", "attributes")
    principal_id = await _subject(context, fields)
    if principal_id != context.caller.principal_id:
        await context.require(_READ_ASSIGNMENTS, invocation.id)
    answer = await _diagnostics(context).ask(
        context.caller,
        principal_id=principal_id,
        action=fields.required_text("action", limit=300),
        scope=invocation.id,
        data=fields.flag("isDataAction") or False,
        attributes=_attributes(fields.inner("attributes").only("resource", "request")),
    )
    return Outcome(body=answer)


async def _subject(context: Context, fields: Fields) -> str:
    """Who is asked about: a principal, or whoever a resource's programs are."""
    stated, resource = fields.text("principalId"), fields.text("resourceId")
    if stated is not None and resource is not None:
        raise fields.refuse("resourceId", "can't be given beside 'principalId'")
    if resource is not None:
        return await _identity_of(context, fields, ResourceId.parse(resource))
    principal_id = (stated or context.caller.principal_id).lower()
    found = await context.store.get(PRINCIPALS, principal_id)
    known = found is not None and found.value.tenant_id == context.tenant.id
    if not known and principal_id != context.caller.principal_id:
        raise fields.refuse("principalId", "names no principal of the tenant")
    return principal_id


async def _identity_of(context: Context, fields: Fields, resource: ResourceId) -> str:
    await context.require(f"{resource.type}/read", resource)
    own = await context.store.page(PRINCIPALS, where={"resource_key": resource.key}, limit=1)
    if own.items:
        return own.items[0].value.id
    if await context.store.get(RESOURCES, resource.key) is None:
        raise fields.refuse("resourceId", "names no resource")
    held = await context.store.page(IDENTITY_ASSIGNMENTS, where={"host_key": resource.key}, limit=2)
    if len(held.items) != 1:
        words = "has several identities: give the principalId of one" if held.items else "has no identity"
        raise fields.refuse("resourceId", f"names a resource that {words}")
    return held.items[0].value.principal_id


def _attributes(fields: Fields) -> Attributes:
    return Attributes(resource=_named(fields, "resource"), request=_named(fields, "request"))


def _named(fields: Fields, side: str) -> Mapping[str, tuple[AttributeValue, ...]]:
    stated = fields.inner(side)
    if len(stated.values) > _MOST_ATTRIBUTES:
        raise fields.refuse(side, f"must not have more than {_MOST_ATTRIBUTES} members")
    return {name.lower(): _values(stated, name) for name in stated.values}


def _values(stated: Fields, name: str) -> tuple[AttributeValue, ...]:
    value = stated.values[name]
    values = stated.items(name, limit=_MOST_VALUES) if isinstance(value, list) else (value,)
    known = tuple(one for one in values if isinstance(one, str | int | bool))
    if len(known) != len(values):
        raise stated.refuse(name, "must be a text, a whole number, true or false, or a list of those")
    return known


def _diagnostics(context: Context) -> Diagnostics:
    if context.diagnostics is None:
        raise Failure(FailureKind.UNAVAILABLE, "refusals are not kept here")
    return context.diagnostics


DIAGNOSTICS: Final = Provider(
    namespace=_NAMESPACE,
    types=(
        ResourceType(
            name=REFUSALS_TYPE,
            api_versions=_VERSIONS,
            placements=ANY_SCOPE,
            own=Own(get=_get, list=_list),
            visibility=Visibility.OPEN,
            instances=Visibility.OPEN,
            missing=_missing,
            located=False,
            taggable=False,
            system_data=False,
        ),
    ),
    actions={"explain": Action(run=_explain, visibility=Visibility.OPEN)},
    actions_versions=_VERSIONS,
    operations=(
        OperationInfo(
            name=_READ,
            provider="idplane Diagnostics",
            resource="Refusals",
            operation="Read refusals",
            description="Tells what was refused to others, and why",
        ),
        OperationInfo(
            name=f"{_NAMESPACE}/explain/action",
            provider="idplane Diagnostics",
            resource="Refusals",
            operation="Ask beforehand",
            description="Tells whether a principal could do something; about others with the right to read role assignments",
        ),
    ),
    operations_versions=_VERSIONS,
)
"""The namespace."""
