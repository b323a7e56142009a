"""Live planes and the programs that manage them: `make clients` brings both (it puts the Azure CLI on the path)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from clients.azure_cli_world import Az, operator_az
from clients.traffic import Wire
from tests.stories.planes import Up


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A running plane for one module: a process with a data folder of its own."""
    plane = Up(tmp_path_factory.mktemp("plane") / "data", "--no-rates")
    yield plane
    plane.stop()


@pytest.fixture(scope="module")
def unlimited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """The same without Azure's limits: for tests that ask more than a tenant may."""
    plane = Up(tmp_path_factory.mktemp("plane") / "data", "--profile", "open")
    yield plane
    plane.stop()


@pytest.fixture(scope="session")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """One running plane for all tests of Azure's management SDKs; each works in resource groups of its own."""
    plane = Up(tmp_path_factory.mktemp("wire") / "data", "--profile", "open")
    yield Wire(plane)
    plane.stop()


@pytest.fixture(scope="session")
def azure_cli() -> Path:
    """The Azure CLI's program."""
    found = shutil.which("az")
    assert found, "the Azure CLI is not on the path: run these with `make clients`"
    return Path(found)


@pytest.fixture(scope="session")
def oav() -> Path:
    """Azure's validator of recorded traffic."""
    found = Path(__file__).parent / "oav" / "node_modules" / ".bin" / "oav"
    assert found.exists(), "the validator is not installed: run these with `make clients`"
    return found


@pytest.fixture(scope="module")
def az(up: Up, azure_cli: Path, tmp_path_factory: pytest.TempPathFactory) -> Az:
    """`idplane az` against the module's plane, in an empty home."""
    return operator_az(up, azure_cli, tmp_path_factory.mktemp("home"))
