"""Why the token service did not take a client for what it says it is: it is not there, it is disabled, or its secret is not good."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from idplane.explain.authority import directory_administrators
from idplane.explain.commands import az, graph
from idplane.explain.findings import Case, Findings
from idplane.explain.model import Fix, FixRequest, Link, LinkKind, Step, StepKind, Verdict
from idplane.explain.unread import as_told, told
from idplane.model.directory import Credential, CredentialKind, Principal, PrincipalType
from idplane.model.ids import is_guid
from idplane.ports.collections import APPLICATIONS, CREDENTIALS, PRINCIPALS, SIGN_INS

__all__ = [
    "claimed",
    "credential_missing",
    "disabled",
    "nearest_text",
    "secret_expired",
    "secret_invalid",
    "unknown",
    "when",
]

_LOOKED_AT: Final = 500
"""Clients whose names and ids are compared with one that is not there."""
_ALIKE: Final = 0.72


def when(at: datetime) -> str:
    """An instant for people."""
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")


def nearest_text(wanted: str, known: Sequence[str]) -> str | None:
    """The known text that differs least from the wanted one; None if none is alike."""
    folded = {one.lower(): one for one in known}
    found = difflib.get_close_matches(wanted.lower(), folded, n=1, cutoff=_ALIKE)
    return folded[found[0]] if found else None


async def claimed(case: Case) -> Principal | None:
    """The principal that the request claimed to come from."""
    found = await case.tools.store.get(PRINCIPALS, case.refusal.principal_id or "")
    return None if found is None else found.value


# Unknown ------------------------------------------------------------------------------------------------------------------


async def unknown(case: Case) -> Findings:
    """No client of the tenant has the id that was named."""
    named = case.fact("client_id") or case.refusal.client_id
    decided = Step(
        kind=StepKind.CLIENT,
        verdict=Verdict.REFUSES,
        name=named,
        why=f"no application and no managed identity of the tenant has the client id '{named}'",
    )
    near = await _near_client(case, named)
    past = await _past(case, named)
    fixes = () if near is None else (Fix(text=f"Ask as '{near.client_id}', which is {near.display_name}"),)
    return Findings(
        summary=f"The token service knows no client '{named}' in this tenant{past}.",
        decided=decided,
        considered=(decided,),
        nearest=None if near is None else _client_step(near, named),
        fixes=fixes or (Fix(text="Ask under the client id of an application or managed identity of this tenant"),),
        now=await _now_known(case, named),
    )


async def _near_client(case: Case, named: str) -> Principal | None:
    """The one that was probably meant: by its object id, its name, or an id that differs by a slip."""
    sight, store = case.sight, case.tools.store
    by_object = await store.get(PRINCIPALS, named.lower())
    if by_object is not None and by_object.value.type.is_client and await sight.of_principal(by_object.value):
        return by_object.value
    if not await sight.administers():
        return None
    page = await store.page(PRINCIPALS, where={"tenant_id": sight.viewer.tenant_id}, limit=_LOOKED_AT)
    clients = [one.value for one in page.items if one.value.type.is_client]
    by_text = {one.client_id: one for one in clients} if is_guid(named) else {one.display_name: one for one in clients}
    found = nearest_text(named, [*by_text])
    return None if found is None else by_text[found]


def _client_step(near: Principal, named: str) -> Step:
    if named.lower() == near.id:
        why = f"'{named}' is its object id; tokens are asked for under its client id"
    elif named.lower() == near.display_name.lower():
        why = f"'{named}' is its name; tokens are asked for under its client id"
    else:
        why = f"is the one most like what was named; its client id is '{near.client_id}'"
    link = Link(kind=LinkKind.PRINCIPAL, ref=near.id)
    return Step(kind=StepKind.CLIENT, verdict=Verdict.MISSES, name=near.display_name, why=why, id=near.client_id, link=link)


async def _past(case: Case, named: str) -> str:
    """When it was last heard of, for those who may read the sign-ins of all."""
    if not await case.sight.administers():
        return ""
    where = {"client_id": named.lower()}
    for one in await case.tools.store.read_log(SIGN_INS, where=where, until=None, limit=20):
        event = one.event
        if event.error_code == 0 and event.tenant_id == case.sight.viewer.tenant_id:
            return f" any more: '{event.principal_name}' had it, and got its last token on {when(event.at)}"
    return ""


async def _now_known(case: Case, named: str) -> str | None:
    where = {"tenant_id": case.refusal.tenant_id or case.sight.viewer.tenant_id, "client_id": named.lower()}
    page = await case.tools.store.page(PRINCIPALS, where=where, limit=1)
    there = bool(page.items) and await case.sight.of_principal(page.items[0].value)
    return "There is a client with that id now." if there else None


# Disabled -----------------------------------------------------------------------------------------------------------------


async def disabled(case: Case) -> Findings:
    """The client or the user, whose request or whose token it is, is switched off."""
    one = await claimed(case)
    if one is None:
        return as_told(case)
    name = await case.sight.name(one.id)
    decided = Step(
        kind=StepKind.CLIENT,
        verdict=Verdict.REFUSES,
        name=name,
        why="is disabled: it gets no tokens, and those that it has count for nothing",
        id=one.id,
        link=Link(kind=LinkKind.PRINCIPAL, ref=one.id),
    )
    return Findings(
        summary=f"{name} is disabled: it gets no tokens, and those that it has count for nothing.",
        decided=decided,
        considered=(decided,),
        fixes=() if one.enabled else (await _enabling(case, one, name),),
        now="It is enabled now: the same request would not be refused for that." if one.enabled else None,
    )


async def _enabling(case: Case, one: Principal, name: str) -> Fix:
    """Switch a principal on again."""
    if one.type is PrincipalType.USER:
        command, path = az("ad", "user", "update", "--id", one.id, "--account-enabled", "true"), f"/users/{one.id}"
    else:
        command, path = az("ad", "sp", "update", "--id", one.id, "--set", "accountEnabled=true"), f"/servicePrincipals/{one.id}"
    return Fix(
        text=f"Enable {name}",
        command=command,
        request=graph("PATCH", path, {"accountEnabled": True}),
        who_may=await directory_administrators(case.sight, case.tools),
    )


# Secrets ------------------------------------------------------------------------------------------------------------------


async def secret_expired(case: Case) -> Findings:
    """The secret is the right one, outside its time."""
    one, credential = await claimed(case), await _credential(case)
    if one is None:
        return as_told(case)
    name = await case.sight.name(one.id)
    seen = await case.sight.administers() or case.sight.is_self(one.id)
    ended = _instant(case.fact("not_after")) if seen else None
    words = f"outside the time in which it is valid{'' if ended is None else f': it ended on {when(ended)}'}"
    decided = Step(
        kind=StepKind.CREDENTIAL,
        verdict=Verdict.REFUSES,
        name=_secret_name(credential) if credential is not None and seen else "the client secret",
        why=f"is the right secret, shown {words}",
        id=case.fact("credential") or None if seen else None,
    )
    return Findings(
        summary=f"The secret that {name} showed is its own, but {words}.",
        decided=decided,
        considered=(decided, *await _other_secrets(case, one, decided.id, seen=seen)),
        fixes=(await _new_secret(case, one, name),),
    )


def _instant(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:  # the record has none
        return None


async def secret_invalid(case: Case) -> Findings:
    """No secret of the client is the one that was shown."""
    one = await claimed(case)
    if one is None:
        return as_told(case)
    name = await case.sight.name(one.id)
    seen = await case.sight.administers() or case.sight.is_self(one.id)
    others = await _other_secrets(case, one, None, seen=seen)
    why = "none of the client's secrets is the one that was shown" if others or not seen else "the client has no secret"
    decided = Step(
        kind=StepKind.CREDENTIAL,
        verdict=Verdict.REFUSES,
        name="the client secret",
        why=f"{why}; what proves a client is the secret's value, not its id",
    )
    return Findings(
        summary=f"The secret that was shown for {name} is none of its secrets.",
        decided=decided,
        considered=(decided, *others),
        nearest=others[0] if others else None,
        fixes=(await _new_secret(case, one, name),),
    )


async def _credential(case: Case) -> Credential | None:
    found = await case.tools.store.get(CREDENTIALS, case.fact("credential"))
    return None if found is None else found.value


async def _other_secrets(case: Case, one: Principal, but: str | None, *, seen: bool) -> tuple[Step, ...]:
    where = {"client_id": one.client_id, "kind": CredentialKind.SECRET.value}
    rows = [row.value for row in (await case.tools.store.page(CREDENTIALS, where=where, limit=20)).items]
    others = [row for row in rows if row.id != but and row.principal_id in ("", one.id)]
    if not seen:
        case.sight.hidden += len(others)
        return ()
    now = case.tools.clock.now()
    return tuple(
        Step(
            kind=StepKind.CREDENTIAL,
            verdict=Verdict.PASSES,
            name=_secret_name(row),
            why=f"is another secret, {'valid until' if row.not_after > now else 'which ended on'} {when(row.not_after)}",
            id=row.id,
        )
        for row in sorted(others, key=lambda it: it.not_after, reverse=True)
    )


def _secret_name(one: Credential) -> str:
    hint = f" that begins with '{one.hint}'" if one.hint else ""
    return f"the secret '{one.display_name}'{hint}" if one.display_name else f"the secret{hint}"


async def _new_secret(case: Case, one: Principal, name: str) -> Fix:
    page = await case.tools.store.page(APPLICATIONS, where={"client_id": one.client_id}, limit=1)
    application = page.items[0].value if page.items else None
    owner = f"/applications/{application.id}" if application is not None else f"/servicePrincipals/{one.id}"
    reset = ("credential", "reset", "--append", "--id")
    command = az("ad", "app", *reset, one.client_id) if application is not None else az("ad", "sp", *reset, one.id)
    request = FixRequest(
        api="graph", method="POST", path=graph("POST", f"{owner}/addPassword").path, body={"passwordCredential": {}}
    )
    return Fix(
        text=f"Make a new secret for {name}, and give the program the value that is printed",
        command=command,
        request=request,
        who_may=await directory_administrators(case.sight, case.tools),
    )


async def credential_missing(case: Case) -> Findings:
    """Nothing proves the client."""
    return told(
        case,
        StepKind.CREDENTIAL,
        "no credential",
        "the request shows no secret, no assertion and no certificate",
        Fix(text="Send a client secret or a client assertion with the request"),
    )
