"""An agent's way to the server that tells how long the server took, and lets it go on with the agent's trace."""

from __future__ import annotations

from collections.abc import Mapping

from idplane.agent.upstream import Upstream, UpstreamResponse
from idplane.ports.telemetry import AGENT_UPSTREAM, FETCH, Telemetry, status_class
from idplane.ports.world import Clock

__all__ = ["ObservedUpstream"]


class ObservedUpstream:
    """An `agent.upstream.Upstream` around another one."""

    def __init__(self, inner: Upstream, *, telemetry: Telemetry, clock: Clock) -> None:
        self._inner = inner
        self._telemetry = telemetry
        self._clock = clock

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> UpstreamResponse:
        """One exchange, as the other one makes it."""
        started = self._clock.monotonic()
        outcome = "unreachable"
        with self._telemetry.span(FETCH) as span:
            parent = self._telemetry.traceparent()
            try:
                sent = headers if parent is None else {**headers, "traceparent": parent}
                response = await self._inner.send(method, path, sent, body)
                outcome = status_class(response.status)
                span.set(**{"http.response.status_code": response.status})
            finally:
                self._telemetry.observe(AGENT_UPSTREAM, self._clock.monotonic() - started, status=outcome)
        return response
