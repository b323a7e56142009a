"""One plane for every module of attacks, with a machine that is attacked and another one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tests.attacks.targets import Target
from tests.stories.edge import errors_logged

from idplane.model.dialects import Dialect
from idplane.testing.local import LocalPlane


@pytest.fixture(scope="module")
def attacked() -> Iterator[LocalPlane]:
    """A plane that logs no error, whatever is done to it."""
    plane = LocalPlane()
    with errors_logged() as records:
        yield plane
    plane.close()
    assert not records


@pytest.fixture(scope="module")
def target(attacked: LocalPlane) -> Callable[..., Target]:
    """A listener of a dialect for a machine, each one opened once."""
    opened: dict[tuple[Dialect, str], Target] = {}

    def get(dialect: Dialect, machine: str = "attacked") -> Target:
        if (dialect, machine) not in opened:
            opened[dialect, machine] = Target.open(attacked, attacked.virtual_machine(machine), dialect)
        return opened[dialect, machine]

    return get


@pytest.fixture(autouse=True)
def no_steering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine's own environment decides what the real clients do."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
