"""Host types by Azure's own clients: scale sets by azure-mgmt-compute, all others by the generic client of azure-mgmt-resource.

The bodies for Microsoft.Web are those that the CLI sends (control-plane.md section 5.4). What runs on each gets its tokens.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import pytest
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.identity import ManagedIdentityCredential
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.compute.models import (
    Sku,
    UserAssignedIdentitiesValue,
    VirtualMachineScaleSet,
    VirtualMachineScaleSetIdentity,
    VirtualMachineScaleSetUpdate,
    VirtualMachineScaleSetVMInstanceRequiredIDs,
)
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.mgmt.resource.resources.models import GenericResource
from tests.interop.mgmt import GROUP, client_of, refusal

from idplane.agent.host import Dialect
from idplane.jose import parse

if TYPE_CHECKING:
    from idplane.testing.local import HostResource, LocalPlane

WEB = "2025-05-01"
RESOURCE = "https://management.azure.com"


@pytest.fixture
def generic(idplane: LocalPlane) -> ResourceManagementClient:
    idplane.resource_group()
    return client_of(ResourceManagementClient, idplane)


@pytest.fixture
def compute(idplane: LocalPlane) -> ComputeManagementClient:
    idplane.resource_group()
    return client_of(ComputeManagementClient, idplane)


def claims(
    plane: LocalPlane, host: HostResource | str, dialect: Dialect = Dialect.APP_SERVICE, client_id: str | None = None
) -> Any:
    """What is in the token that azure-identity gets when it runs as a resource."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in plane.environment(host, dialect=dialect).items():
            patch.setenv(name, value)
        return parse(ManagedIdentityCredential(client_id=client_id).get_token(f"{RESOURCE}/.default").token).claims


def lower_group(identifier: str) -> str:
    return identifier.replace("/resourceGroups/", "/resourcegroups/")


def scale_set(kind: str, *ids: str, capacity: int = 2) -> VirtualMachineScaleSet:
    identities = {one: UserAssignedIdentitiesValue() for one in ids} or None
    block = VirtualMachineScaleSetIdentity(type=kind, user_assigned_identities=identities)
    return VirtualMachineScaleSet(location="westeurope", sku=Sku(name="Standard_B1s", capacity=capacity), identity=block)


def test_a_scale_set_s_life(idplane: LocalPlane, compute: ComputeManagementClient) -> None:
    one = idplane.user_assigned_identity("one")
    sets, instances = compute.virtual_machine_scale_sets, compute.virtual_machine_scale_set_vms
    made: Any = sets.begin_create_or_update(GROUP, "front", scale_set("SystemAssigned")).result()
    assert (made.sku.capacity, made.identity.type, made.provisioning_state) == (2, "SystemAssigned", "Succeeded")
    # `az vmss identity assign` patches, then looks at the upgrade mode.
    assert made.upgrade_policy.mode == "Manual"
    change = VirtualMachineScaleSetUpdate(identity=scale_set("SystemAssigned,UserAssigned", one.id).identity)
    both: Any = sets.begin_update(GROUP, "front", change).result()
    assert (both.identity.type, list(both.identity.user_assigned_identities)) == ("SystemAssigned, UserAssigned", [one.id])
    assert both.identity.principal_id == made.identity.principal_id
    listed: list[Any] = list(instances.list(GROUP, "front"))
    assert [(it.instance_id, it.name, it.identity.principal_id) for it in listed] == [
        (number, f"front_{number}", made.identity.principal_id) for number in ("0", "1")
    ]
    instances.begin_power_off(GROUP, "front", "0").result()
    assert (instances.get_instance_view(GROUP, "front", "0").statuses or [])[1].code == "PowerState/stopped"
    instances.begin_delete(GROUP, "front", "0").result()
    sets.begin_delete_instances(GROUP, "front", VirtualMachineScaleSetVMInstanceRequiredIDs(instance_ids=["1"])).result()
    assert list(instances.list(GROUP, "front")) == []
    with pytest.raises(ResourceNotFoundError):
        instances.get(GROUP, "front", "1")
    assert [it.name for it in sets.list(GROUP)] == [it.name for it in sets.list_all()] == ["front"]
    sets.begin_delete(GROUP, "front").result()
    with pytest.raises(ResourceNotFoundError):
        sets.get(GROUP, "front")


def test_an_instance_has_its_set_s_identities_for_as_long_as_it_is_there(
    idplane: LocalPlane, compute: ComputeManagementClient
) -> None:
    one = idplane.user_assigned_identity("one")
    front = idplane.resource(
        "Microsoft.Compute/virtualMachineScaleSets", "front", identities=[one], sku={"name": "Standard_B1s", "capacity": 2}
    )
    assert front.identity is not None
    for number in ("0", "1"):
        own = claims(idplane, f"{front.id}/virtualMachines/{number}", Dialect.IMDS)
        assert (own["oid"], own["xms_mirid"]) == (front.identity.principal_id, lower_group(front.id))
        shared = claims(idplane, f"{front.id}/virtualMachines/{number}", Dialect.IMDS, one.client_id)
        assert (shared["oid"], shared["xms_az_rid"]) == (one.principal_id, lower_group(front.id))
    compute.virtual_machine_scale_set_vms.begin_delete(GROUP, "front", "1").result()
    assert claims(idplane, f"{front.id}/virtualMachines/0", Dialect.IMDS)["oid"] == front.identity.principal_id
    for stranger in ("1", "7"):
        with pytest.raises(ClientAuthenticationError):
            claims(idplane, f"{front.id}/virtualMachines/{stranger}", Dialect.IMDS)
    change = VirtualMachineScaleSetUpdate(identity=VirtualMachineScaleSetIdentity(type="None"))
    compute.virtual_machine_scale_sets.begin_update(GROUP, "front", change).result()
    with pytest.raises(ClientAuthenticationError):
        claims(idplane, f"{front.id}/virtualMachines/0", Dialect.IMDS)


def test_the_metadata_of_an_instance_names_its_set(idplane: LocalPlane) -> None:
    front = idplane.resource("Microsoft.Compute/virtualMachineScaleSets", "front", sku={"name": "Standard_B1s", "capacity": 1})
    address = idplane.environment(f"{front.id}/virtualMachines/0", dialect=Dialect.IMDS)["AZURE_POD_IDENTITY_AUTHORITY_HOST"]
    request = Request(f"{address}/metadata/instance?api-version=2021-02-01", headers={"Metadata": "true"})
    with urlopen(request, timeout=10) as answer:
        shown = json.load(answer)["compute"]
    assert (shown["vmScaleSetName"], shown["name"], shown["vmSize"]) == ("front", "front_0", "Standard_B1s")
    assert shown["resourceId"] == f"{front.id}/virtualMachines/0"


def test_the_cli_s_way_with_sites_and_slots(idplane: LocalPlane, generic: ResourceManagementClient) -> None:
    one, two = idplane.user_assigned_identity("One"), idplane.user_assigned_identity("Two")
    site = f"{idplane.resource_group()}/providers/Microsoft.Web/sites/shop"
    for url, name in ((site, "shop"), (f"{site}/slots/staging", "shop/slots/staging")):
        idplane.call("PUT", url, {"location": "westeurope", "kind": "functionapp,linux"}, api_version=WEB)
        whole = idplane.call("GET", url, api_version=WEB).body
        ids: dict[str, Any] = {one.id.lower(): {}, two.id.lower(): {}}
        block = {"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": ids}
        put = idplane.call("PUT", url, {**whole, "identity": block}, api_version=WEB)
        assert put.status == 200
        made: Any = generic.resources.get_by_id(url, api_version=WEB)
        assert (made.kind, made.identity.type) == ("functionapp,linux", "SystemAssigned, UserAssigned")
        kept = {**put.body["identity"], "userAssignedIdentities": {two.id.lower(): {}}}
        less: Any = generic.resources.begin_create_or_update_by_id(
            url, GenericResource({**put.body, "identity": kept}), api_version=WEB
        ).result()
        assert [key.lower() for key in less.identity.user_assigned_identities] == [two.id.lower()]
        assert less.identity.principal_id == made.identity.principal_id
        token = claims(idplane, url)
        assert (token["oid"], token["xms_mirid"]) == (made.identity.principal_id, lower_group(url))
        assert idplane.sign_ins()[-1].principal_name == name
    generic.resources.begin_delete_by_id(site, api_version=WEB).result()
    with pytest.raises(ClientAuthenticationError):
        claims(idplane, f"{site}/slots/staging")


def test_a_refused_identity_is_told_in_azure_s_words(idplane: LocalPlane, generic: ResourceManagementClient) -> None:
    machine = f"{idplane.resource_group()}/providers/Microsoft.HybridCompute/machines/arc"
    one = idplane.user_assigned_identity("one")
    body = {"location": "westeurope", "identity": {"type": "UserAssigned", "userAssignedIdentities": {one.id: {}}}}
    with pytest.raises(HttpResponseError) as refused:
        generic.resources.begin_create_or_update_by_id(machine, GenericResource(body), api_version="2025-01-13").result()
    assert refusal(refused) == (400, "FailedIdentityOperation")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("Microsoft.Web/sites", "shop"),
        ("Microsoft.App/containerApps", "shop"),
        ("Microsoft.ContainerInstance/containerGroups", "shop"),
        ("Microsoft.ContainerService/managedClusters", "shop"),
        ("Microsoft.ServiceFabric/clusters", "shop"),
        ("Microsoft.HybridCompute/machines", "shop"),
        ("Microsoft.Logic/workflows", "shop"),
        ("Microsoft.MachineLearningServices/workspaces", "shop"),
        ("Microsoft.DataFactory/factories", "shop"),
    ],
)
def test_what_runs_on_any_host_is_that_host(
    idplane: LocalPlane, generic: ResourceManagementClient, kind: str, name: str
) -> None:
    host = idplane.resource(kind, name)
    assert host.identity is not None
    idplane.grant(host.identity, "Reader", idplane.resource_group())
    listed: list[Any] = list(generic.resources.list(filter=f"resourceType eq '{kind}'"))
    assert [(one.id, one.identity.principal_id) for one in listed] == [(host.id, host.identity.principal_id)]
    token = claims(idplane, host)
    assert (token["oid"], token["xms_mirid"]) == (host.identity.principal_id, lower_group(host.id))
    idplane.delete(host.id)
    with pytest.raises(ClientAuthenticationError):
        claims(idplane, host)
    assert "IDENTITY_ENDPOINT" not in os.environ
