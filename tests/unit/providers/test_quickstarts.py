"""Templates of the shapes that people publish for managed identities and role assignments: their whole life.

Each is ours, with names of our own, after a published one; the api-versions, the expressions and the ways to refer to things are
those that such templates have, older ones and those that Bicep generates.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.providers.surface_plane import GROUP, SUB, OpenPlane, Plane

from idplane.model.profile import AZURE
from idplane.ports.collections import (
    CREDENTIALS,
    DEPLOYMENT_OPERATIONS,
    DEPLOYMENTS,
    FEDERATED_CREDENTIALS,
    IDENTITY_ASSIGNMENTS,
    PRINCIPALS,
    RESOURCES,
    ROLE_ASSIGNMENTS,
    ROLE_DEFINITIONS,
    SECRETS,
)
from idplane.ports.store import Collection

FOLDER = Path(__file__).parents[2] / "templates" / "quickstarts"
NAMES = sorted(one.stem for one in FOLDER.glob("*.json") if not one.stem.endswith(".parameters"))
VERSION = "2022-09-01"
_LEAVES_NOTHING: tuple[Collection[Any], ...] = (
    CREDENTIALS,
    DEPLOYMENT_OPERATIONS,
    DEPLOYMENTS,
    FEDERATED_CREDENTIALS,
    IDENTITY_ASSIGNMENTS,
    PRINCIPALS,
    RESOURCES,
    ROLE_ASSIGNMENTS,
    ROLE_DEFINITIONS,
    SECRETS,
)


def _body(name: str) -> dict[str, Any]:
    template = json.loads((FOLDER / f"{name}.json").read_text())
    parameters = json.loads((FOLDER / f"{name}.parameters.json").read_text())["parameters"]
    body: dict[str, Any] = {"properties": {"mode": "Incremental", "template": template, "parameters": parameters}}
    if "subscriptionDeploymentTemplate" in template["$schema"]:
        body["location"] = "westeurope"
    return body


def _address(name: str, body: dict[str, Any]) -> str:
    scope = SUB if "location" in body else GROUP
    return f"{scope}/providers/Microsoft.Resources/deployments/{name}"


async def _deployed(plane: Plane, url: str, body: dict[str, Any]) -> dict[str, Any]:
    reply = await plane.call("PUT", url, body, version=VERSION)
    assert reply.status in (200, 201), reply.body
    stored = (await plane.store.all(DEPLOYMENTS))[0].value.tenant_id
    await plane.manager.background.finished(f"{stored}{url.lower()}")
    shown: dict[str, Any] = (await plane.get(url, version=VERSION))["properties"]
    assert shown["provisioningState"] == "Succeeded", json.dumps(shown.get("error"), indent=1)
    return shown


async def _kept(plane: Plane) -> dict[str, set[str]]:
    """Everything that is stored, by collection."""
    return {one.name: {one.key(found.value) for found in await plane.store.all(one)} for one in _LEAVES_NOTHING}


@pytest.mark.parametrize("name", NAMES)
async def test_a_quickstart_s_whole_life(open_plane: OpenPlane, name: str) -> None:
    """Validated, foreseen, deployed, deployed again to no effect, and deleted without leftovers."""
    plane = await open_plane(profile=AZURE)
    body = _body(name)
    url = _address(name, body)
    before = await _kept(plane)

    validated = await plane.call("POST", f"{url}/validate", body, version=VERSION)
    assert validated.status == 200, validated.body
    foreseen = (await plane.call("POST", f"{url}/whatIf", body, version=VERSION)).body["properties"]["changes"]
    # Whose name hangs on an identity that is still to be made cannot be known.
    known = [one for one in foreseen if not one["resourceId"].endswith("[unknown]")]
    assert {one["changeType"] for one in known} <= {"Create", "Ignore"}, foreseen

    made = await _deployed(plane, url, body)
    assert made["outputResources"]
    assert await plane.store.all(ROLE_ASSIGNMENTS, under=("scope_key", SUB.lower())) != ()
    after = await _kept(plane)

    again = (await plane.call("POST", f"{url}/whatIf", body, version=VERSION)).body["properties"]["changes"]
    assert {one["changeType"] for one in again} <= {"NoChange", "Ignore"}, again
    assert {delta["propertyChangeType"] for one in again for delta in one.get("delta", [])} <= {"NoEffect"}, again

    repeated = await _deployed(plane, url, body)
    assert {one["id"] for one in repeated["outputResources"]} == {one["id"] for one in made["outputResources"]}
    assert _without_operations(await _kept(plane)) == _without_operations(after)

    await _removed(plane)
    assert await _kept(plane) == before | {"resources": before["resources"] - {GROUP.lower()}}


def _without_operations(kept: dict[str, set[str]]) -> dict[str, set[str]]:
    """Operations have new ids each time."""
    return {name: keys for name, keys in kept.items() if name != "deployment_operations"}


async def _removed(plane: Plane) -> None:
    """Delete what a person would: the groups, then what deployments made in the subscription itself."""
    for group in (await plane.get(f"{SUB}/resourceGroups"))["value"]:
        assert (await plane.call("DELETE", group["id"])).status == 202
    for deployment in (await plane.get(f"{SUB}/providers/Microsoft.Resources/deployments", version=VERSION))["value"]:
        assert (await plane.call("DELETE", deployment["id"], version=VERSION)).status == 204
    for found in await plane.store.all(ROLE_DEFINITIONS):
        url = f"{SUB}/providers/Microsoft.Authorization/roleDefinitions/{found.value.id}"
        assert (await plane.call("DELETE", url, version="2022-04-01")).status == 200
