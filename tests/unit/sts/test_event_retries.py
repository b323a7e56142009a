"""Security events that are not taken: when they are tried again, and what that costs when nobody waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.attacks.test_revocation_events import Post
from tests.attacks.test_revocation_introspection import Desk
from tests.unit.sts.sts_world import StsWorld

from idplane.testing.worlds import FakeClock


class Noting(FakeClock):
    """A clock that knows how long somebody meant to sleep."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await super().sleep(seconds)


@pytest.fixture
async def post() -> AsyncIterator[Post]:
    world = await StsWorld.open()
    yield Post(await Desk(world).open())
    await world.store.close()


@pytest.mark.parametrize("gone", [True, False])
async def test_a_stream_that_is_gone_or_paused_before_it_is_tried_again_keeps_nobody_awake(post: Post, *, gone: bool) -> None:
    stream = await post.pushed()
    await post.desk.token()
    await post.revoke(post.world.app)
    post.receiver.statuses = [500]
    clock = Noting()
    post.events._clock = clock
    await post.sent()
    if gone:
        await post.streams.delete(post.desk.api, stream.id)
    else:
        await post.streams.set_status(post.desk.api, stream.id, "paused", None)
    clock.advance(2)
    running = asyncio.ensure_future(post.events.run())
    while len(clock.slept) < 3:
        await asyncio.sleep(0)
        clock.advance(0.01)
    running.cancel()
    await asyncio.wait({running})
    assert clock.slept[1:] == [5, 5]
