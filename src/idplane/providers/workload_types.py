"""What the types of Idplane.Workloads have in common: the resources that they belong to, names, lists, and what is declared of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

from idplane.arm.context import Context
from idplane.arm.declare import Listing, NameRule, OperationInfo, Provider
from idplane.arm.stored import find
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.resources import Resource
from idplane.model.scale_sets import identity_host
from idplane.ports.collections import microseconds
from idplane.ports.store import Collection, Page, Versioned

__all__ = ["GIVE_ACCESS", "NAMES", "VERSIONS", "Hosts", "etag_of", "page_of", "workload_operations"]

T = TypeVar("T")

VERSIONS: Final = ("2026-11-01",)
GIVE_ACCESS: Final = "Microsoft.Authorization/roleAssignments/write"
NAMES: Final = NameRule(
    re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?"),
    "1 to 64 letters, digits, '.', '_' or '-', starting and ending with a letter or digit",
)
_GROUP_DEPTH: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosts:
    """The resources that a type belongs to: those that bear identities."""

    kinds: frozenset[str]
    """Their types, in lower case."""
    what: str
    """What they have, for people: "bindings"."""
    code: str
    """Of the refusal of others."""

    @classmethod
    def of(cls, providers: Iterable[Provider], *, what: str, code: str) -> Hosts:
        """The identity-bearing types of these providers."""
        kinds = (one.name.lower() for provider in providers for one in provider.types if one.bears_identity)
        return cls(kinds=frozenset(kinds), what=what, code=code)

    async def find(self, context: Context, scope: ResourceId) -> Versioned[Resource]:
        """The host, as it is stored; raises INVALID_PARAMETER for what bears no identities, and what `arm.stored.find` raises."""
        bearer = identity_host(scope)
        if bearer != scope:
            words = f"an instance uses the identities of its scale set, so the scale set '{bearer}' has the {self.what}"
            raise self._refused(words)
        if scope.namespace is None:
            raise self._refused(f"'{scope}' bears no identities, so it has no {self.what}: they belong to a single resource")
        found = await find(context, scope)
        if found.value.type.lower() not in self.kinds:
            raise self._refused(f"resources of type '{found.value.type}' bear no identities, so they have no {self.what}")
        return found

    def _refused(self, words: str) -> Failure:
        return Failure(FailureKind.INVALID_PARAMETER, words, code=self.code)


async def page_of(listing: Listing, collection: Collection[T], hosts: Hosts | None = None) -> Page[T]:
    """Those of one host; or, at a subscription or group, of every host in it. Without `hosts`, any resource may be one."""
    context, scope = listing.context, listing.scope
    if scope.namespace is None:
        if len(scope.segments) == _GROUP_DEPTH:
            await find(context, scope)
        return await context.store.page(collection, under=("host_key", scope.key), after=listing.after, limit=listing.top)
    await (hosts.find(context, scope) if hosts is not None else find(context, scope))
    return await context.store.page(collection, where={"host_key": scope.key}, after=listing.after, limit=listing.top)


def etag_of(created_at: datetime, version: int) -> str:
    """Changes with every change, and when a record of the same name is made again."""
    return f"{microseconds(created_at):x}-{version:x}"


def workload_operations(type_name: str, resource: str, words: Iterable[tuple[str, str]]) -> tuple[OperationInfo, ...]:
    """The operations of a type, as they are listed: each verb with what it does."""
    thing = resource.lower().removesuffix("s")
    return tuple(
        OperationInfo(
            name=f"{type_name}/{verb}",
            provider="idplane Workloads",
            resource=resource,
            operation=f"{verb.partition('/')[0].capitalize()} {thing}",
            description=description,
        )
        for verb, description in words
    )
