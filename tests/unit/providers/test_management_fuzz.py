"""Whatever is sent, the answer is in the dialect and never an internal error."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.providers.surface_plane import GROUP, SUB, opening, uai, vm

from idplane.arm.declare import ResourceType
from idplane.providers import PROVIDERS

_WORDS = [
    "",
    "..",
    "subscriptions",
    SUB.rpartition("/")[2],
    "resourceGroups",
    "Stock",
    "providers",
    *(one.namespace for one in PROVIDERS),
    *(word for provider in PROVIDERS for one in provider.types for word in (*one.path.split("/"), *one.actions, *one.views)),
    "default",
    "operations",
    "register",
    "a'b",
    "é%20",
    "x" * 300,
]
_BASES = ["", SUB, GROUP, vm("vm"), uai("one"), vm("absent")]
_TYPES = [one for provider in PROVIDERS for one in provider.types]
_SEGMENTS = st.sampled_from(["one", "default", "add", "management", "westeurope", "aaaaaaaa-0000-4000-8000-000000000001"])


def _typed(base: str, declared: ResourceType, names: list[str], word: str) -> str:
    """An instance, collection, action or view of a declared type, in a place where it may or may not live."""
    parts = [part for pair in zip(declared.path.split("/"), names, strict=False) for part in pair]
    return "/".join((base, "providers", declared.namespace, *parts, *([word] if word else ())))


_ENDS = ["", "", "", *(word for one in _TYPES for word in (*one.actions, *one.views, one.path.rpartition("/")[2]))]
_PATHS = st.builds(
    lambda base, parts: "/".join((base, *parts)) or "/", st.sampled_from(_BASES), st.lists(st.sampled_from(_WORDS), max_size=5)
) | st.builds(
    _typed,
    st.sampled_from(_BASES),
    st.sampled_from(_TYPES),
    st.lists(_SEGMENTS, min_size=3, max_size=3),
    st.sampled_from(_ENDS),
)
_VERSIONS = sorted({version for provider in PROVIDERS for one in provider.types for version in one.api_versions})
_FILTERS = [
    "atScope()",
    "principalId eq 'x'",
    "resourceType eq 'Microsoft.KeyVault/vaults'",
    "eventTimestamp ge 2026-01-01T00:00:00Z",
    "roleName eq 'Reader'",
    "assignedTo('x')",
    "YQ",
    "99999999999",
]
_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="&#+?%"), max_size=12)
_PARAMETERS = st.lists(
    st.tuples(
        st.sampled_from(["$filter", "$top", "$skiptoken", "$expand", "$select", "API-VERSION"]),
        _TEXT | st.sampled_from(_FILTERS),
    ),
    max_size=3,
)
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.sampled_from(["", "westeurope", "SystemAssigned", uai("one"), "x" * 3000])
)
_NAMES = st.sampled_from(
    [
        "location",
        "tags",
        "identity",
        "type",
        "userAssignedIdentities",
        uai("one"),
        "properties",
        "permissions",
        "principalId",
        "sku",
        "name",
        "roleDefinitionId",
        "accessPolicies",
        "tenantId",
        "assignableScopes",
        "roleName",
        "isolationScope",
        "osProfile",
        "actions",
    ]
)
_VALUES: st.SearchStrategy[Any] = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_NAMES, inner, max_size=4), max_leaves=12
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    method=st.sampled_from(["GET", "HEAD", "PUT", "PATCH", "DELETE", "POST"]),
    path=_PATHS,
    version=st.sampled_from(["", *_VERSIONS]),
    parameters=_PARAMETERS,
    body=st.dictionaries(_NAMES, _VALUES, max_size=5),
    by=st.sampled_from(["owner", "reader", "nobody", "stranger"]),
)
async def test_no_request_breaks_anything(
    method: str, path: str, version: str, parameters: list[tuple[str, str]], body: dict[str, object], by: str
) -> None:
    async with opening() as open_plane:
        plane = await open_plane()
        await plane.identity("one")
        await plane.machine("vm", {"type": "SystemAssigned"})
        query = "&".join(f"{name}={value}" for name, value in parameters)
        version = version or next((one.api_versions[0] for one in _TYPES if one.name.lower() in path.lower()), _VERSIONS[0])
        reply = await plane.call(method, f"{path}?{query}", body, by=by, version=version)
        assert reply.status in {200, 201, 202, 204, 400, 401, 403, 404, 405, 409, 412}
        if reply.status >= 400 and method != "HEAD":
            assert reply.code
            assert reply.message
        assert (await plane.call("GET", vm("vm"), version="2024-11-01")).status in (200, 404)
