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

import re
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
    NameRule,
    OperationInfo,
    Own,
    OwnWrite,
    Placement,
    Provider,
    ResourceType,
    StoredItem,
)
from idplane.arm.envelope import timestamp
from idplane.arm.stored import find
from idplane.model.binding_documents import process_document
from idplane.model.bindings import Binding, binding_key
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.resources import Resource
from idplane.model.scale_sets import identity_host
from idplane.model.values import JsonObject
from idplane.ports.collections import BINDINGS, RESOURCES, microseconds
from idplane.ports.store import ABSENT, Batch, Delete, Put, Versioned
from idplane.providers.binding_rules import binding_rule

__all__ = ["BINDINGS_TYPE", "MOST_BINDINGS", "workload_bindings"]

BINDINGS_TYPE: Final = "Idplane.Workloads/bindings"
MOST_BINDINGS: Final = 256
"""Bindings of one host: an agent weighs them all for a process that it does not know yet."""
_VERSIONS: Final = ("2026-11-01",)
_GIVE_ACCESS: Final = "Microsoft.Authorization/roleAssignments/write"
_GROUP_DEPTH: Final = 4
_NAMES: Final = NameRule(
    re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?"),
    "1 to 64 letters, digits, '.', '_' or '-', starting and ending with a letter or digit",
)


@dataclass(frozen=True, slots=True)
class _Bindings:
    """The functions of the type, for a set of host types in lower case."""

    hosts: frozenset[str]

    async def get(self, lookup: Lookup) -> Item | None:
        await self._host(lookup.context, lookup.id.scope)
        found = await _find(lookup.context, lookup.id)
        return Item(body=_render(found), etag=_etag(found)) if found else None

    async def list(self, listing: Listing) -> Listed:
        """Those of one host; or, at a subscription or group, of every host in it."""
        context, scope = listing.context, listing.scope
        if scope.namespace is None:
            if len(scope.segments) == _GROUP_DEPTH:
                await find(context, scope)
            page = await context.store.page(BINDINGS, under=("host_key", scope.key), after=listing.after, limit=listing.top)
        else:
            await self._host(context, scope)
            page = await context.store.page(BINDINGS, where={"host_key": scope.key}, after=listing.after, limit=listing.top)
        return Listed(items=tuple(map(_render, page.items)), after=page.after)

    async def put(self, write: OwnWrite) -> StoredItem:
        context = write.context
        host = await self._host(context, write.id.scope)
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
            await context.require(_GIVE_ACCESS, host.value.id)
        stored = Versioned(made, old.version + 1 if old else 1)
        put = Put(collection=BINDINGS, value=made, expect=old.version if old else ABSENT)
        return StoredItem(body=_render(stored), created=old is None, batch=_after(host) + Batch.of(put), etag=_etag(stored))

    async def delete(self, lookup: Lookup) -> Deleted | None:
        host = await self._host(lookup.context, lookup.id.scope)
        found = await _find(lookup.context, lookup.id)
        if found is None:
            return None
        if not await _others(lookup.context, lookup.id):
            await lookup.context.require(_GIVE_ACCESS, host.value.id)
        delete = Delete(collection=BINDINGS, key=found.value.key, expect=found.version, subject=host.value.id.key)
        return Deleted(batch=_after(host) + Batch.of(delete))

    async def _host(self, context: Context, scope: ResourceId) -> Versioned[Resource]:
        """The host, as it is stored; raises INVALID_PARAMETER for what bears no identities, and what `find` raises."""
        bearer = identity_host(scope)
        if bearer != scope:
            words = f"an instance uses the identities of its scale set, so the scale set '{bearer}' has the bindings"
            raise _no_host(words)
        if scope.namespace is None:
            raise _no_host(f"'{scope}' bears no identities, so it has no bindings: they belong to a single resource")
        found = await find(context, scope)
        if found.value.type.lower() not in self.hosts:
            raise _no_host(f"resources of type '{found.value.type}' bear no identities, so they have no bindings")
        return found


def _no_host(words: str) -> Failure:
    return Failure(FailureKind.INVALID_PARAMETER, words, code="BindingScopeInvalid")


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
    return f"{microseconds(found.value.created_at):x}-{found.version:x}"


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
    kinds = frozenset(one.name.lower() for provider in providers for one in provider.types if one.bears_identity)
    functions = _Bindings(kinds)
    declared = ResourceType(
        name=BINDINGS_TYPE,
        api_versions=_VERSIONS,
        placements=frozenset({Placement.SUBSCRIPTION, Placement.GROUP, Placement.RESOURCE}),
        naming=_NAMES,
        own=Own(get=functions.get, list=functions.list, put=functions.put, delete=functions.delete),
        located=False,
        taggable=False,
    )
    return Provider(
        namespace=declared.namespace,
        types=(declared,),
        operations=tuple(
            OperationInfo(
                name=f"{BINDINGS_TYPE}/{verb}",
                provider="idplane Workloads",
                resource="Bindings",
                operation=f"{verb.capitalize()} binding",
                description=f"{words} a binding of a resource's identities to processes",
            )
            for verb, words in (("read", "Gets"), ("write", "Creates or updates"), ("delete", "Deletes"))
        ),
        operations_versions=_VERSIONS,
    )
