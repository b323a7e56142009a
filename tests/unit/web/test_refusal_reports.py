"""What agents refused by themselves, on its way into the sign-in log."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.directory.hosts_world import GROUP, OTHER_VM, TENANT, VM, hosts_world, resource
from tests.unit.sts.sts_world import assert_golden
from tests.unit.web.agent_api import Api, code

from idplane.graph.sign_ins import sign_in_document
from idplane.model.calls import Workload
from idplane.model.events import EndpointRefusal, SignIn
from idplane.model.refusals import Refusal
from idplane.model.scale_sets import INSTANCES
from idplane.ports.collections import AGENTS, REFUSALS, RESOURCES, SIGN_INS
from idplane.ports.store import ABSENT, Batch, Delete, Order, Put

SET = GROUP.extension("Microsoft.Compute/virtualMachineScaleSets", "Front")


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with hosts_world() as world:
        yield Api(world, await world.enroll("agent-1", VM.key))


def refusal(api: Api, **changes: object) -> dict[str, Any]:
    members = {
        "host": str(VM),
        "at": api.world.clock.now().isoformat(),
        "reason": "ENDPOINT_SECRET",
        "detail": "the secret is not this endpoint's",
        "dialect": "app-service",
        "resource": None,
        "count": 1,
        "workload": {"pid": 7, "uid": 1000, "gid": 1000, "executable": "/usr/bin/curl", "cgroup": "/user.slice"},
    }
    return {**members, **changes}


async def report(api: Api, *refusals: object, raw: bytes | None = None) -> tuple[int, str]:
    body = json.dumps({"refusals": refusals}).encode() if raw is None else raw
    response = await api.call("POST", "/agent/v1/refusals", body=body)
    if response.status == 200:
        assert response.body == b"{}"
        return 200, ""
    return code(response)


async def logged(api: Api) -> list[SignIn]:
    return [one.event for one in await api.world.store.read_log(SIGN_INS, order=Order.OLDEST_FIRST)]


async def test_a_refusal_is_a_record_of_the_sign_in_log(api: Api) -> None:
    workload = {
        **refusal(api)["workload"],
        "systemd_unit": "app.service",
        "container": "docker:" + "f" * 64,
        "run_id": "r",
        "binding": "b",
    }
    assert await report(api, refusal(api, resource="https://vault.azure.net", workload=workload)) == (200, "")
    (record,) = await logged(api)
    assert record == SignIn(
        id=record.id,
        at=api.world.clock.now(),
        tenant_id=TENANT,
        client_id="",
        principal_id=None,
        principal_name="",
        principal_type="ManagedIdentity",
        resource="https://vault.azure.net",
        resource_name="",
        error_code=7000215,
        failure_reason="The secret is not this endpoint's.",
        correlation_id="c",
        token_id=None,
        credential_kind="",
        host=str(VM),
        client_address="192.0.2.1",
        workload=Workload(
            pid=7,
            uid=1000,
            gid=1000,
            executable="/usr/bin/curl",
            cgroup="/user.slice",
            systemd_unit="app.service",
            container="docker:" + "f" * 64,
            run_id="r",
            binding="b",
        ),
        endpoint=EndpointRefusal(dialect="app-service", reason="ENDPOINT_SECRET"),
    )
    assert record.id != "request-1"
    assert_golden("graph/sign_in_refused_by_agent.json", sign_in_document(replace(record, id="{id}")))


async def test_each_refusal_is_one_record_and_all_are_written_together(api: Api) -> None:
    count = 100
    assert await report(api, *(refusal(api, detail=f"number {at}") for at in range(count))) == (200, "")
    records = await logged(api)
    assert [one.failure_reason for one in records] == [f"Number {at}." for at in range(count)]
    assert len({one.id for one in records}) == count


async def test_nothing_to_report(api: Api) -> None:
    assert await report(api) == (200, "")
    assert await logged(api) == []


async def test_requests_that_were_alike_are_counted(api: Api) -> None:
    await report(api, refusal(api, count=12, detail="the request was forwarded."))
    (record,) = await logged(api)
    assert record.failure_reason == "The request was forwarded (12 times)."
    assert record.endpoint is not None
    assert record.endpoint.count == 12


@pytest.mark.parametrize(
    ("reason", "number"),
    [
        ("ENDPOINT_SECRET", 7000215),
        ("HOST_NOT_BOUND", 50105),
        ("METADATA_HEADER_MISSING", 90100),
        ("FORWARDED", 90100),
        ("FOREIGN_HOST", 90100),
        ("THROTTLED", 90055),
        ("A_REASON_OF_A_LATER_VERSION", 50105),
    ],
)
async def test_reasons_have_numbers(api: Api, reason: str, number: int) -> None:
    await report(api, refusal(api, reason=reason))
    (record,) = await logged(api)
    assert record.error_code == number
    assert record.endpoint is not None
    assert record.endpoint.reason == reason


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"host": 5}, (400, "MALFORMED_BODY")),
        ({"host": "vm"}, (400, "INVALID_RESOURCE_ID")),
        ({"host": f"{VM}/../other-vm"}, (400, "INVALID_RESOURCE_ID")),
        ({"host": str(OTHER_VM)}, (403, "HOST_NOT_BOUND")),
        ({"host": str(GROUP)}, (403, "HOST_NOT_BOUND")),
        ({"host": "/"}, (403, "HOST_NOT_BOUND")),
        ({"at": "yesterday"}, (400, "MALFORMED_BODY")),
        ({"at": 5}, (400, "MALFORMED_BODY")),
        ({"reason": None}, (400, "MALFORMED_BODY")),
        ({"detail": None}, (400, "MALFORMED_BODY")),
        ({"dialect": 1}, (400, "MALFORMED_BODY")),
        ({"resource": []}, (400, "MALFORMED_BODY")),
        ({"count": 0}, (400, "MALFORMED_BODY")),
        ({"count": -1}, (400, "MALFORMED_BODY")),
        ({"count": 1.5}, (400, "MALFORMED_BODY")),
        ({"count": 10**10}, (400, "MALFORMED_BODY")),
        ({"workload": "pid 7"}, (400, "MALFORMED_BODY")),
    ],
)
async def test_one_bad_refusal_refuses_the_whole_report(api: Api, change: dict[str, object], expected: tuple[int, str]) -> None:
    assert await report(api, refusal(api), refusal(api, **change)) == expected
    assert await logged(api) == []


@pytest.mark.parametrize("missing", ["host", "at", "reason", "detail", "dialect"])
async def test_members_that_must_be_there(api: Api, missing: str) -> None:
    told = refusal(api)
    del told[missing]
    assert await report(api, told) == (400, "MALFORMED_BODY")


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b"{}", b'{"refusals": {}}', b"\xff", b"[" * 5000, b'{"refusals": [null]}', b'{"refusals": ["\\ud800"]}'],
)
async def test_what_is_no_report(api: Api, raw: bytes) -> None:
    assert await report(api, raw=raw) == (400, "MALFORMED_BODY")


async def test_reports_are_bounded(api: Api) -> None:
    assert await report(api, *(refusal(api) for _ in range(101))) == (400, "MALFORMED_BODY")
    assert await report(api, refusal(api, detail="x" * 2**20)) == (413, "BODY_TOO_LARGE")
    assert await logged(api) == []


async def test_only_post(api: Api) -> None:
    assert code(await api.call("GET", "/agent/v1/refusals")) == (405, "METHOD_NOT_ALLOWED")


async def test_texts_are_cut_and_what_is_not_known_is_not_kept(api: Api) -> None:
    workload = {
        "pid": "7",
        "uid": True,
        "executable": "/" + "x" * 9000,
        "cgroup": 5,
        "secret": "hunter2",
        "environ": "PASSWORD=hunter2",
    }
    told = refusal(api, detail="d" * 9000, dialect="y" * 900, resource="r" * 9000, reason="Z" * 900, workload=workload)
    assert await report(api, {**told, "headers": {"x-identity-header": "hunter2"}}) == (200, "")
    (record,) = await logged(api)
    assert "hunter2" not in repr(record)
    assert record.workload is not None
    assert (record.workload.pid, record.workload.uid, record.workload.cgroup) == (None, None, None)
    assert len(record.workload.executable or "") <= 512
    assert len(record.failure_reason) <= 1025
    assert len(record.resource) <= 1024
    assert record.endpoint is not None
    assert (len(record.endpoint.dialect), len(record.endpoint.reason)) == (64, 64)


@pytest.mark.parametrize("detail", ["", " ", "...", "\x1b[31m\x07\n"])
async def test_a_record_always_has_words_and_no_escape_sequences(api: Api, detail: str) -> None:
    await report(api, refusal(api, detail=detail, resource="https://x\x1b[2J\r\n\u202e"))
    (record,) = await logged(api)
    assert record.failure_reason.strip(". ")
    assert record.failure_reason.isprintable()
    assert record.resource.isprintable()


NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("2026-01-01T11:59:30Z", NOW - timedelta(seconds=30)),
        ("2026-01-01T11:59:30", NOW - timedelta(seconds=30)),
        ("2026-01-01T13:59:30+02:00", NOW - timedelta(seconds=30)),
        ("2026-01-01T12:00:01Z", NOW),
        ("9999-12-31T23:59:59-23:59", NOW),
        ("2025-12-01T12:00:00Z", NOW - timedelta(days=1)),
        ("0001-01-01T00:00:00+23:59", NOW - timedelta(days=1)),
    ],
)
async def test_an_agent_s_clock_may_be_wrong(api: Api, told: str, kept: datetime) -> None:
    api.world.clock.set(NOW)
    assert await report(api, refusal(api, at=told)) == (200, "")
    (record,) = await logged(api)
    assert record.at == kept
    assert str(sign_in_document(record)["createdDateTime"]).endswith("Z")


async def test_a_host_that_is_gone_has_no_records(api: Api) -> None:
    everywhere = Api(api.world, await api.world.enroll("everywhere", "*"))
    gone = GROUP.extension("Microsoft.Compute/virtualMachines", "gone")
    told = [refusal(api, host=str(one)) for one in (gone, "/", GROUP.parent, OTHER_VM)]
    assert await report(everywhere, *told) == (200, "")
    assert [one.host for one in await logged(api)] == [str(OTHER_VM)]


async def test_an_instance_is_named_and_its_set_must_have_it(api: Api) -> None:
    made = replace(resource(SET, api.world.clock), envelope={INSTANCES: {"0": {"vmId": "v"}}})
    await api.world.store.commit(Batch.of(Put(collection=RESOURCES, value=made, expect=ABSENT)))
    everywhere = Api(api.world, await api.world.enroll("everywhere", "*"))
    for instance in ("0", "1", "x"):
        await report(
            everywhere,
            refusal(api, host=f"{SET}/virtualMachines/{instance}".upper().replace("/SUBSCRIPTIONS", "/subscriptions")),
        )
    assert [one.host for one in await logged(api)] == [f"{SET}/virtualMachines/0"]


async def test_an_agent_that_is_no_longer_enrolled_says_nothing(api: Api) -> None:
    await api.world.store.commit(Batch.of(Delete(collection=AGENTS, key="agent-1")))
    assert await report(api, refusal(api)) == (401, "AGENT_UNKNOWN")
    assert await logged(api) == []


VALUES: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40)
    | st.sampled_from(("", "x" * 5000, "\x00", "\x1b[2J", "\u202e", "9999-12-31T23:59:59Z", str(VM), f"{VM}/x/y", 2**63, 10**400))
    | st.lists(st.integers(), max_size=2) | st.dictionaries(st.text(max_size=6), st.integers() | st.text(max_size=6), max_size=3)
)  # fmt: skip
MEMBERS = st.sampled_from(("host", "at", "reason", "detail", "dialect", "resource", "count", "workload", "token"))
FACTS = st.dictionaries(
    st.sampled_from(("pid", "uid", "gid", "executable", "cgroup", "systemd_unit", "container", "run_id", "binding", "x")),
    VALUES,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(changes=st.lists(st.tuples(st.dictionaries(MEMBERS, VALUES, max_size=2), FACTS), min_size=1, max_size=20))
async def test_whatever_an_agent_says_is_refused_or_can_be_read(changes: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    async with hosts_world() as world:
        api = Api(world, await world.enroll("agent-1", VM.key))
        for members, facts in changes:
            assert (await report(api, {**refusal(api, workload=facts), **members}))[0] in {200, 400, 403, 413}
        for record in await logged(api):
            assert record.failure_reason.isprintable()
            assert json.loads(json.dumps(sign_in_document(record)))["signInEventTypes"] == ["managedIdentity"]


# Kept, so that each can be explained ----------------------------------------------------------------------------------

SHOWN = "0f3999f8-7495-4e6c-b352-0d3664b8f239"


async def kept(api: Api) -> list[Refusal]:
    await api.refusals.flush()
    return [one.value for one in await api.world.store.all(REFUSALS)]


async def test_a_refusal_is_kept_under_the_id_that_was_shown(api: Api) -> None:
    told = refusal(api, id=SHOWN, resource="https://vault.azure.net", facts={"selector": "client_id", "selected": "x"})
    assert await report(api, told) == (200, "")
    (one,) = await kept(api)
    (record,) = await logged(api)
    assert (one.id, one.surface, one.kind, one.dialect) == (SHOWN, "endpoint", "ENDPOINT_SECRET", "app-service")
    assert (one.tenant_id, one.host, one.scope, one.proved) == (TENANT, str(VM), str(VM), True)
    assert one.facts == {"selector": "client_id", "selected": "x"}
    assert one.workload == record.workload
    assert one.sign_in_id == record.id


async def test_the_same_again_is_counted_to_the_first(api: Api) -> None:
    for count in (1, 12):
        await report(api, refusal(api, id=SHOWN.upper(), count=count))
        await kept(api)
    assert [(one.id, one.count) for one in await kept(api)] == [(SHOWN, 13)]


async def test_mistakes_are_kept_and_not_logged(api: Api) -> None:
    await report(api, refusal(api, id=SHOWN, reason="IDENTITY_NOT_FOUND"), refusal(api, reason="INVALID_API_VERSION"))
    assert await logged(api) == []
    assert {one.kind for one in await kept(api)} == {"IDENTITY_NOT_FOUND", "INVALID_API_VERSION"}


@pytest.mark.parametrize("shown", ["", "x", "a" * 36, f"{SHOWN}0"])
async def test_what_is_no_id_is_none(api: Api, shown: str) -> None:
    """Agents that are older than ids tell none."""
    await report(api, refusal(api, id=shown))
    (one,) = await kept(api)
    assert one.id not in {"", shown}


async def test_an_agent_takes_no_others_id(api: Api) -> None:
    await report(api, refusal(api, id=SHOWN))
    before = await kept(api)
    other = Api(api.world, await api.world.enroll("agent-2", OTHER_VM.key))
    await report(other, refusal(api, id=SHOWN, host=str(OTHER_VM), detail="something else"))
    assert await kept(api) == before == await kept(other)


async def test_facts_are_bounded_and_plain(api: Api) -> None:
    facts = {f"name-{at}": "x" * 5000 for at in range(20)} | {"a": "\x1b[31m"}
    await report(api, refusal(api, id=SHOWN, facts=facts))
    (one,) = await kept(api)
    assert len(one.facts) == 8
    assert all(len(value) == 1024 for value in one.facts.values())
