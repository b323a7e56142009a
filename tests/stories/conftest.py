"""Planes as a user starts them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.stories.planes import Up


@pytest.fixture
def start_up(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Start planes that end with the test."""
    started: list[Up] = []

    def start(data: Path | None = None, *options: str) -> Up:
        started.append(Up(data or tmp_path / "data", *options))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.stop()
        elif one.process.stdout is not None and not one.process.stdout.closed:
            one.process.stdout.close()


@pytest.fixture
def up(start_up: Callable[..., Up]) -> Up:
    """One running plane."""
    return start_up()


@pytest.fixture(scope="session")
def clean_environment() -> dict[str, str]:
    """The environment without anything that steers Azure clients."""
    prefixes = ("AZURE_", "IDENTITY_", "MSI_", "IMDS_", "REQUESTS_", "SSL_")
    return {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
