"""What a method on a path means under which versions, before anything is looked up."""

import pytest

from idplane.arm.declare import (
    Action,
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
from idplane.arm.paths import parse_target
from idplane.arm.registry import ActionRoute, CollectionRoute, InstanceRoute, OperationsRoute, Registry, Route, Verb
from idplane.model.failure import Failure, FailureKind

_SUB = "/subscriptions/s"
_GROUP = f"{_SUB}/resourceGroups/g"
_THING = f"{_GROUP}/providers/Acme.Things/things/one"


async def _run(_: Invocation) -> Outcome:
    return Outcome()


async def _get(_: Lookup) -> Item | None:
    return None


async def _list(_: Listing) -> Listed:
    return Listed(items=())


_ACTION = Action(run=_run)
_RESOURCES = Provider(
    namespace="Microsoft.Resources",
    types=(
        ResourceType(name="Microsoft.Resources/subscriptions", api_versions=("2022-12-01",), own=Own(get=_get, list=_list)),
        ResourceType(
            name="Microsoft.Resources/resourceGroups",
            api_versions=("2022-12-01",),
            permissions="Microsoft.Resources/subscriptions/resourceGroups",
        ),
    ),
)
_THINGS = Provider(
    namespace="Acme.Things",
    types=(
        ResourceType(
            name="Acme.Things/things",
            api_versions=("2024-01-01", "2023-01-01-preview"),
            actions={"startUp": _ACTION},
            views={"state": _ACTION},
        ),
        ResourceType(name="Acme.Things/things/parts", api_versions=("2024-01-01",), patchable=False),
        ResourceType(
            name="Acme.Things/only", api_versions=("2024-01-01",), own=Own(list=_list), placements=frozenset({Placement.TENANT})
        ),
    ),
    operations_versions=("2024-01-01",),
    actions={"checkName": Action(run=_run, permission="Acme.Things/names/read"), "register": _ACTION},
    actions_versions=("2020-01-01",),
)
_REGISTRY = Registry((_RESOURCES, _THINGS))


def _route(verb: Verb, path: str) -> Route:
    return _REGISTRY.resolve(verb, parse_target(path))


@pytest.mark.parametrize(
    ("verb", "path", "kind", "permission"),
    [
        (Verb.GET, _SUB, InstanceRoute, "Microsoft.Resources/subscriptions/read"),
        (Verb.PUT, _GROUP, InstanceRoute, "Microsoft.Resources/subscriptions/resourceGroups/write"),
        (Verb.GET, f"{_SUB}/resourcegroups", CollectionRoute, "Microsoft.Resources/subscriptions/resourceGroups/read"),
        (Verb.HEAD, _THING, InstanceRoute, "Acme.Things/things/read"),
        (Verb.PATCH, _THING.upper().replace("/RESOURCEGROUPS", "/resourceGroups"), InstanceRoute, "Acme.Things/things/write"),
        (Verb.DELETE, f"{_THING}/parts/a", InstanceRoute, "Acme.Things/things/parts/delete"),
        (Verb.GET, f"{_THING}/parts", CollectionRoute, "Acme.Things/things/parts/read"),
        (Verb.GET, f"{_SUB}/providers/acme.things/THINGS", CollectionRoute, "Acme.Things/things/read"),
        (Verb.POST, f"{_THING}/STARTUP", ActionRoute, "Acme.Things/things/startUp/action"),
        (Verb.GET, f"{_THING}/state", ActionRoute, "Acme.Things/things/state/read"),
        (Verb.POST, f"{_SUB}/providers/Acme.Things/checkname", ActionRoute, "Acme.Things/names/read"),
        (Verb.POST, f"{_SUB}/providers/Acme.Things/register", ActionRoute, "Acme.Things/register/action"),
        (Verb.GET, "/providers/Acme.Things/operations", OperationsRoute, "Acme.Things/operations/read"),
        (Verb.GET, "/providers/Acme.Things/only", CollectionRoute, "Acme.Things/only/read"),
    ],
)
def test_requests_are_named(verb: Verb, path: str, kind: type, permission: str) -> None:
    route = _route(verb, path)
    assert isinstance(route, kind)
    assert route.permission == permission


@pytest.mark.parametrize(
    ("verb", "path", "kind"),
    [
        (Verb.GET, f"{_GROUP}/providers/Nobody.Knows/things/one", FailureKind.UNKNOWN_NAMESPACE),
        (Verb.GET, f"{_GROUP}/providers/Nobody.Knows/things", FailureKind.UNKNOWN_NAMESPACE),
        (Verb.GET, f"{_GROUP}/providers/Acme.Things/others/one", FailureKind.UNKNOWN_TYPE),
        (Verb.GET, f"{_GROUP}/providers/Acme.Things/others", FailureKind.UNKNOWN_TYPE),
        (Verb.GET, f"{_THING}/others/one", FailureKind.UNKNOWN_TYPE),
        (Verb.GET, f"{_THING}/others", FailureKind.UNKNOWN_TYPE),
        (Verb.GET, f"{_SUB}/providers/Acme.Things/things/one", FailureKind.UNKNOWN_TYPE),
        (Verb.GET, "/providers/Acme.Things/things", FailureKind.METHOD_NOT_ALLOWED),
        (Verb.POST, _THING, FailureKind.METHOD_NOT_ALLOWED),
        (Verb.PUT, _SUB, FailureKind.METHOD_NOT_ALLOWED),
        (Verb.DELETE, _SUB, FailureKind.METHOD_NOT_ALLOWED),
        (Verb.PATCH, f"{_THING}/parts/a", FailureKind.METHOD_NOT_ALLOWED),
        (Verb.PUT, f"{_THING}/startUp", FailureKind.METHOD_NOT_ALLOWED),
        (Verb.POST, f"{_THING}/state", FailureKind.METHOD_NOT_ALLOWED),
        (Verb.DELETE, f"{_SUB}/resourceGroups", FailureKind.METHOD_NOT_ALLOWED),
        (Verb.GET, f"{_SUB}/providers/Acme.Things/checkName", FailureKind.METHOD_NOT_ALLOWED),
        (Verb.GET, "/providers/Microsoft.Resources/operations", FailureKind.UNKNOWN_TYPE),
        (Verb.GET, f"{_SUB}/providers/Acme.Things/operations", FailureKind.UNKNOWN_TYPE),
    ],
)
def test_what_is_not_declared_is_refused(verb: Verb, path: str, kind: FailureKind) -> None:
    with pytest.raises(Failure) as refused:
        _route(verb, path)
    assert refused.value.kind is kind


def test_versions_are_those_of_the_type_and_case_does_not_matter() -> None:
    route = _route(Verb.GET, _THING)
    assert _REGISTRY.version(route, "2023-01-01-PREVIEW") == "2023-01-01-preview"
    assert _REGISTRY.version(_route(Verb.POST, f"{_SUB}/providers/Acme.Things/register"), "2020-01-01") == "2020-01-01"


@pytest.mark.parametrize(
    ("path", "version", "kind"),
    [
        (_THING, None, FailureKind.MISSING_API_VERSION),
        (_THING, "", FailureKind.MISSING_API_VERSION),
        (_THING, "2022-12-01", FailureKind.API_VERSION_NOT_REGISTERED),
        (_THING, "latest", FailureKind.INVALID_API_VERSION),
        (_THING, "2024-01-01 ", FailureKind.INVALID_API_VERSION),
        (_GROUP, "2024-01-01", FailureKind.INVALID_API_VERSION),
    ],
)
def test_other_versions_are_refused_with_the_supported_ones(path: str, version: str | None, kind: FailureKind) -> None:
    with pytest.raises(Failure) as refused:
        _REGISTRY.version(_route(Verb.GET, path), version)
    assert refused.value.kind is kind
    if version:
        assert refused.value.data["supported"] in ("2024-01-01, 2023-01-01-preview", "2022-12-01")


def test_impossible_declarations_do_not_construct() -> None:
    with pytest.raises(ValueError, match="another namespace"):
        Provider(namespace="Acme.Other", types=_THINGS.types)
    with pytest.raises(ValueError, match="twice"):
        Provider(namespace="Acme.Things", types=(*_THINGS.types, _THINGS.types[0]))
    with pytest.raises(ValueError, match="twice"):
        Registry((_THINGS, _THINGS))
    with pytest.raises(ValueError, match="api-version"):
        ResourceType(name="Acme.Things/things", api_versions=())
    with pytest.raises(ValueError, match="case"):
        ResourceType(name="Acme.Things/things", api_versions=("2024-01-01",), actions={"go": _ACTION, "Go": _ACTION})


def test_a_list_goes_on_under_any_well_formed_version() -> None:
    """azure-mgmt-keyvault follows the link of a generic list with a version of its own."""
    route = _route(Verb.GET, f"{_GROUP}/providers/Acme.Things/things")
    assert _REGISTRY.version(route, "2099-01-01", continuing=True) == "2024-01-01"
    with pytest.raises(Failure):
        _REGISTRY.version(route, "latest", continuing=True)
    with pytest.raises(Failure):
        _REGISTRY.version(route, None, continuing=True)
