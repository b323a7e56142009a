"""Why a client's own assertion, or another issuer's token, proved nothing: its time, its audience, its signature, or that it was used."""

from __future__ import annotations

from typing import Final

from idplane.explain.authority import directory_administrators
from idplane.explain.clients import claimed
from idplane.explain.commands import graph
from idplane.explain.findings import Case, Findings
from idplane.explain.model import Fix, StepKind
from idplane.explain.unread import told
from idplane.ports.collections import APPLICATIONS

__all__ = ["audience", "invalid", "issuer_unreachable", "own_token", "replayed", "signature", "time"]

_ASSERTION: Final = "the client assertion"


async def time(case: Case) -> Findings:
    """It is not valid yet, no longer, or for too long."""
    fix = Fix(
        text="Sign a new assertion, valid from now for a few minutes; if it was new, set the clock of the machine that signs"
    )
    return told(case, StepKind.CREDENTIAL, _ASSERTION, case.refusal.detail.rstrip("."), fix)


async def audience(case: Case) -> Findings:
    """It was made for another endpoint."""
    shown, expected = case.fact("audience"), case.fact("expected")
    fix = Fix(text=f"Sign an assertion whose 'aud' is this tenant's token endpoint, such as '{expected}'")
    return told(
        case, StepKind.CREDENTIAL, _ASSERTION, f"its audience is '{shown}', which is not this tenant's token endpoint", fix
    )


async def invalid(case: Case) -> Findings:
    """Its form, its certificate or its signature."""
    fix = Fix(
        text="Sign with the key of a certificate that is registered for the client, and name that certificate in the header (x5t#S256)"
    )
    return told(case, StepKind.CREDENTIAL, _ASSERTION, case.refusal.detail.rstrip("."), fix)


async def replayed(case: Case) -> Findings:
    """The application's assertions count once."""
    again = Fix(text="Sign a new assertion for each request, each with a 'jti' of its own")
    one = await claimed(case)
    page = await case.tools.store.page(APPLICATIONS, where={"client_id": one.client_id}, limit=1) if one is not None else None
    if one is None or page is None or not page.items or not await case.sight.of_principal(one):
        return told(case, StepKind.CREDENTIAL, _ASSERTION, case.refusal.detail.rstrip("."), again)
    request = graph(
        "PATCH",
        f"/applications/{page.items[0].value.id}",
        {"authenticationBehaviors": {"clientAssertionUse": "oncePerResource"}},
        version="beta",
    )
    let = Fix(
        text=f"Or let assertions of {await case.sight.name(one.id)} count once for each resource, as libraries send them that keep theirs",
        request=request,
        who_may=await directory_administrators(case.sight, case.tools),
    )
    return told(case, StepKind.CREDENTIAL, _ASSERTION, case.refusal.detail.rstrip("."), again, let)


async def signature(case: Case) -> Findings:
    """The issuer's published keys did not make it."""
    why = case.fact("reason").rstrip(".") or "the issuer's keys did not sign it"
    fix = Fix(text=f"Show a token that '{case.fact('issuer')}' has just issued, signed with a key that it publishes")
    return told(
        case, StepKind.CREDENTIAL, "the token that was shown", f"its signature does not count: {why[0].lower()}{why[1:]}", fix
    )


async def own_token(case: Case) -> Findings:
    """Only managed identities act as others by their tokens."""
    fix = Fix(
        text="Show the token of a managed identity for 'api://AzureADTokenExchange'; what the profile allows is a user-assigned one"
    )
    return told(case, StepKind.CREDENTIAL, "the token that was shown", case.refusal.detail.rstrip("."), fix)


async def issuer_unreachable(case: Case) -> Findings:
    """Its keys could not be fetched."""
    issuer = case.fact("issuer")
    private = Fix(text=f"If '{issuer}' is on your own network: start the plane with '--private-issuer {issuer}'")
    fix = Fix(text=f"Let '{issuer}/.well-known/openid-configuration' be reachable over https from where the token service runs")
    return told(
        case,
        StepKind.CREDENTIAL,
        issuer or "the issuer",
        f"its keys could not be fetched: {case.refusal.detail.rstrip('.')}",
        fix,
        private,
    )
