"""Spans, sampled where a trace begins, handed on to an OpenTelemetry collector by a thread of the SDK's.

Nothing here waits for the collector, or fails because of it: what it does not take in time is dropped and counted. A trace that a caller began
is gone on with (W3C Trace Context), told if the caller wants it told, and a budget bounds how many callers may want that. A trace that is not told
costs one look at its beginning.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Final, Self

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.trace import SpanKind as OtelKind

from idplane import __version__
from idplane.bootstrap.telemetry_settings import TracingSection
from idplane.model.failure import Failure
from idplane.ports.store import CommitRefused
from idplane.ports.telemetry import OTHER, SpanKind, SpanName
from idplane.ports.world import Clock, Entropy

__all__ = ["Traces"]

_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
_WHOLE: Final = 1 << 64
_QUEUE: Final = 4096
"""Spans that wait for the exporter at most."""
_BATCH: Final = 512
_BEAT_MILLISECONDS: Final = 1000
_EXPORT_SECONDS: Final = 5.0
_KINDS: Final = {SpanKind.SERVER: OtelKind.SERVER, SpanKind.CLIENT: OtelKind.CLIENT, SpanKind.INTERNAL: OtelKind.INTERNAL}

Dropped = Callable[[str, int], None]
"""Told why spans were dropped, and how many; from any thread."""


class Traces:
    """Begins spans and ends them. `close` hands on what is left, for a moment."""

    def __init__(
        self,
        settings: TracingSection,
        *,
        clock: Clock,
        entropy: Entropy,
        dropped: Dropped,
        exporter: SpanExporter | None = None,
    ) -> None:
        """`exporter` replaces the one that `settings.endpoint` names."""
        self._entropy = entropy
        self._below = int(settings.ratio * _WHOLE)
        self._budget = _Budget(settings.callers_per_second, clock)
        self._current: ContextVar[_Place | None] = ContextVar("idplane-span", default=None)
        outbox = _Outbox(dropped)
        sender = exporter or OTLPSpanExporter(endpoint=_address(settings.endpoint or ""), timeout=_EXPORT_SECONDS)
        provider = TracerProvider(
            sampler=ALWAYS_ON,
            # Not `Resource.create`, which would add the command line and whatever else it finds out.
            resource=Resource({"service.name": settings.service, "service.version": __version__}),
            id_generator=_Ids(entropy),
            shutdown_on_exit=False,
        )
        provider.add_span_processor(_Bounded(_Counted(sender, outbox), outbox))
        self._provider = provider
        self._tracer = provider.get_tracer("idplane", __version__)

    def span(self, name: SpanName, parent: str | None, attributes: Mapping[str, str | float]) -> OpenSpan | None:
        """A span that is to be told, or that others go on from; None where nothing is to be told."""
        place = self._current.get()
        if place is None:
            if not name.root:
                return None
            place = self._begin(parent)
            if place is None:
                return None
            if not place.context.trace_flags.sampled:
                return OpenSpan(self._current, place, None, name)
        elif not place.context.trace_flags.sampled:
            return None
        span = self._tracer.start_span(
            name.name,
            context=set_span_in_context(NonRecordingSpan(place.context)) if place.context.is_valid else None,
            kind=_KINDS[name.kind],
            attributes=_declared(name, attributes),
            record_exception=False,
            set_status_on_exception=False,
        )
        return OpenSpan(self._current, _Place(span.get_span_context()), span, name)

    @property
    def context(self) -> SpanContext | None:
        """Where this task is, if anywhere."""
        place = self._current.get()
        return place.context if place is not None and place.context.is_valid else None

    def traceparent(self) -> str | None:
        """The header (W3C Trace Context section 3.2)."""
        context = self.context
        if context is None:
            return None
        return f"00-{format_trace_id(context.trace_id)}-{format_span_id(context.span_id)}-{int(context.trace_flags) & 1:02x}"

    def trace_id(self) -> str | None:
        """For a log line."""
        context = self.context
        return None if context is None else format_trace_id(context.trace_id)

    def close(self) -> None:
        """Hand on what is left; blocks for as long as one request to the collector may take."""
        self._provider.shutdown()

    def _begin(self, parent: str | None) -> _Place | None:
        """Where a new root goes on from; None for a trace of our own that is not told."""
        foreign = _foreign(parent)
        if foreign is not None:
            told = foreign.trace_flags.sampled or foreign.trace_id % _WHOLE < self._below
            if told and not self._budget.take():
                told = False
            flags = TraceFlags(TraceFlags.SAMPLED if told else TraceFlags.DEFAULT)
            return _Place(SpanContext(foreign.trace_id, foreign.span_id, is_remote=True, trace_flags=flags))
        if self._below == 0 or int.from_bytes(self._entropy.bytes(8), "big") >= self._below:
            return None
        return _Place(SpanContext(0, 0, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED)))


class OpenSpan:
    """A `ports.telemetry.Span` that is told, or only says that what is below it is not."""

    __slots__ = ("_current", "_name", "_place", "_span", "_token")

    def __init__(self, current: ContextVar[_Place | None], place: _Place, span: Any, name: SpanName) -> None:
        self._current = current
        self._place = place
        self._span = span
        self._name = name
        self._token: Token[_Place | None] | None = None

    def set(self, **attributes: str | float) -> None:
        """Add what is known only now."""
        if self._span is not None:
            self._span.set_attributes(_declared(self._name, attributes))

    def __enter__(self) -> Self:
        self._token = self._current.set(self._place)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        if self._token is not None:
            self._current.reset(self._token)
        if self._span is None:
            return
        if error is not None:
            # The kind alone: what an exception says may hold what a caller sent.
            self._span.set_attribute("error.type", _error_type(error))
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


class _Place:
    """Where a task is in its trace."""

    __slots__ = ("context",)

    def __init__(self, context: SpanContext) -> None:
        self.context = context


class _Budget:
    """So many a second, and as many at once."""

    def __init__(self, rate: int, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._left = float(rate)
        self._at = clock.monotonic()

    def take(self) -> bool:
        now = self._clock.monotonic()
        self._left = min(float(self._rate), self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class _Ids(IdGenerator):
    """Ids from the process's own randomness."""

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy

    def generate_span_id(self) -> int:
        """Eight bytes, not all zero."""
        return int.from_bytes(self._entropy.bytes(8), "big") or 1

    def generate_trace_id(self) -> int:
        """Sixteen bytes, not all zero."""
        return int.from_bytes(self._entropy.bytes(16), "big") or 1


class _Outbox:
    """How many spans wait, and what becomes of those that nobody gets."""

    def __init__(self, dropped: Dropped) -> None:
        self._dropped = dropped
        self._waiting = 0
        self._lock = threading.Lock()

    def enter(self) -> bool:
        with self._lock:
            if self._waiting < _QUEUE:
                self._waiting += 1
                return True
        self._dropped("queue_full", 1)
        return False

    def leave(self, count: int, *, taken: bool) -> None:
        with self._lock:
            self._waiting -= count
        if not taken:
            self._dropped("collector", count)


class _Bounded(BatchSpanProcessor):
    """Drops the newest span instead of the oldest when there are too many, and says so."""

    def __init__(self, exporter: SpanExporter, outbox: _Outbox) -> None:
        super().__init__(
            exporter, max_queue_size=2 * _QUEUE, schedule_delay_millis=_BEAT_MILLISECONDS, max_export_batch_size=_BATCH
        )
        self._outbox = outbox

    def on_end(self, span: ReadableSpan) -> None:
        """Queue it."""
        if self._outbox.enter():
            super().on_end(span)


class _Counted(SpanExporter):
    """An exporter whose failures are counted and never raised."""

    def __init__(self, inner: SpanExporter, outbox: _Outbox) -> None:
        self._inner = inner
        self._outbox = outbox

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send, once more if the SDK's exporter thinks so."""
        result = SpanExportResult.FAILURE
        try:
            result = self._inner.export(spans)
        except Exception:  # noqa: BLE001 - the exporter's thread must live on, whatever a collector answers
            result = SpanExportResult.FAILURE
        finally:
            self._outbox.leave(len(spans), taken=result is SpanExportResult.SUCCESS)
        return result

    def shutdown(self) -> None:
        """Stop trying."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing waits here."""
        return self._inner.force_flush(timeout_millis)


def _foreign(parent: str | None) -> SpanContext | None:
    found = _TRACEPARENT.fullmatch(parent) if parent is not None else None
    if found is None or (parent is not None and parent.startswith("00") and found["more"]):
        return None
    trace, span = int(found["trace"], 16), int(found["span"], 16)
    if not trace or not span:
        return None
    return SpanContext(trace, span, is_remote=True, trace_flags=TraceFlags(int(found["flags"], 16) & TraceFlags.SAMPLED))


def _declared(name: SpanName, attributes: Mapping[str, str | float]) -> dict[str, str | float]:
    """What the declaration lets through: listed words, and numbers where numbers are declared."""
    shown: dict[str, str | float] = {}
    for key, value in attributes.items():
        if key not in name.attributes:
            continue
        allowed = name.attributes[key]
        if allowed is None:
            if not isinstance(value, str):
                shown[key] = value
        else:
            shown[key] = value if isinstance(value, str) and value in allowed else OTHER
    return shown


def _error_type(error: BaseException) -> str:
    if isinstance(error, Failure):
        return error.kind.name.lower()
    return "commit_refused" if isinstance(error, CommitRefused) else type(error).__name__


def _address(endpoint: str) -> str:
    base = endpoint.rstrip("/")
    return base if base.endswith("/v1/traces") else f"{base}/v1/traces"
