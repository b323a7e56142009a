"""Kubernetes clusters: the kubelet's identity with its ids, and what pods' tokens are issued by, stored."""

from typing import Any

import pytest
from tests.unit.providers.surface_plane import GROUP, OpenPlane, Plane, uai

VERSION = "2025-05-01"
CLUSTER = f"{GROUP}/providers/Microsoft.ContainerService/managedClusters/aks"


def _body(profile: object, **properties: object) -> dict[str, Any]:
    return {"location": "westeurope", "properties": {"identityProfile": profile, **properties}}


async def _put(plane: Plane, profile: object, *, by: str = "owner", **properties: object) -> Any:
    return await plane.call("PUT", CLUSTER, _body(profile, **properties), by=by, version=VERSION)


async def test_the_kubelet_s_identity_is_shown_with_its_ids(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    identity = (await plane.identity("Kubelet"))["properties"]
    issuer = {"enabled": True, "issuerURL": "https://issuer.example/"}
    made = await _put(plane, {"kubeletIdentity": {"resourceId": uai("Kubelet")}}, oidcIssuerProfile=issuer)
    shown = {"resourceId": uai("Kubelet"), "clientId": identity["clientId"], "objectId": identity["principalId"]}
    assert made.status == 201
    assert made.body["properties"]["identityProfile"] == {"kubeletidentity": shown}
    shown_issuer = made.body["properties"]["oidcIssuerProfile"]
    assert shown_issuer["enabled"] is True
    assert shown_issuer["issuerURL"].startswith("https://westeurope.oic.prod-aks.azure.com/")
    assert made.body["properties"]["nodeResourceGroup"] == "MC_Stock_aks_westeurope"
    # What is sent for the ids counts for nothing, and what was looked up once may be repeated when the identity has gone.
    forged = {"kubeletidentity": {**shown, "clientId": "x", "objectId": "y"}}
    assert (await _put(plane, forged)).body["properties"]["identityProfile"] == {"kubeletidentity": shown}
    await plane.call("DELETE", uai("Kubelet"), version="2024-11-30")
    assert (await _put(plane, forged)).body["properties"]["identityProfile"] == {"kubeletidentity": shown}
    tagged = await plane.call("PATCH", CLUSTER, {"tags": {"a": "b"}}, version=VERSION)
    assert tagged.body["properties"]["identityProfile"] == {"kubeletidentity": shown}


async def test_naming_one_takes_the_right_to_assign_it(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.identity("kubelet")
    for by, name in (("contributor", "ghost"), ("owner", "ghost")):
        refused = await _put(plane, {"kubeletidentity": {"resourceId": uai(name)}}, by=by)
        assert (refused.status, refused.code) == (403, "LinkedAuthorizationFailed")
    await plane.person("writer", ("Contributor", f"{GROUP}/providers/Microsoft.ContainerService/managedClusters/aks"))
    refused = await _put(plane, {"kubeletidentity": {"resourceId": uai("kubelet")}}, by="writer")
    assert (refused.status, refused.code) == (403, "LinkedAuthorizationFailed")


@pytest.mark.parametrize(
    "profile",
    [
        "text",
        {"other": {"resourceId": uai("one")}},
        {"kubeletidentity": "text"},
        {"kubeletidentity": {}},
        {"kubeletidentity": {"resourceId": 1}},
        {"kubeletidentity": {"resourceId": "junk"}},
        {"kubeletidentity": {"resourceId": GROUP}},
    ],
)
async def test_profiles_that_are_refused(open_plane: OpenPlane, profile: object) -> None:
    plane = await open_plane()
    refused = await _put(plane, profile)
    assert (refused.status, refused.code) == (400, "InvalidParameter")


async def test_profiles_that_name_nothing(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    for profile in (None, {}, {"kubeletidentity": None}):
        assert (await _put(plane, profile)).status in (200, 201)
