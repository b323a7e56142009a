from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.unit.explain.explain_world import ExplainWorld

from idplane.testing.local import LocalPlane


@pytest.fixture
def world(idplane: LocalPlane) -> Iterator[ExplainWorld]:
    found = ExplainWorld(idplane)
    yield found
    found.close()
