"""Join tokens: whoever holds one joins once, within its time, as the host that it is for. Each refusal is on record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from tests.attacks.joining import JoinWorld, join_world
from tests.attacks.table import met, met_each
from tests.unit.directory.hosts_world import OTHER_VM, VM

from idplane.jose import new_ec_key
from idplane.model.enrollments import JoinMethod
from idplane.model.events import EventStatus
from idplane.ports.collections import ACTIVITY, ENROLLMENTS, JOIN_TOKENS
from idplane.ports.store import ANY, Batch, Delete


@pytest.fixture
async def world() -> AsyncIterator[JoinWorld]:
    async with join_world(replicas=2) as world:
        yield world


async def refused(world: JoinWorld, row: str, token: object, words: str, **members: Any) -> None:
    answer = await world.join(JoinMethod.TOKEN, {"token": token}, address="198.51.100.7", **members)
    assert answer.code == (403, "ENROLLMENT_REFUSED")
    assert words in answer.message
    event = await world.last_event()
    assert event.status is EventStatus.FAILED
    assert event.sub_status == "ENROLLMENT_REFUSED"
    assert event.client_address == "198.51.100.7"
    assert event.operation_id == answer.body["error"]["requestId"]
    assert str(token) not in str(event)
    await met(row, world, answer)


async def test_a_token_makes_a_host(world: JoinWorld) -> None:
    enrollment = await world.enrollment(JoinMethod.TOKEN)
    key = new_ec_key()
    answer = await world.join(JoinMethod.TOKEN, {"token": await world.token(enrollment)}, key=key, host=str(VM).upper())
    assert answer.body["hosts"] == [VM.key]
    assert answer.body["tenantId"] == enrollment.tenant_id
    assert answer.body["protocol"] == 1
    assert answer.body["chain"].startswith("-----BEGIN CERTIFICATE-----")
    machine = world.machine(answer, key)
    assert machine is not None
    assert (await machine.host()).body["id"] == str(VM)
    machine.replica = 1
    assert (await machine.host()).status == 200
    event = await world.last_event()
    assert (event.operation, event.status) == ("Idplane.Workloads/enrollments/join/action", EventStatus.SUCCEEDED)
    assert event.resource_id == f"{VM}/providers/Idplane.Workloads/enrollments/rack"


async def test_a_token_is_used_once(world: JoinWorld) -> None:
    token = await world.token(await world.enrollment(JoinMethod.TOKEN))
    assert (await world.join(JoinMethod.TOKEN, {"token": token})).status == 200
    await refused(world, "token-twice", token, "used before")
    assert len(await world.agents()) == 1


async def test_of_a_hundred_at_once_on_two_replicas_one_wins(world: JoinWorld) -> None:
    token = await world.token(await world.enrollment(JoinMethod.TOKEN))
    answers = await asyncio.gather(
        *(world.join(JoinMethod.TOKEN, {"token": token}, replica=at % 2, address=f"192.0.2.{at}") for at in range(100))
    )
    assert sorted(one.status for one in answers) == [200, *[403] * 99]
    assert len(await world.agents()) == 1
    events = [one.event for one in await world.store.read_log(ACTIVITY, limit=200)]
    assert [one.status for one in events].count(EventStatus.FAILED) == 99
    await met_each("token-at-once", world, [one for one in answers if one.status != 200])


async def test_a_token_that_is_over(world: JoinWorld) -> None:
    token = await world.token(await world.enrollment(JoinMethod.TOKEN), timedelta(minutes=5))
    world.clock.advance(timedelta(minutes=5))
    await refused(world, "token-expired", token, "expired")


async def test_a_token_for_another_host(world: JoinWorld) -> None:
    token = await world.token(await world.enrollment(JoinMethod.TOKEN))
    await refused(world, "token-elsewhere", token, "another host", host=str(OTHER_VM))
    assert (await world.join(JoinMethod.TOKEN, {"token": token})).status == 200


async def test_a_token_whose_enrollment_is_gone(world: JoinWorld) -> None:
    enrollment = await world.enrollment(JoinMethod.TOKEN)
    token = await world.token(enrollment)
    await world.store.commit(Batch.of(Delete(collection=ENROLLMENTS, key=enrollment.key, expect=ANY)))
    await refused(world, "token-bent", token, "not valid")


@pytest.mark.parametrize(
    "shape",
    [
        "",
        "x",
        "idpjt__",
        "idpjt_{id}_",
        "idpjt_{id}_{wrong}",
        "idpjt_{other}_{secret}",
        "IDPJT_{id}_{secret}",
        "idpjt_{id}_{secret} ",
        "idpjt_{id}_{secret}\n",
        "idpjt_../{id}_{secret}",
        "idpjt_{id}\u200b_{secret}",
        "idpjt_{wide}_{secret}",
        5,
        None,
        ["idpjt_{id}_{secret}"],
    ],
)
async def test_what_is_no_token(world: JoinWorld, shape: object) -> None:
    token = await world.token(await world.enrollment(JoinMethod.TOKEN))
    _, name, secret = token.split("_")
    text = shape
    if isinstance(shape, str):
        wide = "".join(chr(ord(one) + 0xFEE0) for one in name)
        text = shape.format(id=name, secret=secret, wrong="0" * 64, other="0" * 32, wide=wide)
    answer = await world.join(JoinMethod.TOKEN, {"token": text})
    await met("token-bent", world, answer)
    (row,) = await world.store.all(JOIN_TOKENS)
    assert row.value.used_at is None


async def test_the_store_holds_no_token(world: JoinWorld) -> None:
    token = await world.token(await world.enrollment(JoinMethod.TOKEN))
    (row,) = await world.store.all(JOIN_TOKENS)
    secret = token.rpartition("_")[2]
    assert secret not in str(row)
    assert bytes.fromhex(secret) not in row.value.secret_hash


@pytest.mark.parametrize(
    ("row", "host"),
    [
        ("path-no-id", f"{VM}/../other-vm"),
        ("path-no-id", f"{VM}/.."),
        ("path-no-id", f"{VM}%2f.."),
        ("path-no-id", "stock-vm"),
        ("path-no-id", f"{VM}\u0000"),
        ("path-no-id", ""),
        ("path-other", f"{VM}\u202e"),
        ("path-other", str(VM).replace("Stock", "\uff33tock")),
        ("path-other", "/"),
    ],
)
async def test_names_that_play_tricks(world: JoinWorld, row: str, host: str) -> None:
    token = await world.token(await world.enrollment(JoinMethod.TOKEN))
    await met(row, world, await world.join(JoinMethod.TOKEN, {"token": token}, host=host))
    assert not await world.agents()


@pytest.mark.parametrize(
    ("row", "body"),
    [
        ("body-bent", b""),
        ("body-bent", b"[]"),
        ("body-bent", b'{"method":"token"}'),
        ("body-method", b'{"method":"password","csr":"","evidence":{}}'),
        ("csr-none", b'{"method":"token","csr":"!","evidence":{}}'),
        ("csr-bent", b'{"method":"token","csr":"","evidence":{}}'),
        ("body-bent", b'{"method":"token","csr":"AAAA","evidence":' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}"),
        ("body-vast", b'{"method":"token","csr":"' + b"A" * 70_000 + b'"}'),
    ],
)
async def test_bodies_that_are_refused(world: JoinWorld, row: str, body: bytes) -> None:
    await met(row, world, await world.send("POST", "/agent/v1/enrollments", body))
