"""A log of one process, or of several over one store, under a clock that is set by hand."""

from __future__ import annotations

from pathlib import Path

from idplane.audit.log_check import LogReport, check_log
from idplane.bootstrap.log_keeping import LogKeeping
from idplane.bootstrap.world import World
from idplane.keys.log_keys import log_line
from idplane.keys.moves import Moves, Records, read_line
from idplane.model.keys import KeyPurpose, KeyState
from idplane.ports.collections import ACTIVITY, SIGN_INS
from idplane.ports.store import Append, Batch, StoredCheckpoint
from idplane.testing import store_samples as sample
from idplane.testing.worlds import FakeClock

TENANT = "11111111-1111-4111-8111-111111111111"


async def opened(world: World, file: Path | None = None) -> LogKeeping:
    return await LogKeeping.open(world, tenant_id=TENANT, file=file)


async def write(world: World, count: int = 1) -> None:
    for number in range(count):
        made, now = world.entropy.guid(), world.clock.now()
        log = Append(log=SIGN_INS, event=sample.sign_in(made, now))
        other = Append(log=ACTIVITY, event=sample.activity(made, now))
        await world.store.commit(Batch.of(other) if number % 4 == 0 else Batch.of(log))


async def check(keeping: LogKeeping) -> LogReport:
    keys = keeping.keys
    return await check_log(keeping.world.store.tree, keys=keys.notes, sealed=keys.sealed, tainted=keys.tainted)


async def checkpoints(world: World) -> tuple[StoredCheckpoint, ...]:
    return await world.store.tree.checkpoints(0, 100)


def later(world: World, seconds: float) -> None:
    assert isinstance(world.clock, FakeClock)
    world.clock.advance(seconds)


def moves(world: World) -> Moves:
    return Moves(line=log_line(world.custody, world.entropy), custody=world.custody)


async def stored(world: World) -> Records:
    return await read_line(world.store, KeyPurpose.LOG)


async def rotation(keeping: LogKeeping) -> Batch:
    world = keeping.world
    return await keeping.vouched(await moves(world).rotate(await stored(world), world.clock.now()))


async def rotate(keeping: LogKeeping) -> None:
    await keeping.world.store.commit(await rotation(keeping))
    await keeping.turn()


async def active(world: World) -> str:
    return next(kid for kid, one in (await stored(world)).items() if one.value.state is KeyState.ACTIVE)


async def taint(keeping: LogKeeping, kid: str | None = None) -> None:
    world = keeping.world
    change = await moves(world).taint(await stored(world), kid or await active(world), world.clock.now())
    await world.store.commit(await keeping.vouched(change))
    await keeping.turn()
