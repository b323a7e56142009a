"""Deployments that run: what may be done meanwhile, and how they end when somebody or something ends them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

from tests.unit.providers.deploying import (
    DEPLOY,
    Gate,
    asked,
    at,
    code_of,
    deploy,
    ended,
    nested,
    template,
)
from tests.unit.providers.surface_plane import GROUP, HOME, OpenPlane, Plane, Reply

from idplane.arm.kernel import ResourceManager
from idplane.ports.collections import DEPLOYMENTS, RESOURCES
from idplane.providers.catalogue import composed
from idplane.web.management import ManagementSurface


async def _held(open_plane: OpenPlane) -> tuple[Gate, Plane, Reply]:
    """A deployment that is being carried out."""
    gate = Gate()
    plane = await open_plane(providers=composed(gate.provider))
    reply = await plane.call(
        "PUT", at("main"), asked(template(gate.resource("a"), gate.resource("b", dependsOn=["a"]))), version=DEPLOY
    )
    await gate.until("a")
    return gate, plane, reply


async def test_a_running_deployment_is_not_replaced_or_deleted(open_plane: OpenPlane) -> None:
    gate, plane, reply = await _held(open_plane)
    running = await plane.call("GET", reply.headers["azure-asyncoperation"])
    assert running.body == {"status": "Running"}
    assert int(running.headers["retry-after"]) > 0
    assert code_of(await plane.call("PUT", at("main"), asked(template()), version=DEPLOY)) == (409, "DeploymentActive")
    assert code_of(await plane.call("DELETE", at("main"), version=DEPLOY)) == (409, "DeploymentActive")
    plane.clock.advance(timedelta(hours=5))
    assert (await plane.get(at("main"), version=DEPLOY))["properties"]["provisioningState"] == "Running"
    gate.open.set()
    assert (await ended(plane, at("main")))["properties"]["provisioningState"] == "Succeeded"


async def test_cancelling_lets_nothing_further_begin(open_plane: OpenPlane) -> None:
    gate, plane, _ = await _held(open_plane)
    assert (await plane.call("POST", f"{at('main')}/cancel", version=DEPLOY)).status == 204
    gate.open.set()
    done = (await ended(plane, at("main")))["properties"]
    assert (done["provisioningState"], done["error"]["code"]) == ("Canceled", "DeploymentCanceled")
    assert "b" not in gate.waiting
    again = await plane.call("POST", f"{at('main')}/cancel", version=DEPLOY)
    assert code_of(again) == (409, "DeploymentCannotBeCancelled")
    assert (await plane.call("POST", f"{at('none')}/cancel", version=DEPLOY)).code == "DeploymentNotFound"


async def test_a_cancelled_deployment_takes_those_inside_it_along(open_plane: OpenPlane) -> None:
    gate = Gate()
    plane = await open_plane(providers=composed(gate.provider))
    inmost = template(gate.resource("a"), gate.resource("b", dependsOn=["a"]))
    await plane.call("PUT", at("main"), asked(template(nested("in", template(nested("inmost", inmost))))), version=DEPLOY)
    await gate.until("a")
    await plane.call("POST", f"{at('main')}/cancel", version=DEPLOY)
    gate.open.set()
    for name in ("main", "in", "inmost"):
        assert (await ended(plane, at(name)))["properties"]["provisioningState"] == "Canceled"
    assert "b" not in gate.waiting


async def test_a_group_that_is_deleted_ends_its_deployments(open_plane: OpenPlane) -> None:
    gate, plane, _ = await _held(open_plane)
    assert (await plane.call("DELETE", GROUP)).status == 202
    gate.open.set()
    await plane.manager.close()
    assert await plane.store.all(DEPLOYMENTS) == ()
    assert await plane.store.all(RESOURCES) == ()


async def test_a_deployment_whose_process_has_gone_has_failed(open_plane: OpenPlane) -> None:
    _, plane, reply = await _held(open_plane)
    await plane.manager.close()
    plane.manager = ResourceManager(plane.manager._k)  # the next process
    plane.surface = ManagementSurface(manager=plane.manager, home_tenant=HOME)
    assert (await plane.get(at("main"), version=DEPLOY))["properties"]["provisioningState"] == "Running"
    plane.clock.advance(timedelta(seconds=61))
    done = (await plane.get(at("main"), version=DEPLOY))["properties"]
    assert (done["provisioningState"], done["error"]["details"][0]["code"]) == ("Failed", "DeploymentInterrupted")
    assert (await plane.call("GET", reply.headers["azure-asyncoperation"])).body["status"] == "Failed"
    url = f"{GROUP}/providers/Microsoft.Resources/deployments?$filter=provisioningState eq 'Failed'"
    assert len((await plane.get(url, version=DEPLOY))["value"]) == 1
    assert (await deploy(plane, template()))["provisioningState"] == "Succeeded"


async def test_a_running_deployment_says_so_from_time_to_time(open_plane: OpenPlane) -> None:
    gate, plane, _ = await _held(open_plane)
    (before,) = await plane.store.all(DEPLOYMENTS)
    written = asyncio.Event()
    stop = plane.store.subscribe(lambda _: written.set())
    plane.clock.advance(timedelta(seconds=15))
    await written.wait()
    stop()
    (now,) = await plane.store.all(DEPLOYMENTS)
    assert replace(now.value, beat_at=before.value.beat_at) == before.value
    gate.open.set()
    assert (await ended(plane, at("main")))["properties"]["provisioningState"] == "Succeeded"
