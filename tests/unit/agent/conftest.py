"""The agent's world as a fixture."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.unit.agent.agent_world import AgentWorld


@pytest.fixture
async def world() -> AsyncIterator[AgentWorld]:
    world = AgentWorld.make()
    yield world
    await world.close()
