"""The api-version registry: which types and words exist, under which versions, and what a request to them is called.

Built once from the declared providers. Resolving says nothing about what exists in any tenant, so it may come ahead of
authorization.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from idplane.arm.declare import Action, Own, Placement, Provider, ResourceType
from idplane.arm.paths import InstanceTarget, ProviderTarget, Target, WordTarget
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ROOT, ResourceId

__all__ = ["ActionRoute", "CollectionRoute", "InstanceRoute", "OperationsRoute", "Registry", "Route", "Verb"]

RESOURCES_NAMESPACE = "Microsoft.Resources"
_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(-[a-z]+)?")
_SCOPE_COLLECTIONS = {
    ("Microsoft.Resources/tenants", "tenants"): "Microsoft.Resources/tenants",
    ("Microsoft.Resources/tenants", "subscriptions"): "Microsoft.Resources/subscriptions",
    ("Microsoft.Resources/subscriptions", "resourcegroups"): "Microsoft.Resources/resourceGroups",
}


class Verb(enum.Enum):
    """HTTP methods that the kernel serves, each with the last word of the action name that it needs."""

    GET = "GET", "read"
    HEAD = "HEAD", "read"
    PUT = "PUT", "write"
    PATCH = "PATCH", "write"
    DELETE = "DELETE", "delete"
    POST = "POST", "action"

    @property
    def word(self) -> str:
        """`read`, `write`, `delete` or `action`."""
        word: str = self.value[1]
        return word

    @property
    def writes(self) -> bool:
        """Whether the activity log records it."""
        return self not in (Verb.GET, Verb.HEAD)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRoute:
    """GET, HEAD, PUT, PATCH or DELETE of one instance."""

    type: ResourceType
    id: ResourceId
    permission: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionRoute:
    """GET of a type's instances at a scope or below a parent instance."""

    type: ResourceType
    id: ResourceId
    """The scope or parent."""
    permission: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionRoute:
    """A POST action or GET view of an instance or scope."""

    type: ResourceType | None
    id: ResourceId
    action: Action
    permission: str
    argument: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationsRoute:
    """GET `/providers/{namespace}/operations`."""

    provider: Provider
    id: ResourceId
    permission: str


Route: TypeAlias = InstanceRoute | CollectionRoute | ActionRoute | OperationsRoute


class Registry:
    """Every declared provider, found without regard to case."""

    def __init__(self, providers: Iterable[Provider]) -> None:
        self.providers: tuple[Provider, ...] = tuple(providers)
        self._providers = {one.namespace.lower(): one for one in self.providers}
        self._types = {one.name.lower(): one for provider in self.providers for one in provider.types}
        if len(self._providers) != len(self.providers):
            raise ValueError("a namespace is declared twice")

    def provider(self, namespace: str) -> Provider | None:
        """A declared namespace."""
        return self._providers.get(namespace.lower())

    def type(self, name: str) -> ResourceType | None:
        """A declared type by its full name."""
        return self._types.get(name.lower())

    def resolve(self, verb: Verb, target: Target) -> Route:
        """What a method on a target means; raises `Failure(UNKNOWN_NAMESPACE | UNKNOWN_TYPE | PATH_NOT_FOUND | METHOD_NOT_ALLOWED)`."""
        if isinstance(target, InstanceTarget):
            return self._instance(verb, target)
        if isinstance(target, WordTarget):
            return self._word(verb, target)
        return self._provider_word(verb, target)

    def version(self, route: Route, asked: str | None, *, continuing: bool = False) -> str:
        """The api-version to serve; raises `Failure(MISSING_API_VERSION | INVALID_API_VERSION | API_VERSION_NOT_REGISTERED)`.

        `continuing` a list, any well-formed version will do: azure-mgmt-keyvault puts its own into the links that it follows.
        """
        if not asked:
            raise Failure(FailureKind.MISSING_API_VERSION, "the api-version query parameter is required")
        version = asked.lower()
        supported = self._versions(route)
        if version in supported:
            return version
        if continuing and supported and _VERSION.fullmatch(version):
            return supported[0]
        namespace, path = _named(route)
        facts = {"version": asked[:40], "namespace": namespace, "type": path, "supported": ", ".join(supported)}
        if namespace == RESOURCES_NAMESPACE or _VERSION.fullmatch(version) is None:
            raise Failure(FailureKind.INVALID_API_VERSION, "the api-version is not valid", **facts)
        raise Failure(FailureKind.API_VERSION_NOT_REGISTERED, "the api-version is not supported for the type", **facts)

    def _versions(self, route: Route) -> tuple[str, ...]:
        if isinstance(route, OperationsRoute):
            return route.provider.operations_versions
        if isinstance(route, ActionRoute) and route.action.api_versions:
            return route.action.api_versions
        if route.type is not None:
            return route.type.api_versions
        provider = self.provider(route.argument)
        return provider.actions_versions if provider else ()

    # Instances ------------------------------------------------------------------------------------------------------

    def _instance(self, verb: Verb, target: InstanceTarget) -> Route:
        declared = self._declared(target.id)
        if verb is Verb.POST or not _serves(declared, verb):
            raise _method(verb)
        return InstanceRoute(type=declared, id=target.id, permission=declared.permission(verb.word))

    def _declared(self, identifier: ResourceId) -> ResourceType:
        declared = self.type(identifier.type)
        if declared is None or not _may_live(declared, identifier):
            raise self._unknown(identifier.type)
        return declared

    def _unknown(self, name: str) -> Failure:
        namespace, _, path = name.partition("/")
        if self.provider(namespace) is None:
            return Failure(FailureKind.UNKNOWN_NAMESPACE, "the resource namespace is not known", namespace=namespace)
        return Failure(FailureKind.UNKNOWN_TYPE, "the resource type is not known", namespace=namespace, type=path)

    # Words ----------------------------------------------------------------------------------------------------------

    def _word(self, verb: Verb, target: WordTarget) -> Route:
        owner = self._declared(target.id) if target.id.segments else self.type("Microsoft.Resources/tenants")
        if owner is None:
            raise Failure(FailureKind.PATH_NOT_FOUND, "nothing is served here", path=f"{target.id}/{target.word}")
        child = self.type(_SCOPE_COLLECTIONS.get((owner.name, target.word.lower()), f"{owner.name}/{target.word}"))
        if verb is Verb.GET and child is not None and _lists(child):
            return CollectionRoute(type=child, id=target.id, permission=child.permission("read"))
        table = owner.actions if verb is Verb.POST else owner.views
        found = _find(table, target.word)
        if found is not None and verb in (Verb.GET, Verb.POST):
            return _action_route(owner, target.id, found)
        if child is not None or _find({**owner.actions, **owner.views}, target.word) is not None:
            raise _method(verb)
        raise self._unknown(f"{owner.name}/{target.word}")

    def _provider_word(self, verb: Verb, target: ProviderTarget) -> Route:
        provider = self.provider(target.namespace)
        if target.word is None:
            return self._provider_metadata(verb, target)
        if provider is None:
            raise self._unknown(f"{target.namespace}/{target.word}")
        declared = self.type(f"{provider.namespace}/{target.word}")
        if verb is Verb.GET and declared is not None and _lists(declared) and _lists_at(declared, target.scope):
            return CollectionRoute(type=declared, id=target.scope, permission=declared.permission("read"))
        if (
            verb is Verb.GET
            and target.word.lower() == "operations"
            and not target.scope.segments
            and provider.operations_versions
        ):
            return OperationsRoute(provider=provider, id=ROOT, permission=f"{provider.namespace}/operations/read")
        found = _find(provider.actions if verb is Verb.POST else provider.views, target.word)
        if verb in (Verb.GET, Verb.POST) and found is not None:
            word, action = found
            permission = action.permission or f"{provider.namespace}/{word}/{verb.word}"
            return ActionRoute(type=None, id=target.scope, action=action, permission=permission, argument=provider.namespace)
        if declared is not None or _find({**provider.actions, **provider.views}, target.word) is not None:
            raise _method(verb)
        raise self._unknown(f"{target.namespace}/{target.word}")

    def _provider_metadata(self, verb: Verb, target: ProviderTarget) -> Route:
        owner = self._declared(target.scope) if target.scope.segments else self.type("Microsoft.Resources/tenants")
        view = _find(owner.views, "providers") if owner else None
        if owner is None or view is None:
            raise Failure(FailureKind.PATH_NOT_FOUND, "nothing is served here", path=str(target.scope))
        if verb is not Verb.GET:
            raise _method(verb)
        return _action_route(owner, target.scope, view, argument=target.namespace)


def _action_route(owner: ResourceType, identifier: ResourceId, found: tuple[str, Action], argument: str = "") -> ActionRoute:
    word, action = found
    suffix = "read" if _find(owner.views, word) == found else "action"
    permission = action.permission or f"{owner.permissions or owner.name}/{word}/{suffix}"
    return ActionRoute(type=owner, id=identifier, action=action, permission=permission, argument=argument)


def _find(table: Mapping[str, Action], word: str) -> tuple[str, Action] | None:
    """An entry by its word in any case, with the word as declared."""
    return next(((name, action) for name, action in table.items() if name.lower() == word.lower()), None)


def _method(verb: Verb) -> Failure:
    return Failure(FailureKind.METHOD_NOT_ALLOWED, f"{verb.name} is not supported here", method=verb.name)


def _named(route: Route) -> tuple[str, str]:
    if isinstance(route, OperationsRoute):
        return route.provider.namespace, "operations"
    if route.type is not None:
        return route.type.namespace, route.type.path
    namespace, _, rest = route.permission.partition("/")
    return namespace, rest.rpartition("/")[0]


def _serves(declared: ResourceType, verb: Verb) -> bool:
    """Whether instances of a type know the method."""
    if declared.own is not None:
        return _own_serves(declared.own, verb)
    if verb is Verb.PUT:
        return declared.put is not None
    if verb is Verb.PATCH:
        return declared.put is not None and declared.patchable
    return verb is not Verb.DELETE or declared.deletable


def _own_serves(own: Own, verb: Verb) -> bool:
    functions = {Verb.PUT: own.put, Verb.PATCH: own.patch, Verb.DELETE: own.delete}
    return functions.get(verb, own.get) is not None


def _lists(declared: ResourceType) -> bool:
    return declared.own is None or declared.own.list is not None


def _placement(scope: ResourceId) -> Placement:
    """What kind of scope an id is."""
    if scope.namespace is not None:
        return Placement.MANAGEMENT_GROUP if scope.is_management_group else Placement.RESOURCE
    return (Placement.TENANT, Placement.SUBSCRIPTION, Placement.GROUP)[len(scope.segments) // 2]


def _may_live(declared: ResourceType, identifier: ResourceId) -> bool:
    """Scopes live where their grammar puts them; everything else where it is declared to."""
    return identifier.namespace is None or _placement(identifier.scope) in declared.placements


def _lists_at(declared: ResourceType, scope: ResourceId) -> bool:
    """Where a type lives it can be listed; what lives in groups can also be listed for the whole subscription."""
    placement = _placement(scope)
    return placement in declared.placements or (placement is Placement.SUBSCRIPTION and Placement.GROUP in declared.placements)
