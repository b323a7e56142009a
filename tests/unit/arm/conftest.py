"""A management plane for each test that asks, closed with it."""

from collections.abc import AsyncIterator

import pytest
from tests.unit.providers.surface_plane import OpenPlane, opening


@pytest.fixture
async def open_plane() -> AsyncIterator[OpenPlane]:
    async with opening() as opened:
        yield opened
