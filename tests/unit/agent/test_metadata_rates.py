"""A machine's IMDS answers so many requests a second about identities, and so many at once, where the profile says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from tests.unit.agent.agent_world import OTHER_VM, SYSTEM, AgentWorld, get, token_target

from idplane.agent.rates import Gate, Gates
from idplane.model.failure import Failure, FailureKind
from idplane.model.rates import AZURE_METADATA, MetadataRates, Rate
from idplane.testing.worlds import FakeClock

INFO = "/metadata/identity/info?api-version=2018-02-01"
INSTANCE = "/metadata/instance?api-version=2021-02-01"
THROTTLED = (429, "Temporarily throttled, too many requests")


@pytest.fixture
async def world() -> AsyncIterator[AgentWorld]:
    made = AgentWorld.make(rates=AZURE_METADATA)
    yield made
    await made.close()


async def test_twenty_a_second_then_429_with_a_word_about_when(world: AgentWorld) -> None:
    address = await world.imds()
    for _ in range(20):
        assert (await world.ask(address, get(token_target()))).status == 200
    refused = await world.ask(address, get(token_target()))
    assert refused.error == THROTTLED
    assert (refused.json["error"], refused.headers["retry-after"]) == ("invalid_request", "1")
    world.clock.advance(timedelta(seconds=0.125))
    assert [(await world.ask(address, get(token_target()))).status for _ in range(3)] == [200, 200, 429]


async def test_only_what_is_about_identities_is_counted(world: AgentWorld) -> None:
    address = await world.imds()
    for _ in range(19):
        await world.ask(address, get(token_target()))
    for target in (INSTANCE, "/metadata/versions", "/metadata/identity/getplatformmetadata", token_target("")):
        assert (await world.ask(address, get(target))).status in {200, 400, 404}
    no_header = await world.ask(address, get(token_target(), "Host: 169.254.169.254"))
    assert no_header.status == 400
    assert (await world.ask(address, get(INFO))).status == 200
    assert (await world.ask(address, get(INFO))).error == THROTTLED
    assert (await world.ask(address, get(INSTANCE))).status == 200


async def test_listeners_of_one_machine_share_its_rate_and_machines_do_not(world: AgentWorld) -> None:
    world.server.hosts[OTHER_VM.key] = [SYSTEM]
    first, second = await world.imds(), await world.imds()
    other = await world.imds(host=OTHER_VM)
    for address in (first, second) * 10:
        assert (await world.ask(address, get(token_target()))).status == 200
    assert (await world.ask(second, get(token_target()))).error == THROTTLED
    assert (await world.ask(other, get(token_target()))).status == 200


async def test_five_at_once(world: AgentWorld) -> None:
    address = await world.imds()
    world.server.gate = asyncio.Event()
    waiting = [asyncio.create_task(world.ask(address, get(token_target(f"https://{number}.example")))) for number in range(5)]
    while world.server.token_requests < 5:
        await asyncio.wait(waiting, timeout=0.001)
    assert (await world.ask(address, get(token_target()))).error == THROTTLED
    world.server.gate.set()
    assert {(await one).status for one in waiting} == {200}
    assert (await world.ask(address, get(token_target()))).status == 200


async def test_other_dialects_have_no_such_rate(world: AgentWorld) -> None:
    address = await world.app_service("secret")
    target = "/msi/token?resource=https://management.azure.com/&api-version=2019-08-01"
    head = get(target, f"Host: {address[0]}:{address[1]}", "X-IDENTITY-HEADER: secret")
    assert {(await world.ask(address, head)).status for _ in range(25)} == {200}


def test_a_clock_that_is_set_back_does_not_shut_the_gate_for_long() -> None:
    clock = FakeClock()
    gate = Gate(MetadataRates(requests=Rate(1, 1), at_once=1), clock)
    gate.admit()
    clock.set(clock.now() - timedelta(days=1))
    with pytest.raises(Failure) as refused:
        gate.admit()
    assert refused.value.kind is FailureKind.THROTTLED
    clock.advance(1)
    gate.admit()


def test_without_rates_there_is_no_gate_and_an_unused_one_is_forgotten() -> None:
    assert Gates(None, FakeClock()).of("vm") is None
    gates = Gates(AZURE_METADATA, FakeClock())
    kept = gates.of("vm")
    assert kept is not None
    assert gates.of("vm") is kept
    del kept
    assert gates.of("other") is not None
    assert len(gates._gates) == 0
