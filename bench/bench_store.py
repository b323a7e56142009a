"""The embedded store beside the raw `sqlite3` module: the same file system, schema, statements and durability, in interleaved rounds.

Raw writes are the statements of one commit (record, feed row, log row) in one durable transaction on a bare connection; raw reads are the
statement alone. What is left is the price of encoding, versions, listeners and of leaving the event loop free.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from measure import median, per_call, print_environment

from idplane.bootstrap.world import SystemClock
from idplane.model.directory import Setting
from idplane.model.events import SignIn
from idplane.ports.collections import SETTINGS, SIGN_INS
from idplane.ports.store import ABSENT, Append, Batch, Put, Require
from idplane.store.codec import encode
from idplane.store.sqlite import SqliteStore

ROUNDS = 5
WRITES = 500
TOGETHER = 64
READS = 5_000
_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_EVENT = SignIn(
    id="99999999-9999-4999-8999-999999999999",
    at=_NOW,
    tenant_id="11111111-1111-4111-8111-111111111111",
    client_id="22222222-2222-4222-8222-222222222222",
    principal_id="33333333-3333-4333-8333-333333333333",
    principal_name="stock-vm",
    principal_type="ManagedIdentity",
    resource="https://management.azure.com/",
    resource_name="Windows Azure Service Management API",
    error_code=0,
    failure_reason="",
    correlation_id="44444444-4444-4444-8444-444444444444",
    token_id="kkkkkkkkkkkkkkkkkkkkkk",
    credential_kind="identity-certificate",
)
_INSERT = "insert into settings (key, version, doc) values (?, 1, ?) on conflict (key) do nothing returning version"
_FEED = "insert into changes (collection, key, subject, deleted) values ('settings', ?, null, 0)"
_LOG = f"insert into sign_ins (doc, {', '.join(SIGN_INS.columns)}) values ({', '.join('?' * (len(SIGN_INS.columns) + 1))})"
_READ = "select version, doc from settings where key = ?"


class Numbers:
    """Names that were not used before."""

    def __init__(self) -> None:
        self._last = 0

    def name(self) -> str:
        self._last += 1
        return f"setting-{self._last}"


def raw(connection: sqlite3.Connection, name: str) -> None:
    """The statements of one commit."""
    columns = [get(_EVENT) for get in SIGN_INS.columns.values()]
    connection.execute("begin immediate")
    connection.execute(_INSERT, (name, encode(Setting(name=name, value="x")))).fetchall()
    connection.execute(_FEED, (name,))
    connection.execute(_LOG, (encode(_EVENT), *columns))
    connection.execute("commit")


def batch(name: str) -> Batch:
    setting = Setting(name=name, value="x")
    return Batch.of(Put(collection=SETTINGS, value=setting, expect=ABSENT), Append(log=SIGN_INS, event=_EVENT))


def token_batch(number: int) -> Batch:
    """What a token's commit is: requirements and one row."""
    required = (Require(collection=SETTINGS, key=f"required-{one}", expect=1) for one in range(5))
    return Batch.of(*required, Append(log=SIGN_INS, event=replace(_EVENT, id=str(number))))


def synced(path: Path) -> float:
    """Microseconds of wall time for a 4 KiB append and its fdatasync: nothing durable is faster."""
    with path.open("ab", buffering=0) as file:
        start = time.perf_counter()
        for _ in range(200):
            file.write(b"x" * 4096)
            os.fdatasync(file.fileno())
        return (time.perf_counter() - start) / 200 * 1e6


async def costs(count: int, work: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """Microseconds of wall time and of this process' CPU time for each of `count` operations that `work` does."""
    wall, cpu = time.perf_counter(), time.process_time()
    await work()
    return (time.perf_counter() - wall) / count * 1e6, (time.process_time() - cpu) / count * 1e6


async def measure(folder: Path) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {}
    store = await SqliteStore.open(folder / "store.sqlite", clock=SystemClock())
    await (await SqliteStore.open(folder / "raw.sqlite", clock=SystemClock())).close()
    connection = sqlite3.connect(folder / "raw.sqlite", isolation_level=None)
    connection.execute("pragma synchronous = full")
    numbers = Numbers()
    await store.commit(
        Batch.of(
            *(Put(collection=SETTINGS, value=Setting(name=f"required-{one}", value="x"), expect=ABSENT) for one in range(5))
        )
    )
    first = numbers.name()
    raw(connection, first)
    await store.commit(batch(first))

    async def raw_writes() -> None:
        for _ in range(WRITES):
            raw(connection, numbers.name())

    async def alone() -> None:
        for _ in range(WRITES):
            await store.commit(batch(numbers.name()))

    async def together(make: Callable[[], Batch]) -> None:
        async def one() -> None:
            for _ in range(WRITES // 10):
                await store.commit(make())

        await asyncio.gather(*(one() for _ in range(TOGETHER)))

    async def reads() -> None:
        for _ in range(READS):
            await store.get(SETTINGS, first)

    many = TOGETHER * (WRITES // 10)
    for _ in range(ROUNDS):
        sync = synced(folder / "sync")
        rows = {
            "sync": (sync, 0.0),
            "raw write": await costs(WRITES, raw_writes),
            "write, alone": await costs(WRITES, alone),
            "write, 64 at once": await costs(many, lambda: together(lambda: batch(numbers.name()))),
            "token's record, 64 at once": await costs(many, lambda: together(lambda: token_batch(1))),
            "read": await costs(READS, reads),
        }
        microseconds = per_call(lambda: connection.execute(_READ, (first,)).fetchone(), READS)
        rows["raw read"] = (microseconds, microseconds)
        for name, value in rows.items():
            found.setdefault(name, []).append(value)
    connection.close()
    await store.close()
    return found


def main() -> None:
    print_environment()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measure(Path(folder)))
    wall = {name: median([one[0] for one in values]) for name, values in found.items()}
    cpu = {name: median([one[1] for one in values]) for name, values in found.items()}

    def line(name: str, to: str) -> None:
        ratio = f"{wall[to] / wall[name]:.2f} x the rate of {to}, {cpu[name] / cpu[to]:.2f} x its CPU" if to else ""
        print(f"{name:30}{wall[name]:8.1f} us, {cpu[name]:6.1f} us CPU   {ratio}")

    print(f"{'append 4 KiB and fdatasync':30}{wall['sync']:8.1f} us")
    line("raw write", "")
    line("write, alone", "raw write")
    line("write, 64 at once", "raw write")
    line("token's record, 64 at once", "raw write")
    line("raw read", "")
    line("read", "raw read")


if __name__ == "__main__":
    main()
