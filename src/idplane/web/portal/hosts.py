"""Hosts: the machines that serve resources, one resource's machines with its rules, and what can be done about one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

from idplane.model.directory import Agent
from idplane.model.enrollments import JoinToken
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ROOT, ResourceId
from idplane.ports.collections import AGENTS, BINDINGS, CARRIAGES, ENROLLMENTS, IDENTITY_ASSIGNMENTS, JOIN_TOKENS
from idplane.ports.sorting import Sort
from idplane.providers.agents import AGENTS_TYPE
from idplane.providers.enrollments import ENROLLMENTS_TYPE
from idplane.providers.workload_bindings import BINDINGS_TYPE
from idplane.providers.workload_types import GIVE_ACCESS
from idplane.web.portal.host_rows import AgentRow, BindingRow, EnrollmentRow, sightings
from idplane.web.portal.lists import Part, Question
from idplane.web.portal.offers import Offer, offer
from idplane.web.portal.routes import Route
from idplane.web.portal.sight import may_see, parts_of
from idplane.web.portal.view import Html, Page, Redirect, Visit

__all__ = ["ROUTES", "agent_parts", "may_see_agent"]

_LIST: Final = "/portal/hosts"
_VERSION: Final = "2026-11-01"
_READ: Final = f"{AGENTS_TYPE}/read"
_STATES: Final = (
    ("", "All states"),
    ("Healthy", "Healthy"),
    ("Silent", "Silent"),
    ("Certificate expired", "Certificate expired"),
    ("Locked", "Locked"),
    ("Banned", "Banned"),
)
_MOST: Final = 500
_DONE: Final = {
    "ban": "The machine is banned. It gets nothing any more.",
    "unban": "The machine is served again.",
    "remove": "The machine is no host any more.",
}


# The list --------------------------------------------------------------------------------------------------------------


async def _hosts(visit: Visit) -> Page:
    if visit.query("host"):
        return await _host_page(visit, ResourceId.parse(visit.query("host")))
    seen = await sightings(visit.desk.store)
    state, text = visit.query("state"), visit.query("q").strip().lower()

    async def keep(agent: Agent) -> bool:
        row = AgentRow(agent=agent, seen=seen.get(agent.id), now=visit.desk.now)
        return (not state or row.state[0] == state) and await may_see_agent(visit, agent)

    question = Question(
        store=visit.desk.store,
        parts=await agent_parts(visit),
        order=Sort("host_key", visit.query("sort") == "-host"),
        containing=("host_key", text) if text else None,
    )
    page = await question.page(AGENTS, visit.query("after") or None, keep)
    return Html(
        template="hosts.html",
        values={
            "title": "Hosts",
            "rows": [AgentRow(agent=one.value, seen=seen.get(one.value.id), now=visit.desk.now) for one in page.items],
            "after": page.after,
            "narrowed": bool(state or text),
            "states": _STATES,
            "own": await _own_agent(visit),
            "reading": await offer(visit, _READ, ROOT),
        },
    )


async def agent_parts(visit: Visit) -> tuple[Part, ...]:
    """Where to look for the agents that the person may see."""
    found = []
    for part in await parts_of(visit, {}):
        scope = part.under[1] if part.under else f"/subscriptions/{part.where['subscription_id']}"
        found.append(Part(under=("host_key", scope)))
    return tuple(found)


async def may_see_agent(visit: Visit, agent: Agent) -> bool:
    """Whether an agent may be shown to the person."""
    return agent.host is not None and await visit.desk.may(_READ, agent.host)


async def _own_agent(visit: Visit) -> bool:
    """Whether the plane has an agent of its own, for whoever may read the agents of all."""
    if not await visit.desk.may(_READ, ROOT):
        return False
    return await visit.desk.store.count(AGENTS, where={"host_key": None}, limit=1) > 0


# One resource ----------------------------------------------------------------------------------------------------------


async def _host_page(visit: Visit, host: ResourceId) -> Page:
    """A resource's machines, the rules that admit them, and its bindings: each as far as the person may read of that kind there."""
    desk = visit.desk
    offers = {
        "agents": await offer(visit, _READ, host),
        "enrollments": await offer(visit, f"{ENROLLMENTS_TYPE}/read", host),
        "bindings": await offer(visit, f"{BINDINGS_TYPE}/read", host),
    }
    if not any(one.open for one in offers.values()) and not await may_see(visit, host):
        await desk.require(_READ, host)
    return Html(
        template="host.html",
        values={
            "title": f"{host.name}: hosts",
            "host": host,
            "offers": offers,
            "rows": await _agents_of(visit, host) if offers["agents"].open else [],
            "enrollments": await _enrollments_of(visit, host) if offers["enrollments"].open else [],
            "bindings": await _bindings_of(visit, host) if offers["bindings"].open else [],
            "identities": await desk.store.count(IDENTITY_ASSIGNMENTS, where={"host_key": host.key}, limit=_MOST),
            "enroll": await both(visit, f"{ENROLLMENTS_TYPE}/write", host),
            "issue": await both(visit, f"{ENROLLMENTS_TYPE}/issueToken/action", host),
            "delete": await offer(visit, f"{ENROLLMENTS_TYPE}/delete", host),
        },
    )


async def _agents_of(visit: Visit, host: ResourceId) -> list[AgentRow]:
    """Those whose own resource it is, and those that carry it along."""
    store = visit.desk.store
    found = {one.value.id: one.value for one in (await store.page(AGENTS, where={"host_key": host.key}, limit=_MOST)).items}
    for carriage in await store.all(CARRIAGES, where={"resource_key": host.key}):
        for one in await store.all(AGENTS, where={"enrollment_id": carriage.value.enrollment_id}):
            if await may_see_agent(visit, one.value):
                found[one.value.id] = one.value
    seen = await sightings(store)
    return [AgentRow(agent=one, seen=seen.get(one.id), now=visit.desk.now) for one in found.values()]


async def _enrollments_of(visit: Visit, host: ResourceId) -> list[EnrollmentRow]:
    store, rows = visit.desk.store, []
    for found in await store.all(ENROLLMENTS, where={"host_key": host.key}):
        where = {"enrollment_id": found.value.id}
        carried = [one.value.resource for one in await store.all(CARRIAGES, where=where)]
        tokens = [one for one in await store.all(JOIN_TOKENS, where=where) if _usable(one.value, visit.desk.now)]
        shown = tuple([one for one in carried if await may_see(visit, one)])
        rows.append(EnrollmentRow(found.value, shown, len(tokens), await store.count(AGENTS, where=where, limit=_MOST)))
    return rows


def _usable(token: JoinToken, now: datetime) -> bool:
    return token.used_at is None and token.expires_at > now


async def _bindings_of(visit: Visit, host: ResourceId) -> list[BindingRow]:
    return [BindingRow(one.value) for one in await visit.desk.store.all(BINDINGS, where={"host_key": host.key})]


async def both(visit: Visit, action: str, host: ResourceId) -> Offer:
    """A command that needs an action and the right to give access; shut by whichever is missing first."""
    first = await offer(visit, action, host)
    return first if not first.open else await offer(visit, GIVE_ACCESS, host)


# One machine -----------------------------------------------------------------------------------------------------------


async def _agent(visit: Visit) -> Page:
    return await _agent_page(visit, await _found(visit))


async def _found(visit: Visit) -> Agent:
    """The agent of the address; raises `Failure(PATH_NOT_FOUND)` for one that is not there, or that the person may not see."""
    found = await visit.desk.store.get(AGENTS, visit.params["agent"].lower())
    if found is None or not await may_see_agent(visit, found.value):
        raise Failure(FailureKind.PATH_NOT_FOUND, "there is no such machine, or none that you may see")
    return found.value


async def _agent_page(visit: Visit, agent: Agent, problem: Failure | None = None) -> Page:
    host = agent.host or ROOT
    row = AgentRow(agent=agent, seen=(await sightings(visit.desk.store)).get(agent.id), now=visit.desk.now)
    enrolled = await visit.desk.store.all(ENROLLMENTS, where={"enrollment_id": agent.enrollment}) if agent.enrollment else ()
    remove = f"{AGENTS_TYPE}/delete"
    return Html(
        template="agent.html",
        values={
            "title": f"Machine {agent.display_name or agent.id}",
            "row": row,
            "agent": agent,
            "host": host,
            "enrollment": enrolled[0].value.name if enrolled else "",
            "carries": [one for one in row.carries if await may_see(visit, one)],
            "ban": await offer(visit, f"{AGENTS_TYPE}/ban/action", host),
            "unban": await both(visit, f"{AGENTS_TYPE}/unban/action", host),
            "remove": await (offer if not (row.locked or row.banned) else both)(visit, remove, host),
        },
        status=problem.kind.category.value if problem else 200,
        problem=problem,
    )


def _doing(word: str) -> Callable[[Visit], Awaitable[Page]]:
    async def handler(visit: Visit) -> Page:
        agent = await _found(visit)
        path = f"{agent.host}/providers/{AGENTS_TYPE}/{agent.id}"
        try:
            if word == "remove":
                await visit.desk.write("DELETE", path, version=_VERSION)
            else:
                await visit.desk.write("POST", f"{path}/{word}", {}, version=_VERSION)
        except Failure as failure:
            return await _agent_page(visit, agent, failure)
        return Redirect(to=_LIST if word == "remove" else f"{_LIST}/agent/{agent.id}", said=_DONE[word])

    return handler


ROUTES: Final = (
    Route(method="GET", pattern=_LIST, handler=_hosts),
    Route(method="GET", pattern=f"{_LIST}/agent/{{agent}}", handler=_agent),
    *(Route(method="POST", pattern=f"{_LIST}/agent/{{agent}}/{word}", handler=_doing(word)) for word in _DONE),
)
