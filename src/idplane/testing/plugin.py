"""The pytest plugin: `idplane` gives a test a running plane, clean for each test.

Importing this module costs a test run nothing: everything else is imported when a test first asks for the plane. Each xdist worker
has a plane of its own, on a port of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from idplane.testing.local import LocalPlane, VirtualMachine

__all__ = ["idplane", "idplane_server", "run_as"]

_OTHER_IDENTITIES = (
    "AZURE_AUTHORITY_HOST",
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_PASSWORD",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST",
    "AZURE_TENANT_ID",
    "AZURE_TOKEN_CREDENTIALS",
    "AZURE_USERNAME",
    "IDENTITY_SERVER_THUMBPRINT",
    "IMDS_ENDPOINT",
    "MSI_ENDPOINT",
    "MSI_SECRET",
)
"""What azure-identity looks at before, or instead of, a machine's own endpoint (MIE section 8.2)."""


@pytest.fixture(scope="session")
def idplane_server() -> Iterator[LocalPlane]:
    """One plane for the whole run. Tests ask for `idplane` instead, which is this plane, emptied."""
    from idplane.testing.local import LocalPlane  # noqa: PLC0415 - see the module's docstring

    plane = LocalPlane()
    yield plane
    plane.close()


@pytest.fixture
def idplane(idplane_server: LocalPlane) -> Iterator[LocalPlane]:
    """A running plane with nothing in it but its owner; vault names resolve in this process."""
    with idplane_server.names():
        yield idplane_server
    idplane_server.reset()


@pytest.fixture
def run_as(idplane: LocalPlane, monkeypatch: pytest.MonkeyPatch) -> Callable[[VirtualMachine | str], None]:
    """`run_as(machine)` makes the code under test, in this process, run as that machine until the test ends.

    Variables of the developer's shell that would lead `DefaultAzureCredential` to another identity are taken away first.
    """
    for name in _OTHER_IDENTITIES:
        monkeypatch.delenv(name, raising=False)

    def become(machine: VirtualMachine | str) -> None:
        for name, value in idplane.environment(machine).items():
            monkeypatch.setenv(name, value)

    return become
