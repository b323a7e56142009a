"""Templates that hold locks, and templates that meet them."""

from __future__ import annotations

from typing import Any

from tests.unit.providers.deploying import DEPLOY, asked, at, deploy, identity, template
from tests.unit.providers.surface_plane import GROUP, OpenPlane, Plane

from idplane.ports.collections import LOCKS

LOCK = "2020-05-01"


def lock(name: str = "keep", level: str = "CanNotDelete", **more: Any) -> dict[str, Any]:
    return {
        "type": "Microsoft.Authorization/locks",
        "apiVersion": LOCK,
        "name": name,
        "properties": {"level": level, "notes": "made by a template"},
        **more,
    }


async def put(plane: Plane, scope: str, level: str = "CanNotDelete") -> None:
    url = f"{scope}/providers/Microsoft.Authorization/locks/keep"
    assert (await plane.call("PUT", url, {"properties": {"level": level}}, version=LOCK)).status == 201


def uai_id(name: str) -> str:
    return f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}"


async def test_a_template_locks_its_group_and_a_resource_of_it(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    scope = "Microsoft.ManagedIdentity/userAssignedIdentities/one"
    resources = template(identity("one"), lock("group"), lock("one", scope=scope, dependsOn=[scope]))
    for _ in range(2):
        assert (await deploy(plane, resources))["provisioningState"] == "Succeeded"
    locked = sorted(str(one.value.id.scope) for one in await plane.store.all(LOCKS))
    assert locked == [GROUP, uai_id("one")]
    assert (await plane.call("DELETE", uai_id("one"), version="2024-11-30")).code == "ScopeLocked"


async def test_complete_mode_leaves_what_is_locked_and_says_so(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await deploy(plane, template(identity("one"), identity("two")))
    await put(plane, uai_id("one"))
    reply = await plane.call("POST", f"{at('main')}/whatIf", asked(template(), mode="Complete"), version=DEPLOY)
    foreseen = {one["resourceId"].rpartition("/")[2]: one for one in reply.body["properties"]["changes"]}
    assert {name: one["changeType"] for name, one in foreseen.items()} == {"one": "Unsupported", "two": "Delete"}
    assert foreseen["one"]["unsupportedReason"].startswith("ScopeLocked: The scope ")
    ended = await deploy(plane, template(), mode="Complete")
    assert ended["provisioningState"] == "Failed"
    (error,) = ended["error"]["details"]
    assert (error["code"], error["target"]) == ("ScopeLocked", uai_id("one"))
    assert (await plane.call("GET", uai_id("one"), version="2024-11-30")).status == 200
    assert (await plane.call("GET", uai_id("two"), version="2024-11-30")).status == 404


async def test_nothing_is_deployed_into_what_is_read_only(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await put(plane, GROUP, "ReadOnly")
    for method, word in (("PUT", ""), ("POST", "/validate"), ("POST", "/whatIf")):
        reply = await plane.call(method, at("main") + word, asked(template(identity("one"))), version=DEPLOY)
        assert (reply.status, reply.code) == (409, "ScopeLocked")


async def test_what_if_sees_the_locks_of_its_own_template(open_plane: OpenPlane) -> None:
    """A lock that the template would make forbids what the template would do after it."""
    plane = await open_plane()
    document = template(lock("first", "ReadOnly"), identity("one", dependsOn=["Microsoft.Authorization/locks/first"]))
    reply = await plane.call("POST", f"{at('main')}/whatIf", asked(document), version=DEPLOY)
    changes = {one["resourceId"].rpartition("/")[2]: one["changeType"] for one in reply.body["properties"]["changes"]}
    assert changes == {"first": "Create", "one": "Unsupported"}
    assert not await plane.store.all(LOCKS)


async def test_a_lock_keeps_the_history_of_deployments(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await deploy(plane, template())
    await put(plane, GROUP)
    assert (await plane.call("DELETE", at("main"), version=DEPLOY)).code == "ScopeLocked"
