"""Resource types as people know them: their names, their symbols, and under which api-version the portal speaks of them."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from idplane.arm.declare import ResourceType
from idplane.arm.registry import Registry
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.providers.catalogue import PROVIDERS

__all__ = ["GROUP", "IDENTITY", "declared", "label_of", "listed_types", "read_action", "symbol_of", "version_of"]

GROUP: Final = "Microsoft.Resources/resourceGroups"
IDENTITY: Final = "Microsoft.ManagedIdentity/userAssignedIdentities"
_REGISTRY: Final = Registry(PROVIDERS)
_LABELS: Final = {
    "microsoft.resources/resourcegroups": "Resource group",
    "microsoft.resources/subscriptions": "Subscription",
    "microsoft.managedidentity/userassignedidentities": "User-assigned identity",
    "microsoft.compute/virtualmachines": "Virtual machine",
    "microsoft.compute/virtualmachinescalesets": "Virtual machine scale set",
    "microsoft.web/sites": "App Service",
    "microsoft.web/sites/slots": "App Service slot",
    "microsoft.web/serverfarms": "App Service plan",
    "microsoft.containerinstance/containergroups": "Container group",
    "microsoft.containerservice/managedclusters": "Kubernetes cluster",
    "microsoft.app/containerapps": "Container app",
    "microsoft.hybridcompute/machines": "Machine (Azure Arc)",
    "microsoft.logic/workflows": "Logic app",
    "microsoft.keyvault/vaults": "Key vault",
    "microsoft.storage/storageaccounts": "Storage account",
    "microsoft.kubernetes/connectedclusters": "Kubernetes cluster (Azure Arc)",
}
_SYMBOLS: Final = {
    "microsoft.resources/resourcegroups": "group",
    "microsoft.resources/subscriptions": "subscription",
    "microsoft.managedidentity": "identity",
    "microsoft.compute": "machine",
    "microsoft.hybridcompute": "machine",
    "microsoft.web": "web",
    "microsoft.logic": "web",
    "microsoft.app": "box",
    "microsoft.containerinstance": "box",
    "microsoft.containerservice": "box",
    "microsoft.keyvault": "vault",
}
_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def declared(name: str) -> ResourceType | None:
    """A declared type by its full name, in any case."""
    return _REGISTRY.type(name)


def version_of(name: str) -> str:
    """The newest api-version of a type that is no preview; raises `Failure(UNKNOWN_TYPE)`."""
    known = declared(name)
    if known is None:
        namespace, _, path = name.partition("/")
        raise Failure(FailureKind.UNKNOWN_TYPE, "the resource type is not known", namespace=namespace, type=path)
    return next((one for one in known.api_versions if "preview" not in one), known.api_versions[0])


def read_action(identifier: ResourceId) -> str:
    """What reading a resource takes."""
    known = declared(identifier.type)
    return known.permission("read") if known else f"{identifier.type}/read"


def label_of(name: str) -> str:
    """A type as people call it; one that has no name of its own by the last word of its type."""
    known = _LABELS.get(name.lower())
    if known is not None:
        return known
    words = [word if word.isupper() else word.lower() for word in _WORDS.findall(name.rpartition("/")[2])]
    said = " ".join(words) or name
    return f"{said[:1].upper()}{said[1:]}"


def symbol_of(name: str) -> str:
    """A symbol of `icons.svg`."""
    folded = name.lower()
    return _SYMBOLS.get(folded) or _SYMBOLS.get(folded.partition("/")[0]) or "resource"


@cache
def listed_types() -> tuple[tuple[str, str], ...]:
    """Every stored type in lower case with its label, in the labels' order: what lists are narrowed to."""
    stored = [one.name for provider in _REGISTRY.providers for one in provider.types if one.own is None]
    return tuple(sorted(((name.lower(), label_of(name)) for name in stored), key=lambda it: (it[1].lower(), it[0])))
