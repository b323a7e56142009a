"""Traffic of Microsoft.Resources apart from deployments: tenants, subscriptions, groups, resources, tags, namespaces."""

from __future__ import annotations

from typing import Any

from azure.mgmt.resource.resources import ResourceManagementClient
from azure.mgmt.resource.resources.models import GenericResource, ResourceGroup, ResourceGroupPatchable
from clients.sdk import fails
from clients.traffic import Wire

__all__ = ["resources"]

_VERSION = "2021-04-01"
_SUBSCRIPTIONS = "2021-01-01"
_NETWORK = "2024-05-01"


def resources(wire: Wire) -> None:
    """Every operation, served and refused."""
    _subscriptions(wire)
    with wire.client(ResourceManagementClient, api_version=_VERSION) as client:
        _groups(client)
        _instances(client)
        _by_id(wire, client)
    _lists(wire)
    _namespaces(wire)
    _tag_names(wire)
    _questions(wire)
    _tags(wire)
    _exports(wire)
    _moves(wire)


def _subscriptions(wire: Wire) -> None:
    for path in ("/subscriptions", wire.subscription, f"{wire.subscription}/locations", "/tenants"):
        wire.good("GET", path, _SUBSCRIPTIONS)
    nowhere = "/subscriptions/00000000-0000-4000-8000-000000000000"
    for path in (nowhere, f"{nowhere}/locations"):
        wire.refused((404, "SubscriptionNotFound"), "GET", path, _SUBSCRIPTIONS)
    wire.good("GET", "/providers/Microsoft.Resources/operations", _VERSION)


def _groups(client: ResourceManagementClient) -> None:
    groups = client.resource_groups
    for name in ("res", "other", "gone"):
        groups.create_or_update(name, ResourceGroup(location="westeurope", tags={"a": "b"}))
    groups.create_or_update("res", ResourceGroup(location="westeurope", tags={"a": "c"}))
    groups.update("res", ResourceGroupPatchable(tags={"team": "shop"}))
    assert groups.get("res").tags == {"team": "shop"}
    assert groups.check_existence("res")
    assert not groups.check_existence("nowhere")
    assert len(list(groups.list(top=1))) >= 3
    assert list(groups.list(filter="tagName eq 'team' and tagValue eq 'shop'"))
    groups.begin_delete("gone").result()
    fails(
        lambda: groups.get("gone"),
        lambda: groups.update("gone", ResourceGroupPatchable(tags={})),
        lambda: groups.begin_delete("gone").result(),
        lambda: groups.create_or_update("ends.", ResourceGroup(location="westeurope")),
        lambda: groups.list(filter="nonsense").next(),
    )


def _instances(client: ResourceManagementClient) -> None:
    """The long form: namespace, parent, type and name apart."""
    every = client.resources

    def place(name: str, group: str = "res") -> tuple[str, str, str, str, str]:
        return group, "Microsoft.Network", "", "virtualNetworks", name

    body = GenericResource(location="westeurope", properties={"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}})
    every.begin_create_or_update(*place("long"), body, api_version=_NETWORK).result()
    every.begin_create_or_update(*place("long"), body, api_version=_NETWORK).result()
    every.begin_update(*place("long"), GenericResource(tags={"a": "b"}), api_version=_NETWORK).result()
    every.get(*place("long"), api_version=_NETWORK)
    assert every.check_existence(*place("long"), api_version=_NETWORK)
    assert not every.check_existence(*place("absent"), api_version=_NETWORK)
    for _ in range(2):
        every.begin_delete(*place("long"), api_version=_NETWORK).result()
    fails(
        lambda: every.get(*place("absent"), api_version=_NETWORK),
        lambda: every.get(*place("absent"), api_version="1999-01-01"),
        lambda: every.begin_update(*place("absent"), GenericResource(tags={}), api_version=_NETWORK).result(),
        lambda: every.begin_create_or_update(*place("one", "nowhere"), body, api_version=_NETWORK).result(),
    )


def _by_id(wire: Wire, client: ResourceManagementClient) -> None:
    every = client.resources
    one = f"{wire.subscription}/resourceGroups/res/providers/Microsoft.Network/virtualNetworks/one"
    body = GenericResource(location="westeurope", tags={"tier": "web"}, properties={})
    for _ in range(2):
        every.begin_create_or_update_by_id(one, body, api_version=_NETWORK).result()
    every.begin_update_by_id(one, GenericResource(tags={"tier": "app"}), api_version=_NETWORK).result()
    every.get_by_id(one, api_version=_NETWORK)
    assert every.check_existence_by_id(one, api_version=_NETWORK)
    for _ in range(2):
        every.begin_delete_by_id(one, api_version=_NETWORK).result()
    assert not every.check_existence_by_id(one, api_version=_NETWORK)
    fails(
        lambda: every.get_by_id(one, api_version=_NETWORK),
        lambda: every.begin_update_by_id(one, GenericResource(tags={}), api_version=_NETWORK).result(),
        lambda: every.begin_create_or_update_by_id(one, GenericResource(), api_version=_NETWORK).result(),
    )


def _lists(wire: Wire) -> None:
    """Resources of a subscription and of a group, with and without what only `$expand` tells."""
    group = f"{wire.subscription}/resourceGroups/res"
    machine = f"{group}/providers/Microsoft.Compute/virtualMachines/vm"
    identity = {"type": "SystemAssigned"}
    wire.good("PUT", machine, "2024-11-01", {"location": "westeurope", "identity": identity, "tags": {"tier": "web"}})
    expand = {"$expand": "createdTime,changedTime,provisioningState"}
    for scope in (wire.subscription, group):
        wire.good("GET", f"{scope}/resources", _VERSION)
        wire.good("GET", f"{scope}/resources", _VERSION, **expand, **{"$filter": "tagName eq 'tier'", "$top": "1"})
        wire.refused((400, "InvalidFilterInQueryString"), "GET", f"{scope}/resources", _VERSION, **{"$filter": "nonsense"})
    wire.refused((404, "ResourceGroupNotFound"), "GET", f"{wire.subscription}/resourceGroups/nowhere/resources", _VERSION)


def _namespaces(wire: Wire) -> None:
    namespace = f"{wire.subscription}/providers/Microsoft.Logic"
    wire.good("GET", "/providers", _VERSION)
    wire.good("GET", "/providers/Microsoft.Compute", _VERSION)
    wire.good("GET", f"{wire.subscription}/providers", _VERSION)
    wire.good("GET", namespace, _VERSION)
    wire.good("GET", f"{namespace}/resourceTypes", _VERSION)
    wire.good("GET", f"{namespace}/providerPermissions", _VERSION)
    for word, state in (("unregister", "NotRegistered"), ("unregister", "NotRegistered")):
        assert wire.good("POST", f"{namespace}/{word}", _VERSION)["registrationState"] == state
    workflow = f"{wire.subscription}/resourceGroups/res/providers/Microsoft.Logic/workflows/one"
    body = {"location": "westeurope", "properties": {}}
    wire.refused((409, "MissingSubscriptionRegistration"), "PUT", workflow, "2019-05-01", body)
    assert wire.good("POST", f"{namespace}/register", _VERSION)["registrationState"] == "Registered"
    wire.good("PUT", workflow, "2019-05-01", body)
    wire.refused((409, "Conflict"), "POST", f"{namespace}/unregister", _VERSION)
    group = "/providers/Microsoft.Management/managementGroups/registered"
    wire.good("PUT", group, "2020-05-01", {"properties": {"displayName": "registered"}})
    wire.good("POST", f"{group}/providers/Microsoft.Compute/register", _VERSION)
    wire.refused((404, "ResourceNotFound"), "POST", f"{group}x/providers/Microsoft.Compute/register", _VERSION)
    nowhere = f"{wire.subscription}/providers/Microsoft.Nowhere"
    invalid = (404, "InvalidResourceNamespace")
    for method, path in (
        ("GET", "/providers/Microsoft.Nowhere"),
        ("GET", nowhere),
        ("GET", f"{nowhere}/resourceTypes"),
        ("GET", f"{nowhere}/providerPermissions"),
        ("POST", f"{nowhere}/register"),
        ("POST", f"{nowhere}/unregister"),
        ("POST", f"{group}/providers/Microsoft.Nowhere/register"),
    ):
        wire.refused(invalid, method, path, _VERSION)


def _tag_names(wire: Wire) -> None:
    names = f"{wire.subscription}/tagNames"
    for path in (f"{names}/cost", f"{names}/cost/tagValues/low"):
        for _ in range(2):
            wire.good("PUT", path, _VERSION)
    wire.good("GET", names, _VERSION)
    wire.refused((409, "Conflict"), "DELETE", f"{names}/cost", _VERSION)
    wire.refused((400, "InvalidResourceName"), "PUT", f"{names}/azure-mine", _VERSION)
    wire.refused((404, "ParentResourceNotFound"), "PUT", f"{names}/nowhere/tagValues/x", _VERSION)
    wire.refused((404, "ParentResourceNotFound"), "DELETE", f"{names}/nowhere/tagValues/x", _VERSION)
    for path in (f"{names}/cost/tagValues/low", f"{names}/cost"):
        for _ in range(2 if path.endswith("low") else 1):
            wire.good("DELETE", path, _VERSION)
    wire.good("DELETE", f"{names}/cost", _VERSION)


def _questions(wire: Wire) -> None:
    name = "/providers/Microsoft.Resources/checkResourceName"
    for one, status in (("login1", "Reserved"), ("stock", "Allowed")):
        asked = {"name": one, "type": "Microsoft.Web/sites"}
        assert wire.good("POST", name, _SUBSCRIPTIONS, asked)["status"] == status
    wire.refused((400, "InvalidParameter"), "POST", name, _SUBSCRIPTIONS, {"name": "", "type": "Microsoft.Web/sites"})
    zones = f"{wire.subscription}/providers/Microsoft.Resources/checkZonePeers/"
    asked_zones = {"location": "westeurope", "subscriptionIds": [f"subscriptions/{wire.subscription_id}"]}
    wire.good("POST", zones, _SUBSCRIPTIONS, asked_zones)
    wire.refused((400, "InvalidParameter"), "POST", zones, _SUBSCRIPTIONS, {"location": "westeurope", "subscriptionIds": ["x"]})
    template = {"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "resources": []}
    wire.good("POST", "/providers/Microsoft.Resources/calculateTemplateHash", _VERSION, template)


def _tags(wire: Wire) -> None:
    """The tags of anything, as a resource of their own."""
    group = f"{wire.subscription}/resourceGroups/res"
    for scope in (group, wire.subscription):
        tags = f"{scope}/providers/Microsoft.Resources/tags/default"
        wire.good("PUT", tags, _VERSION, {"properties": {"tags": {"team": "shop"}}})
        for operation, stated in (("Merge", {"tier": "web"}), ("Delete", {"tier": "web"}), ("Replace", {"team": "shop"})):
            wire.good("PATCH", tags, _VERSION, {"operation": operation, "properties": {"tags": stated}})
        assert wire.good("GET", tags, _VERSION)["properties"]["tags"] == {"team": "shop"}
        wire.good("DELETE", tags, _VERSION)
    nowhere = f"{wire.subscription}/resourceGroups/nowhere/providers/Microsoft.Resources/tags/default"
    none: dict[str, Any] = {"properties": {"tags": {}}}
    for method, body in (("PUT", none), ("PATCH", {"operation": "Merge", **none}), ("GET", None), ("DELETE", None)):
        wire.refused((404, "ResourceGroupNotFound"), method, nowhere, _VERSION, body)


def _exports(wire: Wire) -> None:
    group = f"{wire.subscription}/resourcegroups/res"
    wire.good("POST", f"{group}/exportTemplate", _VERSION, {"resources": ["*"], "options": "SkipResourceNameParameterization"})
    nowhere = f"{wire.subscription}/resourcegroups/nowhere/exportTemplate"
    wire.refused((404, "ResourceGroupNotFound"), "POST", nowhere, _VERSION, {"resources": ["*"]})


def _moves(wire: Wire) -> None:
    """From a group to another one, first asked, then done."""
    source = f"{wire.subscription}/resourceGroups/res"
    network = f"{source}/providers/Microsoft.Network/virtualNetworks/mover"
    wire.good("PUT", network, _NETWORK, {"location": "westeurope"})
    wanted = {"resources": [network], "targetResourceGroup": f"{wire.subscription}/resourceGroups/other"}
    wire.good("POST", f"{source}/validateMoveResources", _VERSION, wanted)
    wire.good("POST", f"{source}/moveResources", _VERSION, wanted)
    wire.settle()
    absent = {**wanted, "resources": [f"{source}/providers/Microsoft.Network/virtualNetworks/absent"]}
    for word in ("validateMoveResources", "moveResources"):
        wire.refused((404, "ResourceNotFound"), "POST", f"{source}/{word}", _VERSION, absent)
