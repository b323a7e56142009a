"""The vault tests' world."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.unit.vault.vault_world import World, vault_world


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with vault_world() as made:
        yield made
