"""What clients are told of the declared namespaces: types, api-versions, locations (control-plane.md section 5.1).

Every namespace is registered in every subscription; registering one is a question with a known answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from idplane.arm.declare import Action, Invocation, Outcome, Placement, Provider, ResourceType, Visibility
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject
from idplane.providers.locations import LOCATION_NAMES

__all__ = ["ProviderCatalogue"]


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

    def register(self, api_versions: tuple[str, ...]) -> Action:
        """POST `/subscriptions/{id}/providers/{namespace}/register`."""
        return Action(run=self._show, api_versions=api_versions)

    async def _show(self, invocation: Invocation) -> Outcome:
        if not invocation.argument:
            return Outcome(body={"value": [_described(one, invocation.id) for one in self.providers]})
        found = next((one for one in self.providers if one.namespace.lower() == invocation.argument.lower()), None)
        if found is None:
            namespace = invocation.argument
            raise Failure(FailureKind.UNKNOWN_NAMESPACE, "the resource namespace is not known", namespace=namespace)
        return Outcome(body=_described(found, invocation.id))


def _described(provider: Provider, scope: ResourceId) -> JsonObject:
    prefix = str(scope) if scope.segments else ""
    types: list[JsonObject] = [_type(one) for one in provider.types if one.path != "tenants"]
    if provider.operations_versions:
        types.append({"resourceType": "operations", "locations": [], "apiVersions": list(provider.operations_versions)})
    return {
        "id": f"{prefix}/providers/{provider.namespace}",
        "namespace": provider.namespace,
        "registrationPolicy": "RegistrationFree",
        "registrationState": "Registered",
        "resourceTypes": types,
    }


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
