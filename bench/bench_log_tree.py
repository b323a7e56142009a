"""The log's tree: what it adds to an append, how fast it takes records and is verified, and how large it is.

Appends are commits as tokens make them (five requirements and a record), 64 at once, on two databases in interleaved rounds: one without
seals and tree, one with both and with its duty at work every second. What they add is set against one RSA-2048 signature, which is most
of a token. `bench_log_tree.py 1000000` sequences and verifies so many records; without a number it is a tenth of that.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bench_store import TOGETHER, costs, token_batch
from measure import median, print_environment, raw_rsa

from idplane.audit.checkpoints import read_checkpoint
from idplane.audit.log_check import check_log
from idplane.audit.stored_tree import consistency_proof, inclusion_proof
from idplane.bootstrap.log_keeping import LogKeeping
from idplane.bootstrap.world import SystemClock, SystemEntropy, World
from idplane.model.directory import Setting
from idplane.model.profile import OPEN
from idplane.ports.collections import SETTINGS
from idplane.ports.store import ABSENT, Batch, Put
from idplane.store.sqlite import SqliteStore
from idplane.testing.worlds import MemoryCustody

ROUNDS = 7
APPENDS = 100
TENANT = "11111111-1111-4111-8111-111111111111"


@dataclass
class Side:
    """One of the two databases."""

    path: Path
    store: SqliteStore
    keeping: LogKeeping | None
    numbers: int = 0

    @classmethod
    async def open(cls, path: Path, *, tree: bool) -> Side:
        store = await SqliteStore.open(path, clock=SystemClock())
        settings = (
            Put(collection=SETTINGS, value=Setting(name=f"required-{one}", value="x"), expect=ABSENT) for one in range(5)
        )
        await store.commit(Batch.of(*settings))
        world = World(clock=SystemClock(), entropy=SystemEntropy(), store=store, custody=MemoryCustody(), profile=OPEN)
        return cls(path, store, await LogKeeping.open(world, tenant_id=TENANT) if tree else None)

    async def append(self) -> None:
        async def one() -> None:
            for _ in range(APPENDS):
                self.numbers += 1
                await self.store.commit(token_batch(self.numbers))

        await asyncio.gather(*(one() for _ in range(TOGETHER)))

    async def append_and_sequence(self) -> None:
        """All of it: whatever was appended is in the tree when this is over."""
        await self.append()
        if self.keeping is not None:
            await self.keeping.turn()

    async def fill(self, count: int) -> None:
        while count > 0:
            batch = Batch()
            for _ in range(min(count, 500)):
                self.numbers += 1
                batch += Batch(token_batch(self.numbers).operations[-1:])
            await self.store.commit(batch)
            count -= 500


async def appends(folder: Path) -> None:
    plain, tree = await Side.open(folder / "plain", tree=False), await Side.open(folder / "tree", tree=True)
    found: dict[str, list[tuple[float, float]]] = {"plain": [], "sealed": [], "sequenced": []}
    many = TOGETHER * APPENDS
    for _ in range(ROUNDS):
        found["plain"].append(await costs(many, plain.append))
        found["sealed"].append(await costs(many, tree.append))
        assert tree.keeping is not None
        await tree.keeping.turn()
        found["sequenced"].append(await costs(many, tree.append_and_sequence))
    signature, _ = raw_rsa()
    wall = {name: median([one[0] for one in values]) for name, values in found.items()}
    cpu = {name: median([one[1] for one in values]) for name, values in found.items()}
    for name, words in (("plain", "without"), ("sealed", "with seals"), ("sequenced", "with seals and tree")):
        added = cpu[name] - cpu["plain"]
        share = added / (cpu["plain"] + signature)
        print(
            f"append, {words:20}{wall[name]:8.1f} us, {cpu[name]:6.1f} us CPU   {added:+6.1f} us, {share:+.1%} of record and signature"
        )
    print(f"{'RSA-2048 signature':28}{signature:8.1f} us CPU")
    await plain.store.close()
    await tree.store.close()


async def sizes(folder: Path, records: int) -> None:
    side = await Side.open(folder / "large", tree=True)
    keeping = side.keeping
    assert keeping is not None
    await side.fill(records)
    # As after a start: what this process has written itself is compared as well, but all of it at once is no case of every day.
    world = keeping.world
    keeping = await LogKeeping.open(world, tenant_id=TENANT)
    started, cpu = time.perf_counter(), time.process_time()
    await keeping.turn()
    wall, used = time.perf_counter() - started, time.process_time() - cpu
    print(
        f"sequencing  {records} records in {wall:.1f} s: {records / wall:,.0f} a second, {used / records * 1e6:.1f} us CPU each"
    )
    started = time.perf_counter()
    report = await check_log(side.store.tree, keys=keeping.keys.notes, sealed=keeping.keys.sealed)
    wall = time.perf_counter() - started
    print(
        f"verifying   {report.checked} records in {wall:.1f} s: {report.checked / wall:,.0f} a second; {len(report.findings)} findings"
    )
    newest = read_checkpoint(keeping.checkpoint or "")
    proof = await inclusion_proof(side.store.tree, records // 3, newest.size)
    grown = await consistency_proof(side.store.tree, records // 3, newest.size)
    took = time.perf_counter()
    for number in range(100):
        await inclusion_proof(side.store.tree, records * number // 100, newest.size)
    took = (time.perf_counter() - took) / 100 * 1e3
    print(f"proofs      inclusion {len(proof)} hashes, {32 * len(proof)} bytes, {took:.1f} ms; consistency {len(grown)} hashes")
    await side.store.close()
    with closing(sqlite3.connect(side.path)) as database:
        (entries,) = database.execute("select sum(length(entries)) from log_entries").fetchone()
        (nodes,) = database.execute("select count(*) from log_nodes").fetchone()
        (docs,) = database.execute("select avg(length(doc)) from sign_ins").fetchone()
        pages = side.path.stat().st_size
        print(
            f"storage     {entries / records:.1f} bytes of entries, {nodes * 40 / records:.2f} of nodes and 24 of seal a record; "
            f"its document has {docs:.0f}, all of it with indexes {pages / records:.0f}"
        )


def main() -> None:
    records = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    print_environment()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(appends(Path(folder)))
        asyncio.run(sizes(Path(folder), records))


if __name__ == "__main__":
    main()
