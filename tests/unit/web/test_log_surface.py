"""What the log shows to everybody."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator

import pytest
from tests.unit.audit.log_world import rotate
from tests.unit.web.test_user_endpoints import ORIGIN

from idplane.audit.checkpoints import KnownKeys, notes_in, read_checkpoint
from idplane.audit.tree import root_from_consistency
from idplane.bootstrap.log_keeping import LogKeeping
from idplane.bootstrap.world import World
from idplane.jose.notes import NoteKey
from idplane.model.calls import Call
from idplane.model.failure import Failure
from idplane.model.profile import OPEN
from idplane.ports.collections import ACTIVITY
from idplane.ports.store import Append, Batch
from idplane.testing import store_samples as sample
from idplane.testing.worlds import FakeClock, MemoryCustody, SeededEntropy, memory_store
from idplane.web.http import HttpRequest, HttpResponse
from idplane.web.log import LogSurface


@pytest.fixture
async def keeping() -> AsyncIterator[LogKeeping]:
    clock = FakeClock()
    store = await memory_store(clock)
    world = World(clock=clock, entropy=SeededEntropy(), store=store, custody=MemoryCustody(), profile=OPEN)
    yield await LogKeeping.open(world, tenant_id="11111111-1111-4111-8111-111111111111")
    await store.close()


async def send(keeping: LogKeeping, path: str, *, method: str = "GET", accept: str = "*/*", **query: str) -> HttpResponse:
    surface = LogSurface(keeping)
    call = Call(request_id="request", correlation_id="correlation", received_at=keeping.world.clock.now())
    request = HttpRequest(
        method=method, path=path, query=tuple(query.items()), headers={"accept": (accept,)}, body=b"", origin=ORIGIN, call=call
    )
    try:
        return await surface.handle(request)
    except Failure as failure:
        return surface.refuse(failure, request)


async def write(keeping: LogKeeping, count: int) -> str:
    for _ in range(count):
        event = sample.activity(keeping.world.entropy.guid(), keeping.world.clock.now())
        await keeping.world.store.commit(Batch.of(Append(log=ACTIVITY, event=event)))
    await keeping.turn()
    return (await send(keeping, "/log/checkpoint")).body.decode()


async def test_a_witness_can_follow(keeping: LogKeeping) -> None:
    first, second = read_checkpoint(await write(keeping, 5)), read_checkpoint(await write(keeping, 8))
    keys = [NoteKey.parse(one) for one in (await send(keeping, "/log/keys")).body.decode().splitlines()]
    assert all(KnownKeys(keys).trusted(one) for one in (first, second))
    answer = await send(keeping, "/log/consistency", first="5", second="13")
    proof = [base64.b64decode(one) for one in answer.body.decode().splitlines()]
    assert root_from_consistency(5, 13, first.root, proof) == (first.root, second.root)
    assert answer.media_type.startswith("text/plain")
    assert dict(answer.headers)["Cache-Control"] == "no-store"


async def test_who_knows_an_old_key_can_follow_to_the_newest(keeping: LogKeeping) -> None:
    await write(keeping, 1)
    first = keeping.keys.notes[0]
    assert (await send(keeping, "/log/successions")).body == b""
    for _ in range(2):
        await rotate(keeping)
        await write(keeping, 2)
    newest = read_checkpoint(await write(keeping, 2))
    notes = notes_in((await send(keeping, "/log/successions")).body.decode())
    answer = await send(keeping, "/log/successions", accept="application/json")
    assert json.loads(answer.body) == {"checkpoints": notes}
    known = KnownKeys([first])
    assert known.trusted(newest) is None
    assert all(known.trusted(read_checkpoint(one)) for one in notes)
    assert known.trusted(newest) == keeping.keys.active.note


async def test_programs_may_have_json(keeping: LogKeeping) -> None:
    note = await write(keeping, 2)
    for path, name in (("/log/checkpoint", "checkpoint"), ("/log/keys", "keys")):
        answer = await send(keeping, path, accept="application/json")
        assert list(json.loads(answer.body)) == [name]
    assert json.loads((await send(keeping, "/log/checkpoint", accept="application/json")).body)["checkpoint"] == note


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("/log/other", {}, 404),
        ("/log", {}, 404),
        ("/log/consistency", {}, 400),
        ("/log/consistency", {"first": "1"}, 400),
        ("/log/consistency", {"first": "3", "second": "1"}, 400),
        ("/log/consistency", {"first": "1", "second": "999"}, 400),
        ("/log/consistency", {"first": "-1", "second": "2"}, 400),
        ("/log/consistency", {"first": "1" * 19, "second": "2"}, 400),
        ("/log/consistency", {"first": "\u0661", "second": "2"}, 400),
    ],
)
async def test_what_is_refused(keeping: LogKeeping, path: str, query: dict[str, str], status: int) -> None:
    await write(keeping, 2)
    assert (await send(keeping, path, **query)).status == status


async def test_nothing_is_written(keeping: LogKeeping) -> None:
    assert (await send(keeping, "/log/checkpoint", method="POST")).status == 400  # as the authority says it


async def test_before_the_first_checkpoint(keeping: LogKeeping) -> None:
    assert (await send(keeping, "/log/checkpoint")).status == 503
