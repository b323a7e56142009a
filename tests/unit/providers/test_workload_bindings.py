"""Bindings as Resource Manager keeps them: who may write which, and what is refused."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.providers.surface_plane import COMPUTE, FOREIGN, GROUP, SUB, OpenPlane, Plane, Reply, uai, vm

from idplane.model.bindings import SYSTEM_ASSIGNED
from idplane.model.ids import ResourceId
from idplane.ports.collections import BINDINGS, RESOURCES
from idplane.ports.store import ANY, Batch, Put
from idplane.providers.catalogue import PROVIDERS
from idplane.providers.workload_bindings import BINDINGS_TYPE, MOST_BINDINGS

VERSION = "2026-11-01"
GRANT = "Microsoft.Authorization/roleAssignments/write"
GOOD = {"user": "alice"}
EVERYTHING = {
    "identities": ["SystemAssigned", uai("front-end")],
    "processes": {
        "user": 1000,
        "group": "staff",
        "executable": {"path": "/usr/bin/app", "device": 64769, "inode": 2**62, "sha256": "0123456789abcdef" * 4},
        "systemdUnit": "app@blue.service",
        "cgroup": "/system.slice",
        "container": {"engine": "kubernetes", "id": "f" * 64, "pod": "01234567-89ab-cdef-0123-456789abcdef"},
        "run": True,
    },
}


def at(name: str, host: str | None = None) -> str:
    return f"{host or vm('stock')}/providers/{BINDINGS_TYPE}/{name}"


async def bind(plane: Plane, name: str, *, by: str = "owner", host: str | None = None, **processes: Any) -> Reply:
    body = {"properties": {"processes": processes or GOOD}}
    return await plane.call("PUT", at(name, host), body, version=VERSION, by=by)


async def ask(plane: Plane, method: str, url: str, body: object = None, **options: Any) -> Reply:
    return await plane.call(method, url, body, version=VERSION, **options)


async def names(plane: Plane) -> list[str]:
    return [one.value.name for one in await plane.store.all(BINDINGS)]


@pytest.fixture
async def plane(open_plane: OpenPlane) -> Plane:
    opened = await open_plane()
    await opened.machine("stock", {"type": "SystemAssigned"})
    return opened


async def test_a_binding_s_life(plane: Plane) -> None:
    made = await ask(plane, "PUT", at("App"), {"properties": EVERYTHING})
    assert made.status == 201
    assert made.body == {
        "id": at("App"),
        "name": "App",
        "type": "Idplane.Workloads/bindings",
        "etag": made.headers["etag"],
        "properties": {**EVERYTHING, "provisioningState": "Succeeded"},
        "systemData": {"createdAt": made.body["systemData"]["createdAt"]},
    }
    assert await plane.get(at("aPP", vm("STOCK")), version=VERSION) == made.body
    changed = await ask(plane, "PUT", at("app"), {"properties": {"processes": {"group": "7"}}})
    assert (changed.status, changed.body["name"]) == (200, "App")
    assert changed.body["properties"] == {"processes": {"group": 7}, "provisioningState": "Succeeded"}
    assert changed.body["systemData"] == made.body["systemData"]
    assert (await ask(plane, "HEAD", at("app"))).status == 204
    assert (await ask(plane, "DELETE", at("APP"))).status == 200
    assert (await ask(plane, "DELETE", at("app"))).status == 204
    gone = await ask(plane, "GET", at("app"))
    assert (gone.status, gone.code) == (404, "ResourceNotFound")
    assert [(one.operation, one.resource_id, one.status) for one in await plane.events()][-4:] == [
        (f"{BINDINGS_TYPE}/write", at("App"), "Succeeded"),
        (f"{BINDINGS_TYPE}/write", at("app"), "Succeeded"),
        (f"{BINDINGS_TYPE}/delete", at("APP"), "Succeeded"),
        (f"{BINDINGS_TYPE}/delete", at("app"), "Succeeded"),
    ]


async def test_what_was_read_can_be_written_back(plane: Plane) -> None:
    made = await ask(plane, "PUT", at("app"), {"properties": EVERYTHING})
    again = await ask(plane, "PUT", at("app"), {**made.body, "location": "westeurope"})
    assert (again.status, again.body["properties"]) == (200, made.body["properties"])


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"user": 0}, {"user": 0}),
        ({"user": "0042"}, {"user": 42}),
        ({"user": 2**32 - 2}, {"user": 2**32 - 2}),
        ({"user": "DOMAIN\\alice"}, {"user": "DOMAIN\\alice"}),
        ({"user": "alice@example.com"}, {"user": "alice@example.com"}),
        ({"group": "2nd-floor"}, {"group": "2nd-floor"}),
        ({"cgroup": "/"}, {"cgroup": "/"}),
        ({"cgroup": "/system.slice/app.service"}, {"cgroup": "/system.slice/app.service"}),
        ({"run": False}, {"run": False}),
        ({"user": None, "run": True}, {"run": True}),
        ({"systemdUnit": "dev-disk-by\\x2duuid.scope"}, {"systemdUnit": "dev-disk-by\\x2duuid.scope"}),
        ({"executable": {"path": "/opt/my app/…/run"}}, {"executable": {"path": "/opt/my app/…/run"}}),
        ({"executable": {"sha256": "ABCDEF" + "0" * 58}}, {"executable": {"sha256": "abcdef" + "0" * 58}}),
        ({"executable": {"device": 0, "inode": 0}}, {"executable": {"device": 0, "inode": 0}}),
        ({"container": {"engine": "Docker"}}, {"container": {"engine": "docker"}}),
        ({"container": {"id": "A" * 64}}, {"container": {"id": "a" * 64}}),
        ({"container": {"pod": "A" * 32}}, {"container": {"pod": "a" * 32}}),
    ],
)
async def test_facts(plane: Plane, given: dict[str, Any], kept: dict[str, Any]) -> None:
    made = await bind(plane, "app", **given)
    assert made.status == 201, made.body
    assert made.body["properties"]["processes"] == kept


LONG = "/" + "x" * 4095


@pytest.mark.parametrize(
    ("given", "where", "words"),
    [
        ({}, "properties.processes", "at least one fact"),
        ({"user": None}, "properties.processes", "at least one fact"),
        ({"usr": "alice"}, "properties.processes.usr", "not known here; there are: user, group,"),
        ({"user": "alice", "x" * 500: 1}, f"properties.processes.{'x' * 100}", "not known"),
        ({"user": ""}, "properties.processes.user", "name of a user, or its number"),
        ({"user": " alice"}, "properties.processes.user", "name of a user"),
        ({"user": "alice bob"}, "properties.processes.user", "name of a user"),
        ({"user": "alice:x"}, "properties.processes.user", "name of a user"),
        ({"user": "../root"}, "properties.processes.user", "name of a user"),
        ({"user": "-1"}, "properties.processes.user", "name of a user"),
        ({"user": "+"}, "properties.processes.user", "name of a user"),
        ({"user": "x" * 256}, "properties.processes.user", "name of a user"),
        ({"user": "٣"}, "properties.processes.user", "name of a user"),
        ({"user": -1}, "properties.processes.user", "a number from 0 to 4294967294"),
        ({"user": 2**32 - 1}, "properties.processes.user", "a number from 0"),
        ({"user": "4294967295"}, "properties.processes.user", "a number from 0"),
        ({"user": "9" * 400}, "properties.processes.user", "name of a user"),
        ({"user": 1.0}, "properties.processes.user", "name of a user"),
        ({"user": True}, "properties.processes.user", "name of a user"),
        ({"group": ["staff"]}, "properties.processes.group", "name of a group"),
        ({"executable": {}}, "properties.processes.executable.path", "is required"),
        ({"executable": {"path": None}}, "properties.processes.executable.path", "is required"),
        ({"executable": "/usr/bin/app"}, "properties.processes.executable", "an object"),
        ({"executable": {"file": "/x"}}, "properties.processes.executable.file", "not known"),
        ({"executable": {"path": "app"}}, "properties.processes.executable.path", "absolute path"),
        ({"executable": {"path": ""}}, "properties.processes.executable.path", "absolute path"),
        ({"executable": {"path": "/"}}, "properties.processes.executable.path", "absolute path"),
        ({"executable": {"path": "/usr/bin/"}}, "properties.processes.executable.path", "absolute path"),
        ({"executable": {"path": "/usr//bin/app"}}, "properties.processes.executable.path", "absolute path"),
        ({"executable": {"path": "/usr/./app"}}, "properties.processes.executable.path", "absolute path"),
        ({"executable": {"path": "/usr/../app"}}, "properties.processes.executable.path", "absolute path"),
        ({"executable": {"path": "/usr/bin/app\n"}}, "properties.processes.executable.path", "absolute path"),
        ({"executable": {"path": LONG}}, "properties.processes.executable.path", "4095 characters"),
        ({"executable": {"device": 1}}, "properties.processes.executable.inode", "together"),
        ({"executable": {"inode": 1, "path": "/x"}}, "properties.processes.executable.device", "together"),
        ({"executable": {"device": 1, "inode": -1}}, "properties.processes.executable.inode", "negative"),
        ({"executable": {"device": "1", "inode": 1}}, "properties.processes.executable.device", "whole number"),
        ({"executable": {"sha256": "f" * 63}}, "properties.processes.executable.sha256", "64 hexadecimal"),
        ({"executable": {"sha256": "g" * 64}}, "properties.processes.executable.sha256", "64 hexadecimal"),
        ({"executable": {"sha256": "sha256:" + "f" * 64}}, "properties.processes.executable.sha256", "64 hexadecimal"),
        ({"systemdUnit": "app"}, "properties.processes.systemdUnit", "whole name"),
        ({"systemdUnit": ".service"}, "properties.processes.systemdUnit", "whole name"),
        ({"systemdUnit": "app.timer"}, "properties.processes.systemdUnit", "whole name"),
        ({"systemdUnit": "app.service/x.service"}, "properties.processes.systemdUnit", "whole name"),
        ({"systemdUnit": "app.service\n"}, "properties.processes.systemdUnit", "whole name"),
        ({"systemdUnit": "system.slice"}, "properties.processes.systemdUnit", "whole name"),
        ({"systemdUnit": "x" * 248 + ".service"}, "properties.processes.systemdUnit", "255 characters"),
        ({"cgroup": "system.slice"}, "properties.processes.cgroup", "absolute path"),
        ({"cgroup": "/system.slice/../user.slice"}, "properties.processes.cgroup", "absolute path"),
        ({"cgroup": "//"}, "properties.processes.cgroup", "absolute path"),
        ({"cgroup": "/a/"}, "properties.processes.cgroup", "absolute path"),
        ({"container": {}}, "properties.processes.container.engine", "is required"),
        ({"container": {"engine": "lxc"}}, "properties.processes.container.engine", "docker, podman, kubernetes"),
        ({"container": {"id": "f" * 12}}, "properties.processes.container.id", "64 hexadecimal"),
        ({"container": {"name": "db"}}, "properties.processes.container.name", "not known"),
        ({"container": {"pod": "web-0"}}, "properties.processes.container.pod", "pod's uid"),
        ({"container": {"engine": "docker", "pod": "a" * 32}}, "properties.processes.container.pod", "kubernetes"),
        ({"run": "true"}, "properties.processes.run", "true or false"),
        ({"run": 1}, "properties.processes.run", "true or false"),
    ],
)
async def test_facts_that_are_refused(plane: Plane, given: dict[str, Any], where: str, words: str) -> None:
    refused = await ask(plane, "PUT", at("app"), {"properties": {"processes": given}})
    assert (refused.status, refused.code) == (400, "InvalidParameter")
    assert refused.body["error"]["target"] == where
    assert words in refused.message
    assert await names(plane) == []


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, "properties.processes"),
        ({"properties": None}, "properties.processes"),
        ({"properties": []}, "properties"),
        ({"properties": {"processes": None}}, "properties.processes"),
        ({"properties": {"processes": "alice"}}, "properties.processes"),
        ({"properties": {"processes": GOOD, "identity": []}}, "properties.identity"),
        ({"processes": GOOD}, "processes"),
        ({"properties": {"processes": GOOD}, "identities": []}, "identities"),
        ({"properties": {"processes": GOOD}, "tags": {"a": "b"}}, "tags"),
    ],
)
async def test_members_that_stand_elsewhere(plane: Plane, body: object, where: str) -> None:
    refused = await ask(plane, "PUT", at("app"), body)
    assert (refused.status, refused.body["error"]["target"]) == (400, where)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["systemassigned"], [SYSTEM_ASSIGNED]),
        ([uai("nowhere-yet").upper().replace("/SUBSCRIPTIONS/", "/subscriptions/")], None),
        ([uai(str(number)) for number in range(64)], None),
    ],
)
async def test_identities(plane: Plane, given: list[str], kept: list[str] | None) -> None:
    made = await ask(plane, "PUT", at("app"), {"properties": {"identities": given, "processes": GOOD}})
    assert made.status == 201, made.body
    found = made.body["properties"]["identities"]
    assert [one.lower() for one in found] == [one.lower() for one in kept or given]


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ([], "properties.identities"),
        ("SystemAssigned", "properties.identities"),
        ([""], "properties.identities[0]"),
        ([None], "properties.identities[0]"),
        (["UserAssigned"], "properties.identities[0]"),
        (["front-end"], "properties.identities[0]"),
        ([vm("stock")], "properties.identities[0]"),
        (["/providers/Microsoft.ManagedIdentity/userAssignedIdentities/x"], "properties.identities[0]"),
        ([f"{uai('a')}/federatedIdentityCredentials/x"], "properties.identities[0]"),
        ([uai("a"), "SystemAssigned", uai("A")], "properties.identities[2]"),
        (["SystemAssigned", "SYSTEMASSIGNED"], "properties.identities[1]"),
        ([uai(str(number)) for number in range(65)], "properties.identities"),
    ],
)
async def test_identities_that_are_refused(plane: Plane, given: object, where: str) -> None:
    refused = await ask(plane, "PUT", at("app"), {"properties": {"identities": given, "processes": GOOD}})
    assert (refused.status, refused.body["error"]["target"]) == (400, where)
    assert await names(plane) == []


@pytest.mark.parametrize("name", ["-a", "a-", ".", "a b", "a|b", "x" * 65, "ä"])
async def test_names_that_are_refused(plane: Plane, name: str) -> None:
    refused = await bind(plane, name)
    assert refused.status == 400
    assert await names(plane) == []


# Hosts --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize(
    ("host", "status", "code"),
    [
        (vm("nowhere"), 404, "ResourceNotFound"),
        (f"{SUB}/resourceGroups/Nowhere/providers/Microsoft.Compute/virtualMachines/vm", 404, "ResourceGroupNotFound"),
        (uai("shared"), 400, "BindingScopeInvalid"),
        (GROUP, 400, "BindingScopeInvalid"),
        (SUB, 400, "BindingScopeInvalid"),
        (f"{GROUP}/providers/Microsoft.Compute/virtualMachineScaleSets/set/virtualMachines/0", 400, "BindingScopeInvalid"),
        (f"{GROUP}/providers/Microsoft.Compute/disks/disk", 404, "ResourceNotFound"),
    ],
)
async def test_hosts_that_are_none(plane: Plane, method: str, host: str, status: int, code: str) -> None:
    await plane.identity("shared")
    await scale_set(plane)
    refused = await ask(plane, method, at("app", host), {"properties": {"processes": GOOD}})
    assert (refused.status, refused.code) == (status, code), refused.body
    assert await names(plane) == []


async def test_the_tenant_has_no_bindings(plane: Plane) -> None:
    for url in (f"/providers/{BINDINGS_TYPE}/app", f"/providers/{BINDINGS_TYPE}"):
        assert (await ask(plane, "GET", url)).status in {404, 405}


async def scale_set(plane: Plane) -> str:
    url = f"{GROUP}/providers/Microsoft.Compute/virtualMachineScaleSets/set"
    await plane.put(url, {"location": "westeurope", "sku": {"name": "s", "capacity": 2}}, version=COMPUTE)
    return url


async def test_every_type_that_bears_identities_is_a_host(plane: Plane) -> None:
    kinds = [one for provider in PROVIDERS for one in provider.types if one.bears_identity]
    assert len(kinds) > 15
    template = await plane.store.get(RESOURCES, vm("stock").lower())
    assert template is not None
    for kind in kinds:
        identifier = ResourceId.parse(GROUP)
        first, *further = kind.path.split("/")
        for step in (("providers", kind.namespace, first), *((word,) for word in further)):
            identifier = identifier.child(*step, "one")
            if await plane.store.get(RESOURCES, identifier.key) is None:
                made = replace(template.value, id=identifier, type=identifier.type, identity=None)
                await plane.store.commit(Batch.of(Put(collection=RESOURCES, value=made, expect=ANY)))
        made_binding = await bind(plane, "app", host=str(identifier))
        assert made_binding.status == 201, (kind.name, made_binding.body)


async def test_bindings_go_with_their_host(plane: Plane) -> None:
    await plane.machine("kept")
    scaled = await scale_set(plane)
    await plane.machine("bare")
    for host in (vm("stock"), vm("kept"), scaled, vm("bare")):
        for name in ("one", "two"):
            assert (await bind(plane, name, host=host)).status == 201
    for host in (vm("stock"), scaled, vm("bare")):
        assert (await plane.call("DELETE", host, version=COMPUTE)).status == 200
    assert {str(one.value.host) for one in await plane.store.all(BINDINGS)} == {vm("kept")}
    assert (await plane.call("DELETE", GROUP)).status in {200, 202}
    assert await names(plane) == []


async def test_a_new_host_of_the_same_name_has_no_bindings(plane: Plane) -> None:
    await bind(plane, "app")
    await plane.call("DELETE", vm("stock"), version=COMPUTE)
    await plane.machine("stock")
    assert (await plane.get(f"{vm('stock')}/providers/{BINDINGS_TYPE}", version=VERSION))["value"] == []


# Lists --------------------------------------------------------------------------------------------------------------------


async def test_lists(plane: Plane) -> None:
    await plane.machine("other")
    await plane.put(f"{SUB}/resourceGroups/Stock-2", {"location": "westeurope"})
    far = vm("stock").replace("/Stock/", "/Stock-2/")
    await plane.put(far, {"location": "westeurope"}, version=COMPUTE)
    for host in (vm("stock"), vm("other"), far):
        for number in range(3):
            await bind(plane, f"b{number}", host=host)

    async def listed(scope: str) -> list[str]:
        found, url = [], f"{scope}/providers/{BINDINGS_TYPE}?$top=2"
        while url:
            page = await plane.get(url, version=VERSION, by="reader")
            assert len(page["value"]) <= 2
            found += [one["id"] for one in page["value"]]
            url = page.get("nextLink")
        return found

    assert await listed(vm("STOCK")) == [at(f"b{number}") for number in range(3)]
    assert await listed(GROUP) == [at(f"b{number}", vm(host)) for host in ("other", "stock") for number in range(3)]
    assert len(await listed(SUB)) == 9
    missing = await ask(plane, "GET", f"{SUB}/resourceGroups/Nowhere/providers/{BINDINGS_TYPE}")
    assert (missing.status, missing.code) == (404, "ResourceGroupNotFound")
    for host in (uai("shared"), vm("nowhere")):
        assert (await ask(plane, "GET", f"{host}/providers/{BINDINGS_TYPE}")).status == 404


async def test_a_host_s_list_leaves_out_its_children_s(plane: Plane) -> None:
    site = f"{GROUP}/providers/Microsoft.Web/sites/shop"
    for url in (site, f"{site}/slots/staging"):
        await plane.put(url, {"location": "westeurope"}, version="2025-05-01")
        await bind(plane, "app", host=url)
    found = await plane.get(f"{site}/providers/{BINDINGS_TYPE}", version=VERSION)
    assert [one["id"] for one in found["value"]] == [at("app", site)]


# Who may ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["nobody", "reader", "machinist"])
async def test_who_may_not_write(plane: Plane, by: str) -> None:
    await plane.person("machinist", ("Virtual Machine Contributor", SUB))
    for method, verb in (("PUT", "write"), ("DELETE", "delete")):
        refused = await ask(plane, method, at("app"), {"properties": {"processes": GOOD}}, by=by)
        assert (refused.status, refused.code) == (403, "AuthorizationFailed")
        assert f"'{BINDINGS_TYPE}/{verb}' over scope '{at('app')}'" in refused.message
    assert await names(plane) == []
    assert [one.status for one in (await plane.events())[-2:]] == ["Failed", "Failed"]


async def test_who_may_read(plane: Plane) -> None:
    await bind(plane, "app")
    assert (await ask(plane, "GET", at("app"), by="reader")).status == 200
    assert (await ask(plane, "GET", at("app"), by="nobody")).status == 403
    assert (await ask(plane, "GET", f"{SUB}/providers/{BINDINGS_TYPE}", by="nobody")).status == 403
    assert (await ask(plane, "GET", at("app"), by="stranger")).status == 401
    foreign = vm("stock").replace(SUB, f"/subscriptions/{FOREIGN}")
    assert (await ask(plane, "PUT", at("app", foreign), {"properties": {"processes": GOOD}})).status == 401


async def test_a_contributor_closes_a_host_and_opens_none(plane: Plane) -> None:
    assert (await bind(plane, "first", by="contributor")).status == 201
    refused = [
        await bind(plane, "second", by="contributor", cgroup="/"),
        await bind(plane, "first", by="contributor", cgroup="/"),
        await ask(plane, "DELETE", at("first"), by="contributor"),
    ]
    for one in refused:
        assert (one.status, one.code) == (403, "AuthorizationFailed")
        assert f"'{GRANT}' over scope '{vm('stock')}'" in one.message
    assert [one.value.processes.user for one in await plane.store.all(BINDINGS)] == ["alice"]
    assert (await bind(plane, "first", by="contributor")).status == 200, "what changes nothing"
    assert (await bind(plane, "second")).status == 201
    assert (await ask(plane, "DELETE", at("second"), by="contributor")).status == 200
    assert (await ask(plane, "DELETE", at("first"), by="contributor")).status == 403
    assert (await ask(plane, "DELETE", at("first"))).status == 200


async def test_who_gives_access_still_needs_the_action_itself(plane: Plane) -> None:
    await plane.person("both", ("Contributor", vm("stock")), ("Owner", uai("elsewhere")))
    await bind(plane, "first")
    assert (await bind(plane, "second", by="both")).status == 403
    await plane.person("owning", ("Owner", vm("stock")))
    assert (await bind(plane, "second", by="owning")).status == 201
    assert (await bind(plane, "second", by="owning", host=vm("other"))).status == 403


# Races and versions -------------------------------------------------------------------------------------------------------


async def test_two_contributors_can_t_take_the_last_two_together(plane: Plane) -> None:
    for name in ("one", "two"):
        await bind(plane, name)
    answers = await asyncio.gather(*(ask(plane, "DELETE", at(name), by="contributor") for name in ("one", "two")))
    assert sorted(one.status for one in answers) == [200, 403]
    assert len(await names(plane)) == 1


async def test_only_one_of_many_firsts_is_the_first(plane: Plane) -> None:
    answers = await asyncio.gather(*(bind(plane, f"b{number}", by="contributor") for number in range(6)))
    assert sorted(one.status for one in answers) == [201, 403, 403, 403, 403, 403]


async def test_the_number_is_limited_even_at_once(plane: Plane) -> None:
    await bind(plane, "b0")
    template = await plane.store.get(BINDINGS, f"{vm('stock').lower()}|b0")
    assert template is not None
    filling = (replace(template.value, name=f"b{number}") for number in range(1, MOST_BINDINGS - 1))
    await plane.store.commit(Batch.of(*(Put(collection=BINDINGS, value=one, expect=ANY) for one in filling)))
    answers = await asyncio.gather(*(bind(plane, f"last{number}") for number in range(4)))
    assert sorted(one.status for one in answers) == [201, 400, 400, 400]
    assert {one.code for one in answers if one.status == 400} == {"LimitExceeded"}
    assert len(await names(plane)) == MOST_BINDINGS
    assert (await bind(plane, "b7", user="bob")).status == 200


async def test_preconditions(plane: Plane) -> None:
    body = {"properties": {"processes": GOOD}}
    absent = {"If-Match": "*"}
    assert (await ask(plane, "PUT", at("app"), body, headers=absent)).status == 412
    made = await ask(plane, "PUT", at("app"), body, headers={"If-None-Match": "*"})
    first = made.headers["etag"]
    assert (await ask(plane, "PUT", at("app"), body, headers={"If-None-Match": "*"})).status == 412
    other = {"properties": {"processes": {"user": "bob"}}}
    changed = await ask(plane, "PUT", at("app"), other, headers={"If-Match": first})
    assert (changed.status, changed.headers["etag"] == first) == (200, False)
    for method in ("PUT", "DELETE"):
        assert (await ask(plane, method, at("app"), body, headers={"If-Match": first})).status == 412
    assert (await ask(plane, "DELETE", at("app"), headers={"If-Match": changed.body["etag"]})).status == 200
    plane.clock.advance(1)
    assert (await ask(plane, "PUT", at("app"), body)).headers["etag"] != first


async def test_a_binding_and_its_host_s_end_do_not_pass_each_other(plane: Plane) -> None:
    made, gone = await asyncio.gather(bind(plane, "app"), plane.call("DELETE", vm("stock"), version=COMPUTE))
    assert (made.status, gone.status) in {(201, 200), (404, 200)}
    assert await names(plane) == []


async def test_other_methods(plane: Plane) -> None:
    await bind(plane, "app")
    for method, url in (("PATCH", at("app")), ("POST", at("app")), ("PUT", f"{vm('stock')}/providers/{BINDINGS_TYPE}")):
        assert (await ask(plane, method, url, {"properties": {"processes": {"user": "eve"}}})).status in {404, 405}


async def test_versions_and_operations(plane: Plane) -> None:
    wrong = await plane.call("GET", at("app"), version=COMPUTE)
    assert (wrong.status, wrong.code) == (400, "NoRegisteredProviderFound")
    told = await plane.get("/providers/Idplane.Workloads/operations", version=VERSION, by="nobody")
    names = [one["name"] for one in told["value"] if one["name"].startswith(f"{BINDINGS_TYPE}/")]
    assert names == [f"{BINDINGS_TYPE}/{verb}" for verb in ("read", "write", "delete")]
    namespace = await plane.get(f"{SUB}/providers/Idplane.Workloads")
    versions = {one["resourceType"]: one["apiVersions"] for one in namespace["resourceTypes"]}
    assert (versions["bindings"], versions["operations"]) == ([VERSION], [VERSION])
