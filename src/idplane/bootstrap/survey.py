"""The gauges that are read when somebody collects the metrics."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from cryptography import x509

from idplane.bootstrap.server import Server
from idplane.bootstrap.telemetry import ProcessTelemetry
from idplane.model.failure import Failure
from idplane.model.keys import KeyPurpose, KeyState, SigningKey
from idplane.ports.collections import AGENTS, LOGS, SETTINGS, SIGNING_KEYS
from idplane.ports.store import Store
from idplane.ports.telemetry import (
    AGENTS_BY_STATE,
    AGENTS_LAST_SEEN,
    CONNECTIONS,
    FEED_AGE,
    KEY_SECONDS_LEFT,
    KEYS,
    LOG_EXPORT_BACKLOG,
    REQUESTS_ADMITTED,
)

__all__ = ["Survey"]

_SURVEY_SECONDS: Final = 15.0
_SURVEY_BOUND: Final = 3.0
_SEEN: Final = (("1m", 60), ("1h", 3600), ("1d", 86_400), ("7d", 604_800))
_AGENTS: Final = 1000
"""In one read."""


class Survey:
    """Reads what is counted in the store rather than in the process, at most every few seconds, when somebody collects it."""

    def __init__(
        self,
        server: Server,
        telemetry: ProcessTelemetry,
        *,
        freshness: Callable[[], float],
        connections: Callable[[], Mapping[str, int]],
    ) -> None:
        self._server = server
        self._telemetry = telemetry
        self._freshness = freshness
        self._connections = connections
        self._at: float | None = None
        self._running = asyncio.Lock()

    async def metrics(self, accept: str | None) -> tuple[str, bytes]:
        """Media type and body for whoever collects. Gauges of a store that cannot be read stay as they were; this never fails or waits long."""
        self._telemetry.gauge(FEED_AGE, self._freshness())
        for listener, count in self._connections().items():
            self._telemetry.gauge(CONNECTIONS, count, listener=listener)
        admission = self._server.admission
        self._telemetry.gauge(REQUESTS_ADMITTED, admission.working, state="working")
        self._telemetry.gauge(REQUESTS_ADMITTED, admission.waiting, state="waiting")
        async with self._running:
            now = self._server.world.clock.monotonic()
            if self._at is None or now - self._at >= _SURVEY_SECONDS:
                self._at = now
                with suppress(TimeoutError, Failure):
                    async with asyncio.timeout(_SURVEY_BOUND):
                        await self._look()
        return self._telemetry.metrics.text(accept)

    async def _look(self) -> None:
        store = self._server.world.store
        keys = [one.value for one in await store.all(SIGNING_KEYS)]
        agents = await _agents(store)
        self._tell_keys(keys)
        self._tell_agents(agents)
        await self._tell_exports(store)

    async def _tell_exports(self, store: Store) -> None:
        """How far each log's slowest collector is behind its end."""
        settings = [one.value for one in await store.all(SETTINGS)]
        for log in LOGS:
            taken = [int(one.value) for one in settings if one.name.startswith(f"export.{log.name}.") and one.value.isdigit()]
            if taken:
                newest = await store.read_log(log, limit=1)
                end = newest[0].position if newest else 0
                self._telemetry.gauge(LOG_EXPORT_BACKLOG, max(0, end - min(taken)), log=log.name.removesuffix("_log"))

    def _tell_agents(self, agents: dict[str, str]) -> None:
        seen, now = self._server.sightings.proved, self._server.world.clock.monotonic()
        for gone in seen.keys() - agents.keys():
            del seen[gone]
        self._telemetry.metrics.forget(AGENTS_BY_STATE)
        self._telemetry.metrics.forget(AGENTS_LAST_SEEN)
        for state, count in Counter(agents.values()).items():
            self._telemetry.gauge(AGENTS_BY_STATE, count, state=state)
        for within, count in Counter(_within(seen.get(one), now) for one in agents).items():
            self._telemetry.gauge(AGENTS_LAST_SEEN, count, within=within)

    def _tell_keys(self, keys: list[SigningKey]) -> None:
        self._telemetry.metrics.forget(KEYS)
        self._telemetry.metrics.forget(KEY_SECONDS_LEFT)
        counted = Counter((key.purpose, "tainted" if key.tainted else key.state.value) for key in keys)
        for (purpose, state), count in counted.items():
            self._telemetry.gauge(KEYS, count, purpose=purpose.value, state=state)
        for purpose in KeyPurpose:
            active = [key for key in keys if key.purpose is purpose and key.state is KeyState.ACTIVE and not key.tainted]
            if active:
                self._telemetry.gauge(KEY_SECONDS_LEFT, self._left(active), purpose=purpose.value)

    def _left(self, keys: list[SigningKey]) -> float:
        now = self._server.world.clock.now()
        ends = max(x509.load_der_x509_certificate(key.certificate).not_valid_after_utc for key in keys)
        return (ends - now).total_seconds()


def _within(seen_at: float | None, now: float) -> str:
    if seen_at is None:
        return "never"
    return next((name for name, seconds in _SEEN if now - seen_at < seconds), "longer")


async def _agents(store: Store) -> dict[str, str]:
    """The agents' states, by id."""
    found: dict[str, str] = {}
    after: str | None = None
    while True:
        page = await store.page(AGENTS, after=after, limit=_AGENTS)
        found.update((one.value.id, one.value.state.value) for one in page.items)
        if page.after is None:
            return found
        after = page.after
