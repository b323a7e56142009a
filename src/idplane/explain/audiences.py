"""Why there is no token for a resource: nobody knows its name, or one like it is known."""

from __future__ import annotations

from typing import Final

from idplane.directory.audiences import WELL_KNOWN, audience_key
from idplane.explain.authority import directory_administrators
from idplane.explain.clients import nearest_text
from idplane.explain.commands import az, graph
from idplane.explain.findings import Case, Findings
from idplane.explain.model import Fix, Step, StepKind, Verdict
from idplane.explain.unread import told
from idplane.ports.collections import APPLICATIONS

__all__ = ["audience_unknown", "scope_invalid"]

_LOOKED_AT: Final = 500
_NAME: Final = 60


async def audience_unknown(case: Case) -> Findings:
    """No application of the tenant has the name that was asked for."""
    wanted = case.fact("resource") or case.refusal.resource or ""
    known = {uri: one.application.display_name for one in WELL_KNOWN for uri in one.uris}
    if await case.sight.administers():
        page = await case.tools.store.page(APPLICATIONS, where={"tenant_id": case.sight.viewer.tenant_id}, limit=_LOOKED_AT)
        known |= {uri: row.value.display_name for row in page.items for uri in row.value.identifier_uris}
    near = nearest_text(wanted, [*known])
    there = any(audience_key(wanted) == audience_key(one) for one in known)
    decided = Step(
        kind=StepKind.AUDIENCE,
        verdict=Verdict.REFUSES,
        name=wanted,
        why="no application of the tenant is registered under this name, and it is none of Azure's own",
    )
    step = None
    if near is not None and not there:
        step = Step(
            kind=StepKind.AUDIENCE,
            verdict=Verdict.MISSES,
            name=near,
            why=f"is most like it, and names '{known[near]}'",
            id=near,
        )
    asked = () if step is None else (Fix(text=f"Ask for a token for '{near}' instead"),)
    return Findings(
        summary=f"There is no resource '{wanted}' that a token could be for{'' if step is None else f'; the one most like it is {near!r}'}.",
        decided=decided,
        considered=(decided,) if step is None else (step, decided),
        nearest=step,
        fixes=(*asked, *(() if there else (await _registered(case, wanted),))),
        now="An application is registered under that name now." if there else None,
    )


async def _registered(case: Case, wanted: str) -> Fix:
    name = wanted.partition("://")[2].strip("/")[:_NAME] or wanted[:_NAME]
    return Fix(
        text=f"Register an application under the name '{wanted}'",
        command=az("ad", "app", "create", "--display-name", name, "--identifier-uris", wanted),
        request=graph("POST", "/applications", {"displayName": name, "identifierUris": [wanted]}),
        who_may=await directory_administrators(case.sight, case.tools),
    )


async def scope_invalid(case: Case) -> Findings:
    """Programs ask for all that they were given, and not for single permissions."""
    wanted = case.fact("scope") or case.refusal.resource or ""
    resource = wanted.removesuffix("/").removesuffix("/.default")
    return told(
        case,
        StepKind.AUDIENCE,
        wanted,
        f"'{wanted}' is not a resource's name followed by '/.default'",
        Fix(text=f"Ask for the scope '{resource}/.default'"),
    )
