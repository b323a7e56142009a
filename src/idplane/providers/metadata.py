"""What clients are told of the declared namespaces: types, api-versions, locations (control-plane.md section 5.1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from idplane.arm.context import Context
from idplane.arm.declare import Action, Invocation, Outcome, Placement, Provider, ResourceType, Visibility
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject
from idplane.providers.locations import LOCATION_NAMES

__all__ = ["UNREGISTRABLE", "ProviderCatalogue", "described"]

_READ = "Microsoft.Resources/subscriptions/providers/read"
UNREGISTRABLE = frozenset({"microsoft.authorization", "microsoft.management", "microsoft.resources", "microsoft.subscription"})
"""Namespaces that are part of Resource Manager itself; no subscription can do without them."""


@dataclass(slots=True)
class ProviderCatalogue:
    """Describes the namespaces that it was told of. Filled once while they are composed: the namespace that serves it is one of them."""

    providers: Sequence[Provider] = ()

    def view(self) -> Action:
        """GET `{tenant or subscription}/providers[/{namespace}]`; public among authenticated callers."""
        return Action(run=self._show, visibility=Visibility.OPEN)

    def taggable(self, type_name: str) -> bool:
        """Whether resources of a declared type bear tags."""
        folded = type_name.lower()
        return any(one.name.lower() == folded and one.taggable for provider in self.providers for one in provider.types)

    def views(self, api_versions: tuple[str, ...]) -> dict[str, Action]:
        """GET `/subscriptions/{id}/providers/{namespace}/{word}`."""
        return {
            "resourceTypes": Action(run=self._types, permission=_READ, api_versions=api_versions),
            "providerPermissions": Action(run=self._permissions, permission=_READ, api_versions=api_versions),
        }

    def named(self, namespace: str) -> Provider:
        """A namespace; raises `Failure(UNKNOWN_NAMESPACE)`."""
        found = next((one for one in self.providers if one.namespace.lower() == namespace.lower()), None)
        if found is None:
            raise Failure(FailureKind.UNKNOWN_NAMESPACE, "the resource namespace is not known", namespace=namespace)
        return found

    async def _show(self, invocation: Invocation) -> Outcome:
        gone = _unregistered(invocation.context)
        if not invocation.argument:
            return Outcome(body={"value": [described(one, invocation.id, gone) for one in self.providers]})
        return Outcome(body=described(self.named(invocation.argument), invocation.id, gone))

    async def _types(self, invocation: Invocation) -> Outcome:
        _require_subscription(invocation)
        return Outcome(body={"value": _types(self.named(invocation.argument))})

    async def _permissions(self, invocation: Invocation) -> Outcome:
        """Applications of the namespace that have rights of their own in the subscription: there are none."""
        _require_subscription(invocation)
        self.named(invocation.argument)
        return Outcome(body={"value": []})


def described(provider: Provider, scope: ResourceId, unregistered: Sequence[str] = ()) -> JsonObject:
    """A namespace as clients read it at a scope."""
    prefix = str(scope) if scope.segments else ""
    needed = provider.namespace.lower() not in UNREGISTRABLE
    return {
        "id": f"{prefix}/providers/{provider.namespace}",
        "namespace": provider.namespace,
        "registrationPolicy": "RegistrationRequired" if needed else "RegistrationFree",
        "registrationState": "NotRegistered" if provider.namespace.lower() in unregistered else "Registered",
        "resourceTypes": _types(provider),
    }


def _unregistered(context: Context) -> tuple[str, ...]:
    return context.subscription.unregistered if context.subscription is not None else ()


def _require_subscription(invocation: Invocation) -> None:
    if invocation.id.type != "Microsoft.Resources/subscriptions":
        raise Failure(FailureKind.PATH_NOT_FOUND, "this is told of subscriptions", path=str(invocation.id))


def _types(provider: Provider) -> list[JsonObject]:
    types: list[JsonObject] = [_type(one) for one in provider.types if one.path != "tenants"]
    if provider.operations_versions:
        types.append({"resourceType": "operations", "locations": [], "apiVersions": list(provider.operations_versions)})
    return types


def _type(declared: ResourceType) -> JsonObject:
    located = declared.own is None and declared.located and Placement.GROUP in declared.placements
    return {
        "resourceType": declared.path,
        "locations": list(LOCATION_NAMES) if located else [],
        "apiVersions": list(declared.api_versions),
        "defaultApiVersion": _default(declared.api_versions),
        "capabilities": ", ".join(_capabilities(declared, located=located)) or "None",
    }


def _default(versions: tuple[str, ...]) -> str:
    """The newest version that is no preview."""
    return next((one for one in versions if "-preview" not in one), versions[0])


def _capabilities(declared: ResourceType, *, located: bool) -> Iterable[str]:
    if declared.bears_identity:
        yield "SystemAssignedResourceIdentity"
    if declared.own is None and declared.taggable:
        yield "SupportsTags"
    if located:
        yield "SupportsLocation"
