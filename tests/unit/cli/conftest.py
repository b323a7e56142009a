"""One stand-in plane for the tests that start real processes."""

import sys
from collections.abc import Iterator

import pytest
from tests.unit.cli.run_world import RunWorld, run_world


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunWorld]:
    if sys.platform != "linux":
        pytest.skip("namespaces are Linux's")
    with run_world(tmp_path_factory.mktemp("plane") / "data") as world:
        yield world
