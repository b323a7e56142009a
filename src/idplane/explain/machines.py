"""Why a machine is not served: it is banned or locked, not a host, or no host of that resource."""

from __future__ import annotations

from typing import Final

from idplane.explain.authority import who_may
from idplane.explain.commands import idplane, management
from idplane.explain.findings import Case, Findings
from idplane.explain.model import Fix, Link, LinkKind, Step, StepKind, Verdict
from idplane.explain.sight import parsed
from idplane.explain.unread import as_told, told
from idplane.model.directory import Agent, AgentState
from idplane.ports.collections import AGENTS

__all__ = ["not_bound", "not_served", "unknown"]

_VERSION: Final = "2026-11-01"
_READ: Final = "Idplane.Workloads/agents/read"


async def not_served(case: Case) -> Findings:
    """Somebody banned it, or two machines showed its state."""
    found = await case.tools.store.get(AGENTS, case.fact("agent"))
    if found is None or found.value.host is None or not await case.sight.may(_READ, found.value.host):
        return as_told(case)
    one = found.value
    active = one.state is AgentState.ACTIVE
    because = f": {one.state_because}" if one.state_because and not active else ""
    decided = Step(
        kind=StepKind.RESOURCE,
        verdict=Verdict.REFUSES,
        name=one.display_name or one.id,
        why=f"{case.refusal.detail.rstrip('.')}{because}",
        id=one.id,
        scope=str(one.host),
        link=Link(kind=LinkKind.AGENT, ref=one.id),
    )
    return Findings(
        summary=f"The machine '{one.display_name or one.id}', a host of '{one.host}', is not served: {decided.why}.",
        decided=decided,
        considered=(decided,),
        fixes=() if active else (await _let_in(case, one),),
        now="It is served again now." if active else None,
    )


async def _let_in(case: Case, one: Agent) -> Fix:
    assert one.host is not None  # of the embedded agent nothing is banned
    path = f"{one.host}/providers/Idplane.Workloads/agents/{one.id}"
    if one.state is AgentState.BANNED:
        who = await who_may(case.sight, case.tools, "Idplane.Workloads/agents/unban/action", one.host, gives_access=True)
        return Fix(
            text="Serve the machine again",
            command=idplane("agents", "unban", one.id),
            request=management("POST", f"{path}/unban", _VERSION),
            who_may=who,
        )
    return Fix(
        text="Remove the host, and let its machine join anew",
        command=idplane("agents", "remove", one.id),
        request=management("DELETE", path, _VERSION),
        who_may=await who_may(case.sight, case.tools, "Idplane.Workloads/agents/delete", one.host, gives_access=True),
    )


async def unknown(case: Case) -> Findings:
    """No host's certificate proves who asks."""
    fix = Fix(text="Let the machine join anew: 'idplane agent' with what an enrollment asks for (see 'idplane enroll --help')")
    return told(case, StepKind.CREDENTIAL, "the agent's certificate", case.refusal.detail.rstrip("."), fix)


async def not_bound(case: Case) -> Findings:
    """A host asks for a resource that is not its own."""
    named = parsed(case.fact("id"))
    fix = Fix(
        text="Ask for the resource that the machine is a host of, or enroll the machine for this one (see 'idplane enroll --help')"
    )
    why = case.refusal.detail.rstrip(".")
    return told(case, StepKind.RESOURCE, named.name if named is not None else "the host", why, fix)
