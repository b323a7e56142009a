"""The telemetry of a process: declared metrics for Prometheus, and spans where a collector is set. Needs the extra `telemetry`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Final

from idplane.bootstrap.telemetry_metrics import Metrics
from idplane.bootstrap.telemetry_settings import TracingSection
from idplane.ports.telemetry import NO_TELEMETRY, SPANS_DROPPED, Metric, Span, SpanName
from idplane.ports.world import Clock, Entropy

__all__ = ["ProcessTelemetry"]


class ProcessTelemetry:
    """A `ports.telemetry.Telemetry` that keeps. Used on the event loop; `close` when nothing is told any more."""

    def __init__(self, tracing: TracingSection | None = None, *, clock: Clock, entropy: Entropy) -> None:
        self.metrics: Final = Metrics()
        self._traces = None
        if tracing is not None and tracing.endpoint is not None:
            from idplane.bootstrap.telemetry_traces import Traces  # noqa: PLC0415 - the SDK is costly to import, and mostly not asked for

            self._traces = Traces(tracing, clock=clock, entropy=entropy, dropped=self._dropped)

    def count(self, metric: Metric, amount: int = 1, /, **labels: str) -> None:
        """Add to a counter."""
        self.metrics.series(metric, labels).inc(amount)

    def observe(self, metric: Metric, seconds: float, /, **labels: str) -> None:
        """Add a duration to a histogram."""
        self.metrics.series(metric, labels).observe(seconds)

    def gauge(self, metric: Metric, value: float, /, **labels: str) -> None:
        """Say how things are now."""
        self.metrics.series(metric, labels).set(value)

    def span(self, name: SpanName, /, *, parent: str | None = None, **attributes: str | float) -> AbstractContextManager[Span]:
        """A span; without a collector one that tells nobody."""
        opened = self._traces.span(name, parent, attributes) if self._traces is not None else None
        return NO_TELEMETRY.span(name) if opened is None else opened

    def traceparent(self) -> str | None:
        """What lets another process go on with this task's trace."""
        return self._traces.traceparent() if self._traces is not None else None

    def trace_id(self) -> str | None:
        """This task's trace, for a log line."""
        return self._traces.trace_id() if self._traces is not None else None

    def close(self) -> None:
        """Hand on the spans that wait; blocks for a few seconds at most."""
        if self._traces is not None:
            self._traces.close()

    def _dropped(self, why: str, spans: int) -> None:
        self.count(SPANS_DROPPED, spans, why=why)
