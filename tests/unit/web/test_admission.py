"""Turns at a server's work: in order, bounded, nothing for who has gone, and none for those that only wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from idplane.bootstrap.embedded import InProcessUpstream
from idplane.bootstrap.server import Server
from idplane.bootstrap.world import World
from idplane.model.failure import Failure, FailureKind
from idplane.model.profile import OPEN
from idplane.testing.worlds import FakeClock, MemoryCustody, SeededEntropy, memory_store
from idplane.web.admission import Admission, Busy, Gone
from idplane.web.app import ServerApp
from idplane.web.http import HttpRequest, HttpResponse
from idplane.web.origins import Origins

SUBSCRIPTION = "11111111-1111-4111-8111-111111111111"


async def _stays() -> None:
    await asyncio.get_running_loop().create_future()


async def _hangs_up() -> None:
    return


async def _settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class _Work:
    """Requests that hold their places until they are told to end."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.order: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}

    def begin(self, name: str) -> asyncio.Task[None]:
        self.ends[name] = asyncio.Event()
        return asyncio.ensure_future(self._run(name))

    async def _run(self, name: str) -> None:
        async with self.admission.place(_stays):
            self.order.append(name)
            await self.ends[name].wait()


class TestTurns:
    async def test_come_to_the_newest_first(self) -> None:
        work, order = _Work(Admission(most=1)), "adcb"
        running = [work.begin(name) for name in "abcd"]
        await _settled()
        assert (work.order, work.admission.working, work.admission.waiting) == (["a"], 1, 3)
        for name in order:
            work.ends[name].set()
            await _settled()
        await asyncio.gather(*running)
        assert "".join(work.order) == order
        assert (work.admission.working, work.admission.waiting) == (0, 0)

    async def test_no_more_wait_than_there_is_room_for(self) -> None:
        work = _Work(Admission(most=2, waiting=1))
        running = [work.begin(name) for name in "abc"]
        await _settled()
        with pytest.raises(Busy) as refused:
            await work.admission.take(_stays)
        assert (refused.value.kind, refused.value.data["retry_after"]) == (FailureKind.THROTTLED, "5")
        for one in work.ends.values():
            one.set()
        await asyncio.gather(*running)

    async def test_nobody_waits_longer_than_clients_do(self) -> None:
        admission = Admission(most=1, seconds=0)
        async with admission.place(_stays):
            with pytest.raises(Busy):
                await admission.take(_stays)
            assert (admission.working, admission.waiting) == (1, 0)
        assert admission.working == 0

    async def test_who_is_overtaken_without_end_is_told_in_time(self) -> None:
        """A person's request, say, among agents that keep coming: it never waits longer than the bound, served or not."""
        work = _Work(Admission(most=1, seconds=0.05))
        row, running = "0", [work.begin("0")]
        await _settled()
        overtaken = asyncio.ensure_future(work.admission.take(_stays))
        await _settled()
        while not overtaken.done():
            running.append(work.begin(f"{len(running)}"))
            await _settled()
            work.ends[row].set()
            row = f"{len(running) - 1}"
            await _settled()
        with pytest.raises(Busy):
            overtaken.result()
        assert work.order == [f"{number}" for number in range(len(running))], "all newer ones were served"
        work.ends[row].set()
        await asyncio.gather(*running)
        assert (work.admission.working, work.admission.waiting) == (0, 0)

    async def test_who_was_told_and_comes_again_is_next(self) -> None:
        work = _Work(Admission(most=1))
        running = [work.begin(name) for name in ("held", "agent", "agent too", "person")]
        await _settled()
        work.ends["held"].set()
        await _settled()
        assert work.order == ["held", "person"]
        for one in work.ends.values():
            one.set()
        await asyncio.gather(*running)

    async def test_who_has_gone_gets_none(self) -> None:
        work = _Work(Admission(most=1))
        first = work.begin("a")
        await _settled()
        with pytest.raises(Gone):
            await work.admission.take(_hangs_up)
        assert work.admission.waiting == 0
        later = work.begin("b")
        await _settled()
        work.ends["a"].set()
        work.ends["b"].set()
        await asyncio.gather(first, later)
        assert work.order == ["a", "b"]

    async def test_one_that_is_cancelled_passes_on_what_it_was_given(self) -> None:
        work = _Work(Admission(most=1))
        first, second, third = (work.begin(name) for name in "abc")
        await _settled()
        work.ends["a"].set()
        while work.admission.waiting == 2:  # noqa: ASYNC110 - the turn has come, and its task has not run yet
            await asyncio.sleep(0)
        third.cancel()
        await asyncio.gather(first, third, return_exceptions=True)
        await _settled()
        assert work.order[-1] == "b"
        work.ends["b"].set()
        await second
        assert work.admission.working == 0

    async def test_one_that_is_cancelled_while_it_waits_leaves_the_row(self) -> None:
        work = _Work(Admission(most=1))
        first, second = work.begin("a"), work.begin("b")
        await _settled()
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        assert work.admission.waiting == 0
        work.ends["a"].set()
        await first
        assert work.admission.working == 0

    async def test_what_a_request_asks_the_same_process_is_in_its_own_place(self) -> None:
        admission = Admission(most=1, waiting=0)
        async with admission.place(_stays):
            inside = asyncio.create_task(_nested(admission))
            await inside
            left = asyncio.Event()
            outliving = asyncio.create_task(_nested(admission, left))
        async with admission.place(_stays):
            left.set()
            with pytest.raises(Busy):
                await outliving


async def _nested(admission: Admission, until: asyncio.Event | None = None) -> None:
    if until is not None:
        await until.wait()
    async with admission.place(_stays):
        assert admission.working == 1


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    clock = FakeClock()
    store = await memory_store(clock)
    world = World(clock=clock, entropy=SeededEntropy(), store=store, custody=MemoryCustody(), profile=OPEN)
    opened = await Server.open(world)
    yield opened
    await opened.close()
    await store.close()


def _app(server: Server, admission: Admission) -> ServerApp:
    world = server.world
    return ServerApp(
        surfaces=server.surfaces,
        origins=Origins.local(443),
        clock=world.clock,
        entropy=world.entropy,
        admission=admission,
    )


def _scope(path: str, *, method: str = "GET", host: str = "localhost") -> MutableMapping[str, Any]:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", host.encode())],
        "client": None,
        "idplane.complete": True,
    }


async def _asked(
    app: ServerApp, path: str, *, method: str = "GET", host: str = "localhost"
) -> tuple[int, dict[str, str], bytes]:
    sent: list[MutableMapping[str, Any]] = []
    given = asyncio.Event()

    async def receive() -> MutableMapping[str, Any]:
        if given.is_set():
            await _stays()
        given.set()
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await app(_scope(path, method=method, host=host), receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, sent[1]["body"]


class TestServer:
    @pytest.mark.parametrize(
        ("path", "method", "host", "member", "code"),
        [
            ("/common/oauth2/v2.0/token", "POST", "localhost", "error", "temporarily_unavailable"),
            ("/subscriptions", "GET", "localhost", "error.code", "TooManyRequests"),
            (f"/subscriptions/{SUBSCRIPTION}/resourceGroups/g", "PUT", "localhost", "error.code", "TooManyRequests"),
            ("/v1.0/me", "GET", "localhost", "error.code", "TooManyRequests"),
            ("/secrets/one", "GET", "shop.vault.localhost", "error.code", "Throttled"),
            ("/agent/v1/host", "GET", "localhost", "error.code", "THROTTLED"),
            ("/common/ssf/streams", "GET", "localhost", "err", "invalid_request"),
        ],
        ids=["authority", "management", "writes", "graph", "vault", "agents", "events"],
    )
    async def test_who_cannot_be_served_is_told_in_each_dialect_when_to_come_again(
        self, server: Server, path: str, method: str, host: str, member: str, code: str
    ) -> None:
        status, headers, body = await _asked(_app(server, Admission(most=0, waiting=0)), path, method=method, host=host)
        assert (status, headers["retry-after"]) == (429, "5")
        found = msgspec.json.decode(body)
        for name in member.split("."):
            found = found[name]
        assert found == code

    @pytest.mark.parametrize(
        ("path", "status"),
        [
            ("/agent/v1/changes", 401),
            ("/common/ssf/poll/one", 400),
            ("/common/discovery/keys", 200),
            ("/common/v2.0/.well-known/openid-configuration", 200),
        ],
    )
    async def test_long_polls_and_public_documents_take_no_place(self, server: Server, path: str, status: int) -> None:
        """So that a token's verification, which fetches this server's own keys over the network, never waits for itself."""
        method = "POST" if "poll" in path else "GET"
        assert (await _asked(_app(server, Admission(most=0, waiting=0)), path, method=method))[0] == status

    async def test_who_hangs_up_while_it_waits_costs_nothing(self, server: Server) -> None:
        admission, surface = Admission(most=1), _Counting()
        app = _app_of(server, surface, admission)
        came, sent, hung_up = list[str](), list[object](), asyncio.Event()

        async def receive() -> MutableMapping[str, Any]:
            if came:
                await hung_up.wait()
                return {"type": "http.disconnect"}
            came.append("body")
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        await admission.take(_stays)
        waiting = asyncio.ensure_future(app(_scope("/subscriptions"), receive, send))
        await _settled()
        assert admission.waiting == 1
        hung_up.set()
        await waiting
        assert (surface.served, sent, admission.waiting) == (0, [], 0)

    async def test_an_agent_in_the_same_process_waits_as_others_do(self, server: Server) -> None:
        admission, surface = Admission(most=1), _Counting()
        upstream = InProcessUpstream(_app_of(server, surface, admission), host="localhost")
        await admission.take(_stays)
        waiting = asyncio.ensure_future(upstream.send("GET", "/subscriptions", {}, b""))
        await _settled()
        assert (waiting.done(), admission.waiting) == (False, 1)
        admission.give_back()
        assert (await waiting).status == 200
        assert admission.working == 0

    async def test_its_listeners_share_one_row(self, server: Server) -> None:
        server.admission.working = 1000
        first, second = server.app(Origins.local(443)), server.app(Origins.azure(443))
        waiting = [
            asyncio.ensure_future(_asked(first, "/subscriptions")),
            asyncio.ensure_future(_asked(second, "/subscriptions", host="management.azure.com")),
        ]
        await _settled()
        assert server.admission.waiting == len(waiting)
        for _ in waiting:
            server.admission.give_back()
        assert [status for status, _, _ in await asyncio.gather(*waiting)] == [401, 401]


class _Counting:
    """Serves anything."""

    def __init__(self) -> None:
        self.served = 0

    async def handle(self, _: HttpRequest, /) -> HttpResponse:
        self.served += 1
        return HttpResponse(status=200, body=b"{}")

    def refuse(self, failure: Failure, _: HttpRequest, /) -> HttpResponse:
        return HttpResponse(status=failure.kind.category.value)


def _app_of(server: Server, surface: _Counting, admission: Admission) -> ServerApp:
    return _app(replace(server, surfaces=replace(server.surfaces, management=surface)), admission)
