"""What makes an agent ready, its metrics, and the private listener that tells both.

An agent without a server to ask is ready all the same: it serves what it holds, and a workload that is taken out of service
because of it would be worse off.
"""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack

from idplane.agent.process import AgentProcess, Watching
from idplane.bootstrap.health import Health, Unready
from idplane.bootstrap.observed import listen_privately, telemetry_of
from idplane.bootstrap.telemetry_settings import HealthSection, TracingSection
from idplane.bootstrap.telemetry_upstream import ObservedUpstream
from idplane.model.failure import Failure
from idplane.ports.telemetry import AGENT_CERTIFICATE_SECONDS_LEFT, AGENT_HEARD_AGE, NO_TELEMETRY, Telemetry
from idplane.ports.world import Clock, Entropy
from idplane.web.health import Metrics

__all__ = ["agent_health", "serve_health", "watched"]

_log = logging.getLogger("idplane.agent")


def agent_health(process: AgentProcess) -> Health:
    """The checks of an agent."""

    async def accepted() -> None:
        if process.agent.condition.refused is not None:
            raise Unready("the servers refuse this agent")

    async def certificate() -> None:
        if process.clock.now() >= process.renewal.state.not_after:
            raise Unready("the agent's certificate has ended")

    async def connected() -> None:
        if process.agent.condition.heard_at is None:
            raise Unready("no server has been reached since the start")

    async def endpoints() -> None:
        if process.endpoints.waiting:
            raise Unready("an endpoint can't be opened yet")

    return Health(
        {"accepted": accepted, "certificate": certificate, "connected": connected, "endpoints": endpoints}, clock=process.clock
    )


def watched(clock: Clock, entropy: Entropy, stack: AsyncExitStack) -> Watching:
    """What counts an agent's work, until `stack` ends; nothing where the libraries for it are not installed."""
    try:
        telemetry = telemetry_of(HealthSection(listen="metrics"), TracingSection(), clock=clock, entropy=entropy, stack=stack)
    except Failure:
        _log.warning("there are no metrics: they need pip install 'idplane[metrics]'")
        return Watching()
    return Watching(telemetry=telemetry, observed=lambda upstream: ObservedUpstream(upstream, telemetry=telemetry, clock=clock))


async def serve_health(stack: AsyncExitStack, process: AgentProcess, listen: str, telemetry: Telemetry = NO_TELEMETRY) -> None:
    """Answer `/livez`, `/readyz` and, with a telemetry that keeps, `/metrics` until the stack ends; raises as `bind_private` does."""
    metrics = None if telemetry is NO_TELEMETRY else _metrics_of(process, telemetry)
    await listen_privately(listen, agent_health(process), metrics, stack)


def _metrics_of(process: AgentProcess, telemetry: Telemetry) -> Metrics:
    from idplane.bootstrap.telemetry import ProcessTelemetry  # noqa: PLC0415 - an optional extra, and costly to import

    assert isinstance(telemetry, ProcessTelemetry)  # there is no other one that keeps

    async def metrics(accept: str | None) -> tuple[str, bytes]:
        now, heard = process.clock.now(), process.agent.condition.heard_at
        telemetry.gauge(AGENT_CERTIFICATE_SECONDS_LEFT, (process.renewal.state.not_after - now).total_seconds())
        if heard is not None:
            telemetry.gauge(AGENT_HEARD_AGE, (now - heard).total_seconds())
        return telemetry.metrics.text(accept)

    return metrics
