"""What agents are told of the feed: nothing that concerns them is missed, whatever happens meanwhile, and who waits costs the store nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.directory.hosts_world import OTHER_VM, TENANT, VM, HostsWorld, hosts_world, resource
from tests.unit.web.agent_api import Api, code

from idplane.directory.agents import AgentDirectory
from idplane.directory.feed_tail import FeedTail
from idplane.directory.hosts import HostDirectory
from idplane.directory.sightings import Sightings
from idplane.model.directory import AgentState, Setting
from idplane.model.ids import ResourceId
from idplane.model.profile import OPEN
from idplane.model.resources import IdentityAssignment, identity_assignment_key
from idplane.ports.collections import AGENTS, IDENTITY_ASSIGNMENTS, PRINCIPALS, RESOURCES, SETTINGS, TENANTS
from idplane.ports.store import ANY, Batch, Change, Delete, Listener, Put, TrimChanges

_KEPT = 6
"""Few, so that whoever is away for a while is behind what is kept."""
_HOSTS = (VM, OTHER_VM)


async def _settled() -> None:
    """Let everybody who was woken run, while no time goes by."""
    for _ in range(60):
        await asyncio.sleep(0)


@dataclass
class _Follower:
    """An agent that follows the feed, with what it was told and what it must be told."""

    api: Api
    hosts: tuple[ResourceId, ...]
    position: int
    told: list[int] = field(default_factory=list)
    owed: list[int] = field(default_factory=list)
    may: set[int] = field(default_factory=set)
    waiting: asyncio.Task[None] | None = None

    async def ask(self, wait: int = 0) -> None:
        response = await self.api.call("GET", "/agent/v1/changes", ("after", str(self.position)), ("wait", str(wait)))
        assert response.status == 200, response.body
        answer = json.loads(response.body)
        if answer.get("reset"):
            self.told.clear()
            self.owed = [one for one in self.owed if one > answer["position"]]
        else:
            positions = [one["position"] for one in answer["changes"]]
            assert positions == sorted(set(positions))
            assert all(self.position < one <= answer["position"] for one in positions)
            self.told += positions
        self.position = answer["position"]

    async def catch_up(self, end: int) -> None:
        while self.position < end:
            await self.ask()

    def wait(self) -> None:
        if self.waiting is None or self.waiting.done():
            self.waiting = asyncio.ensure_future(self.ask(30))

    @property
    def is_waiting(self) -> bool:
        return self.waiting is not None and not self.waiting.done()


class _Scene:
    """Commits of every kind. What each of them means to each agent is worked out here from the assignments before and after it."""

    def __init__(self, world: HostsWorld) -> None:
        self.world = world
        self.tail = FeedTail(store=world.store, kept=_KEPT)
        self.followers: list[_Follower] = []
        self._assigned = {(VM, world.system.id), (VM, world.shared.id), (OTHER_VM, world.shared.id)}
        self._principals = {one.id: one for one in (world.system, world.shared)}

    async def join(self, hosts: tuple[ResourceId, ...]) -> None:
        agent = await self.world.enroll(f"agent-{len(self.followers)}", *(one.key for one in hosts))
        api = Api(self.world, agent)
        api.surface._tail = self.tail
        position = json.loads((await api.call("GET", "/agent/v1/changes")).body)["position"]
        assert position == await self.world.store.position()
        self.followers.append(_Follower(api, hosts, position))

    async def act(self, act: tuple[str, int, int]) -> None:
        what, which, other = act
        host, principal = _HOSTS[which % 2], sorted(self._principals)[other]
        one = self.followers[which % len(self.followers)]
        match what:
            case "assign":
                await self._commit(self._assignment(host, principal), assigned=self._assigned | {(host, principal)})
            case "unassign" | "unassign and change":
                batch = self._gone(host, principal) + (Batch() if what == "unassign" else self._principal(principal))
                await self._commit(batch, assigned=self._assigned - {(host, principal)})
            case "join":
                await self.join(_HOSTS[: 1 + which % 2] if other else (host,))
            case "ask":
                await one.catch_up(one.position if one.is_waiting else await self.world.store.position())
            case "wait":
                one.wait()
                await _settled()
            case "time":
                self.world.clock.advance(6)
                await _settled()
            case _:
                await self._commit(await self._other(what, host, principal, which))

    async def finish(self) -> None:
        """Everybody was told all that they had to be told, and nothing that is none of their business."""
        self.world.clock.advance(60)
        await _settled()
        end = await self.world.store.position()
        for one in self.followers:
            assert not one.is_waiting
            await one.catch_up(end)
            assert set(one.owed) <= set(one.told)
            assert set(one.told) <= one.may
            assert one.told == sorted(set(one.told))
        assert not self.tail._watches

    async def _other(self, what: str, host: ResourceId, principal: str, which: int) -> Batch:
        match what:
            case "principal":
                return self._principal(principal)
            case "several":
                return sum((self._principal(one) for one in self._principals), self._unheard())
            case "resource":
                return Batch.of(Put(collection=RESOURCES, value=resource(host, self.world.clock), expect=ANY))
            case "tenant":
                found = await self.world.store.get(TENANTS, TENANT)
                assert found is not None
                return Batch.of(Put(collection=TENANTS, value=found.value, expect=ANY))
            case "unheard":
                return sum((self._unheard() for _ in range(which)), self._unheard())
            case "trim":
                return Batch.of(TrimChanges(keep=1 + which, limit=1000))
            case _:
                raise AssertionError(what)

    async def _commit(self, batch: Batch, *, assigned: set[tuple[ResourceId, str]] | None = None) -> None:
        before, self._assigned = self._assigned, self._assigned if assigned is None else assigned
        start = await self.world.store.position()
        await self.world.store.commit(batch)
        changes = await self.world.store.changes(start)
        for one in self.followers:
            close = {principal for host, principal in before | self._assigned if host in one.hosts}
            concerned = [it.position for it in changes if _concerns(it, {host.key for host in one.hosts} | close)]
            one.owed += concerned
            one.may |= {it.position for it in changes if it.collection != SETTINGS.name}
            if concerned and one.is_waiting:
                waiting, one.waiting = one.waiting, None
                await _settled()
                assert waiting is not None
                assert waiting.done(), "whoever waits is told at once"
                assert set(concerned) <= set(one.told)

    def _assignment(self, host: ResourceId, principal: str) -> Batch:
        client = self._principals[principal].client_id
        row = IdentityAssignment(host=host, principal_id=principal, client_id=client, identity=None)
        return Batch.of(Put(collection=IDENTITY_ASSIGNMENTS, value=row, expect=ANY))

    def _gone(self, host: ResourceId, principal: str) -> Batch:
        key = identity_assignment_key(host.key, principal)
        return Batch.of(Delete(collection=IDENTITY_ASSIGNMENTS, key=key, subject=host.key))

    def _principal(self, principal: str) -> Batch:
        return Batch.of(Put(collection=PRINCIPALS, value=self._principals[principal], expect=ANY))

    def _unheard(self) -> Batch:
        return Batch.of(Put(collection=SETTINGS, value=Setting(name="x", value="y"), expect=ANY))


def _concerns(change: Change, names: set[str]) -> bool:
    told = {one.name for one in (IDENTITY_ASSIGNMENTS, PRINCIPALS, RESOURCES)}
    return change.collection == TENANTS.name or (change.collection in told and bool({change.key, change.subject} & names))


_ACTS = st.tuples(
    st.sampled_from(
        (
            *("assign", "unassign", "unassign and change", "principal", "several", "resource", "tenant", "unheard"),
            *("trim", "join", "ask", "wait", "wait", "wait", "time"),
        )
    ),
    st.integers(0, 5),
    st.integers(0, 1),
)


@settings(max_examples=25, deadline=None)
@given(acts=st.lists(_ACTS, max_size=40))
def test_nobody_misses_a_change_that_concerns_it(acts: list[tuple[str, int, int]]) -> None:
    async def play() -> None:
        async with hosts_world() as world:
            scene = _Scene(world)
            await scene.join((VM,))
            for act in acts:
                await scene.act(act)
            await scene.finish()

    asyncio.run(play())


# What waiting costs --------------------------------------------------------------------------------------------------


class _Counted:
    """A store that counts what it is asked, and through which its listeners can be told."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.asked = 0
        self.listeners: list[Listener] = []

    def __getattr__(self, name: str) -> Any:
        if name in {"get", "page", "all", "count", "read_log", "commit", "changes", "position"}:
            self.asked += 1
        return getattr(self._store, name)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        self.listeners.append(listener)
        stop: Callable[[], None] = self._store.subscribe(listener)
        return stop


@pytest.fixture
async def world() -> AsyncIterator[HostsWorld]:
    async with hosts_world() as made:
        yield made


@pytest.fixture
def store(world: HostsWorld) -> _Counted:
    counted = _Counted(world.store)
    world.store = counted
    world.hosts = HostDirectory(store=world.store, authority=world.authority)
    sightings = Sightings(store=world.store, clock=world.clock)
    world.agents = AgentDirectory(
        store=world.store,
        authority=world.authority,
        sightings=sightings,
        clock=world.clock,
        entropy=world.entropy,
        profile=OPEN,
    )
    return counted


@pytest.fixture
async def followers(world: HostsWorld, store: _Counted) -> list[_Follower]:
    """Agents that have asked once, and wait; the last one is another machine's."""
    del store
    tail, found = FeedTail(store=world.store), []
    for number, host in enumerate((VM, VM, VM, OTHER_VM)):
        api = Api(world, await world.enroll(f"agent-{number}", host.key))
        api.surface._tail = tail
        found.append(_Follower(api, (host,), json.loads((await api.call("GET", "/agent/v1/changes")).body)["position"]))
    for one in found:
        one.position = tail.end
        one.wait()
    await _settled()
    return found


async def test_whoever_waits_asks_the_store_nothing(world: HostsWorld, store: _Counted, followers: list[_Follower]) -> None:
    store.asked = 0
    for _ in range(5):
        world.clock.advance(31)
        await _settled()
        assert not any(one.is_waiting for one in followers)
        for one in followers:
            one.wait()
        await _settled()
        assert all(one.is_waiting for one in followers)
    assert store.asked == 0
    await world.store.commit(Batch.of(Put(collection=SETTINGS, value=Setting(name="x", value="y"), expect=ANY)))
    await _settled()
    assert (store.asked, all(one.is_waiting for one in followers)) == (1, True)


async def test_a_commit_wakes_those_that_it_concerns(world: HostsWorld, store: _Counted, followers: list[_Follower]) -> None:
    store.asked = 0
    await world.store.commit(Batch.of(Put(collection=PRINCIPALS, value=world.system, expect=ANY)))
    await _settled()
    assert [one.is_waiting for one in followers] == [False, False, False, True]
    assert store.asked == 1


async def test_who_is_banned_while_it_waits_hears_it_at_once(world: HostsWorld, followers: list[_Follower]) -> None:
    found = await world.store.get(AGENTS, "agent-1")
    assert found is not None
    banned = replace(found.value, state=AgentState.BANNED)
    await world.store.commit(Batch.of(Put(collection=AGENTS, value=banned, expect=found.version)))
    await _settled()
    assert [one.is_waiting for one in followers] == [True, False, True, True]
    answer = await followers[1].api.call("GET", "/agent/v1/changes")
    assert code(answer) == (403, "AGENT_BANNED")
    assert followers[1].waiting is not None
    with pytest.raises(AssertionError, match="AGENT_BANNED"):
        await followers[1].waiting


async def test_an_identity_that_comes_while_an_agent_waits_is_followed_from_then_on(
    world: HostsWorld, followers: list[_Follower]
) -> None:
    other = followers[-1]
    await world.assign(OTHER_VM, world.system)
    await _settled()
    assert not other.is_waiting
    other.wait()
    await _settled()
    await world.store.commit(Batch.of(Put(collection=PRINCIPALS, value=world.system, expect=ANY)))
    await _settled()
    assert not other.is_waiting
    assert other.told[-1] == other.position == await world.store.position()


async def test_what_is_told_ahead_of_its_turn_is_told_at_once_and_in_its_turn(
    store: _Counted, followers: list[_Follower]
) -> None:
    end = followers[0].api.surface._tail.end
    changes = [
        Change(position=end + at, collection=RESOURCES.name, key=VM.key, subject=VM.key, deleted=False) for at in (1, 2, 3)
    ]

    def heard(told: list[Change]) -> None:
        for listener in store.listeners:
            listener(told)

    heard(changes[2:])
    await _settled()
    one = followers[0]
    assert one.waiting is not None
    with pytest.raises(AssertionError):  # the position does not go up to it: it comes again
        await one.waiting
    answer = json.loads((await one.api.call("GET", "/agent/v1/changes")).body)
    assert answer["position"] == end
    one.wait()
    heard(changes)
    await _settled()
    assert one.told == [it.position for it in changes]


async def test_a_server_that_has_not_heard_of_the_others_for_long_does_not_say_that_nothing_happened(
    world: HostsWorld, followers: list[_Follower]
) -> None:
    one = followers[0]
    one.api.surface._is_current = lambda: False
    world.clock.advance(5)
    await _settled()
    assert one.waiting is not None
    with pytest.raises(AssertionError, match="UNAVAILABLE"):
        await one.waiting


async def test_memory_is_bounded(world: HostsWorld) -> None:
    tail = FeedTail(store=world.store, kept=4)
    await tail.ready()
    for _ in range(50):
        await world.store.commit(Batch.of(Put(collection=PRINCIPALS, value=world.shared, expect=ANY)))
    assert (len(tail._kept), len(tail._named)) == (4, 1)
    assert (tail.end, tail.start) == (await world.store.position(), tail.end - 4)
    tail.close()
    await world.store.commit(Batch.of(Put(collection=PRINCIPALS, value=world.shared, expect=ANY)))
    assert tail.end == await world.store.position() - 1
