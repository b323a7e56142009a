"""Two servers over PostgreSQL, tokens issued and used on both, while keys rotate ten times and one is tainted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from tests.needed import postgres

from idplane.bootstrap.embedded import InProcessUpstream
from idplane.bootstrap.operator import OperatorKey
from idplane.bootstrap.seed import trust_operator
from idplane.bootstrap.server import Server
from idplane.bootstrap.world import SystemClock, SystemEntropy, World
from idplane.jose import parse
from idplane.model.keys import KeyState
from idplane.model.profile import OPEN
from idplane.store.opening import open_store
from idplane.testing.worlds import MemoryCustody, SeededEntropy
from idplane.web.origins import Origins

pytestmark = pytest.mark.wide

AUTHORITY = "https://localhost"
MANAGEMENT = "https://management.azure.com"
CLOCK, ENTROPY = SystemClock(), SystemEntropy()


@dataclass
class Replica:
    """One server, asked as clients ask it."""

    server: Server
    upstream: InProcessUpstream

    async def token(self, key: OperatorKey) -> str:
        installation = self.server.installation
        endpoint = f"/{installation.tenant.id}/oauth2/v2.0/token"
        form = key.token_request(
            client_id=installation.operator.client_id,
            token_endpoint=AUTHORITY + endpoint,
            resource=MANAGEMENT,
            clock=CLOCK,
            entropy=ENTROPY,
        )
        headers = {"content-type": "application/x-www-form-urlencoded"}
        answer = await self.upstream.send("POST", endpoint, headers, urlencode(form).encode())
        assert answer.status == 200, answer.body
        return str(msgspec.json.decode(answer.body)["access_token"])

    async def accepts(self, token: str) -> int:
        headers = {"authorization": f"Bearer {token}"}
        return (await self.upstream.send("GET", "/subscriptions?api-version=2022-12-01", headers, b"")).status

    async def published(self) -> set[str]:
        path = f"/{self.server.installation.tenant.id}/discovery/v2.0/keys"
        answer = await self.upstream.send("GET", path, {}, b"")
        return {one["kid"] for one in msgspec.json.decode(answer.body)["keys"]}


@dataclass
class Load:
    """Clients that take a token from one replica and show it to the other, over and over."""

    replicas: tuple[Replica, Replica]
    key: OperatorKey
    tainted: str | None = None
    issued: list[tuple[str, str]] = field(default_factory=list)
    wrong: list[Any] = field(default_factory=list)
    stop: bool = False

    async def client(self, at: int) -> None:
        one, other = self.replicas[at % 2], self.replicas[(at + 1) % 2]
        while not self.stop:
            token = await one.token(self.key)
            kid = parse(token).key_id or ""
            self.issued.append((kid, token))
            published = await other.published()
            status = await other.accepts(token)
            # A key that was tainted while this went on is neither published nor good, and nothing else is refused.
            if kid != self.tainted and (kid not in published or status != 200):
                self.wrong.append((kid, status, kid in published))

    async def more(self, clients: list[asyncio.Task[None]], count: int) -> None:
        """Wait until so many tokens were issued."""
        while len(self.issued) < count:
            await asyncio.wait(clients, timeout=0.01)
            for one in clients:
                if one.done():
                    one.result()


@pytest.fixture
async def replicas() -> AsyncIterator[tuple[Replica, Replica]]:
    async with AsyncExitStack() as stack:
        database = stack.enter_context(postgres())
        opened = []
        for number in range(2):
            store = await open_store(database.url("postgres"), clock=CLOCK)
            stack.push_async_callback(store.close)
            # The same key for both, and nonces of their own.
            custody = MemoryCustody(SeededEntropy("shared"))
            custody._entropy = SeededEntropy(f"replica {number}")
            world = World(clock=CLOCK, entropy=ENTROPY, store=store, custody=custody, profile=OPEN)
            server = await Server.open(world)
            stack.push_async_callback(server.close)
            opened.append(Replica(server, InProcessUpstream(server.app(Origins.local(443)), host="localhost")))
        yield opened[0], opened[1]


async def test_no_request_fails_that_should_not(replicas: tuple[Replica, Replica]) -> None:
    key = OperatorKey.create(CLOCK, ENTROPY)
    first, second = replicas
    await trust_operator(first.server.world, first.server.installation.operator, key.certificate)
    load = Load(replicas, key)
    clients = [asyncio.create_task(load.client(at)) for at in range(4)]
    try:
        await rotated(load, clients)
        await tainted(load, clients, await active(first))
        load.stop = True
        await asyncio.gather(*clients)
    finally:
        for one in clients:
            one.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
    assert load.wrong == []
    assert len({kid for kid, _ in load.issued}) >= 10
    assert await first.published() == await second.published()


async def rotated(load: Load, clients: list[asyncio.Task[None]]) -> None:
    for turn in range(10):
        await load.more(clients, len(load.issued) + 8)
        await load.replicas[turn % 2].server.ring.rotate()


async def active(replica: Replica) -> str:
    await replica.server.ring.read()
    return next(key.id for key in replica.server.ring.keys if key.state is KeyState.ACTIVE)


async def tainted(load: Load, clients: list[asyncio.Task[None]], victim: str) -> None:
    """The active key is tainted on the first replica; within a second nobody signs with it, and nobody takes what it signed."""
    replicas = load.replicas
    await replicas[1].server.ring.read()
    stolen = await replicas[1].token(load.key)
    load.tainted = victim
    assert parse(stolen).key_id == victim
    await replicas[0].server.ring.taint(victim)
    started = CLOCK.monotonic()
    while await replicas[1].accepts(stolen) == 200:
        assert CLOCK.monotonic() - started < 1.0
        await asyncio.sleep(0)
    assert await replicas[0].accepts(stolen) == 401
    before = len(load.issued)
    await load.more(clients, before + 12)
    # Tokens that were under way when it was tainted count for nothing either.
    late = [token for kid, token in load.issued[before:] if kid == victim]
    assert len(late) <= 4
    for replica in replicas:
        assert victim not in await replica.published()
        assert {await replica.accepts(token) for token in late} <= {401}
