"""Idplane.Workloads/bindings: which processes of a host may use which of its identities. A type of our own; Azure has none.

    {host}/providers/Idplane.Workloads/bindings/{name}

The host is any resource whose type bears identities. Its first binding closes it, and whatever is changed from then on may open it
again: another binding admits further processes, a changed one others, and without the last one everything that runs there is admitted.
So beside `bindings/write` and `bindings/delete` these need what giving roles at the host needs. Contributors, who may not give access, may
close a host and take bindings away as long as one is left; they can't widen what is closed.

Writers below one host follow one another: each raises the host's version, so that two that meet are planned anew, and neither the limit
nor the rule above can be passed by doing two things at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from idplane.arm.context import Context
from idplane.arm.declare import (
    Deleted,
    Item,
    Listed,
    Listing,
    Lookup,
    Own,
    OwnWrite,
    Placement,
    Provider,
    ResourceType,
    StoredItem,
)
from idplane.arm.envelope import timestamp
from idplane.model.binding_documents import process_document
from idplane.model.bindings import Binding, binding_key
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.resources import Resource
from idplane.model.values import JsonObject
from idplane.ports.collections import BINDINGS, RESOURCES
from idplane.ports.store import ABSENT, Batch, Delete, Put, Versioned
from idplane.providers.binding_rules import binding_rule
from idplane.providers.workload_types import GIVE_ACCESS, NAMES, VERSIONS, Hosts, etag_of, page_of, workload_operations

__all__ = ["BINDINGS_TYPE", "MOST_BINDINGS", "workload_bindings"]

BINDINGS_TYPE: Final = "Idplane.Workloads/bindings"
MOST_BINDINGS: Final = 256
"""Bindings of one host: an agent weighs them all for a process that it does not know yet."""


@dataclass(frozen=True, slots=True)
class _Bindings:
    """The functions of the type."""

    hosts: Hosts

    async def get(self, lookup: Lookup) -> Item | None:
        await self.hosts.find(lookup.context, lookup.id.scope)
        found = await _find(lookup.context, lookup.id)
        return Item(body=_render(found), etag=_etag(found)) if found else None

    async def list(self, listing: Listing) -> Listed:
        page = await page_of(listing, BINDINGS, self.hosts)
        return Listed(items=tuple(map(_render, page.items)), after=page.after)

    async def put(self, write: OwnWrite) -> StoredItem:
        context = write.context
        host = await self.hosts.find(context, write.id.scope)
        identities, processes = binding_rule(write.body)
        old = await _find(context, write.id)
        others = await _others(context, write.id)
        if old is None and len(others) >= MOST_BINDINGS:
            words = f"a resource has at most {MOST_BINDINGS} bindings"
            raise Failure(FailureKind.LIMIT_EXCEEDED, words, limit=str(MOST_BINDINGS))
        made = Binding(
            host=host.value.id,
            name=old.value.name if old else write.id.name,
            identities=identities,
            processes=processes,
            created_at=old.value.created_at if old else context.now,
        )
        if (old or others) and (old is None or made != old.value):
            await context.require(GIVE_ACCESS, host.value.id)
        stored = Versioned(made, old.version + 1 if old else 1)
        put = Put(collection=BINDINGS, value=made, expect=old.version if old else ABSENT)
        return StoredItem(body=_render(stored), created=old is None, batch=_after(host) + Batch.of(put), etag=_etag(stored))

    async def delete(self, lookup: Lookup) -> Deleted | None:
        host = await self.hosts.find(lookup.context, lookup.id.scope)
        found = await _find(lookup.context, lookup.id)
        if found is None:
            return None
        if not await _others(lookup.context, lookup.id):
            await lookup.context.require(GIVE_ACCESS, host.value.id)
        delete = Delete(collection=BINDINGS, key=found.value.key, expect=found.version, subject=host.value.id.key)
        return Deleted(batch=_after(host) + Batch.of(delete))


async def _find(context: Context, identifier: ResourceId) -> Versioned[Binding] | None:
    return await context.store.get(BINDINGS, binding_key(identifier.scope.key, identifier.name))


async def _others(context: Context, identifier: ResourceId) -> tuple[Versioned[Binding], ...]:
    """The host's bindings beside this one."""
    found = await context.store.all(BINDINGS, where={"host_key": identifier.scope.key})
    return tuple(one for one in found if one.value.name.lower() != identifier.name.lower())


def _after(host: Versioned[Resource]) -> Batch:
    """One writer after the other."""
    return Batch.of(Put(collection=RESOURCES, value=host.value, expect=host.version))


def _etag(found: Versioned[Binding]) -> str:
    return etag_of(found.value.created_at, found.version)


def _render(found: Versioned[Binding]) -> JsonObject:
    binding = found.value
    identities = {"identities": list(binding.identities)} if binding.identities else {}
    return {
        "id": f"{binding.host}/providers/{BINDINGS_TYPE}/{binding.name}",
        "name": binding.name,
        "type": BINDINGS_TYPE,
        "etag": f'"{_etag(found)}"',
        "properties": {
            **identities,
            "processes": {name: _number(name, value) for name, value in process_document(binding.processes).items()},
            "provisioningState": "Succeeded",
        },
        "systemData": {"createdAt": timestamp(binding.created_at)},
    }


def _number(name: str, value: object) -> object:
    """Numbers of users and groups as numbers."""
    return int(value) if name in {"user", "group"} and isinstance(value, str) and value.isdigit() else value


def workload_bindings(providers: Iterable[Provider]) -> Provider:
    """The namespace, for the identity-bearing types of these others."""
    functions = _Bindings(Hosts.of(providers, what="bindings", code="BindingScopeInvalid"))
    declared = ResourceType(
        name=BINDINGS_TYPE,
        api_versions=VERSIONS,
        placements=frozenset({Placement.SUBSCRIPTION, Placement.GROUP, Placement.RESOURCE}),
        naming=NAMES,
        own=Own(get=functions.get, list=functions.list, put=functions.put, delete=functions.delete),
        located=False,
        taggable=False,
    )
    words = (("read", "Gets"), ("write", "Creates or updates"), ("delete", "Deletes"))
    described = [(verb, f"{does} a binding of a resource's identities to processes") for verb, does in words]
    return Provider(
        namespace=declared.namespace,
        types=(declared,),
        operations=workload_operations(BINDINGS_TYPE, "Bindings", described),
        operations_versions=VERSIONS,
    )
