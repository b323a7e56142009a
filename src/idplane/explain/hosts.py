"""Why a host got nothing for an identity: it does not have it, has it no longer, or has it and may not use it."""

from __future__ import annotations

from typing import Final

from idplane.explain.authority import who_may
from idplane.explain.clients import nearest_text
from idplane.explain.commands import az, management, rest
from idplane.explain.findings import Case, Findings
from idplane.explain.model import Fix, Link, LinkKind, Step, StepKind, Verdict
from idplane.explain.sight import parsed
from idplane.explain.unread import as_told, told
from idplane.model.directory import Principal
from idplane.model.ids import ResourceId
from idplane.model.resources import IdentityAssignment, IdentityType, Resource
from idplane.model.scale_sets import identity_host
from idplane.model.values import JsonObject
from idplane.ports.collections import IDENTITY_ASSIGNMENTS, PRINCIPALS, RESOURCES
from idplane.providers import PROVIDERS

__all__ = ["ambiguous", "assigning", "host_of", "not_entitled", "not_found", "stopped"]

_IDENTITY: Final = "Microsoft.ManagedIdentity/userAssignedIdentities"
_LOOKED_AT: Final = 200


def host_of(case: Case) -> ResourceId | None:
    """The resource that bears the identities which were asked for."""
    found = parsed(case.refusal.host or case.fact("host"))
    return None if found is None else identity_host(found)


async def assigned(case: Case, host: ResourceId) -> tuple[IdentityAssignment, ...] | None:
    """The identities that a host has; None where the viewer may not know."""
    if not await case.sight.reads(host):
        return None
    rows = await case.tools.store.all(IDENTITY_ASSIGNMENTS, where={"host_key": host.key})
    return tuple(row.value for row in rows)


def _own_name(one: IdentityAssignment) -> str:
    return "the system-assigned identity" if one.identity is None else one.identity.name


def _assigned_step(one: IdentityAssignment, why: str) -> Step:
    ref = Link(kind=LinkKind.PRINCIPAL, ref=one.principal_id)
    return Step(
        kind=StepKind.ASSIGNED_IDENTITY,
        verdict=Verdict.PASSES,
        name=_own_name(one),
        why=why,
        id=one.client_id,
        scope=str(one.host),
        link=ref,
    )


# Not assigned -------------------------------------------------------------------------------------------------------------


async def not_entitled(case: Case) -> Findings:
    """The host does not have the identity that it asked for."""
    host = host_of(case)
    found = await case.tools.store.get(PRINCIPALS, case.refusal.principal_id or case.fact("principal"))
    if host is None or found is None:
        return as_told(case)
    one = found.value
    name = await case.sight.name(one.id)
    has = await assigned(case, host)
    there = has is not None and any(each.principal_id == one.id for each in has)
    decided = Step(
        kind=StepKind.ABSENCE,
        verdict=Verdict.REFUSES,
        name="no assignment of the identity",
        why=f"'{host}' does not have the identity {name}",
        scope=str(host),
    )
    others = tuple(_assigned_step(each, f"is assigned to it, with the client id '{each.client_id}'") for each in has or ())
    return Findings(
        summary=f"{decided.why[0].upper()}{decided.why[1:]}, so there is no token for it there.",
        decided=decided,
        considered=(*others, decided),
        fixes=() if there else await assigning(case, one, host),
        now="It is assigned now: a new token can be had." if there else None,
    )


async def assigning(case: Case, one: Principal, host: ResourceId) -> tuple[Fix, ...]:
    """Give a host an identity, as far as the viewer may know what is there."""
    resource = await case.sight.found(RESOURCES, host.key, host)
    if resource is None or one.resource_id is None:
        return ()
    if one.system_assigned:
        return (
            await _fix(case, resource, f"Enable the system-assigned identity of {host.name}", _system_on(resource), "[system]"),
        )
    identity = ResourceId.parse(one.resource_id)
    assign = await who_may(case.sight, case.tools, f"{_IDENTITY}/assign/action", identity)
    fix = await _fix(
        case, resource, f"Assign the identity {identity.name} to {host.name}", _user_on(resource, identity), str(identity)
    )
    return (fix,) if assign.you or fix.who_may is None else (_also(fix, identity),)


def _also(fix: Fix, identity: ResourceId) -> Fix:
    words = f"{fix.text} (which also takes '{_IDENTITY}/assign/action' on {identity.name})"
    return Fix(text=words, command=fix.command, request=fix.request, who_may=fix.who_may)


def _system_on(resource: Resource) -> JsonObject:
    has_users = resource.identity is not None and resource.identity.type.has_user
    return {"type": (IdentityType.BOTH if has_users else IdentityType.SYSTEM).value}


def _user_on(resource: Resource, identity: ResourceId) -> JsonObject:
    has_system = resource.identity is not None and resource.identity.type.has_system
    return {
        "type": (IdentityType.BOTH if has_system else IdentityType.USER).value,
        "userAssignedIdentities": {str(identity): {}},
    }


async def _fix(case: Case, resource: Resource, text: str, identity: JsonObject, assigns: str | None = None) -> Fix:
    """`assigns` is what the Azure CLI calls the identity, where the change is that it is assigned."""
    request = management("PATCH", resource.id, _version(resource.type), {"identity": identity})
    action = f"{resource.type}/write"
    who = await who_may(case.sight, case.tools, action, resource.id)
    return Fix(text=text, command=_command(resource.id, assigns) or rest(request), request=request, who_may=who)


_COMMANDS: Final = {
    "microsoft.compute/virtualmachines": "vm",
    "microsoft.compute/virtualmachinescalesets": "vmss",
    "microsoft.web/sites": "webapp",
}


def _command(resource: ResourceId, assigns: str | None) -> str | None:
    """The line of the Azure CLI, for the types that it has one for."""
    group = _COMMANDS.get(resource.type.lower())
    if group is None or assigns is None:
        return None
    where = ("--resource-group", resource.resource_group or "", "--name", resource.name)
    return az(group, "identity", "assign", *where, "--subscription", resource.subscription or "", "--identities", assigns)


def _version(kind: str) -> str:
    """The newest api-version of a type that is no preview."""
    found = next(one.api_versions for each in PROVIDERS for one in each.types if one.name.lower() == kind.lower())
    return next((one for one in found if "preview" not in one), found[0])


# Stopped ------------------------------------------------------------------------------------------------------------------


async def stopped(case: Case) -> Findings:
    """The host has the identity, which stopped working when the host was moved: as in Azure, it is enabled anew."""
    host = host_of(case)
    if host is None or (resource := await case.sight.found(RESOURCES, host.key, host)) is None:
        return as_told(case)
    has = await assigned(case, host) or ()
    still = any(one.stopped for one in has)
    users = resource.identity is not None and resource.identity.type.has_user
    off: JsonObject = {"type": (IdentityType.USER if users else IdentityType.NONE).value}
    decided = Step(
        kind=StepKind.ASSIGNED_IDENTITY,
        verdict=Verdict.REFUSES,
        name="the system-assigned identity",
        why=case.refusal.detail.rstrip("."),
        scope=str(host),
    )
    fixes = (
        await _fix(case, resource, f"Disable the system-assigned identity of {host.name}", off),
        await _fix(case, resource, "Enable it again: a new identity, which needs its roles again", _system_on(resource)),
    )
    return Findings(
        summary=f"The system-assigned identity of {host.name} stopped working when the resource was moved to another subscription.",
        decided=decided,
        considered=(decided,),
        fixes=fixes if still else (),
        together=True,
        now=None if still else "It works again now.",
    )


# At the endpoint ----------------------------------------------------------------------------------------------------------


async def not_found(case: Case) -> Findings:
    """The host has no identity of the name by which one was asked for, or none at all."""
    host = host_of(case)
    if host is None:
        return as_told(case)
    has, named = await assigned(case, host), case.fact("selected")
    if has is None:
        return told(case, StepKind.ASSIGNED_IDENTITY, named or "no identity", "the host has no identity that was meant")
    what = (
        f"'{host.name}' has no identity with the {_SELECTORS.get(case.fact('selector'), 'name')} '{named}'"
        if named
        else f"'{host.name}' has no identity that is used when none is named"
    )
    decided = Step(kind=StepKind.ABSENCE, verdict=Verdict.REFUSES, name="no such identity", why=what, scope=str(host))
    steps = tuple(
        _assigned_step(one, f"is assigned to it: client id '{one.client_id}', object id '{one.principal_id}'") for one in has
    )
    meant = await _meant(case, named) if named else None
    fixes = await _not_found_fixes(case, host, has, named, meant)
    return Findings(
        summary=f"{what}.",
        decided=decided,
        considered=(*steps, decided),
        nearest=_near_step(steps, has, named),
        fixes=fixes,
    )


_SELECTORS: Final = {"client_id": "client id", "object_id": "object id", "resource_id": "resource id"}


def _texts(one: IdentityAssignment) -> tuple[str, ...]:
    return (one.client_id, one.principal_id, *((str(one.identity), one.identity.name) if one.identity is not None else ()))


def _near_step(steps: tuple[Step, ...], has: tuple[IdentityAssignment, ...], named: str) -> Step | None:
    texts = {text: step for one, step in zip(has, steps, strict=True) for text in _texts(one)}
    found = nearest_text(named, [*texts]) if named else None
    return None if found is None else texts[found]


async def _meant(case: Case, named: str) -> Principal | None:
    """The identity that the selector names, if it is there and only not assigned to the host."""
    store, tenant_id = case.tools.store, case.sight.viewer.tenant_id
    for where in ({"client_id": named.lower()}, {"resource_key": named.lower()}):
        page = await store.page(PRINCIPALS, where={"tenant_id": tenant_id, **where}, limit=1)
        if page.items and await case.sight.of_principal(page.items[0].value):
            return page.items[0].value
    row = await store.get(PRINCIPALS, named.lower())
    return row.value if row is not None and await case.sight.of_principal(row.value) else None


async def _not_found_fixes(
    case: Case, host: ResourceId, has: tuple[IdentityAssignment, ...], named: str, meant: Principal | None
) -> tuple[Fix, ...]:
    if meant is not None and meant.resource_id is not None:
        return await assigning(case, meant, host)
    if has:
        return (_name_one(has),)
    resource = await case.sight.found(RESOURCES, host.key, host)
    if resource is None or named:
        return ()
    return (
        await _fix(case, resource, f"Enable the system-assigned identity of {host.name}", _system_on(resource), "[system]"),
    )


def _name_one(has: tuple[IdentityAssignment, ...]) -> Fix:
    known = ", ".join(f"{one.client_id} ({_own_name(one)})" for one in has)
    return Fix(text=f"Ask for an identity that it has, by its client id: {known}")


async def ambiguous(case: Case) -> Findings:
    """Several user-assigned identities, none named, and no system-assigned one to fall back on."""
    host = host_of(case)
    has = None if host is None else await assigned(case, host)
    if host is None or has is None:
        return as_told(case)
    steps = tuple(_assigned_step(one, f"is assigned to it: client id '{one.client_id}'") for one in has)
    why = f"'{host.name}' has {len(has)} user-assigned identities and no system-assigned one, and the request names none"
    decided = Step(kind=StepKind.REQUEST, verdict=Verdict.REFUSES, name="no identity named", why=why, scope=str(host))
    return Findings(summary=f"{why}.", decided=decided, considered=(*steps, decided), fixes=(_name_one(has),) if has else ())
