"""Programs of the past."""

from __future__ import annotations

import pytest
from tests.upgrade.programs import Earlier


@pytest.fixture(scope="session")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Earlier:
    return Earlier(tmp_path_factory.mktemp("programs"))
