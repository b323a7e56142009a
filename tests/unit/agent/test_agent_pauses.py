"""What an agent does while its servers have too much to do: one pause for all that it asks, no shorter than a server has named."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import pytest
from tests.unit.agent.agent_world import AgentWorld, FakeServer, get, settle, token_target

from idplane.agent.host import Dialect, UpstreamResponse
from idplane.agent.patience import Patience
from idplane.agent.upstream import ABSENT, BUSY, RETRY_AFTER, TROUBLE
from idplane.model.failure import Failure, FailureKind
from idplane.testing.worlds import FakeClock, SeededEntropy

BUSY_ANSWER = UpstreamResponse(status=429, body=b"", retry_after=5.0)


@dataclass
class Overloaded(FakeServer):
    """A server that has too much to do for a while."""

    busy: UpstreamResponse | Failure | None = None
    asked: int = 0
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> UpstreamResponse:
        self.asked += 1
        self.heard.set()
        if isinstance(self.busy, Failure):
            raise self.busy
        return self.busy or await super().send(method, path, headers, body)


@dataclass
class Busy:
    world: AgentWorld
    server: Overloaded
    address: tuple[str, int]

    async def ask(self, resource: str = "https://vault.azure.net") -> tuple[int, str | None]:
        answer = await self.world.ask(self.address, get(token_target(resource)))
        return answer.status, answer.headers.get("retry-after")

    async def passed(self, seconds: float) -> None:
        """In steps, so that who wakes can sleep again."""
        for _ in range(int(seconds * 10)):
            self.world.clock.advance(0.1)
            await settle()


@pytest.fixture
async def made() -> AsyncIterator[Busy]:
    clock = FakeClock()
    server = Overloaded(clock)
    world = AgentWorld.make(clock, server=server)
    yield Busy(world, server, await world.imds())
    await world.close()


async def test_fifty_workloads_that_wait_cost_a_busy_server_as_much_as_one(made: Busy) -> None:
    assert (await made.ask())[0] == 200
    made.server.busy, made.server.asked = BUSY_ANSWER, 0
    made.server.heard.clear()
    asks = [asyncio.ensure_future(made.ask(f"https://api-{number}.example")) for number in range(50)]
    await made.server.heard.wait()
    first = made.server.asked
    assert first <= 8, "as many as one caller's questions are under way at a time"
    await made.passed(4.5)
    assert made.server.asked == first, "nobody asks before the time that it named"
    await made.passed(3.5)
    assert made.server.asked == first + 1, "one asks for all"
    made.server.busy = None
    await made.passed(8)
    answers = await asyncio.gather(*asks)
    assert {status for status, _ in answers} == {200}
    assert made.server.asked == first + 1 + 50


async def test_whoever_cannot_wait_that_long_is_told_when_to_come(made: Busy) -> None:
    made.server.busy = UpstreamResponse(status=429, body=b"", retry_after=20.0)
    status, after = await made.ask()
    assert status == 429
    assert after is not None
    assert 20 <= int(after) <= 31
    assert await made.ask("https://another.example") == (429, after), "and so is everybody else, without another question"
    assert made.server.asked == 1
    made.server.busy = None
    await made.passed(31)
    assert (await made.ask())[0] == 200


@pytest.mark.parametrize("dialect", [Dialect.APP_SERVICE, Dialect.CLOUD_SHELL, Dialect.MACHINE_LEARNING])
async def test_each_dialect_names_the_time(made: Busy, dialect: Dialect) -> None:
    made.server.busy = UpstreamResponse(status=429, body=b"", retry_after=60.0)
    host, port = await made.world.open(dialect)
    path = "/oauth2/token?" if dialect is Dialect.CLOUD_SHELL else "/msi/token?api-version=2017-09-01&"
    if dialect is Dialect.APP_SERVICE:
        path = "/msi/token?api-version=2019-08-01&"
    secret = "0123456789abcdef"
    raw = get(
        f"{path}resource=https://vault.azure.net",
        f"Host: {host}:{port}",
        "Metadata: true",
        f"X-IDENTITY-HEADER: {secret}",
        f"secret: {secret}",
    )
    answer = await made.world.ask((host, port), raw)
    assert answer.status == 429
    assert 60 <= int(answer.headers["retry-after"]) <= 90


async def test_a_server_that_cannot_be_reached_is_not_waited_for(made: Busy) -> None:
    made.server.busy = Failure(FailureKind.UNAVAILABLE, "no server can be reached", **{TROUBLE: ABSENT})
    pauses = []
    for _ in range(8):
        status, after = await made.ask()
        assert status == 503
        assert after is not None
        asked = made.server.asked
        assert (await made.ask())[0] == 503
        assert made.server.asked == asked, "the same again"
        pauses.append(int(after))
        await made.passed(int(after))
    assert pauses[0] == 1
    assert 8 <= pauses[-1] <= 16
    made.server.busy = None
    assert (await made.ask())[0] == 200
    assert (await made.ask("https://management.azure.com/"))[0] == 200


async def test_a_server_that_does_not_get_round_to_handshakes_is_waited_for(made: Busy) -> None:
    made.server.busy = Failure(FailureKind.UNAVAILABLE, "the handshake took too long", **{TROUBLE: BUSY})
    ask = asyncio.ensure_future(made.ask())
    await made.server.heard.wait()
    made.server.busy = None
    await made.passed(2)
    assert await ask == (200, None)


async def test_a_token_that_still_lives_is_not_held_back_by_a_pause(made: Busy) -> None:
    assert (await made.ask())[0] == 200
    made.world.clock.advance(made.server.lifetime.total_seconds() - 60)
    made.server.busy = UpstreamResponse(status=429, body=b"", retry_after=60.0)
    assert (await made.ask())[0] == 200


def patience() -> tuple[Patience, FakeClock]:
    clock = FakeClock()
    return Patience(clock=clock, entropy=SeededEntropy()), clock


def seconds(one: Patience) -> int:
    return int(one.refusal().data[RETRY_AFTER])


def test_pauses_grow_to_a_bound_and_a_server_can_name_no_more_than_a_minute() -> None:
    one, clock = patience()
    why = Failure(FailureKind.UNAVAILABLE, "away")
    for number in range(10):
        one.told(why)
        bound = min(16, 1 << number)
        assert bound / 2 <= seconds(one) <= bound
        clock.advance(16)
    one.told(why, named=3600.0)
    assert 60 <= seconds(one) <= 90
    one.told(why, named=-5.0)
    assert 60 <= seconds(one) <= 90


def test_many_refusals_at_once_are_one_pause() -> None:
    one, _ = patience()
    for _ in range(30):
        one.told(Failure(FailureKind.UNAVAILABLE, "away"))
    assert seconds(one) == 1


def test_agents_that_were_turned_away_together_come_apart() -> None:
    ends = []
    for number in range(1000):
        clock = FakeClock()
        one = Patience(clock=clock, entropy=SeededEntropy(str(number)))
        one.told(Failure(FailureKind.THROTTLED, "busy"), named=60.0)
        ends.append(seconds(one))
    assert min(ends) >= 60
    assert max(ends.count(second) for second in set(ends)) < 80  # of thirty seconds, where an even spread has 33


async def test_an_answer_to_a_question_from_before_the_trouble_does_not_end_the_pause() -> None:
    one, clock = patience()
    async with one.turn(15.0) as began:
        one.told(Failure(FailureKind.THROTTLED, "busy"), named=5.0)  # another question's
    one.well(began)
    with pytest.raises(Failure, match="busy"):
        async with one.turn(clock.monotonic() + 1):
            pass


async def test_one_that_is_given_up_lets_another_go_first() -> None:
    one, clock = patience()
    one.told(Failure(FailureKind.THROTTLED, "busy"), named=5.0)
    went = []

    async def go(name: str) -> None:
        async with one.turn(30.0) as began:
            went.append(name)
            one.well(began)

    first, second = asyncio.ensure_future(go("first")), asyncio.ensure_future(go("second"))
    await settle()
    first.cancel()
    await settle()
    clock.advance(8)
    await second
    assert went == ["second"]


async def test_a_question_for_changes_heeds_a_busy_server_too(made: Busy) -> None:
    made.server.busy = Failure(FailureKind.UNAVAILABLE, "no time", **{TROUBLE: BUSY, RETRY_AFTER: "30"})
    pause = await made.world.agent.turn()
    assert 30 <= pause <= 46
    status, after = await made.ask()
    assert status == 503
    assert after is not None
    assert 30 <= int(after) <= 46
    assert made.server.asked == 1, "nor does anybody else ask before"
