"""Creating identities and role assignments through the whole server, beside the bare database: the same rows in durable transactions.

The server is in this process and reached without sockets: HTTP parsing is not in it, everything else is, from the bearer token to the
activity log. Raw is the same statements with nothing around them, prepared before the clock starts, on connections of their own to the
same database. "At once" are sixteen clients: the raw ones have a connection each on PostgreSQL, and on SQLite, which has one writer, a
transaction holds sixteen creations, as the server's own does.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import asyncpg
from measure import median, print_environment

from idplane.bootstrap.embedded import InProcessUpstream
from idplane.bootstrap.operator import OperatorKey
from idplane.bootstrap.plane import Plane
from idplane.bootstrap.seed import trust_operator
from idplane.bootstrap.world import SystemClock, SystemEntropy, World
from idplane.model.ids import ResourceId
from idplane.model.profile import OPEN
from idplane.ports.collections import ACTIVITY, PRINCIPALS, RESOURCES, ROLE_ASSIGNMENTS
from idplane.ports.store import ABSENT, Append, Batch, Put, Store
from idplane.store.plan import AppendRow, PutRecord, Tables, log_statements
from idplane.store.postgres import PostgresStore
from idplane.store.sqlite import SqliteStore
from idplane.store.tables import Dialect
from idplane.testing.postgres_cluster import binaries, cluster
from idplane.testing.worlds import MemoryCustody
from idplane.web.origins import Origins

ROUNDS = 5
EACH = 160
AT_ONCE = 16
READER = "/providers/Microsoft.Authorization/roleDefinitions/acdd72a7-3385-48ef-bd42-f606fba81ae7"
HOST = "localhost:8443"
_SQLITE_FEED = "insert into changes (collection, key, subject, deleted) values (?, ?, ?, 0)"
_POSTGRES_FEED = """
with feed as (update feed_end set position = position + 1 returning position)
insert into changes (position, collection, key, subject, deleted) select position, $1, $2, $3, 0 from feed
"""

Statements = list[tuple[str, tuple[Any, ...]]]


class Server:
    """A plane over a store, and its owner's requests."""

    def __init__(self, store: Store, upstream: InProcessUpstream, token: str, subscription: str) -> None:
        self.store = store
        self.group = f"/subscriptions/{subscription}/resourceGroups/bench"
        self._upstream = upstream
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._entropy = SystemEntropy()
        self._numbers = itertools.count()
        self.principals: list[str] = []

    async def put(self, path: str, version: str, body: object) -> Any:
        answer = await self._upstream.send("PUT", f"{path}?api-version={version}", self._headers, json.dumps(body).encode())
        assert answer.status in {200, 201}, answer
        return json.loads(answer.body)

    async def identity(self) -> None:
        path = f"{self.group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/identity-{next(self._numbers)}"
        made = await self.put(path, "2023-01-31", {"location": "westeurope"})
        self.principals.append(made["properties"]["principalId"])

    async def assignment(self) -> None:
        path = f"{self.group}/providers/Microsoft.Authorization/roleAssignments/{self._entropy.guid()}"
        body = {"properties": {"roleDefinitionId": READER, "principalId": self.principals.pop()}}
        await self.put(path, "2022-04-01", body)


@asynccontextmanager
async def serving(store: Store) -> AsyncIterator[Server]:
    clock, entropy = SystemClock(), SystemEntropy()
    world = World(clock=clock, entropy=entropy, store=store, custody=MemoryCustody(), profile=OPEN)
    plane = await Plane.open(world)
    operator, installed = OperatorKey.create(clock, entropy), plane.server.installation
    await trust_operator(world, installed.operator, operator.certificate)
    upstream = InProcessUpstream(plane.server.app(Origins.local(8443)), host=HOST)
    endpoint = f"/{installed.tenant.id}/oauth2/v2.0/token"
    form = operator.token_request(
        client_id=installed.operator.client_id,
        token_endpoint=f"https://{HOST}{endpoint}",
        resource="https://management.azure.com",
        clock=clock,
        entropy=entropy,
    )
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await upstream.send("POST", endpoint, kind, urlencode(form).encode())
    server = Server(store, upstream, json.loads(answer.body)["access_token"], installed.subscription.id)
    await server.put(server.group, "2022-09-01", {"location": "westeurope"})
    yield server
    await plane.close()


class Raw:
    """The rows of creations like those that the server made, as bare statements."""

    def __init__(self, server: Server, dialect: Dialect) -> None:
        self._server = server
        self._tables = Tables(dialect)
        self._feed = _SQLITE_FEED if dialect is Dialect.SQLITE else _POSTGRES_FEED
        self._entropy = SystemEntropy()
        self._numbers = itertools.count()
        self._principals: list[str] = []

    async def statements(self, kind: str) -> Statements:
        event = (await self._server.store.read_log(ACTIVITY, limit=1))[0].event
        append = Append(log=ACTIVITY, event=replace(event, id=self._entropy.guid()))
        return self._spelled(await (self._identity() if kind == "identity" else self._assignment()) + Batch.of(append))

    async def _identity(self) -> Batch:
        made = await self._server.store.page(
            RESOURCES, where={"type": "microsoft.managedidentity/userassignedidentities"}, limit=1
        )
        model = made.items[0].value
        principal = await self._server.store.get(PRINCIPALS, str(model.properties["principalId"]))
        assert principal is not None
        name = f"raw-{next(self._numbers)}"
        identifier = ResourceId.parse(f"{str(model.id).rpartition('/')[0]}/{name}")
        new = replace(principal.value, id=self._entropy.guid(), client_id=self._entropy.guid(), resource_id=str(identifier))
        self._principals.append(new.id)
        return Batch.of(
            Put(collection=PRINCIPALS, value=new, expect=ABSENT),
            Put(collection=RESOURCES, value=replace(model, id=identifier), expect=ABSENT),
        )

    async def _assignment(self) -> Batch:
        made = await self._server.store.page(ROLE_ASSIGNMENTS, where={"scope_key": self._server.group.lower()}, limit=1)
        new = replace(made.items[0].value, id=self._entropy.guid(), principal_id=self._principals.pop())
        return Batch.of(Put(collection=ROLE_ASSIGNMENTS, value=new, expect=ABSENT))

    def _spelled(self, batch: Batch) -> Statements:
        found: Statements = []
        rows: list[AppendRow] = []
        for step in self._tables.plan(batch).steps:
            if isinstance(step, AppendRow):
                rows.append(step)
                continue
            assert isinstance(step, PutRecord)
            written = step.written
            assert written is not None
            found += [step.query, (self._feed, (written.collection, written.key, written.subject))]
        return [*found, *(query for query, _ in log_statements(rows))]


RawRun = Callable[[list[Statements], int], Awaitable[None]]
"""Creations, and how many at once."""


@asynccontextmanager
async def raw_sqlite(path: Path) -> AsyncIterator[RawRun]:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("pragma synchronous = full")
    connection.execute("pragma foreign_keys = on")

    async def run(creations: list[Statements], at_once: int) -> None:
        for start in range(0, len(creations), at_once):
            connection.execute("begin immediate")
            for text, parameters in itertools.chain.from_iterable(creations[start : start + at_once]):
                connection.execute(text, parameters).fetchall()
            connection.execute("commit")

    yield run
    connection.close()


@asynccontextmanager
async def raw_postgres(url: str) -> AsyncIterator[RawRun]:
    connections = [await asyncpg.connect(url) for _ in range(AT_ONCE)]

    async def some(connection: Any, creations: list[Statements]) -> None:
        for creation in creations:
            await connection.execute("begin; select position from feed_end for update")
            for text, parameters in creation:
                await connection.fetch(text, *parameters)
            await connection.execute("commit")

    async def run(creations: list[Statements], at_once: int) -> None:
        await asyncio.gather(*(some(connections[number], creations[number::at_once]) for number in range(at_once)))

    yield run
    for connection in connections:
        await connection.close()


async def rate(count: int, work: Awaitable[object]) -> float:
    start = time.perf_counter()
    await work
    return count / (time.perf_counter() - start)


async def served(make: Callable[[], Awaitable[None]], at_once: int) -> None:
    async def some() -> None:
        for _ in range(EACH // at_once):
            await make()

    await asyncio.gather(*(some() for _ in range(at_once)))


async def measure(server: Server, raw: Raw, run: RawRun) -> None:
    await server.identity()
    await server.assignment()
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for _ in range(ROUNDS):
        for kind, make in (("identity", server.identity), ("assignment", server.assignment)):
            for at_once in (1, AT_ONCE):
                creations = [await raw.statements(kind) for _ in range(EACH)]
                bare = await rate(EACH, run(creations, at_once))
                found.setdefault((kind, at_once), []).append((await rate(EACH, served(make, at_once)), bare))
    for (kind, at_once), rounds in found.items():
        ours, bare = median([one for one, _ in rounds]), median([one for _, one in rounds])
        print(
            f"  {kind:10} {at_once:2} at once: {ours:6.0f}/s, raw {bare:6.0f}/s, ratio {median([a / b for a, b in rounds]):.2f}"
        )


async def main() -> None:
    print_environment()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.sqlite"
        store = await SqliteStore.open(path, clock=SystemClock())
        async with serving(store) as server, raw_sqlite(path) as run:
            print("SQLite")
            await measure(server, Raw(server, Dialect.SQLITE), run)
        await store.close()
    installed = binaries()
    if installed is None:
        print("PostgreSQL is not installed")
        return
    with cluster(installed, settings="") as running:
        url = running.url("postgres")
        shared = await PostgresStore.open(url, clock=SystemClock(), connections=AT_ONCE)
        async with serving(shared) as server, raw_postgres(url) as run:
            print("PostgreSQL")
            await measure(server, Raw(server, Dialect.POSTGRESQL), run)
        await shared.close()


if __name__ == "__main__":
    asyncio.run(main())
