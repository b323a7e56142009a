"""A log for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.unit.audit.log_world import opened

from idplane.bootstrap.log_keeping import LogKeeping
from idplane.bootstrap.world import World
from idplane.model.profile import OPEN
from idplane.testing.worlds import FakeClock, MemoryCustody, SeededEntropy, memory_store


@pytest.fixture
async def world() -> AsyncIterator[World]:
    clock = FakeClock()
    store = await memory_store(clock)
    yield World(clock=clock, entropy=SeededEntropy(), store=store, custody=MemoryCustody(), profile=OPEN)
    await store.close()


@pytest.fixture
async def keeping(world: World) -> LogKeeping:
    return await opened(world)
