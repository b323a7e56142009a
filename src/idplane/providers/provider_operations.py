"""`Microsoft.Authorization/providerOperations`: what can be granted, of all namespaces (control-plane.md section 9).

What is listed is what is served: the operations that a namespace declares, and those that follow from its types and actions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from idplane.arm.declare import (
    Item,
    Listed,
    Listing,
    Lookup,
    OperationInfo,
    Own,
    Placement,
    Provider,
    ResourceType,
    Visibility,
)
from idplane.model.failure import Failure
from idplane.model.values import JsonObject
from idplane.providers.metadata import ProviderCatalogue
from idplane.providers.operations import operations_of

__all__ = ["provider_operations"]

_TYPE = "Microsoft.Authorization/providerOperations"


def provider_operations(catalogue: ProviderCatalogue) -> Provider:
    """The part of Microsoft.Authorization that tells of every namespace."""

    async def get(lookup: Lookup) -> Item | None:
        try:
            return Item(body=_metadata(catalogue.named(lookup.id.name)))
        except Failure:
            return None

    async def every(listing: Listing) -> Listed:
        known = sorted(catalogue.providers, key=lambda one: one.namespace.lower())
        rest = [one for one in known if listing.after is None or one.namespace.lower() > listing.after]
        after = rest[listing.top - 1].namespace.lower() if len(rest) > listing.top else None
        return Listed(items=tuple(_metadata(one) for one in rest[: listing.top]), after=after)

    declared = ResourceType(
        name=_TYPE,
        api_versions=("2022-05-01-preview", "2022-04-01", "2018-01-01-preview", "2015-07-01"),
        placements=frozenset({Placement.TENANT}),
        own=Own(get=get, list=every),
        visibility=Visibility.OPEN,
        instances=Visibility.OPEN,
        located=False,
        taggable=False,
        system_data=False,
    )
    return Provider(namespace="Microsoft.Authorization", types=(declared,))


def _metadata(provider: Provider) -> JsonObject:
    known = _known(provider)
    types = {one.path.lower(): one for one in provider.types}
    by_type: dict[str, list[OperationInfo]] = {}
    for operation in known:
        by_type.setdefault(_type_of(operation, types), []).append(operation)
    return {
        "id": f"/providers/{_TYPE}/{provider.namespace}",
        "name": provider.namespace,
        "type": _TYPE,
        "displayName": provider.namespace,
        "resourceTypes": [
            {"name": types[path].path, "displayName": types[path].path, "operations": _shown(own)}
            for path, own in sorted(by_type.items())
            if path
        ],
        "operations": _shown(by_type.get("", ())),
    }


def _known(provider: Provider) -> Iterable[OperationInfo]:
    """What is declared in words, and what follows from the types and actions; each name once."""
    actions = (
        OperationInfo(
            name=action.permission or f"{provider.namespace}/{word}/action",
            provider=provider.namespace,
            resource=provider.namespace,
            operation=f"{word}/action of {provider.namespace}",
            data=action.data,
        )
        for word, action in provider.actions.items()
    )
    found = (*actions, *operations_of(provider.namespace, provider.types), *provider.operations)
    return {one.name.lower(): one for one in found}.values()


def _type_of(operation: OperationInfo, types: Iterable[str]) -> str:
    """The longest declared type that an operation's name starts with; empty where it is about none."""
    path = operation.name.lower().partition("/")[2]
    return max((one for one in types if path.startswith(f"{one}/")), key=len, default="")


def _shown(operations: Sequence[OperationInfo]) -> list[JsonObject]:
    return [
        {
            "name": one.name,
            "displayName": one.operation,
            "description": one.description or one.operation,
            "origin": "user,system",
            "isDataAction": one.data,
        }
        for one in operations
    ]
