"""Idplane.Workloads/agents: the machines that are hosts of a resource, and what may be done about one. A type of our own; Azure has none.

    {host}/providers/Idplane.Workloads/agents/{id}
    POST .../ban       it gets nothing any more, from its next request on, on every replica
    POST .../unban     it is served again

A ban and a deletion take the agent's certificates for identities along in the same commit. Letting an agent in again, by `unban` or by
deleting a banned or locked one so that its machine may join anew, gives access, and needs what giving roles at the resource needs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from idplane.arm.context import Context
from idplane.arm.declare import (
    Action,
    Deleted,
    Invocation,
    Item,
    Listed,
    Listing,
    Lookup,
    Outcome,
    Own,
    Placement,
    Provider,
    ResourceType,
)
from idplane.arm.envelope import timestamp
from idplane.arm.missing import resource_not_found
from idplane.model.directory import Agent, AgentState
from idplane.model.enrollments import AgentSighting
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject
from idplane.ports.agent_records import credentials_ended, removed
from idplane.ports.collections import AGENT_SIGHTINGS, AGENTS, ENROLLMENTS
from idplane.ports.store import Batch, Put, Reads, Versioned
from idplane.providers.workload_types import GIVE_ACCESS, VERSIONS, page_of, workload_operations

__all__ = ["AGENTS_PROVIDER", "AGENTS_TYPE"]

AGENTS_TYPE: Final = "Idplane.Workloads/agents"


async def _get(lookup: Lookup) -> Item | None:
    found = await _find(lookup.context, lookup.id)
    if found is None:
        return None
    seen = await _seen(lookup.context.store)
    return Item(body=await _render(lookup.context, found.value, seen), etag=_etag(found))


async def _list(listing: Listing) -> Listed:
    page = await page_of(listing, AGENTS)
    seen = await _seen(listing.context.store)
    return Listed(items=tuple([await _render(listing.context, one.value, seen) for one in page.items]), after=page.after)


async def _delete(lookup: Lookup) -> Deleted | None:
    found = await _find(lookup.context, lookup.id)
    if found is None:
        return None
    if found.value.state is not AgentState.ACTIVE:
        await lookup.context.require(GIVE_ACCESS, lookup.id.scope)
    return Deleted(batch=await removed(lookup.context.store, found))


async def _ban(invocation: Invocation) -> Outcome:
    context = invocation.context
    found = await _present(context, invocation.id)
    if found.value.state is AgentState.BANNED:
        return await _outcome(context, found.value, Batch())
    banned = replace(
        found.value, state=AgentState.BANNED, state_because=f"banned by {_who(context)} at {timestamp(context.now)}"
    )
    batch = await credentials_ended(context.store, banned.id) + Batch.of(
        Put(collection=AGENTS, value=banned, expect=found.version)
    )
    return await _outcome(context, banned, batch)


async def _unban(invocation: Invocation) -> Outcome:
    context = invocation.context
    await context.require(GIVE_ACCESS, invocation.id.scope)
    found = await _present(context, invocation.id)
    match found.value.state:
        case AgentState.ACTIVE:
            return await _outcome(context, found.value, Batch())
        case AgentState.LOCKED:
            words = "the agent is locked, since its state was in two places: delete it, and let the machine join anew"
            raise Failure(FailureKind.CONFLICT, words, id=str(invocation.id), code="AgentLocked")
        case AgentState.BANNED:
            active = replace(found.value, state=AgentState.ACTIVE, state_because="")
            return await _outcome(context, active, Batch.of(Put(collection=AGENTS, value=active, expect=found.version)))


def _who(context: Context) -> str:
    return context.caller.display_name or context.caller.principal_id


async def _outcome(context: Context, agent: Agent, batch: Batch) -> Outcome:
    return Outcome(body=await _render(context, agent, await _seen(context.store)), batch=batch)


async def _present(context: Context, identifier: ResourceId) -> Versioned[Agent]:
    found = await _find(context, identifier)
    if found is None:
        raise resource_not_found(identifier)
    return found


async def _find(context: Context, identifier: ResourceId) -> Versioned[Agent] | None:
    """The agent, if it is one of the resource that the id names."""
    found = await context.store.get(AGENTS, identifier.name.lower())
    return found if found is not None and found.value.key == identifier.scope.key else None


@dataclass(frozen=True, slots=True)
class _Seen:
    sightings: dict[str, AgentSighting]


async def _seen(store: Reads) -> _Seen:
    """When agents were heard of last, as of a minute ago."""
    rows = await store.all(AGENT_SIGHTINGS)
    return _Seen({name: one for row in rows for name, one in row.value.seen.items()})


def _etag(found: Versioned[Agent]) -> str:
    return f"{found.version:x}"


async def _render(context: Context, agent: Agent, seen: _Seen) -> JsonObject:
    sighting = seen.sightings.get(agent.id)
    last = (
        {"lastSeen": {"at": timestamp(sighting.at), "address": sighting.address, "version": sighting.version}}
        if sighting
        else {}
    )
    enrollments = await context.store.all(ENROLLMENTS, where={"enrollment_id": agent.enrollment})
    facts: dict[str, list[str]] = {}
    for name, value in agent.facts:
        facts.setdefault(name, []).append(value)
    return {
        "id": f"{agent.host}/providers/{AGENTS_TYPE}/{agent.id}",
        "name": agent.id,
        "type": AGENTS_TYPE,
        "properties": {
            "displayName": agent.display_name,
            "state": agent.state.value,
            **({"stateReason": agent.state_because} if agent.state_because else {}),
            "method": agent.method,
            "facts": {name: values[0] if len(values) == 1 else values for name, values in facts.items()},
            "enrollment": enrollments[0].value.name if enrollments else None,
            "hosts": list(agent.hosts),
            "thumbprint": agent.thumbprint,
            "addresses": list(agent.addresses),
            "enrolledAt": timestamp(agent.enrolled_at),
            "renewedAt": timestamp(agent.renewed_at) if agent.renewed_at else None,
            **last,
            "provisioningState": "Succeeded",
        },
    }


_DECLARED: Final = ResourceType(
    name=AGENTS_TYPE,
    api_versions=VERSIONS,
    placements=frozenset({Placement.SUBSCRIPTION, Placement.GROUP, Placement.RESOURCE}),
    own=Own(get=_get, list=_list, delete=_delete),
    located=False,
    taggable=False,
    actions={"ban": Action(run=_ban), "unban": Action(run=_unban)},
)
_WORDS: Final = (
    ("read", "Gets the machines that are hosts of a resource"),
    ("delete", "Ends a machine's being host of a resource"),
    ("ban/action", "Refuses a machine whatever it asks for"),
    ("unban/action", "Serves a banned machine again"),
)
AGENTS_PROVIDER: Final = Provider(
    namespace=_DECLARED.namespace,
    types=(_DECLARED,),
    operations=workload_operations(AGENTS_TYPE, "Agents", _WORDS),
)
