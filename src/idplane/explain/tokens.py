"""Why an access token did not count: it is for something else, too old, or what it rested on has gone."""

from __future__ import annotations

from typing import Final

from idplane.explain.clients import disabled, when
from idplane.explain.findings import Case, Findings
from idplane.explain.hosts import assigning
from idplane.explain.model import Fix, Step, StepKind, Verdict
from idplane.explain.sight import parsed
from idplane.explain.unread import told
from idplane.model.directory import Principal
from idplane.model.ids import ROOT
from idplane.model.refusals import RefusalSurface
from idplane.model.resources import identity_assignment_key
from idplane.ports.collections import ACTIVITY, IDENTITY_ASSIGNMENTS, PRINCIPALS, TENANTS

__all__ = ["audience", "binding", "expired", "missing", "revoked", "tenant"]

_ANEW: Final = Fix(text="Get a new token: one that is issued now counts")
_FOR: Final = {
    RefusalSurface.VAULT.value: "https://vault.azure.net",
    RefusalSurface.GRAPH.value: "https://graph.microsoft.com",
    RefusalSurface.MANAGEMENT.value: "https://management.azure.com",
}
_READ_ACTIVITY: Final = "Microsoft.Insights/eventtypes/values/read"


async def audience(case: Case) -> Findings:
    """The token is for another resource."""
    wanted = _FOR.get(case.refusal.surface)
    fix = Fix(
        text="Ask for a token for this resource"
        if wanted is None
        else f"Ask for a token for '{wanted}' (the scope '{wanted}/.default')"
    )
    shown = case.fact("audience")
    return told(
        case, StepKind.AUDIENCE, shown, f"the token is for '{shown}', and this is '{wanted or 'another resource'}'", fix
    )


async def expired(case: Case) -> Findings:
    """Its time is over."""
    return told(case, StepKind.TOKEN, "the token", "the token's time was over when it was shown", _ANEW)


async def missing(case: Case) -> Findings:
    """There was none."""
    wanted = _FOR.get(case.refusal.surface)
    where = "" if wanted is None else f" for '{wanted}'"
    return told(
        case,
        StepKind.TOKEN,
        "no token",
        "the request carries no access token",
        Fix(text=f"Send a token{where} in the header 'Authorization: Bearer ...'"),
    )


async def binding(case: Case) -> Findings:
    """It counts over the connection of one certificate only."""
    fix = Fix(text="Ask over mutual TLS with the certificate that the token was issued over")
    return told(
        case,
        StepKind.TOKEN,
        "the token",
        "the token is bound to a certificate, and came over a connection that does not show it",
        fix,
    )


async def tenant(case: Case) -> Findings:
    """The target belongs to another directory than the caller."""
    fix = Fix(text="Get a token from the tenant that the target belongs to, as one of its principals")
    return told(case, StepKind.TENANT, "the tenant", "the token is of another tenant than what it was shown to", fix)


# Revoked ------------------------------------------------------------------------------------------------------------------


async def revoked(case: Case) -> Findings:
    """What the token rested on has gone since it was issued: by which of the checks, and whether it is back."""
    found = await case.tools.store.get(PRINCIPALS, case.refusal.principal_id or "")
    one = None if found is None else found.value
    if one is None:
        gone = "the principal that the token was issued to does not exist any more"
        return told(case, StepKind.TOKEN, "the token", gone, Fix(text="Run as another identity: this one has been deleted"))
    match case.fact("check"):
        case "enabled":
            return await disabled(case)
        case "host":
            return await _of_host(case, one)
        case "principal-tokens" | "tenant-tokens":
            return await _of_marks(case, one)
        case _:
            return told(case, StepKind.TOKEN, "the token", case.refusal.detail.rstrip("."), _ANEW)


async def _of_host(case: Case, one: Principal) -> Findings:
    name, host = await case.sight.name(one.id), parsed(case.fact("host"))
    shown = case.fact("host")
    decided = Step(
        kind=StepKind.ASSIGNED_IDENTITY,
        verdict=Verdict.REFUSES,
        name=name,
        why=f"has been taken off '{shown}', to which the token was issued; if it is assigned again, tokens from before stay dead",
        scope=shown,
    )
    assigned = host is not None and await case.tools.store.get(IDENTITY_ASSIGNMENTS, identity_assignment_key(host.key, one.id))
    fixes = (_ANEW,) if assigned or host is None else await assigning(case, one, host)
    return Findings(
        summary=f"The token was issued to '{shown}', which does not have the identity {name} any more.",
        decided=decided,
        considered=(decided,),
        fixes=fixes,
        now=f"{name} is assigned to it again: a new token counts." if assigned else None,
    )


async def _of_marks(case: Case, one: Principal) -> Findings:
    name = await case.sight.name(one.id)
    whole = case.fact("check") == "tenant-tokens"
    row = await case.tools.store.get(TENANTS, one.tenant_id)
    at = row.value.tokens_valid_from if whole and row is not None else one.tokens_valid_from
    whose = "the tenant" if whole else name
    by = await _revoker(case)
    moment = "" if at is None else f" on {when(at)}"
    decided = Step(
        kind=StepKind.TOKEN,
        verdict=Verdict.REFUSES,
        name="the token",
        why=f"all tokens of {whose} that had been issued were revoked{moment}{by}",
    )
    return Findings(
        summary=f"{decided.why[0].upper()}{decided.why[1:]}; this is one of them.",
        decided=decided,
        considered=(decided,),
        fixes=(_ANEW,),
    )


async def _revoker(case: Case) -> str:
    """Who revoked them, for those who may read the activity log of the whole tenant."""
    if not await case.sight.may(_READ_ACTIVITY, ROOT):
        return ""
    where = {"tenant_id": case.sight.viewer.tenant_id}
    for one in await case.tools.store.read_log(ACTIVITY, where=where, limit=500):
        if one.event.operation.lower().endswith("/revoketokens/action"):
            return f" by {one.event.caller_name or one.event.caller}"
    return ""
