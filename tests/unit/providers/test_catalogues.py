"""What clients look up before they create machines and apps: images, sizes, runtimes, regions, names (control-plane.md sections 5.3, 5.4)."""

from __future__ import annotations

import base64

import pytest
from tests.unit.providers.surface_plane import COMPUTE, GROUP, SUB, OpenPlane

WEB = "2025-05-01"
STORAGE = "2025-06-01"
LOCATION = f"{SUB}/providers/Microsoft.Compute/locations/westeurope"
OFFERS = f"{LOCATION}/publishers/canonical/artifacttypes/VMImage/offers"
SKUS = f"{OFFERS}/0001-com-ubuntu-server-jammy/skus"
VERSIONS = f"{SKUS}/22_04-LTS-gen2/versions"


async def test_images_are_found_step_by_step(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    publishers = await plane.get(f"{LOCATION}/publishers", version=COMPUTE)
    assert "Canonical" in [one["name"] for one in publishers]
    assert publishers[0]["location"] == "westeurope"
    assert "0001-com-ubuntu-server-jammy" in [one["name"] for one in await plane.get(OFFERS, version=COMPUTE)]
    assert [one["name"] for one in await plane.get(SKUS, version=COMPUTE)] == ["22_04-lts-gen2"]
    [version] = await plane.get(f"{VERSIONS}?$expand=properties&$orderby=name desc&$top=1", version=COMPUTE)
    assert version["properties"]["osDiskImage"]["operatingSystem"] == "Linux"
    [plain] = await plane.get(VERSIONS, version=COMPUTE)
    assert "properties" not in plain
    one = await plane.get(f"{VERSIONS}/{plain['name']}", version=COMPUTE)
    assert (one["id"], one["properties"]["hyperVGeneration"]) == (plain["id"], "V2")


@pytest.mark.parametrize(
    "path",
    [
        f"{LOCATION}/publishers/nobody/artifacttypes/vmimage/offers",
        f"{LOCATION}/publishers/canonical/artifacttypes/vmextension/offers",
        f"{OFFERS}/nothing/skus",
        f"{SKUS}/nothing/versions",
        f"{SKUS}/nothing/versions/1.0.0",
    ],
)
async def test_what_is_no_image_is_not_found(open_plane: OpenPlane, path: str) -> None:
    plane = await open_plane()
    reply = await plane.call("GET", path, version=COMPUTE)
    assert (reply.status, reply.code) == (404, "NotFound")


async def test_a_version_that_there_is_not_is_not_found(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    assert (await plane.call("GET", f"{VERSIONS}/2.0.0", version=COMPUTE)).status == 404


@pytest.mark.parametrize("path", [LOCATION, f"{LOCATION}/publishers/canonical", SKUS.rpartition("/")[0]])
async def test_what_leads_to_images_is_no_resource(open_plane: OpenPlane, path: str) -> None:
    plane = await open_plane()
    for method in ("GET", "PUT", "DELETE"):
        reply = await plane.call(method, path, {} if method == "PUT" else None, version=COMPUTE)
        assert (reply.status, reply.code) == (405, "MethodNotAllowed")


async def test_images_take_the_right_to_read_them(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    reply = await plane.call("GET", VERSIONS, version=COMPUTE, by="nobody")
    assert (reply.status, reply.code) == (403, "AuthorizationFailed")
    assert "Microsoft.Compute/locations/publishers/artifactTypes/offers/skus/versions/read" in reply.message


async def test_sizes(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    skus = f"{SUB}/providers/Microsoft.Compute/skus"
    everywhere = (await plane.get(skus, version="2021-07-01"))["value"]
    assert {"Standard_B1s", "Standard_D2s_v5"} <= {one["name"] for one in everywhere}
    here = (await plane.get(f"{skus}?$filter=location eq 'West Europe'", version="2021-07-01"))["value"]
    assert here[0]["locations"] == ["WestEurope"]
    assert (await plane.get(f"{skus}?$filter=location eq 'nowhere'", version="2021-07-01"))["value"] == []
    for wrong in ("name eq 'x'", "location ne 'x'", "location eq 'a' and location eq 'b'", "("):
        refused = await plane.call("GET", f"{skus}?$filter={wrong}", version="2021-07-01")
        assert (refused.status, refused.code) == (400, "InvalidFilterInQueryString")
    sizes = (await plane.get(f"{LOCATION}/vmSizes", version=COMPUTE))["value"]
    assert {one["name"] for one in sizes} == {one["name"] for one in everywhere}


@pytest.mark.parametrize(("kind", "version"), [("webAppStacks", "3.12"), ("functionAppStacks", "3.12")])
async def test_runtimes_are_told_to_everybody(open_plane: OpenPlane, kind: str, version: str) -> None:
    plane = await open_plane()
    for caller in ("owner", "nobody", "stranger"):
        listed = (await plane.get(f"/providers/Microsoft.Web/{kind}", version=WEB, by=caller))["value"]
        python = next(one for one in listed if one["name"] == "python")
        releases = {one["value"]: one for one in python["properties"]["majorVersions"]}
        [minor] = releases[version]["minorVersions"]
        assert minor["stackSettings"]["linuxRuntimeSettings"]["runtimeVersion"].lower() == f"python|{version}"
        assert "windowsRuntimeSettings" not in minor["stackSettings"]


async def test_functions_say_what_their_settings_are(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    listed = (await plane.get("/providers/Microsoft.Web/functionAppStacks", version=WEB))["value"]
    for stack in listed:
        for release in stack["properties"]["majorVersions"]:
            for settings in release["minorVersions"][0]["stackSettings"].values():
                assert settings["appSettingsDictionary"]["FUNCTIONS_WORKER_RUNTIME"]
                assert settings["supportedFunctionsExtensionVersions"] == ["~4"]


async def test_regions(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    listed = (await plane.get(f"{SUB}/providers/Microsoft.Web/geoRegions?sku=Dynamic", version=WEB))["value"]
    assert "West Europe" in [one["name"] for one in listed]


# Storage accounts, which function apps name


async def test_an_account_has_what_clients_read_of_it(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    url = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/stock1"
    made = await plane.put(url, {"location": "westeurope", "sku": {"name": "Premium_LRS"}}, version=STORAGE)
    assert made["sku"] == {"name": "Premium_LRS", "tier": "Premium"}
    assert made["kind"] == "StorageV2"
    assert made["properties"]["primaryEndpoints"]["blob"] == "https://stock1.blob.core.windows.net/"
    forged = {**made["properties"], "primaryEndpoints": {"blob": "https://evil.example"}, "accessTier": "Cool"}
    again = await plane.put(url, {**made, "properties": forged}, version=STORAGE)
    assert again["properties"]["primaryEndpoints"] == made["properties"]["primaryEndpoints"]
    assert again["properties"]["accessTier"] == "Cool"
    for name in ("ab", "Stock", "a-b", "a" * 25):
        reply = await plane.call("PUT", url.replace("stock1", name), {"location": "westeurope"}, version=STORAGE)
        assert (reply.status, reply.code) == (400, "InvalidResourceName")


async def test_keys_open_nothing_and_are_other_ones_each_time(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    url = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/stock1"
    await plane.put(url, {"location": "westeurope"}, version=STORAGE)
    seen: set[str] = set()
    for _ in range(2):
        keys = (await plane.call("POST", f"{url}/listKeys", version=STORAGE)).body["keys"]
        assert [one["keyName"] for one in keys] == ["key1", "key2"]
        assert all(len(base64.b64decode(one["value"])) == 64 for one in keys)
        seen |= {one["value"] for one in keys}
    assert len(seen) == 4
    refused = await plane.call("POST", f"{url}/listKeys", version=STORAGE, by="reader")
    assert refused.status == 403
    assert (await plane.call("POST", url.replace("stock1", "gone") + "/listKeys", version=STORAGE)).status == 404


async def test_names_that_an_account_may_have(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    url = f"{SUB}/providers/Microsoft.Storage/checkNameAvailability"
    kind = "Microsoft.Storage/storageAccounts"
    good = await plane.call("POST", url, {"name": "stock1", "type": kind}, version=STORAGE)
    assert good.body == {"nameAvailable": True}
    bad = await plane.call("POST", url, {"name": "Stock", "type": kind}, version=STORAGE)
    assert (bad.body["nameAvailable"], bad.body["reason"]) == (False, "AccountNameInvalid")
    assert (await plane.call("POST", url, {}, version=STORAGE)).status == 400
