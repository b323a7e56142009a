"""What the real client makes of 429: it comes back after the second that it is told, and is served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from azure.core.pipeline.transport import RequestsTransport
from azure.identity import ManagedIdentityCredential
from tests.unit.agent.agent_world import AgentWorld

from idplane.agent.host import Dialect, UpstreamResponse

SECRET = "0123456789abcdef"
BUSY = UpstreamResponse(status=429, body=b"")


@pytest.fixture
async def world() -> AsyncIterator[AgentWorld]:
    world = AgentWorld.make()
    yield world
    await world.close()


class Patient(RequestsTransport):  # type: ignore[misc]  # azure-core imports it late, which hides its type
    """Notes how long the client wants to wait, and lets the server recover meanwhile."""

    def __init__(self, world: AgentWorld) -> None:
        super().__init__()
        self.slept: list[float] = []
        self._world = world

    def sleep(self, duration: float) -> None:
        self.slept.append(duration)
        self._world.server.token_answer = None


VARIABLES = {
    Dialect.IMDS: {"AZURE_POD_IDENTITY_AUTHORITY_HOST": "{url}"},
    Dialect.APP_SERVICE: {"IDENTITY_ENDPOINT": "{url}/msi/token", "IDENTITY_HEADER": SECRET},
    Dialect.MACHINE_LEARNING: {"MSI_ENDPOINT": "{url}/msi/token", "MSI_SECRET": SECRET},
    Dialect.CLOUD_SHELL: {"MSI_ENDPOINT": "{url}/oauth2/token"},
}


@pytest.mark.parametrize("dialect", VARIABLES)
async def test_azure_identity_waits_as_long_as_it_is_told(
    world: AgentWorld, dialect: Dialect, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, port = await (world.imds() if dialect is Dialect.IMDS else world.open(dialect, SECRET))
    for name, value in VARIABLES[dialect].items():
        monkeypatch.setenv(name, value.format(url=f"http://{host}:{port}"))
    world.server.token_answer = BUSY
    transport = Patient(world)
    with ManagedIdentityCredential(transport=transport) as credential:
        token = await asyncio.to_thread(credential.get_token, "https://management.azure.com/.default")
    assert token.token.count(".") == 2
    assert transport.slept == [1]
