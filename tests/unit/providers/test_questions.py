from __future__ import annotations

import pytest
from tests.unit.providers.surface_plane import FOREIGN, SUB, SUBSCRIPTION, OpenPlane

NAME = "/providers/Microsoft.Resources/checkResourceName"
ZONES = f"{SUB}/providers/Microsoft.Resources/checkZonePeers/"
HASH = "/providers/Microsoft.Resources/calculateTemplateHash"


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("stock", "Allowed"),
        ("azure", "Reserved"),
        ("Azure-stock", "Allowed"),
        ("myMicrosoftshop", "Reserved"),
        ("windows1", "Reserved"),
        ("login1", "Reserved"),
        ("mylogin", "Allowed"),
        ("XBOX", "Reserved"),
        ("office365", "Reserved"),
    ],
)
async def test_reserved_names(open_plane: OpenPlane, name: str, status: str) -> None:
    plane = await open_plane()
    told = await plane.call("POST", NAME, {"name": name, "type": "Microsoft.Web/sites"}, by="nobody")
    assert told.body == {"name": name, "type": "Microsoft.Web/sites", "status": status}


@pytest.mark.parametrize("body", [{}, {"name": "x"}, {"type": "x"}, {"name": 1, "type": "x"}, {"name": "x" * 261, "type": "x"}])
async def test_names_that_are_no_question(open_plane: OpenPlane, body: object) -> None:
    plane = await open_plane()
    assert (await plane.call("POST", NAME, body)).status == 400


async def test_a_zone_is_the_same_in_every_subscription(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    asked = {"location": "West Europe", "subscriptionIds": [f"subscriptions/{SUBSCRIPTION}"]}
    told = (await plane.call("POST", ZONES, asked)).body
    assert (told["subscriptionId"], told["location"]) == (SUBSCRIPTION, "westeurope")
    peers = [(one["availabilityZone"], one["peers"]) for one in told["availabilityZonePeers"]]
    assert peers == [(zone, [{"subscriptionId": SUBSCRIPTION, "availabilityZone": zone}]) for zone in ("1", "2", "3")]


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"subscriptionIds": [SUBSCRIPTION]}, 400),
        ({"location": "westeurope", "subscriptionIds": ["x"]}, 400),
        ({"location": "westeurope", "subscriptionIds": "x"}, 400),
        ({"location": "westeurope", "subscriptionIds": [FOREIGN]}, 404),
        ({"location": "westeurope", "subscriptionIds": ["00000000-0000-4000-8000-000000000000"]}, 404),
    ],
)
async def test_peers_that_are_refused(open_plane: OpenPlane, asked: object, status: int) -> None:
    plane = await open_plane()
    assert (await plane.call("POST", ZONES, asked)).status == status


async def test_zones_are_asked_for_with_the_right_to(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    asked = {"location": "westeurope", "subscriptionIds": []}
    assert (await plane.call("POST", ZONES, asked, by="reader")).status == 403
    assert (await plane.call("POST", "/providers/Microsoft.Resources/checkZonePeers", asked)).status == 404


async def test_the_hash_of_a_template_is_that_of_its_deployment(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    template = {"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "resources": []}
    one = (await plane.call("POST", HASH, template, by="nobody")).body
    assert one["minifiedTemplate"].startswith('{"$schema":"https://')
    other = (await plane.call("POST", HASH, dict(reversed(template.items())))).body
    assert one["templateHash"] == other["templateHash"]
    changed = (await plane.call("POST", HASH, {**template, "outputs": {}})).body
    assert changed["templateHash"] != one["templateHash"]
    assert (await plane.call("POST", HASH, [])).status == 400
