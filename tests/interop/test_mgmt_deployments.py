"""Templates of the shape that people publish, deployed with Azure's own pipeline and poller."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.msi import ManagedServiceIdentityClient
from azure.mgmt.resource.resources import ResourceManagementClient
from tests.interop.deployment_client import DeploymentClient
from tests.interop.mgmt import GROUP, client_of, credential_of, refusal

pytestmark = pytest.mark.wide

if TYPE_CHECKING:
    from idplane.testing.local import LocalPlane

TEMPLATES = Path(__file__).parents[1] / "templates"
CASES: dict[str, dict[str, Any]] = {
    "vm-with-identity": {"adminUsername": "ann", "adminPasswordOrKey": "correct horse battery"},
    "federated-identity": {},
    "web-app-with-slots": {},
    "fleet": {},
    "symbolic-container-app": {"registry": "shopregistry"},
    "complete-mode": {"names": ["one", "two"]},
}


def body(name: str, parameters: dict[str, Any] | None = None, *, mode: str = "Incremental") -> dict[str, Any]:
    template = json.loads((TEMPLATES / f"{name}.json").read_text())
    given = {key: {"value": value} for key, value in (parameters or {}).items()}
    return {"properties": {"mode": mode, "template": template, "parameters": given}}


@pytest.fixture
def deployments(idplane: LocalPlane) -> DeploymentClient:
    group = idplane.resource_group()
    registry = f"{group}/providers/Microsoft.ContainerRegistry/registries/shopregistry"
    idplane.call("PUT", registry, {"location": "westeurope", "properties": {"loginServer": "shop.azurecr.io"}})
    return DeploymentClient(idplane, group)


@pytest.mark.parametrize("name", CASES)
def test_a_template_s_whole_life(idplane: LocalPlane, deployments: DeploymentClient, name: str) -> None:
    """Validated, foreseen, deployed, deployed again to no effect, and gone without a trace."""
    asked = body(name, CASES[name])
    assert deployments.begin_validate(name, asked).result()["properties"]["provisioningState"] == "Succeeded"
    foreseen = deployments.begin_what_if(name, asked).result()["properties"]["changes"]
    made = deployments.begin_create_or_update(name, asked).result()
    assert made["properties"]["provisioningState"] == "Succeeded", made["properties"].get("error")
    created = {one["resourceId"] for one in foreseen if one["changeType"] == "Create"}
    assert created == {one["id"] for one in made["properties"]["outputResources"]}
    assert {one["changeType"] for one in foreseen} <= {"Create", "Ignore"}

    again = deployments.begin_what_if(name, asked).result()["properties"]["changes"]
    assert {one["changeType"] for one in again} <= {"NoChange", "Ignore"}, again
    assert {change["propertyChangeType"] for one in again for change in one.get("delta", [])} <= {"NoEffect"}
    repeated = deployments.begin_create_or_update(name, asked).result()
    assert repeated["properties"]["outputs"] == made["properties"]["outputs"]

    assert deployments.export_template(name)["template"] == asked["properties"]["template"]
    client_of(ResourceManagementClient, idplane).resource_groups.begin_delete(GROUP).result()
    left = client_of(AuthorizationManagementClient, idplane).role_assignments.list_for_subscription()
    assert [one for one in left if GROUP in (one.scope or "")] == []


def test_the_machine_s_identity_may_do_what_the_template_says(idplane: LocalPlane, deployments: DeploymentClient) -> None:
    made = deployments.begin_create_or_update("vm", body("vm-with-identity", CASES["vm-with-identity"])).result()["properties"]
    machine = client_of(ComputeManagementClient, idplane).virtual_machines.get(GROUP, "stock-vm")
    assert machine.identity is not None
    assert machine.identity.principal_id == made["outputs"]["principalId"]["value"]
    assert [disk.lun for disk in machine.storage_profile.data_disks or ()] == [0, 1]
    assert made["outputs"]["host"]["value"].startswith("stock-vm-")
    assert made["parameters"]["adminPasswordOrKey"] == {"type": "SecureString"}
    reader = idplane.virtual_machine("reader")
    assert reader.identity is not None
    identity = client_of(ManagedServiceIdentityClient, idplane).user_assigned_identities.get(GROUP, "stock-vm-id")
    assert identity.client_id == made["outputs"]["clientId"]["value"]


def test_federated_credentials_and_slots_come_out_as_stated(idplane: LocalPlane, deployments: DeploymentClient) -> None:
    deployments.begin_create_or_update("fic", body("federated-identity")).result()
    client = client_of(ManagedServiceIdentityClient, idplane)
    found = {one.name: one.subject for one in client.federated_identity_credentials.list(GROUP, "deployer")}
    assert found == {"shop-api": "repo:shop/api:ref:refs/heads/main", "shop-web": "repo:shop/web:ref:refs/heads/release"}
    assert client.user_assigned_identities.get(GROUP, "deployer").tags == {"purpose": "[not an expression]"}
    made = deployments.begin_create_or_update("web", body("web-app-with-slots")).result()["properties"]
    principals = made["outputs"]["slotPrincipals"]["value"]
    assert len(set(principals)) == 2
    vault = next(one["id"] for one in made["outputResources"] if "/vaults/" in one["id"] and "roleAssignments" not in one["id"])
    grants = client_of(AuthorizationManagementClient, idplane).role_assignments.list_for_scope(vault)
    assert set(principals) < {one.principal_id for one in grants}


def test_two_groups_from_the_subscription(idplane: LocalPlane) -> None:
    subscription = f"/subscriptions/{idplane.subscription_id}"
    client = DeploymentClient(idplane, subscription)
    asked = {**body("two-groups"), "location": "westeurope"}
    foreseen = client.begin_what_if("two", asked).result()["properties"]["changes"]
    kinds = {one["resourceId"]: one["changeType"] for one in foreseen}
    (unknown,) = [one for one in kinds if one.endswith("/roleAssignments/[unknown]")]
    assert kinds.pop(unknown) == "Unsupported"
    assert set(kinds.values()) == {"Create"}
    made = client.begin_create_or_update("two", asked).result()["properties"]
    assert made["provisioningState"] == "Succeeded", made.get("error")
    assert set(kinds) == {one["id"] for one in made["outputResources"] if "roleAssignments" not in one["id"]}
    grants = client_of(AuthorizationManagementClient, idplane).role_assignments.list_for_subscription()
    scopes = {one.scope for one in grants if one.principal_id == made["outputs"]["reader"]["value"]}
    assert [scope.rpartition("/")[2] for scope in scopes if scope] == [made["outputs"]["account"]["value"]]
    assert {one["changeType"] for one in client.begin_what_if("two", asked).result()["properties"]["changes"]} == {"NoChange"}
    nested = DeploymentClient(idplane, f"{subscription}/resourceGroups/data")
    assert [one["name"] for one in nested.all()] == ["storage"]


def test_complete_mode_is_foreseen_and_done(idplane: LocalPlane, deployments: DeploymentClient) -> None:
    for name in ("old", "two"):
        idplane.user_assigned_identity(name)
    asked = body("complete-mode", {"names": ["one", "two"]}, mode="Complete")
    foreseen = deployments.begin_what_if("all", asked).result()["properties"]["changes"]
    assert {one["resourceId"].rpartition("/")[2]: one["changeType"] for one in foreseen} == {
        "one": "Create",
        "two": "NoChange",
        "old": "Delete",
        "shopregistry": "Delete",
    }
    deployments.begin_create_or_update("all", asked).result()
    identities = client_of(ManagedServiceIdentityClient, idplane).user_assigned_identities
    assert {one.name for one in identities.list_by_resource_group(GROUP)} == {"one", "two"}


def test_what_if_tells_each_property(idplane: LocalPlane, deployments: DeploymentClient) -> None:
    deployments.begin_create_or_update("fleet", body("fleet", {"count": 1})).result()
    changed = body("fleet", {"count": 1})
    machine = changed["properties"]["template"]["resources"][1]
    machine["properties"] = {"hardwareProfile": {"vmSize": "Standard_B2s"}, "osProfile": {"adminPassword": "hunter2"}}
    machine["tags"] = {"owner": "ann"}
    changes = deployments.begin_what_if("fleet", changed).result()["properties"]["changes"]
    (found,) = [one for one in changes if "virtualMachines" in one["resourceId"]]
    assert found["changeType"] == "Modify"
    delta = {one["path"]: (one["propertyChangeType"], one.get("before"), one.get("after")) for one in found["delta"]}
    assert delta == {
        "tags.number": ("Delete", "1", None),
        "tags.owner": ("Create", None, "ann"),
        "properties.hardwareProfile.vmSize": ("Modify", "Standard_B1s", "Standard_B2s"),
        "properties.osProfile": ("Create", None, {}),
        "properties.osProfile.adminPassword": ("NoEffect", None, None),
    }
    assert "hunter2" not in json.dumps(changes)
    ids = deployments.begin_what_if(
        "fleet", {"properties": {**changed["properties"], "whatIfSettings": {"resultFormat": "ResourceIdOnly"}}}
    )
    assert all(set(one) == {"resourceId", "changeType"} for one in ids.result()["properties"]["changes"])


def test_a_failure_reaches_the_client_in_words(idplane: LocalPlane, deployments: DeploymentClient) -> None:
    asked = body("complete-mode", {"names": ["good", "ba!d"]})
    with pytest.raises(HttpResponseError) as failed:
        deployments.begin_create_or_update("half", asked).result()
    assert failed.value.error is not None
    assert failed.value.error.code == "DeploymentFailed"
    (detail,) = failed.value.error.details
    assert (detail.code, str(detail.target).rpartition("/")[2]) == ("InvalidResourceName", "ba!d")
    assert "one resource deployment operation failed" in failed.value.message
    assert {one["properties"]["provisioningState"] for one in deployments.operations("half")} == {"Succeeded", "Failed"}
    with pytest.raises(HttpResponseError) as invalid:
        deployments.begin_create_or_update("none", body("complete-mode"))
    assert refusal(invalid) == (400, "InvalidTemplate")
    assert "'names' at line '1' and column" in invalid.value.message
    assert deployments.check_existence("none") is False


def test_lists_in_pages_and_the_end(idplane: LocalPlane, deployments: DeploymentClient) -> None:
    for number in range(5):
        deployments.begin_create_or_update(f"d{number}", body("complete-mode", {"names": ["aaa", "bbb", "ccc"]})).result()
    assert [one["name"] for one in deployments.all(**{"$top": 2})] == [f"d{number}" for number in range(5)]
    assert len(deployments.operations("d0", **{"$top": 1})) == 3
    deployments.begin_delete("d0").result()
    with pytest.raises(HttpResponseError) as gone:
        deployments.get("d0")
    assert refusal(gone) == (404, "DeploymentNotFound")
    with pytest.raises(HttpResponseError) as ended:
        deployments.cancel("d1")
    assert refusal(ended) == (409, "DeploymentCannotBeCancelled")


def test_code_deploys_with_the_rights_of_its_identity_and_no_more(idplane: LocalPlane, deployments: DeploymentClient) -> None:
    machine = idplane.virtual_machine("builder", group="builders")
    assert machine.identity is not None
    idplane.grant(machine.identity, "Contributor", idplane.resource_group())
    own = DeploymentClient(idplane, idplane.resource_group(), credential_of(idplane, machine))
    assert (
        own.begin_create_or_update("ok", body("complete-mode", {"names": ["mine"]})).result()["properties"]["provisioningState"]
        == "Succeeded"
    )
    with pytest.raises(HttpResponseError) as wider:
        own.begin_create_or_update("wider", body("federated-identity"))
    assert refusal(wider) == (403, "InvalidTemplateDeployment")
    assert machine.identity.principal_id in wider.value.message
    with pytest.raises(HttpResponseError) as elsewhere:
        DeploymentClient(
            idplane, f"/subscriptions/{idplane.subscription_id}", credential_of(idplane, machine)
        ).begin_create_or_update("x", {**body("two-groups"), "location": "westeurope"})
    assert refusal(elsewhere) == (403, "AuthorizationFailed")
