"""Laws of the cache: one request upstream however many wait, refreshed ahead of time, evicted at once and for good."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.agent.agent_world import (
    ARM,
    OTHER_VM,
    SECOND,
    SHARED,
    SYSTEM,
    VM,
    AgentWorld,
    change,
    get,
    settle,
    token_error,
    token_target,
)

from idplane.agent.eviction import eviction_of
from idplane.agent.host import Selector, SelectorKind, TokenAnswer
from idplane.agent.tokens import Token, TokenCache, TokenKey
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.ports.collections import COLLECTIONS
from idplane.ports.store import Change

FRONT_END = Selector(SelectorKind.CLIENT_ID, SHARED.client_id)


async def token(world: AgentWorld, host: ResourceId = VM, selector: Selector | None = None, resource: str = ARM) -> str:
    return (await world.agent.token(host, selector, resource)).access_token


def assignment(host: ResourceId, principal_id: str, *, deleted: bool) -> Change:
    return change("identity_assignments", f"{host.key}|{principal_id}", subject=host.key, deleted=deleted)


async def test_an_answer_says_what_it_is(world: AgentWorld) -> None:
    answer = await world.agent.token(VM, None, ARM)
    assert isinstance(answer, TokenAnswer)
    assert answer.expires_at == world.clock.now() + timedelta(hours=1)
    assert (answer.client_id, answer.resource, answer.token_type) == (SYSTEM.client_id, ARM, "Bearer")
    assert answer.access_token not in repr(answer)


async def test_many_waiters_make_one_request(world: AgentWorld) -> None:
    world.server.gate = asyncio.Event()
    waiting = [asyncio.ensure_future(token(world)) for _ in range(50)]
    await settle()
    world.server.gate.set()
    assert len(set(await asyncio.gather(*waiting))) == 1
    assert world.server.token_requests == 1
    assert world.server.count("/agent/v1/host") == 1
    assert world.server.count("/agent/v1/certificates") == 1


async def test_a_waiter_that_gives_up_does_not_stop_the_others(world: AgentWorld) -> None:
    world.server.gate = asyncio.Event()
    first, second = asyncio.ensure_future(token(world)), asyncio.ensure_future(token(world))
    await settle()
    first.cancel()
    await settle()
    world.server.gate.set()
    assert await second
    with pytest.raises(asyncio.CancelledError):
        await first
    assert world.server.token_requests == 1


async def test_what_everyone_gave_up_on_is_kept_all_the_same(world: AgentWorld) -> None:
    world.server.gate = asyncio.Event()
    only = asyncio.ensure_future(token(world))
    await settle()
    only.cancel()
    world.server.gate.set()
    await settle()
    await token(world)
    assert world.server.token_requests == 1


async def test_a_failure_reaches_every_waiter_and_is_not_remembered(world: AgentWorld) -> None:
    world.server.gate = asyncio.Event()
    world.server.token_answer = token_error(400, "invalid_resource", 500011)
    waiting = [asyncio.ensure_future(token(world)) for _ in range(5)]
    await settle()
    world.server.gate.set()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(one, Failure) and one.kind is FailureKind.AUDIENCE_UNKNOWN for one in outcomes)
    assert world.server.token_requests == 1
    world.server.token_answer = None
    assert await token(world)


async def test_hosts_identities_and_resources_have_tokens_of_their_own(world: AgentWorld) -> None:
    world.server.hosts = {VM.key: [SYSTEM, SHARED], OTHER_VM.key: [SHARED]}
    tokens = {
        await token(world),
        await token(world, selector=FRONT_END),
        await token(world, OTHER_VM),
        await token(world, resource=ARM.rstrip("/")),
    }
    assert len(tokens) == 4
    assert world.server.count("/agent/v1/certificates") == 3


@pytest.mark.parametrize(
    ("lifetime", "untouched", "ahead", "spent"),
    [
        (timedelta(hours=24), timedelta(hours=11), timedelta(hours=12, seconds=1), timedelta(hours=23, minutes=56)),
        (timedelta(hours=1), timedelta(minutes=49), timedelta(minutes=51), timedelta(minutes=56)),
        (timedelta(minutes=10), timedelta(minutes=4), timedelta(minutes=6), timedelta(minutes=8)),
    ],
)
async def test_a_token_is_refreshed_ahead_of_its_expiry(
    world: AgentWorld, lifetime: timedelta, untouched: timedelta, ahead: timedelta, spent: timedelta
) -> None:
    world.server.lifetime = lifetime
    world.server.certificate_lifetime = timedelta(days=90)
    address = await world.imds()

    async def ask() -> object:
        return (await world.ask(address, get(token_target()))).json["access_token"]

    first = await ask()
    world.clock.advance(untouched)
    assert await ask() == first
    await world.landed()
    assert world.server.token_requests == 1
    world.clock.advance(ahead - untouched)
    assert await ask() == first, "the present token serves while the next one is fetched"
    await world.landed()
    assert world.server.token_requests == 2
    second = await ask()
    assert second != first
    world.clock.advance(spent)
    assert await ask() not in {first, second}, "a token that clients take for expired is not served"
    assert world.server.token_requests == 3


async def test_a_refresh_that_fails_is_tried_again_later_and_harms_nobody(world: AgentWorld) -> None:
    address = await world.imds()
    first = (await world.ask(address, get(token_target()))).json["access_token"]
    world.server.down = True
    world.clock.advance(timedelta(minutes=51))
    for _ in range(5):
        assert (await world.ask(address, get(token_target()))).json["access_token"] == first
        await world.landed()
    failed = world.server.count("/22222222-2222-2222-2222-222222222222/oauth2/token") - 1
    assert failed == 1
    world.clock.advance(31)
    await world.ask(address, get(token_target()))
    await world.landed()
    assert world.server.count("/22222222-2222-2222-2222-222222222222/oauth2/token") == 3


async def test_in_an_outage_a_token_serves_until_it_is_dead(world: AgentWorld) -> None:
    first = await token(world)
    world.server.down = True
    world.clock.advance(timedelta(minutes=59, seconds=59))
    assert await token(world) == first
    world.clock.advance(1)
    with pytest.raises(Failure) as caught:
        await token(world)
    assert caught.value.kind is FailureKind.UNAVAILABLE


async def test_where_the_server_has_too_much_to_do_a_token_serves_until_it_is_dead(world: AgentWorld) -> None:
    first = await token(world)
    world.server.token_answer = token_error(429, "temporarily_unavailable", 90055)
    world.clock.advance(timedelta(minutes=59, seconds=59))
    assert await token(world) == first
    world.clock.advance(1)
    with pytest.raises(Failure) as caught:
        await token(world)
    assert caught.value.kind is FailureKind.THROTTLED


async def test_a_token_that_is_dead_on_arrival_is_never_served(world: AgentWorld) -> None:
    world.server.lifetime = timedelta(seconds=-1)
    with pytest.raises(Failure) as caught:
        await token(world)
    assert caught.value.kind is FailureKind.UNAVAILABLE


EVICTING = [
    assignment(VM, SYSTEM.principal_id, deleted=False),
    assignment(VM, SHARED.principal_id, deleted=False),
    change("resources", VM.key, subject=VM.key, deleted=True),
    change("principals", SYSTEM.principal_id, subject=SYSTEM.principal_id),
    change("role_assignments", "some-id", subject=SYSTEM.principal_id),
    change("role_assignments", "some-id", subject=SYSTEM.principal_id, deleted=True),
    change("signing_keys", "kid"),
    change("signing_keys", "kid", deleted=True),
    change("tenants", "22222222-2222-2222-2222-222222222222"),
]
HARMLESS = [
    assignment(OTHER_VM, SYSTEM.principal_id, deleted=True),
    change("resources", VM.key, subject=VM.key),
    change("resources", OTHER_VM.key, subject=OTHER_VM.key, deleted=True),
    change("principals", SECOND.principal_id, subject=SECOND.principal_id, deleted=True),
    change("role_assignments", "some-id", subject=SECOND.principal_id),
    change("credentials", "another-host's", subject=SYSTEM.principal_id, deleted=True),
    change("credentials", "credential-1", subject=SYSTEM.principal_id),
    change("secrets", "v|n|1"),
    change("settings", "x", deleted=True),
    change("no-such-collection", SYSTEM.principal_id, subject=VM.key, deleted=True),
]


@pytest.mark.parametrize("one", EVICTING)
async def test_a_change_evicts_at_once(world: AgentWorld, one: Change) -> None:
    first = await token(world)
    world.agent.apply([one])
    assert await token(world) != first


@pytest.mark.parametrize("one", HARMLESS)
async def test_other_changes_cost_nothing(world: AgentWorld, one: Change) -> None:
    first = await token(world)
    world.agent.apply([one])
    assert await token(world) == first


@pytest.mark.parametrize("one", EVICTING)
async def test_what_was_in_flight_when_evicted_is_not_served(world: AgentWorld, one: Change) -> None:
    world.server.gate = asyncio.Event()
    waiting = [asyncio.ensure_future(token(world)) for _ in range(3)]
    await settle()
    assert world.server.token_requests == 1
    world.agent.apply([one])
    world.server.gate.set()
    served = set(await asyncio.gather(*waiting))
    assert world.server.token_requests == 2
    assert served == {await token(world)}
    assert world.server.token_requests == 2


async def test_an_identity_that_goes_while_its_token_is_in_flight_is_not_served(world: AgentWorld) -> None:
    world.server.gate = asyncio.Event()
    waiting = asyncio.ensure_future(token(world))
    await settle()
    world.server.hosts[VM.key] = []
    world.agent.apply([assignment(VM, SYSTEM.principal_id, deleted=True)])
    world.server.gate.set()
    with pytest.raises(Failure) as caught:
        await waiting
    assert caught.value.kind is FailureKind.IDENTITY_NOT_FOUND


async def test_an_eviction_between_arrival_and_a_waiters_turn_counts(world: AgentWorld) -> None:
    """The change comes in the very step of the loop in which the flight has landed and no waiter has run yet."""
    world.server.gate = asyncio.Event()
    waiting = asyncio.ensure_future(token(world))
    await settle()
    (task,) = world.agent._source._token_flights._tasks
    gone = [assignment(VM, SYSTEM.principal_id, deleted=True)]

    def evict(_: object) -> None:
        world.server.hosts[VM.key] = []
        world.agent.apply(gone)

    task.add_done_callback(evict)
    world.server.gate.set()
    with pytest.raises(Failure) as caught:
        await waiting
    assert caught.value.kind is FailureKind.IDENTITY_NOT_FOUND


async def test_one_host_loses_a_shared_identity_and_the_other_keeps_it(world: AgentWorld) -> None:
    world.server.hosts = {VM.key: [SHARED], OTHER_VM.key: [SHARED]}
    kept = await token(world, OTHER_VM)
    await token(world)
    world.server.hosts[VM.key] = []
    world.agent.apply([assignment(VM, SHARED.principal_id, deleted=True)])
    with pytest.raises(Failure) as caught:
        await token(world)
    assert caught.value.kind is FailureKind.IDENTITY_NOT_FOUND
    assert await token(world, OTHER_VM) == kept


async def test_a_new_identity_is_usable_at_once(world: AgentWorld) -> None:
    with pytest.raises(Failure):
        await token(world, selector=FRONT_END)
    world.server.hosts[VM.key].append(SHARED)
    world.agent.apply([assignment(VM, SHARED.principal_id, deleted=False)])
    assert await token(world, selector=FRONT_END)


async def test_a_new_identity_is_usable_before_the_news_of_it_has_come(world: AgentWorld) -> None:
    await token(world)
    world.server.hosts[VM.key].append(SHARED)
    assert await token(world, selector=FRONT_END)


async def test_a_program_that_asks_wrongly_in_a_loop_costs_the_server_four_looks_a_second(world: AgentWorld) -> None:
    await token(world)
    described = world.server.count("/agent/v1/host")
    for _ in range(100):
        with pytest.raises(Failure) as caught:
            await token(world, selector=FRONT_END)
        assert caught.value.kind is FailureKind.IDENTITY_NOT_FOUND
        world.clock.advance(0.0099)
    assert world.server.count("/agent/v1/host") == described + 4


async def test_while_the_server_is_away_what_is_known_refuses(world: AgentWorld) -> None:
    kept = await token(world)
    world.server.down = True
    with pytest.raises(Failure) as caught:
        await token(world, selector=FRONT_END)
    assert caught.value.kind is FailureKind.IDENTITY_NOT_FOUND
    assert await token(world) == kept


async def test_a_host_that_the_agent_has_not_heard_the_end_of(world: AgentWorld) -> None:
    """The token service knows already, the feed does not: the workload hears that there is no such identity, and stays told."""
    await token(world)
    world.server.hosts[VM.key] = []
    for _ in range(2):
        with pytest.raises(Failure) as caught:
            await token(world, resource="https://vault.azure.net")
        assert caught.value.kind is FailureKind.IDENTITY_NOT_FOUND


async def test_closing_ends_what_waits(world: AgentWorld) -> None:
    world.server.gate = asyncio.Event()
    waiting = asyncio.ensure_future(token(world))
    await settle()
    await world.agent.close()
    with pytest.raises(Failure) as caught:
        await waiting
    assert caught.value.kind is FailureKind.UNAVAILABLE


def test_every_collection_is_told_from_the_others() -> None:
    """Which collections matter is decided in one table; a new collection has to be thought about here."""
    heeded = {
        one.name
        for one in COLLECTIONS
        if any(eviction_of(change(one.name, "/a|b", subject="s", deleted=deleted)) for deleted in (True, False))
    }
    assert heeded == {
        "identity_assignments",
        "resources",
        "bindings",
        "principals",
        "role_assignments",
        "memberships",
        "credentials",
        "signing_keys",
        "tenants",
    }


KEYS = st.builds(
    TokenKey, st.sampled_from(["/h1", "/h2", "/h3"]), st.sampled_from(["p1", "p2"]), st.sampled_from(["a", "b"]), st.just("")
)


@given(st.lists(st.one_of(KEYS, st.sampled_from(["/h1", "/h2", "/h3", "p1", "p2"])), max_size=40), st.integers(1, 5))
def test_the_cache_is_a_bounded_map_with_two_ways_to_evict(steps: list[TokenKey | str], capacity: int) -> None:
    cache, model = TokenCache(capacity=capacity), dict[TokenKey, Token]()
    for number, step in enumerate(steps):
        if isinstance(step, str):
            cache.evict(step)
            model = {key: value for key, value in model.items() if step not in (key.host, key.principal_id)}
        else:
            token = Token(access_token=str(number), client_id="c", resource="r", not_before=0, expires_on=3600)
            cache.put(step, token, 0)
            model.pop(step, None)
            model[step] = token
            if len(model) > capacity:
                del model[next(iter(model))]
        assert len(cache) == len(model)
        assert set(cache._entries) == set(model)
        indexed = {key for keys in cache._index.values() for key in keys}
        assert indexed == set(model)
    assert {key: entry.token for key, entry in cache._entries.items()} == model


@given(st.integers(1, 10**6))
def test_a_token_is_refreshed_before_it_is_spent_and_spent_before_it_is_dead(lifetime: int) -> None:
    cache = TokenCache()
    key = TokenKey("/h", "p", "r", "")
    cache.put(key, Token(access_token="t", client_id="c", resource="r", not_before=0, expires_on=lifetime), 0)
    entry = cache.get(key)
    assert entry is not None
    assert 0 < entry.refresh_at < entry.spent_at < lifetime
