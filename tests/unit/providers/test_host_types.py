"""Every type that bears identities, one after another through the whole surface: given, patched, taken away, made anew, deleted."""

from typing import Any

import pytest
from tests.unit.providers.surface_plane import GROUP, MSI, ROLES, SUB, OpenPlane, Plane, uai

from idplane.arm.declare import ResourceType
from idplane.model.ids import ResourceId
from idplane.ports.collections import IDENTITY_ASSIGNMENTS, PRINCIPALS, RESOURCES, ROLE_ASSIGNMENTS
from idplane.providers import PROVIDERS

_HOSTS = {one.name: one for provider in PROVIDERS for one in provider.types if one.bears_identity}
_ALL = sorted(_HOSTS)
_SYSTEM_ONLY = {
    "Microsoft.HybridCompute/machines",
    "Microsoft.Kubernetes/connectedClusters",
    "Microsoft.HealthcareApis/services",
}
_USER_ONLY = {"Microsoft.DBforMySQL/flexibleServers", "Microsoft.Resources/deploymentScripts"}
_EITHER = {
    "Microsoft.Batch/batchAccounts",
    "Microsoft.ContainerService/managedClusters",
    "Microsoft.Logic/workflows",
    "Microsoft.SignalRService/signalR",
    "Microsoft.SignalRService/webPubSub",
}
_NEVER_USER_ALONE = {"Microsoft.Purview/accounts", "Microsoft.Synapse/workspaces"}
_TAKING_SYSTEM = [name for name in _ALL if name not in _USER_ONLY]
_TAKING_USER = [name for name in _ALL if name not in _SYSTEM_ONLY | _NEVER_USER_ALONE]
_TAKING_BOTH = [name for name in _ALL if name not in _SYSTEM_ONLY | _USER_ONLY | _EITHER]
_SYSTEM = {"type": "SystemAssigned"}
_CREATED = {201} | {200}


def _user(*names: str, kind: str = "UserAssigned") -> dict[str, Any]:
    return {"type": kind, "userAssignedIdentities": {uai(name): {} for name in names}}


def _version(declared: ResourceType) -> str:
    return declared.api_versions[0]


def _url(declared: ResourceType, name: str = "thing1") -> str:
    words = declared.path.split("/")
    parents = "".join(f"/{word}/parent1" for word in words[:-1])
    return f"{GROUP}/providers/{declared.namespace}{parents}/{words[-1]}/{name}"


async def _with_parents(plane: Plane, declared: ResourceType) -> None:
    words = declared.name.split("/")
    for depth in range(2, len(words)):
        parent = _HOSTS["/".join(words[:depth])]
        made = await plane.call("PUT", _url(parent, "parent1"), {"location": "westeurope"}, version=_version(parent))
        assert made.status in _CREATED, made.body


async def _made(plane: Plane, declared: ResourceType, identity: object = None) -> Any:
    await _with_parents(plane, declared)
    return await _put(plane, declared, identity)


async def _put(plane: Plane, declared: ResourceType, identity: object = None) -> Any:
    body: dict[str, Any] = {"location": "westeurope", "tags": {"a": "b"}, "properties": {"custom": {"kept": True}}}
    if identity is not None:
        body["identity"] = identity
    reply = await plane.call("PUT", _url(declared), body, version=_version(declared))
    assert reply.status in _CREATED, reply.body
    return reply.body


async def _patched(plane: Plane, declared: ResourceType, identity: object) -> Any:
    return await plane.call("PATCH", _url(declared), {"identity": identity}, version=_version(declared))


async def _rows(plane: Plane, declared: ResourceType) -> set[str]:
    rows = await plane.store.all(IDENTITY_ASSIGNMENTS, where={"host_key": ResourceId.parse(_url(declared)).key})
    return {row.value.principal_id for row in rows}


async def _grant(plane: Plane, number: int, principal: str, scope: str) -> None:
    role = f"{SUB}/providers/Microsoft.Authorization/roleDefinitions/{ROLES['Reader']}"
    body = {"properties": {"roleDefinitionId": role, "principalId": principal, "principalType": "ServicePrincipal"}}
    url = f"{scope}/providers/Microsoft.Authorization/roleAssignments/aaaaaaaa-0000-4000-8000-{number:012x}"
    assert (await plane.call("PUT", url, body, version="2022-04-01")).status == 201


def test_the_hosts_that_dialects_speak_for_are_all_there() -> None:
    assert set(_ALL) >= {
        "Microsoft.Compute/virtualMachines",
        "Microsoft.Compute/virtualMachineScaleSets",
        "Microsoft.Web/serverfarms",
        "Microsoft.Web/sites",
        "Microsoft.Web/sites/slots",
        "Microsoft.Logic/workflows",
        "Microsoft.App/containerApps",
        "Microsoft.App/managedEnvironments",
        "Microsoft.ContainerInstance/containerGroups",
        "Microsoft.ContainerService/managedClusters",
        "Microsoft.ServiceFabric/clusters",
        "Microsoft.ServiceFabric/clusters/applications",
        "Microsoft.ServiceFabric/managedClusters",
        "Microsoft.ServiceFabric/managedClusters/applications",
        "Microsoft.HybridCompute/machines",
        "Microsoft.MachineLearningServices/workspaces",
        "Microsoft.MachineLearningServices/workspaces/computes",
    }
    assert set(_ALL) >= _SYSTEM_ONLY | _USER_ONLY | _EITHER | _NEVER_USER_ALONE


@pytest.mark.parametrize("name", _TAKING_SYSTEM)
async def test_a_system_assigned_identity_s_life(open_plane: OpenPlane, name: str) -> None:
    plane, declared = await open_plane(), _HOSTS[name]
    made = await _made(plane, declared, _SYSTEM)
    assert (made["id"], made["type"], made["location"], made["tags"]) == (_url(declared), name, "westeurope", {"a": "b"})
    assert made["properties"]["custom"] == {"kept": True}
    assert set(made["systemData"]) >= {"createdBy", "lastModifiedAt"}
    first = made["identity"]["principalId"]
    assert made["identity"] == {"type": "SystemAssigned", "principalId": first, "tenantId": made["identity"]["tenantId"]}
    principal = await plane.store.get(PRINCIPALS, first)
    assert principal is not None
    slot = name == "Microsoft.Web/sites/slots"
    assert principal.value.display_name == ("parent1/slots/thing1" if slot else "thing1")
    assert principal.value.alternative_names == ("isExplicit=False", _url(declared))
    default = f"{_url(declared)}/providers/Microsoft.ManagedIdentity/identities/default"
    assert (await plane.get(default, version=MSI))["properties"]["principalId"] == first
    # Repeated, it is the same one; taken off, it is gone with what hung on it; given again, it is another.
    assert (await _put(plane, declared, _SYSTEM))["identity"]["principalId"] == first
    assert (await _put(plane, declared))["identity"]["principalId"] == first
    await _grant(plane, 1, first, SUB)
    off = await _patched(plane, declared, {"type": "None"})
    assert (off.status, "identity" in off.body) == (declared.updated_status, False)
    assert await plane.store.get(PRINCIPALS, first) is None
    assert await plane.store.all(ROLE_ASSIGNMENTS, where={"principal_id": first}) == ()
    assert await _rows(plane, declared) == set()
    again = (await _patched(plane, declared, _SYSTEM)).body["identity"]["principalId"]
    assert again not in {None, first}
    # Deletion takes the principal, what it was granted, and what was granted on the resource.
    await _grant(plane, 2, again, SUB)
    await _grant(plane, 3, plane.people["nobody"], _url(declared))
    deleted = await plane.call("DELETE", _url(declared), version=_version(declared))
    assert (deleted.status, deleted.body) == (declared.deleted_status, None)
    assert await plane.store.get(PRINCIPALS, again) is None
    for gone in (again, plane.people["nobody"]):
        assert await plane.store.all(ROLE_ASSIGNMENTS, where={"principal_id": gone}) == ()
    assert (await plane.call("GET", _url(declared), version=_version(declared))).status == 404
    assert (await plane.call("DELETE", _url(declared), version=_version(declared))).status == 204


@pytest.mark.parametrize("name", _TAKING_USER)
async def test_user_assigned_identities_come_and_go(open_plane: OpenPlane, name: str) -> None:
    plane, declared = await open_plane(), _HOSTS[name]
    one = (await plane.identity("one"))["properties"]["principalId"]
    two = (await plane.identity("two"))["properties"]["principalId"]
    made = await _made(plane, declared, _user("one"))
    assert made["identity"]["type"] == "UserAssigned"
    assert made["identity"]["userAssignedIdentities"][uai("one")]["principalId"] == one
    assert await _rows(plane, declared) == {one}
    # PUT states the whole: what is left out is gone, and lower-cased ids are the same ids.
    put = await _put(plane, declared, {"type": "UserAssigned", "userAssignedIdentities": {uai("two").lower(): {}}})
    assert len(put["identity"]["userAssignedIdentities"]) == 1
    assert await _rows(plane, declared) == {two}
    # PATCH removes by null.
    swap = {"type": "UserAssigned", "userAssignedIdentities": {uai("one"): {}, uai("two"): None}}
    assert list((await _patched(plane, declared, swap)).body["identity"]["userAssignedIdentities"]) == [uai("one")]
    assert await _rows(plane, declared) == {one}
    await plane.call("DELETE", _url(declared), version=_version(declared))
    assert await _rows(plane, declared) == set()
    assert await plane.store.get(PRINCIPALS, one) is not None


@pytest.mark.parametrize("name", _TAKING_BOTH)
async def test_both_kinds_at_once(open_plane: OpenPlane, name: str) -> None:
    plane, declared = await open_plane(), _HOSTS[name]
    one = (await plane.identity("one"))["properties"]["principalId"]
    made = (await _made(plane, declared, _user("one", kind="SystemAssigned,UserAssigned")))["identity"]
    assert made["type"] == "SystemAssigned, UserAssigned"
    assert await _rows(plane, declared) == {made["principalId"], one}
    system = (await _patched(plane, declared, _SYSTEM)).body["identity"]
    assert system == {"type": "SystemAssigned", "principalId": made["principalId"], "tenantId": made["tenantId"]}
    assert await _rows(plane, declared) == {made["principalId"]}


def _unwelcome() -> list[tuple[str, dict[str, Any]]]:
    both = _user("one", kind="SystemAssigned, UserAssigned")
    return [
        *((name, block) for name in sorted(_SYSTEM_ONLY) for block in (_user("one"), both)),
        *((name, block) for name in sorted(_USER_ONLY) for block in (_SYSTEM, both)),
        *((name, both) for name in sorted(_EITHER)),
        *((name, _user("one")) for name in sorted(_NEVER_USER_ALONE)),
        ("Microsoft.ContainerService/managedClusters", _user("one", "two")),
    ]


@pytest.mark.parametrize(("name", "identity"), _unwelcome())
async def test_identity_types_that_a_type_does_not_take(open_plane: OpenPlane, name: str, identity: dict[str, Any]) -> None:
    plane, declared = await open_plane(), _HOSTS[name]
    await plane.identity("one")
    await plane.identity("two")
    await _with_parents(plane, declared)
    before = len(await plane.store.all(PRINCIPALS))
    body = {"location": "westeurope", "identity": identity}
    refused = await plane.call("PUT", _url(declared), body, version=_version(declared))
    assert (refused.status, refused.code) == (400, "FailedIdentityOperation")
    assert f"Identity operation for resource '{_url(declared)}' failed" in refused.message
    assert len(await plane.store.all(PRINCIPALS)) == before
    assert await plane.store.get(RESOURCES, ResourceId.parse(_url(declared)).key) is None


@pytest.mark.parametrize("name", _ALL)
async def test_refused_blocks_are_refused_in_the_type_s_words(open_plane: OpenPlane, name: str) -> None:
    plane, declared = await open_plane(), _HOSTS[name]
    await _made(plane, declared)
    code = "InvalidParameter" if declared.namespace == "Microsoft.Compute" else "FailedIdentityOperation"
    for block in (
        {"type": "Robot"},
        {"type": "UserAssigned"},
        {"type": "UserAssigned", "userAssignedIdentities": {"junk": {}}},
        {"type": "SystemAssigned", "userAssignedIdentities": {uai("one"): {}}},
        "SystemAssigned",
    ):
        refused = await _patched(plane, declared, block)
        assert (refused.status, refused.code) == (400, code), block
    shown = await plane.get(_url(declared), version=_version(declared))
    assert "identity" not in shown


@pytest.mark.parametrize("name", _TAKING_USER)
async def test_assigning_takes_the_right_on_the_identity(open_plane: OpenPlane, name: str) -> None:
    plane, declared = await open_plane(), _HOSTS[name]
    await plane.identity("one")
    await _made(plane, declared)
    await plane.person("writer", ("Contributor", _url(declared)))
    for identity in (_user("one"), _user("ghost")):
        refused = await plane.call("PATCH", _url(declared), {"identity": identity}, by="writer", version=_version(declared))
        assert (refused.status, refused.code) == (403, "LinkedAuthorizationFailed")
        assert f"'{name}/write'" in refused.message


@pytest.mark.parametrize("name", _ALL)
async def test_lists_versions_and_strangers(open_plane: OpenPlane, name: str) -> None:
    plane, declared = await open_plane(), _HOSTS[name]
    await _made(plane, declared)
    collection = _url(declared).rpartition("/")[0]
    listed = await plane.get(collection, version=_version(declared))
    assert [one["id"] for one in listed["value"]] == [_url(declared)]
    if declared.path.count("/") == 0:
        everywhere = await plane.get(f"{SUB}/providers/{name}", version=_version(declared))
        assert [one["id"] for one in everywhere["value"]] == [_url(declared)]
    for version in declared.api_versions:
        assert (await plane.call("GET", _url(declared), version=version)).status == 200
    unknown = await plane.call("GET", _url(declared), version="1999-01-01")
    own = declared.namespace == "Microsoft.Resources"
    assert (unknown.status, unknown.code) == (400, "InvalidApiVersionParameter" if own else "NoRegisteredProviderFound")
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        refused = await plane.call(method, _url(declared), {"location": "westeurope"}, by="nobody", version=_version(declared))
        assert (refused.status, refused.code) == (403, "AuthorizationFailed")
    wrong = await plane.call("PUT", _url(declared), {"location": "eastus"}, version=_version(declared))
    assert (wrong.status, wrong.code) == (409, "InvalidResourceLocation")


@pytest.mark.parametrize("name", [name for name in _ALL if name.count("/") > 1])
async def test_children_need_their_parents_and_go_with_them(open_plane: OpenPlane, name: str) -> None:
    plane, declared = await open_plane(), _HOSTS[name]
    orphan = await plane.call("PUT", _url(declared), {"location": "westeurope"}, version=_version(declared))
    assert (orphan.status, orphan.code) == (404, "ParentResourceNotFound")
    system = (await _made(plane, declared, _SYSTEM))["identity"]["principalId"]
    await _grant(plane, 1, system, SUB)
    parent = _HOSTS[name.rpartition("/")[0]]
    await plane.call("DELETE", _url(parent, "parent1"), version=_version(parent))
    assert await plane.store.get(PRINCIPALS, system) is None
    assert await plane.store.all(ROLE_ASSIGNMENTS, where={"principal_id": system}) == ()
    assert await _rows(plane, declared) == set()


async def test_success_codes_are_those_that_clients_take(open_plane: OpenPlane) -> None:
    """control-plane.md section 6: a PUT of Microsoft.Web is never 201."""
    plane = await open_plane()
    for name, created, updated, deleted in (
        ("Microsoft.Web/serverfarms", 200, 200, 200),
        ("Microsoft.Web/sites", 200, 200, 200),
        ("Microsoft.Web/sites/slots", 200, 200, 200),
        ("Microsoft.Compute/virtualMachineScaleSets", 201, 200, 200),
        ("Microsoft.App/containerApps", 201, 200, 200),
        ("Microsoft.ContainerService/managedClusters", 201, 200, 204),
        ("Microsoft.EventGrid/topics", 201, 201, 204),
        ("Microsoft.DocumentDB/databaseAccounts", 200, 200, 204),
        ("Microsoft.Storage/storageAccounts", 200, 200, 200),
    ):
        declared = _HOSTS[name]
        await _with_parents(plane, declared)
        first = await plane.call("PUT", _url(declared), {"location": "westeurope"}, version=_version(declared))
        second = await plane.call("PUT", _url(declared), {"location": "westeurope"}, version=_version(declared))
        gone = await plane.call("DELETE", _url(declared), version=_version(declared))
        assert (first.status, second.status, gone.status) == (created, updated, deleted), name


async def test_every_namespace_tells_of_its_types_and_operations(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    for provider in PROVIDERS:
        shown = await plane.get(f"{SUB}/providers/{provider.namespace}")
        told = {one["resourceType"]: one["apiVersions"] for one in shown["resourceTypes"]}
        for one in provider.types:
            if one.bears_identity:
                assert told[one.path] == list(one.api_versions)
        if provider.operations_versions:
            url = f"/providers/{provider.namespace}/operations"
            listed = await plane.get(url, version=provider.operations_versions[0])
            names = {one["name"] for one in listed["value"]}
            assert {f"{one.name}/write" for one in provider.types if one.bears_identity} <= names


async def test_secret_members_are_not_kept(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    secret = "hunter2-secret"
    bodies: dict[str, dict[str, Any]] = {
        "Microsoft.Web/sites": {"siteConfig": {"appSettings": [{"name": "a", "value": secret}], "alwaysOn": True}},
        "Microsoft.App/containerApps": {"configuration": {"secrets": [{"name": "n", "value": secret, "keyVaultUrl": "u"}]}},
        "Microsoft.ContainerInstance/containerGroups": {
            "containers": [{"name": "c", "properties": {"environmentVariables": [{"name": "e", "secureValue": secret}]}}],
            "volumes": [{"name": "v", "secret": {"file": secret}}],
        },
        "Microsoft.Sql/servers": {"administratorLogin": "a", "administratorLoginPassword": secret},
        "Microsoft.ContainerService/managedClusters": {"servicePrincipalProfile": {"clientId": "c", "SECRET": secret}},
        "Microsoft.Compute/virtualMachineScaleSets": {"virtualMachineProfile": {"osProfile": {"adminPassword": secret}}},
    }
    for name, properties in bodies.items():
        declared = _HOSTS[name]
        for method in ("PUT", "PATCH"):
            body = {"location": "westeurope", "properties": properties}
            reply = await plane.call(method, _url(declared), body, version=_version(declared))
            assert reply.status in _CREATED
            assert secret not in str(reply.body)
    stored = await plane.store.all(RESOURCES)
    assert secret not in str([one.value.properties for one in stored])
    app = await plane.get(_url(_HOSTS["Microsoft.App/containerApps"]), version="2025-01-01")
    assert app["properties"]["configuration"]["secrets"] == [{"name": "n", "keyVaultUrl": "u"}]
    site = await plane.get(_url(_HOSTS["Microsoft.Web/sites"]), version="2024-11-01")
    assert site["properties"]["siteConfig"] == {"alwaysOn": True}
