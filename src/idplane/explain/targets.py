"""Why Resource Manager refused what the caller has a right to: a lock, a subscription's state, something that is not there."""

from __future__ import annotations

from typing import Final

from idplane.arm.locks import locks_along, locks_below
from idplane.explain.authority import who_may
from idplane.explain.clients import nearest_text
from idplane.explain.commands import az, management, rest
from idplane.explain.findings import Case, Findings
from idplane.explain.model import Fix, Link, LinkKind, Step, StepKind, Verdict
from idplane.explain.sight import parsed
from idplane.explain.unread import as_told, told
from idplane.model.ids import ResourceId
from idplane.model.locks import Lock, LockLevel
from idplane.ports.collections import RESOURCES, SUBSCRIPTIONS

__all__ = ["limit", "locked", "missing", "not_registered", "precondition", "subscription_disabled", "throttled"]

_LOCKS: Final = "2020-05-01"
_READ_LOCKS: Final = "Microsoft.Authorization/locks/read"
_DELETE_LOCKS: Final = "Microsoft.Authorization/locks/delete"
_SUBSCRIPTION: Final = "2021-10-01"
_PROVIDERS: Final = "2022-12-01"
_ALIKE_LOOKED_AT: Final = 500


# Locks --------------------------------------------------------------------------------------------------------------------


async def locked(case: Case) -> Findings:
    """Every lock that forbids it; as long as one of them stands, it stays refused."""
    target = parsed(case.fact("scope") or case.refusal.scope)
    if target is None:
        return as_told(case)
    deletes = case.fact("operation") == "delete"
    along = [one for one in await locks_along(case.tools.store, target) if deletes or one.level is LockLevel.READ_ONLY]
    found = along or (await locks_below(case.tools.store, target) if deletes else [])
    steps, fixes = [], []
    for one in found:
        if not await case.sight.may(_READ_LOCKS, one.id.scope):
            case.sight.hidden += 1
            continue
        steps.append(_lock_step(one, target))
        fixes.append(await _unlocking(case, one))
    told_scopes = case.fact("locks").replace("','", "', '")
    decided = (
        steps[0]
        if steps
        else Step(kind=StepKind.LOCK, verdict=Verdict.REFUSES, name="a lock", why=f"stands at '{told_scopes}'")
    )
    does = "deleted" if deletes else "changed"
    return Findings(
        summary=f"'{target}' may not be {does}, whoever asks: it is locked at '{told_scopes}'.",
        decided=decided,
        considered=tuple(steps) or (decided,),
        fixes=tuple(fixes),
        together=len(fixes) > 1,
        now=None if found else "There is no such lock any more.",
    )


def _lock_step(one: Lock, target: ResourceId) -> Step:
    where = (
        "itself"
        if one.id.scope == target
        else "above it"
        if target.is_within(one.id.scope)
        else "below it, on what would go with it"
    )
    notes = f": {one.notes}" if one.notes else ""
    return Step(
        kind=StepKind.LOCK,
        verdict=Verdict.REFUSES,
        name=one.id.name,
        why=f"is a lock '{one.level.value}' on '{one.id.scope}', {where}{notes}",
        id=str(one.id),
        scope=str(one.id.scope),
        link=Link(kind=LinkKind.SCOPE, ref=str(one.id.scope)),
    )


async def _unlocking(case: Case, one: Lock) -> Fix:
    return Fix(
        text=f"Remove the lock '{one.id.name}' from '{one.id.scope}'",
        command=az("lock", "delete", "--ids", str(one.id)),
        request=management("DELETE", one.id, _LOCKS),
        who_may=await who_may(case.sight, case.tools, _DELETE_LOCKS, one.id.scope),
    )


# Subscriptions and namespaces -----------------------------------------------------------------------------------------------


async def subscription_disabled(case: Case) -> Findings:
    """Nothing is written in a subscription that is switched off."""
    named = case.fact("subscription")
    scope = parsed(f"/subscriptions/{named}")
    found = await case.tools.store.get(SUBSCRIPTIONS, named.lower())
    if scope is None or found is None:
        return as_told(case)
    enabled = found.value.state == "Enabled"
    decided = Step(
        kind=StepKind.RESOURCE,
        verdict=Verdict.REFUSES,
        name=named,
        why="is disabled: it can be read, and nothing in it be changed",
        scope=str(scope),
    )
    action = "Microsoft.Subscription/enable/action"
    request = management("POST", f"{scope}/providers/Microsoft.Subscription/enable", _SUBSCRIPTION)
    fix = Fix(
        text="Enable the subscription",
        command=f"{az('account', 'list', '--refresh', '--output', 'none')} && {rest(request)}",  # az knows no others
        request=request,
        who_may=await who_may(case.sight, case.tools, action, scope),
    )
    return Findings(
        summary=f"The subscription '{named}' is disabled.",
        decided=decided,
        considered=(decided,),
        fixes=() if enabled else (fix,),
        now="It is enabled now." if enabled else None,
    )


async def not_registered(case: Case) -> Findings:
    """The subscription has been told not to take a namespace."""
    namespace, scope = case.fact("namespace"), parsed(case.refusal.scope)
    if scope is None or scope.subscription is None:
        return as_told(case)
    subscription = ResourceId.parse(f"/subscriptions/{scope.subscription}")
    found = await case.tools.store.get(SUBSCRIPTIONS, scope.subscription)
    there = found is not None and namespace.lower() not in found.value.unregistered
    decided = Step(
        kind=StepKind.RESOURCE,
        verdict=Verdict.REFUSES,
        name=namespace,
        why=f"is not registered in the subscription '{scope.subscription}'",
        scope=str(subscription),
    )
    fix = Fix(
        text=f"Register {namespace} in the subscription",
        command=az("provider", "register", "--namespace", namespace, "--subscription", scope.subscription),
        request=management("POST", f"{subscription}/providers/{namespace}/register", _PROVIDERS),
        who_may=await who_may(case.sight, case.tools, f"{namespace}/register/action", subscription),
    )
    return Findings(
        summary=f"Nothing of {namespace} can be made in this subscription: it has unregistered the namespace.",
        decided=decided,
        considered=(decided,),
        fixes=() if there else (fix,),
        now="It is registered now." if there else None,
    )


# What is not there ----------------------------------------------------------------------------------------------------------


async def missing(case: Case) -> Findings:
    """Nothing stands where the request says: perhaps it stands elsewhere, or under a name that is alike."""
    target = parsed(case.refusal.scope)
    if target is None or target.subscription is None:
        return as_told(case)
    gone = await _first_missing(case, target)
    if gone is None:
        return told(case, StepKind.RESOURCE, target.name, case.refusal.detail.rstrip("."))
    decided = Step(
        kind=StepKind.RESOURCE, verdict=Verdict.REFUSES, name=gone.name, why=f"there is nothing at '{gone}'", scope=str(gone)
    )
    near = await _like(case, gone)
    step = None
    fixes = [Fix(text=f"Make '{gone}' first")] if gone != target else []
    if near is not None:
        step = Step(
            kind=StepKind.RESOURCE,
            verdict=Verdict.MISSES,
            name=near.name,
            why=f"is there, at '{near}'",
            scope=str(near),
            link=Link(kind=LinkKind.SCOPE, ref=str(near)),
        )
        fixes.insert(0, Fix(text=f"Ask for '{near}'"))
    return Findings(
        summary=f"There is nothing at '{gone}'{'' if near is None else f'; there is {near!s}'}.",
        decided=decided,
        considered=(decided,) if step is None else (step, decided),
        nearest=step,
        fixes=tuple(fixes) or (Fix(text="Name something that is there, or make it first"),),
    )


async def _first_missing(case: Case, target: ResourceId) -> ResourceId | None:
    """The topmost scope on the way that is not there, told to nobody who may not read it; None if all are."""
    for one in reversed([*target.lineage()]):
        if one.resource_group is None:
            continue
        if not await case.sight.reads(one):
            return None
        if await case.tools.store.get(RESOURCES, one.key) is None:
            return one
    return None


async def _like(case: Case, gone: ResourceId) -> ResourceId | None:
    """A resource of the same type that the viewer may read: of the same name elsewhere, or of one that is alike."""
    kind = "Microsoft.Resources/resourceGroups" if gone.namespace is None else gone.type
    same = await case.tools.store.page(RESOURCES, where={"type": kind.lower(), "name": gone.name.lower()}, limit=20)
    for row in same.items:
        if await case.sight.reads(row.value.id):
            return row.value.id
    where = {"type": kind.lower(), "subscription_id": gone.subscription}
    page = await case.tools.store.page(RESOURCES, where=where, limit=_ALIKE_LOOKED_AT)
    known = {row.value.id.name: row.value.id for row in page.items}
    found = nearest_text(gone.name, [*known])
    return known[found] if found is not None and await case.sight.reads(known[found]) else None


# Limits -------------------------------------------------------------------------------------------------------------------


async def precondition(case: Case) -> Findings:
    """It has changed since it was read."""
    fix = Fix(
        text="Read it again, and send the change with the ETag that it has now in If-Match; or send none, to change whatever is there"
    )
    return told(case, StepKind.REQUEST, "If-Match", "what is there is not the version that the request is about", fix)


async def limit(case: Case) -> Findings:
    """The profile's bound, which is Azure's."""
    named = case.fact("limit")
    why = f"{case.refusal.detail.rstrip('.')} (profile '{case.tools.profile.name}')"
    fixes = [Fix(text="Remove some that are not needed any more")]
    if case.tools.profile.name == "azure":
        fixes.append(Fix(text="Or start the installation with the profile 'open', which has no such limit"))
    return told(case, StepKind.LIMIT, named or "a limit", why, *fixes)


async def throttled(case: Case) -> Findings:
    """Too many requests in a short time."""
    seconds = case.fact("retry_after")
    fix = Fix(
        text=f"Wait {seconds} seconds, and ask again"
        if seconds
        else "Wait as long as the answer's Retry-After says, and ask again"
    )
    return told(
        case,
        StepKind.LIMIT,
        "the rate of requests",
        case.refusal.detail.rstrip(".") or "too many requests came in a short time",
        fix,
    )
