"""What a process shows of itself, by its settings: its telemetry, and the private listener for probes and collectors. For servers and agents."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace

from idplane.bootstrap.health import Health
from idplane.bootstrap.telemetry_settings import HealthSection, TracingSection
from idplane.bootstrap.telemetry_store import ObservedStore
from idplane.bootstrap.world import World
from idplane.model.failure import Failure, FailureKind
from idplane.ports.telemetry import NO_TELEMETRY, Telemetry
from idplane.ports.world import Clock, Entropy
from idplane.web.health import HealthApp, Metrics, bind_private
from idplane.web.serving import Listener

__all__ = ["listen_privately", "observed", "telemetry_of"]


def telemetry_of(
    health: HealthSection, tracing: TracingSection, *, clock: Clock, entropy: Entropy, stack: AsyncExitStack
) -> Telemetry:
    """A `ProcessTelemetry` where something asks for it, else one that keeps nothing; `stack` ends it.

    Raises `Failure(UNAVAILABLE)` where the extra `telemetry` is not installed.
    """
    if health.listen is None and tracing.endpoint is None:
        return NO_TELEMETRY
    try:
        from idplane.bootstrap.telemetry import ProcessTelemetry  # noqa: PLC0415 - an optional extra, and costly to import

        telemetry = ProcessTelemetry(tracing, clock=clock, entropy=entropy)
    except ImportError as error:
        raise Failure(
            FailureKind.UNAVAILABLE, "[health] and [tracing] need libraries: pip install 'idplane[telemetry]'"
        ) from error
    stack.callback(telemetry.close)
    return telemetry


def observed(world: World, telemetry: Telemetry) -> World:
    """The world whose commits are measured."""
    if telemetry is NO_TELEMETRY:
        return world
    store = ObservedStore(world.store, telemetry=telemetry, clock=world.clock)
    return replace(world, store=store, telemetry=telemetry)


async def listen_privately(listen: str, health: Health, metrics: Metrics | None, stack: AsyncExitStack) -> Listener:
    """Answer probes and collectors until `stack` ends; the address is `HealthSection.listen`. Raises as `bind_private` does."""
    sock = stack.enter_context(bind_private(listen))
    stack.push_async_callback(health.close)
    listener = await HealthApp(ready=health.report, metrics=metrics).listen(sock)
    stack.push_async_callback(listener.close)
    return listener
