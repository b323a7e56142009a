"""The agent API on the wire: shapes, refusals, waiting for changes."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator

import pytest
from tests.unit.directory.hosts_world import GROUP, OTHER_VM, SHARED_ID, TENANT, VM, csr_text, hosts_world
from tests.unit.web.agent_api import BASE, Api, code

from idplane.jose import certificate_thumbprint, parse
from idplane.model.bindings import SYSTEM_ASSIGNED, Binding, ContainerEngine, ContainerRule, ExecutableRule, ProcessRule
from idplane.model.failure import Category, Failure, FailureKind
from idplane.ports.collections import BINDINGS, CREDENTIALS, SIGN_INS
from idplane.ports.store import ABSENT, Batch, Put, TrimChanges
from idplane.web.agent_errors import agent_error


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with hosts_world() as world:
        yield Api(world, await world.enroll("agent-1", VM.key))


async def test_a_host(api: Api) -> None:
    response = await api.call("GET", "/agent/v1/host", ("id", str(VM).upper()))
    body = json.loads(response.body)
    assert body["id"] == str(VM)
    assert body["type"] == "Microsoft.Compute/virtualMachines"
    assert body["location"] == "westeurope"
    assert body["tenantId"] == TENANT
    assert body["tokenEndpoint"] == f"{BASE}/{TENANT}/oauth2/token"
    assert body["compute"]["name"] == "Stock-VM"
    system, shared = api.world.system, api.world.shared
    assert body["identities"] == [
        {"principalId": system.id, "clientId": system.client_id, "resourceId": None, "systemAssigned": True},
        {"principalId": shared.id, "clientId": shared.client_id, "resourceId": str(SHARED_ID), "systemAssigned": False},
    ]


async def test_the_bindings_of_a_host(api: Api) -> None:
    async def told() -> object:
        return json.loads((await api.call("GET", "/agent/v1/host", ("id", str(VM)))).body)["bindings"]

    assert await told() == []
    rules = {
        "Wide": ProcessRule(user="1000"),
        "app": ProcessRule(
            user="alice",
            group="staff",
            executable=ExecutableRule(path="/usr/bin/app", device=1, inode=2, sha256="0" * 64),
            systemd_unit="app.service",
            cgroup="/system.slice",
            container=ContainerRule(engine=ContainerEngine.PODMAN, id="f" * 64, pod="p"),
            run=False,
        ),
        "elsewhere": ProcessRule(run=True),
    }
    for name, rule in rules.items():
        binding = Binding(
            host=OTHER_VM if name == "elsewhere" else VM,
            name=name,
            processes=rule,
            created_at=api.world.clock.now(),
            identities=(SYSTEM_ASSIGNED, str(SHARED_ID)) if name == "app" else (),
        )
        await api.world.store.commit(Batch.of(Put(collection=BINDINGS, value=binding, expect=ABSENT)))
    assert await told() == [
        {
            "name": "app",
            "identities": ["SystemAssigned", str(SHARED_ID)],
            "processes": {
                "user": "alice",
                "group": "staff",
                "executable": {"path": "/usr/bin/app", "device": 1, "inode": 2, "sha256": "0" * 64},
                "systemdUnit": "app.service",
                "cgroup": "/system.slice",
                "container": {"engine": "podman", "id": "f" * 64, "pod": "p"},
                "run": False,
            },
        },
        {"name": "Wide", "identities": [], "processes": {"user": "1000"}},
    ]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ([], (400, "INVALID_RESOURCE_ID")),
        ([("id", "")], (400, "INVALID_RESOURCE_ID")),
        ([("id", "stock-vm")], (400, "INVALID_RESOURCE_ID")),
        ([("id", str(VM)), ("id", str(VM))], (400, "INVALID_PARAMETER")),
        ([("id", str(OTHER_VM))], (403, "HOST_NOT_BOUND")),
        ([("id", str(GROUP))], (403, "HOST_NOT_BOUND")),
        ([("id", "/")], (403, "HOST_NOT_BOUND")),
        ([("id", f"{VM}/../other-vm")], (400, "INVALID_RESOURCE_ID")),
    ],
)
async def test_hosts_that_are_refused(api: Api, query: list[tuple[str, str]], expected: tuple[int, str]) -> None:
    assert code(await api.call("GET", "/agent/v1/host", *query)) == expected


async def test_a_certificate(api: Api) -> None:
    response = await api.certificate({"host": str(VM), "principalId": api.world.system.id, "csr": csr_text()})
    body = json.loads(response.body)
    stored = await api.world.store.get(CREDENTIALS, body["credentialId"])
    assert stored is not None
    assert stored.value.thumbprint == certificate_thumbprint(base64.b64decode(body["certificate"]))
    assert body["notBefore"] < body["notAfter"]


async def test_a_workload_s_token(api: Api) -> None:
    body = json.dumps({"host": str(VM), "seconds": 600, "runId": "r"}).encode()
    answer = json.loads((await api.call("POST", "/agent/v1/projected-tokens", body=body)).body)
    claims = dict[str, object](parse(answer["token"]).claims)
    assert (answer["issuer"], answer["subject"], answer["tenantId"]) == (claims["iss"], claims["sub"], TENANT)
    assert (answer["subject"], answer["trustedBy"]) == (str(VM), [])
    assert answer["issuedAt"] < answer["expiresAt"]
    (record,) = await api.world.store.read_log(SIGN_INS)
    assert record.event.token_id == claims["jti"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ([], (400, "MALFORMED_BODY")),
        ({"host": 5}, (400, "MALFORMED_BODY")),
        ({"host": str(VM), "seconds": "600"}, (400, "MALFORMED_BODY")),
        ({"host": "vm"}, (400, "INVALID_RESOURCE_ID")),
        ({"host": str(OTHER_VM)}, (403, "HOST_NOT_BOUND")),
        ({"host": str(GROUP)}, (403, "HOST_NOT_BOUND")),
        ({"host": str(VM), "seconds": 599}, (400, "INVALID_PARAMETER")),
        ({"host": str(VM), "serviceAccount": "a/b"}, (400, "INVALID_PARAMETER")),
        ({"host": str(VM), "runId": "A" * 20_000}, (413, "BODY_TOO_LARGE")),
    ],
)
async def test_workloads_tokens_that_are_refused(api: Api, body: object, expected: tuple[int, str]) -> None:
    assert code(await api.call("POST", "/agent/v1/projected-tokens", body=json.dumps(body).encode())) == expected
    assert not await api.world.store.read_log(SIGN_INS)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (None, (400, "MALFORMED_BODY")),
        ([], (400, "MALFORMED_BODY")),
        ({}, (400, "MALFORMED_BODY")),
        ({"host": 5, "principalId": "p", "csr": "AAAA"}, (400, "MALFORMED_BODY")),
        ({"host": "vm", "principalId": "p", "csr": "AAAA"}, (400, "INVALID_RESOURCE_ID")),
        ({"host": str(OTHER_VM), "principalId": "p", "csr": "AAAA"}, (403, "HOST_NOT_BOUND")),
        ({"host": str(VM), "principalId": "p", "csr": "AAAA"}, (400, "NOT_ENTITLED")),
        ({"host": str(VM), "principalId": "{system}", "csr": "AAAA"}, (400, "CSR_INVALID")),
        ({"host": str(VM), "principalId": "{system}", "csr": "not base64"}, (400, "CSR_INVALID")),
        ({"host": str(VM), "principalId": "{system}", "csr": "é"}, (400, "CSR_INVALID")),
        ({"host": str(VM), "principalId": "{system}", "csr": "A" * 20_000}, (413, "BODY_TOO_LARGE")),
    ],
)
async def test_certificate_requests_that_are_refused(api: Api, body: object, expected: tuple[int, str]) -> None:
    if isinstance(body, dict) and body.get("principalId") == "{system}":
        body["principalId"] = api.world.system.id
    assert code(await api.certificate(body)) == expected
    assert not await api.world.store.all(CREDENTIALS)


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b"[" * 5000, b'{"host": 1e999}'])
async def test_what_is_no_json(api: Api, raw: bytes) -> None:
    assert code(await api.call("POST", "/agent/v1/certificates", body=raw)) == (400, "MALFORMED_BODY")


@pytest.mark.parametrize("media_type", ["", "text/plain", "application/x-www-form-urlencoded"])
async def test_what_says_it_is_no_json(api: Api, media_type: str) -> None:
    body = {"host": str(VM), "principalId": api.world.system.id, "csr": csr_text()}
    assert code(await api.certificate(body, content_type=media_type)) == (415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Basic abc", "Bearer a.b.c", "Bearer x y z"])
@pytest.mark.parametrize(
    "path", ["/agent/v1/host", "/agent/v1/certificates", "/agent/v1/changes", "/agent/v1/refusals", "/agent/v1/nothing"]
)
async def test_nothing_is_told_to_strangers(api: Api, authorization: str, path: str) -> None:
    response = await api.call("GET", path, authorization=authorization)
    assert code(response) == (401, "AGENT_UNKNOWN")
    assert ("WWW-Authenticate", "Bearer") in response.headers


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/agent/v1/host", (405, "METHOD_NOT_ALLOWED")),
        ("GET", "/agent/v1/certificates", (405, "METHOD_NOT_ALLOWED")),
        ("DELETE", "/agent/v1/changes", (405, "METHOD_NOT_ALLOWED")),
        ("GET", "/agent/v1", (404, "PATH_NOT_FOUND")),
        ("GET", "/agent/v2/host", (404, "PATH_NOT_FOUND")),
        ("GET", "/agent/v1/host/", (404, "PATH_NOT_FOUND")),
    ],
)
async def test_wrong_methods_and_paths(api: Api, method: str, path: str, expected: tuple[int, str]) -> None:
    response = await api.call(method, path)
    assert code(response) == expected
    assert any(name == "Allow" for name, _ in response.headers) == (expected[0] == 405)


async def test_the_feed_starts_at_its_end(api: Api) -> None:
    response = await api.call("GET", "/agent/v1/changes")
    assert json.loads(response.body) == {"position": await api.world.store.position(), "changes": []}


async def test_a_position_beyond_the_end_starts_over(api: Api) -> None:
    assert await api.changes(10**12, 30) == (await api.world.store.position(), [])


async def test_a_position_that_the_feed_does_not_go_on_from_is_told_to_start_anew(api: Api) -> None:
    """Trimmed beyond it, or of another life of the database."""
    for shared in (api.world.shared, api.world.system):
        await api.world.unassign(VM, shared)
    end = await api.world.store.position()
    await api.world.store.commit(Batch.of(TrimChanges(keep=1, limit=10_000)))
    for after, reset in ((end, False), (end - 1, False), (end - 2, True), (0, True), (end + 1, True)):
        answer = json.loads((await api.call("GET", "/agent/v1/changes", ("after", str(after)))).body)
        assert (answer.get("reset", False), answer["position"]) == (reset, end), after
        assert bool(answer["changes"]) == (after == end - 1)


async def test_a_server_that_is_about_to_end_lets_nobody_wait(api: Api) -> None:
    start = await api.world.store.position()
    waiting = asyncio.ensure_future(api.changes(start, 30))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    api.surface.end_waiting()
    async with asyncio.timeout(5):
        assert await waiting == (start, [])
        assert await api.changes(start, 30) == (start, [])


@pytest.mark.parametrize(
    "bad", [("after", "-1"), ("after", "x"), ("after", "9" * 30), ("after", "٣"), ("wait", "31"), ("wait", "1.5")]
)
async def test_numbers_that_are_refused(api: Api, bad: tuple[str, str]) -> None:
    assert code(await api.call("GET", "/agent/v1/changes", bad)) == (400, "INVALID_PARAMETER")


async def test_past_changes_are_told_at_once(api: Api) -> None:
    start = await api.world.store.position()
    await api.world.unassign(VM, api.world.shared)
    position, changes = await api.changes(start, 30)
    assert [(it["collection"], it["subject"], it["deleted"]) for it in changes] == [("identity_assignments", VM.key, True)]
    assert position == await api.world.store.position()
    assert await api.changes(position) == (position, [])


async def test_a_change_ends_the_waiting(api: Api) -> None:
    start = await api.world.store.position()
    waiting = asyncio.ensure_future(api.changes(start, 30))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    await api.world.unassign(VM, api.world.system)
    async with asyncio.timeout(5):
        _, changes = await waiting
    assert [it["key"] for it in changes] == [f"{VM.key}|{api.world.system.id}"]


async def test_what_concerns_others_does_not_end_the_waiting(api: Api) -> None:
    start = await api.world.store.position()
    waiting = asyncio.ensure_future(api.changes(start, 30))
    await asyncio.sleep(0.01)
    await api.world.unassign(OTHER_VM, api.world.shared)
    await asyncio.sleep(0.01)
    assert not waiting.done()
    api.world.clock.advance(30)
    async with asyncio.timeout(5):
        assert await waiting == (await api.world.store.position(), [])


async def test_waiting_ends_by_itself_and_leaves_nothing_behind(api: Api) -> None:
    start = await api.world.store.position()
    waiting = asyncio.ensure_future(api.changes(start, 20))
    await asyncio.sleep(0.01)
    api.world.clock.advance(19)
    await asyncio.sleep(0.01)
    assert not waiting.done()
    api.world.clock.advance(1)
    async with asyncio.timeout(5):
        assert await waiting == (start, [])
    assert not api.surface._waiting


async def test_an_agent_may_not_wait_without_bound(api: Api) -> None:
    start = await api.world.store.position()
    waiting = [asyncio.ensure_future(api.changes(start, 30)) for _ in range(4)]
    await asyncio.sleep(0.01)
    refused = await api.call("GET", "/agent/v1/changes", ("after", str(start)), ("wait", "30"))
    assert code(refused) == (429, "THROTTLED")
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert not api.surface._waiting
    assert await api.changes(start) == (start, [])


@pytest.mark.parametrize("kind", FailureKind)
def test_there_are_words_for_every_failure(kind: FailureKind) -> None:
    response = agent_error(Failure(kind, "a secret detail"), "request-1")
    assert code(response) == (kind.category.value, kind.name)
    if kind.category in (Category.INTERNAL, Category.UNAVAILABLE):
        assert b"secret" not in response.body
