"""A server with real telemetry, asked in process."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlencode

import msgspec

from idplane.bootstrap.embedded import InProcessUpstream
from idplane.bootstrap.operator import OperatorKey
from idplane.bootstrap.seed import trust_operator
from idplane.bootstrap.server import Server
from idplane.bootstrap.telemetry import ProcessTelemetry
from idplane.bootstrap.telemetry_settings import TracingSection
from idplane.bootstrap.telemetry_store import ObservedStore
from idplane.bootstrap.world import SystemClock, SystemEntropy, World
from idplane.model.profile import OPEN
from idplane.testing.worlds import MemoryCustody, memory_store
from idplane.web.origins import Origins


@dataclass
class ObservedServer:
    """A server, what it tells, and an operator whom it knows."""

    server: Server
    telemetry: ProcessTelemetry
    upstream: InProcessUpstream
    operator: OperatorKey

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> tuple[int, bytes]:
        answer = await self.upstream.send(method, path, headers or {}, body)
        return answer.status, answer.body

    async def token(self, *, headers: Mapping[str, str] | None = None, **changes: str) -> tuple[int, dict[str, object]]:
        world, installation = self.server.world, self.server.installation
        endpoint = f"/{installation.tenant.id}/oauth2/v2.0/token"
        form = self.operator.token_request(
            client_id=installation.operator.client_id,
            token_endpoint=f"https://localhost{endpoint}",
            resource="https://management.azure.com",
            clock=world.clock,
            entropy=world.entropy,
        )
        kind = {"content-type": "application/x-www-form-urlencoded", **(headers or {})}
        status, body = await self.ask("POST", endpoint, kind, urlencode({**form, **changes}).encode())
        return status, msgspec.json.decode(body)

    async def text(self) -> str:
        return self.telemetry.metrics.text(None)[1].decode()


@asynccontextmanager
async def observed_server(tracing: TracingSection | None = None) -> AsyncIterator[ObservedServer]:
    clock, entropy = SystemClock(), SystemEntropy()
    telemetry = ProcessTelemetry(tracing, clock=clock, entropy=entropy)
    inner = await memory_store(clock)
    store = ObservedStore(inner, telemetry=telemetry, clock=clock)
    world = World(clock=clock, entropy=entropy, store=store, custody=MemoryCustody(), profile=OPEN, telemetry=telemetry)
    server = await Server.open(world)
    operator = OperatorKey.create(clock, entropy)
    await trust_operator(world, server.installation.operator, operator.certificate)
    upstream = InProcessUpstream(server.app(Origins.local(443)), host="localhost")
    try:
        yield ObservedServer(server, telemetry, upstream, operator)
    finally:
        await server.close()
        await inner.close()
        telemetry.close()


def basic(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
