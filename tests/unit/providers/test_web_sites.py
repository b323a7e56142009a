"""Sites and slots as the CLI's identity commands use them: read the whole, change it, PUT the whole (control-plane.md section 5.4)."""

from typing import Any
from xml.etree import ElementTree as ET

import pytest
from tests.unit.providers.surface_plane import GROUP, SUB, OpenPlane, Plane, uai

VERSION = "2025-05-01"
SITE = f"{GROUP}/providers/Microsoft.Web/sites/Shop"
SLOT = f"{SITE}/slots/staging"


async def _site(plane: Plane, url: str = SITE, **members: Any) -> Any:
    return await plane.put(url, {"location": "westeurope", **members}, version=VERSION)


async def _assign(plane: Plane, url: str, identity: dict[str, Any]) -> Any:
    """What `az webapp identity assign` and `remove` do."""
    site = await plane.get(url, version=VERSION)
    return await plane.put(url, {**site, "identity": identity}, version=VERSION)


@pytest.mark.parametrize("url", [SITE, SLOT])
async def test_the_cli_s_identity_commands(open_plane: OpenPlane, url: str) -> None:
    plane = await open_plane()
    await plane.identity("One")
    await plane.identity("Two")
    await _site(plane, tags={"a": "b"}, kind="functionapp,linux", properties={"serverFarmId": "p", "httpsOnly": True})
    if url == SLOT:
        await _site(plane, SLOT)
    # The ids come back in lower case, as the CLI builds its map from what it lower-cased.
    listed = {
        "type": "SystemAssigned, UserAssigned",
        "userAssignedIdentities": {uai("One").lower(): {}, uai("Two").lower(): {}},
    }
    both = (await _assign(plane, url, listed))["identity"]
    again = await _assign(plane, url, both)
    assert again["identity"] == both
    removed = {"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": {uai("two").lower(): {}}}
    left = (await _assign(plane, url, removed))["identity"]
    assert [one.lower() for one in left["userAssignedIdentities"]] == [uai("two").lower()]
    assert left["principalId"] == both["principalId"]
    user = (await _assign(plane, url, {"type": "UserAssigned", "userAssignedIdentities": {uai("Two"): {}}}))["identity"]
    assert (user["type"], "principalId" in user) == ("UserAssigned", False)
    assert "identity" not in await _assign(plane, url, {"type": "None"})
    assert "identity" not in await plane.get(url, version=VERSION)


async def test_a_site_survives_being_read_and_written_back(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    properties = {
        "serverFarmId": f"{GROUP}/providers/Microsoft.Web/serverfarms/p",
        "siteConfig": {"linuxFxVersion": "PYTHON|3.12"},
    }
    first = await _site(plane, kind="app,linux", tags={"a": "b"}, properties=properties)
    second = await plane.put(SITE, first, version=VERSION)
    assert {k: v for k, v in second.items() if k != "systemData"} == {k: v for k, v in first.items() if k != "systemData"}
    assert (first["name"], first["kind"], first["properties"]["state"]) == ("Shop", "app,linux", "Running")
    assert first["properties"]["defaultHostName"] == "shop.azurewebsites.net"
    forged = {"state": "Stopped", "hostNames": ["evil.example"], "defaultHostName": "evil.example", "name": "other"}
    written = await _site(plane, properties=forged)
    assert written["properties"]["hostNames"] == ["shop.azurewebsites.net"]
    assert (written["properties"]["state"], written["properties"]["name"]) == ("Running", "Shop")


async def test_slots_are_children_with_names_of_two_parts(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await _site(plane)
    slot = await _site(plane, SLOT.replace("/Shop/", "/shop/"))
    assert (slot["id"], slot["name"], slot["type"]) == (SLOT, "Shop/staging", "Microsoft.Web/sites/slots")
    assert slot["properties"]["defaultHostName"] == "shop-staging.azurewebsites.net"
    assert [one["name"] for one in (await plane.get(f"{SITE}/slots", version=VERSION))["value"]] == ["Shop/staging"]
    assert [one["name"] for one in (await plane.get(f"{GROUP}/providers/Microsoft.Web/sites", version=VERSION))["value"]] == [
        "Shop"
    ]
    for name in ("production", "x", "-ab", "a" * 60):
        refused = await plane.call("PUT", f"{SITE}/slots/{name}", {"location": "westeurope"}, version=VERSION)
        assert (refused.status, refused.code) == (400, "InvalidResourceName")
    for name in ("x", "a_b", "a" * 61):
        refused = await plane.call(
            "PUT", f"{GROUP}/providers/Microsoft.Web/sites/{name}", {"location": "westeurope"}, version=VERSION
        )
        assert (refused.status, refused.code) == (400, "InvalidResourceName")


async def test_stopping_is_remembered(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await _site(plane)
    await _site(plane, SLOT)
    for action, state in (("stop", "Stopped"), ("start", "Running"), ("stop", "Stopped")):
        for url in (SITE, SLOT):
            reply = await plane.call("POST", f"{url}/{action}", version=VERSION)
            assert (reply.status, reply.body) == (200, None)
            assert (await plane.get(url, version=VERSION))["properties"]["state"] == state
    site = await plane.get(SITE, version=VERSION)
    assert (await plane.put(SITE, site, version=VERSION))["properties"]["state"] == "Stopped"
    assert (await plane.call("POST", f"{GROUP}/providers/Microsoft.Web/sites/gone/stop", version=VERSION)).status == 404


async def test_the_configuration_that_clients_read_before_they_make_a_slot(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await _site(plane, properties={"siteConfig": {"alwaysOn": True}})
    await _site(plane, SLOT)
    web = await plane.get(f"{SITE}/config/web", version=VERSION)
    assert (web["name"], web["type"], web["properties"]) == ("Shop", "Microsoft.Web/sites/config", {"alwaysOn": True})
    assert (await plane.get(f"{SLOT}/config/web", version=VERSION))["properties"] == {}
    assert len((await plane.get(f"{SITE}/config", version=VERSION))["value"]) == 1
    for url in (f"{SITE}/config/nothing", f"{GROUP}/providers/Microsoft.Web/sites/gone/config/web"):
        assert (await plane.call("GET", url, version=VERSION)).status == 404
    gone = f"{GROUP}/providers/Microsoft.Web/sites/gone/config"
    assert (await plane.call("GET", gone, version=VERSION)).status == 404
    assert (await plane.call("DELETE", f"{SITE}/config/web", version=VERSION)).status == 405


async def test_the_configuration_that_templates_write(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await _site(plane, properties={"siteConfig": {"alwaysOn": True}})
    sent = {"properties": {"minTlsVersion": "1.2", "appSettings": [{"name": "a", "value": "secret"}]}}
    merged = await plane.put(f"{SITE}/config/web", sent, version=VERSION)
    assert merged["properties"] == {"alwaysOn": True, "minTlsVersion": "1.2"}
    assert (await plane.get(f"{SITE}/config/web", version=VERSION)) == merged
    # Settings are full of secrets: taken, and kept nowhere.
    taken = await plane.put(f"{SITE}/config/appsettings", {"properties": {"KEY": "secret"}}, version=VERSION)
    assert (taken["id"], taken["name"], taken["properties"]) == (f"{SITE}/config/appsettings", "appsettings", {})
    assert await plane.get(f"{SITE}/config/appsettings", version=VERSION) == taken
    gone = f"{GROUP}/providers/Microsoft.Web/sites/gone/config/web"
    for url in (f"{SITE}/config/nothing", gone):
        assert (await plane.call("PUT", url, sent, version=VERSION)).status == 404
    refused = await plane.call("PUT", f"{SITE}/config/web", sent, by="reader", version=VERSION)
    assert (refused.status, refused.code) == (403, "AuthorizationFailed")


async def test_names_can_be_asked_for(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    url = f"{SUB}/providers/Microsoft.Web/checknameavailability"
    good = await plane.call("POST", url, {"name": "shop", "type": "Site"}, version=VERSION)
    assert (good.status, good.body["nameAvailable"]) == (200, True)
    bad = await plane.call("POST", url, {"name": "-", "type": "Site"}, version=VERSION)
    assert (bad.body["nameAvailable"], bad.body["reason"]) == (False, "Invalid")
    assert (await plane.call("POST", url, {}, version=VERSION)).status == 400


async def test_a_plan(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    url = f"{GROUP}/providers/Microsoft.Web/serverfarms/p"
    body = {"location": "westeurope", "sku": {"name": "B1"}, "properties": {"reserved": True}}
    reply = await plane.call("PUT", url, body, version="2025-03-01")
    assert (reply.status, reply.body["sku"], reply.body["properties"]["status"]) == (200, {"name": "B1"}, "Ready")
    assert reply.body["properties"]["reserved"] is True


async def test_the_words_of_a_failed_identity_operation(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await _site(plane)
    refused = await plane.call("PATCH", SITE, {"identity": {"type": "Robot"}}, version=VERSION)
    assert refused.message == (
        f"Identity operation for resource '{SITE}' failed with error 'Failed to perform resource identity operation. "
        'Status: \'BadRequest\'. Response: \'{"error":{"code":"BadRequest","message":"the identity\'s type must be one of '
        "'None', 'SystemAssigned', 'UserAssigned', 'SystemAssigned, UserAssigned'\"}}'.'."
    )


async def test_a_publish_profile_publishes_nowhere(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await _site(plane)
    await _site(plane, SLOT)
    for url, name in ((SITE, "Shop"), (SLOT, "Shop-staging")):
        reply = await plane.call("POST", f"{url}/publishxml", {"format": "WebDeploy"}, version=VERSION)
        assert (reply.status, reply.headers["content-type"]) == (200, "application/xml; charset=utf-8")
        [profile] = ET.fromstring(reply.body)
        assert profile.attrib == {
            "profileName": name,
            "publishMethod": "None",
            "destinationAppUrl": f"https://{name.lower()}.azurewebsites.net",
        }
    gone = f"{GROUP}/providers/Microsoft.Web/sites/gone/publishxml"
    assert (await plane.call("POST", gone, version=VERSION)).status == 404
    assert (await plane.call("POST", f"{SITE}/publishxml", version=VERSION, by="reader")).status == 403


async def test_settings_are_secrets_and_so_there_are_none(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await _site(plane, properties={"siteConfig": {"appSettings": [{"name": "a", "value": "hunter2-secret"}]}})
    for name in ("appsettings", "connectionstrings"):
        reply = await plane.call("POST", f"{SITE}/config/{name}/list", version=VERSION)
        assert (reply.status, reply.body["properties"]) == (200, {})
    assert (await plane.call("POST", f"{SITE}/config/web/list", version=VERSION)).status == 404
    assert (await plane.call("POST", f"{SITE}x/config/appsettings/list", version=VERSION)).status == 404


async def test_a_site_s_sku_is_its_plan_s_tier(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    plan = f"{GROUP}/providers/Microsoft.Web/serverfarms/Plan"
    await plane.put(plan, {"location": "westeurope", "sku": {"name": "B1", "tier": "Basic"}}, version=VERSION)
    assert (await _site(plane, properties={"serverFarmId": plan.lower()}))["properties"]["sku"] == "Basic"
    named = (await _site(plane, properties={"serverFarmId": "Plan"}))["properties"]
    assert (named["serverFarmId"], named["sku"]) == (plan, "Basic")
    assert (await _site(plane, properties={"sku": "FlexConsumption"}))["properties"]["sku"] == "FlexConsumption"
    assert (await _site(plane, properties={"serverFarmId": "nowhere"}))["properties"]["sku"] == "Dynamic"
