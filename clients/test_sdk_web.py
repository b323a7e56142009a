"""azure-mgmt-web against a live plane: sites, slots and plans, their pages, and what is refused (control-plane.md sections 5.4 and 7.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from azure.mgmt.web import WebSiteManagementClient
from azure.mgmt.web.models import AppServicePlan, ManagedServiceIdentity, Site, SitePatchResource, SkuDescription
from clients.sdk import LOCATION, SMALL, pages_of, refused, started
from clients.traffic import Wire

pytestmark = pytest.mark.xdist_group("sdk")
GROUP = "sdk-web"


@pytest.fixture
def client(wire: Wire) -> Iterator[WebSiteManagementClient]:
    started(wire, GROUP)
    with wire.client(WebSiteManagementClient) as client:
        yield client


def site(kind: str = "SystemAssigned", *identities: str) -> Site:
    block = ManagedServiceIdentity(type=kind)
    if identities:
        block.user_assigned_identities = {one: {} for one in identities}
    return Site(location=LOCATION, identity=block)


def create(client: WebSiteManagementClient, name: str, wanted: Site, group: str = GROUP) -> Any:
    return client.web_apps.begin_create_or_update(group, name, wanted).result()


def test_sites(client: WebSiteManagementClient) -> None:
    apps = client.web_apps
    for number in range(5):
        assert create(client, f"site-{number}", site()).identity.principal_id
    assert apps.get(GROUP, "site-0").name == "site-0"
    assert apps.update(GROUP, "site-0", SitePatchResource(identity=ManagedServiceIdentity(type="None"))).identity is None
    assert [len(page) for page in pages_of(apps.list_by_resource_group(GROUP, params=SMALL))] == [2, 2, 1]
    assert len(pages_of(apps.list(params=SMALL), lambda one: one.id)) >= 3
    for number in range(5):
        apps.delete(GROUP, f"site-{number}")
    assert pages_of(apps.list_by_resource_group(GROUP)) == [[]]


def test_slots(client: WebSiteManagementClient) -> None:
    create(client, "slotted", site())
    apps = client.web_apps
    for number in range(5):
        assert apps.begin_create_or_update_slot(GROUP, "slotted", f"slot-{number}", site()).result().identity.principal_id
    assert apps.get_slot(GROUP, "slotted", "slot-0").name == "slotted/slot-0"
    assert [len(page) for page in pages_of(apps.list_slots(GROUP, "slotted", params=SMALL))] == [2, 2, 1]
    apps.delete_slot(GROUP, "slotted", "slot-0")
    refused(((404, "ResourceNotFound"), lambda: apps.get_slot(GROUP, "slotted", "slot-0")))
    apps.delete(GROUP, "slotted")


def test_plans(client: WebSiteManagementClient) -> None:
    plans = client.app_service_plans
    for number in range(5):
        wanted = AppServicePlan(location=LOCATION, sku=SkuDescription(name="B1", tier="Basic"))
        assert plans.begin_create_or_update(GROUP, f"plan-{number}", wanted).result().name == f"plan-{number}"
    assert plans.get(GROUP, "plan-0").location
    assert [len(page) for page in pages_of(plans.list_by_resource_group(GROUP, params=SMALL))] == [2, 2, 1]
    for number in range(5):
        plans.delete(GROUP, f"plan-{number}")


def test_errors(wire: Wire, client: WebSiteManagementClient) -> None:
    group = started(wire, GROUP)
    absent = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/absent"
    create(client, "stranger", site())
    token = wire.token_of(f"{group}/providers/Microsoft.Web/sites/stranger")
    stranger = wire.client(WebSiteManagementClient, token)
    refused(
        ((403, "LinkedAuthorizationFailed"), lambda: create(client, "other", site("UserAssigned", absent))),
        ((400, "FailedIdentityOperation"), lambda: create(client, "other", site("UserAssigned", "/no/identity"))),
        ((400, "FailedIdentityOperation"), lambda: create(client, "other", site("Unheard"))),
        ((404, "ResourceNotFound"), lambda: client.web_apps.get(GROUP, "absent")),
        ((404, "ResourceGroupNotFound"), lambda: create(client, "other", site(), "nowhere")),
        ((400, "InvalidResourceName"), lambda: create(client, "x", site())),
        ((403, "AuthorizationFailed"), lambda: stranger.web_apps.get(GROUP, "stranger")),
        ((403, "AuthorizationFailed"), lambda: create(stranger, "other", site())),
    )
