"""Why another issuer's token proved nothing: which federated credential came nearest, and in which member it differs.

Asked of the token service's own matching again (`sts.federation`, `sts.matching`), with what the token said of itself.
"""

from __future__ import annotations

import json
from typing import Final

from idplane.explain.authority import directory_administrators, who_may
from idplane.explain.clients import claimed
from idplane.explain.commands import az, graph, management
from idplane.explain.findings import Case, Findings
from idplane.explain.model import Clause, Fix, Step, StepKind, Verdict
from idplane.explain.sight import parsed
from idplane.explain.unread import as_told
from idplane.model.directory import Principal
from idplane.model.expressions import parse_expression
from idplane.model.federation import FederatedCredential, Trust
from idplane.model.values import JsonObject
from idplane.ports.collections import APPLICATIONS, TENANTS
from idplane.sts.federation import audiences_of, nearest, trusts
from idplane.sts.matching import differences

__all__ = ["federation"]

_VERSION: Final = "2024-11-30"
_WRITE: Final = "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials/write"
_READ: Final = "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials/read"
_WORDS: Final = {"issuer": "issuer", "subject": "subject", "audience": "audience", "claimsMatchingExpression": "claims"}


async def federation(case: Case) -> Findings:
    """Each of the client's credentials against the token, and the change that makes the nearest one match."""
    one = await claimed(case)
    if one is None:
        return as_told(case)
    name = await case.sight.name(one.id)
    claims, own = _claims(case), await _is_own(case)
    audiences = audiences_of(claims, own=own)
    found = await trusts(case.tools.store, one)
    seen = await _sees(case, one)
    if not seen:
        case.sight.hidden += len(found)
    steps = tuple(_step(each, claims, audiences, own=own) for each in found) if seen else ()
    matching = [each for each in found if not differences(each, claims, audiences)]
    missed = nearest(found, claims, audiences) if seen and not matching else None
    near = None if missed is None else _step(missed[0], claims, audiences, own=own)
    decided = Step(
        kind=StepKind.ABSENCE,
        verdict=Verdict.REFUSES,
        name="no federated credential that matches",
        why=f"{name} trusts no token of issuer '{_text(claims, 'iss')}', subject '{_text(claims, 'sub')}', audience '{_shown_audience(claims)}'",
    )
    return Findings(
        summary=f"{decided.why[0].upper()}{decided.why[1:]}{_differs(near)}.",
        decided=decided,
        considered=(*steps, decided),
        nearest=near,
        fixes=() if matching or not seen else await _fixes(case, one, name, None if missed is None else missed[0]),
        now="One of its credentials matches such a token now." if matching else None,
    )


def _claims(case: Case) -> JsonObject:
    """What is known of the token: nothing else of it was kept."""
    try:
        named = json.loads(case.fact("claims") or "{}")
    except ValueError:  # longer than a record holds
        named = {}
    return {
        **(named if isinstance(named, dict) else {}),
        "iss": case.fact("issuer"),
        "sub": case.fact("subject"),
        "aud": case.fact("audience"),
    }


async def _is_own(case: Case) -> bool:
    rows = await case.tools.store.all(TENANTS)
    return any(case.fact("issuer") in (row.value.issuer_v1, row.value.issuer_v2) for row in rows)


async def _sees(case: Case, one: Principal) -> bool:
    resource = parsed(one.resource_id)
    return await case.sight.administers() or (resource is not None and await case.sight.may(_READ, resource))


def _step(one: FederatedCredential, claims: JsonObject, audiences: frozenset[str], *, own: bool) -> Step:
    differing = differences(one, claims, audiences)
    told = [_difference(one, each, claims, own=own) for each in differing]
    return Step(
        kind=StepKind.FEDERATED_CREDENTIAL,
        verdict=Verdict.MISSES if differing else Verdict.ALLOWS,
        name=one.name,
        why="; ".join(told) if told else "matches",
        id=one.id,
        clauses=_clauses(one, claims) if "claimsMatchingExpression" in differing else (),
    )


def _difference(one: FederatedCredential, member: str, claims: JsonObject, *, own: bool) -> str:
    trust = one.trust
    if member == "claimsMatchingExpression":
        return f"its claims do not match: {_failing(one, claims)}"
    if member == "audience" and own:
        return f"its audience is '{trust.audience}', and tokens of this installation are for the exchange only"
    wanted = {"issuer": trust.issuer, "subject": trust.subject or "", "audience": trust.audience}[member]
    shown = {"issuer": _text(claims, "iss"), "subject": _text(claims, "sub"), "audience": _shown_audience(claims)}[member]
    return f"its {_WORDS[member]} is '{wanted}', the token's '{shown}'{_slip(wanted, shown)}"


def _slip(wanted: str, shown: str) -> str:
    if wanted.lower() == shown.lower():
        return " (they differ in upper and lower case only)"
    if wanted.rstrip("/") == shown.rstrip("/"):
        return " (they differ in the final slash only)"
    if wanted.strip() == shown.strip():
        return " (they differ in white space only)"
    return ""


def _clauses(one: FederatedCredential, claims: JsonObject) -> tuple[Clause, ...]:
    comparisons = parse_expression(one.trust.expression.value) if one.trust.expression is not None else ()
    return tuple(
        Clause(
            text=f"claims['{each.claim}'] {each.operator.value} '{each.value}'",
            holds=each.holds(claims),
            left=f"'{claims[each.claim]}'" if each.claim in claims else "absent",
            right=f"'{each.value}'",
        )
        for each in comparisons
    )


def _failing(one: FederatedCredential, claims: JsonObject) -> str:
    return "; ".join(f"{each.text}, where the token has {each.left}" for each in _clauses(one, claims) if not each.holds)


def _text(claims: JsonObject, name: str) -> str:
    value = claims.get(name)
    return value if isinstance(value, str) else ""


def _shown_audience(claims: JsonObject) -> str:
    return _text(claims, "aud")


def _differs(near: Step | None) -> str:
    return "" if near is None else f"; the nearest, '{near.name}', differs: {near.why}"


# Fixes --------------------------------------------------------------------------------------------------------------------


async def _fixes(case: Case, one: Principal, name: str, near: FederatedCredential | None) -> tuple[Fix, ...]:
    claims = _claims(case)
    audience = "api://AzureADTokenExchange" if await _is_own(case) else _shown_audience(claims)
    trust = Trust(issuer=_text(claims, "iss"), subject=_text(claims, "sub"), audiences=(audience,))
    if near is not None:
        return (
            await _written(
                case,
                one,
                near.name,
                trust,
                f"Change the federated credential '{near.name}' of {name} to what the token says",
            ),
        )
    return (
        await _written(
            case,
            one,
            "from-refusal",
            trust,
            f"Let {name} trust tokens of issuer '{trust.issuer}' and subject '{trust.subject}'",
        ),
    )


async def _written(case: Case, one: Principal, credential: str, trust: Trust, text: str) -> Fix:
    body: JsonObject = {"issuer": trust.issuer, "subject": trust.subject, "audiences": [*trust.audiences]}
    resource = parsed(one.resource_id)
    new = credential == "from-refusal"
    if resource is not None:
        words = ("--identity-name", resource.name, "--resource-group", resource.resource_group or "", "--name", credential)
        members = ("--issuer", trust.issuer, "--subject", trust.subject or "", "--audiences", *trust.audiences)
        where = ("--subscription", resource.subscription or "")
        return Fix(
            text=text,
            command=az("identity", "federated-credential", "create" if new else "update", *words, *members, *where),
            request=management("PUT", f"{resource}/federatedIdentityCredentials/{credential}", _VERSION, {"properties": body}),
            who_may=await who_may(case.sight, case.tools, _WRITE, resource),
        )
    page = await case.tools.store.page(APPLICATIONS, where={"client_id": one.client_id}, limit=1)
    if not page.items:
        return Fix(text=text)
    owner = page.items[0].value.id
    named = {"name": credential, **body}
    command = ("ad", "app", "federated-credential", "create" if new else "update", "--id", owner)
    which = () if new else ("--federated-credential-id", credential)
    return Fix(
        text=text,
        command=az(*command, *which, "--parameters", json.dumps(named if new else body, separators=(",", ":"))),
        request=graph("POST", f"/applications/{owner}/federatedIdentityCredentials", named)
        if new
        else graph("PATCH", f"/applications/{owner}/federatedIdentityCredentials/{credential}", body),
        who_may=await directory_administrators(case.sight, case.tools),
    )
