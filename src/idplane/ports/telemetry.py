"""What a process tells about itself while it runs: counts, durations, states and spans, each declared here.

The declarations are the whole vocabulary. A label or an attribute has the values that its declaration lists and `other`, so that no caller can make
a new time series, and nothing that a caller sent, nor a token, a key, a path or the id of a person, can get into one. `NO_TELEMETRY` is
what tests and embedded planes have: it keeps nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Protocol, Self

from idplane.model.dialects import Dialect
from idplane.model.failure import FailureKind
from idplane.model.keys import KeyPurpose

__all__ = [
    "AGENTS_BY_STATE",
    "AGENTS_LAST_SEEN",
    "AGENT_CERTIFICATE_SECONDS_LEFT",
    "AGENT_HEARD_AGE",
    "AGENT_TOKENS",
    "AGENT_UPSTREAM",
    "CERTIFICATES_ISSUED",
    "CONNECTIONS",
    "DECISION",
    "DUTY",
    "DUTY_FAILURES",
    "EVENTS_PUSHED",
    "FEED_AGE",
    "FEED_CATCH_UP",
    "FETCH",
    "KEYS",
    "KEY_SECONDS_LEFT",
    "LEASES_HELD",
    "LOG_CHECKPOINT_AGE",
    "LOG_EXPORT_BACKLOG",
    "LOG_TRUSTED",
    "METRICS",
    "NO_TELEMETRY",
    "OTHER",
    "REFUSALS_NOT_KEPT",
    "REQUEST",
    "REQUESTS",
    "REQUESTS_ADMITTED",
    "REVOCATIONS",
    "SIGN",
    "SPANS",
    "SPANS_DROPPED",
    "STORE_COMMIT",
    "STORE_COMMITS",
    "TOKENS_ISSUED",
    "TOKENS_REFUSED",
    "Metric",
    "MetricKind",
    "NoTelemetry",
    "Span",
    "SpanKind",
    "SpanName",
    "Telemetry",
    "status_class",
]

OTHER: Final = "other"
"""What stands in a label in place of any value that its declaration does not list."""


class MetricKind(enum.Enum):
    """How a metric moves."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    """Seconds."""


def _either(*values: str) -> frozenset[str]:
    return frozenset(values)


@dataclass(frozen=True, kw_only=True, eq=False)
class Metric:
    """One family of time series; its name on the wire is `idplane_` and this name. Compared by identity: it is looked up for every request."""

    name: str
    kind: MetricKind
    help: str
    labels: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The values that each label may have, besides `OTHER`."""


def _counter(name: str, text: str, /, **labels: frozenset[str]) -> Metric:
    return Metric(name=name, kind=MetricKind.COUNTER, help=text, labels=labels)


def _gauge(name: str, text: str, /, **labels: frozenset[str]) -> Metric:
    return Metric(name=name, kind=MetricKind.GAUGE, help=text, labels=labels)


def _histogram(name: str, text: str, /, **labels: frozenset[str]) -> Metric:
    return Metric(name=name, kind=MetricKind.HISTOGRAM, help=text, labels=labels)


class SpanKind(enum.Enum):
    """Which side of a call a span is (OpenTelemetry's `SpanKind`)."""

    SERVER = "server"
    CLIENT = "client"
    INTERNAL = "internal"


@dataclass(frozen=True, kw_only=True, eq=False)
class SpanName:
    """One kind of span. A text attribute has one of the values listed; one declared as None takes numbers and booleans only."""

    name: str
    kind: SpanKind = SpanKind.INTERNAL
    root: bool = False
    """Whether a trace may begin with it; others are only told below one."""
    attributes: Mapping[str, frozenset[str] | None] = field(default_factory=dict)


class Span(Protocol):
    """A span that is going on; leaving it ends it, and an exception that leaves through it marks it as failed."""

    def set(self, **attributes: str | float) -> None:
        """Add what is known only now."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool | None: ...


class Telemetry(Protocol):
    """Where counts and spans go. No method waits, raises, or keeps what it was given beyond the declared values."""

    def count(self, metric: Metric, amount: int = 1, /, **labels: str) -> None:
        """Add to a counter."""
        ...

    def observe(self, metric: Metric, seconds: float, /, **labels: str) -> None:
        """Add a duration to a histogram."""
        ...

    def gauge(self, metric: Metric, value: float, /, **labels: str) -> None:
        """Say how things are now."""
        ...

    def span(self, name: SpanName, /, *, parent: str | None = None, **attributes: str | float) -> AbstractContextManager[Span]:
        """A span below the one that this task is in, else below `parent`, a caller's `traceparent` (W3C Trace Context), else a new trace."""
        ...

    def traceparent(self) -> str | None:
        """The header that lets another process go on with this task's trace; None when there is nothing to go on with."""
        ...


class _NoSpan:
    """Tells nobody."""

    __slots__ = ()

    def set(self, **attributes: str | float) -> None:
        """Nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        return None


_NO_SPAN: Final = _NoSpan()


class NoTelemetry:
    """A `Telemetry` that keeps nothing."""

    __slots__ = ()

    def count(self, metric: Metric, amount: int = 1, /, **labels: str) -> None:
        """Nothing."""

    def observe(self, metric: Metric, seconds: float, /, **labels: str) -> None:
        """Nothing."""

    def gauge(self, metric: Metric, value: float, /, **labels: str) -> None:
        """Nothing."""

    def span(self, name: SpanName, /, *, parent: str | None = None, **attributes: str | float) -> AbstractContextManager[Span]:
        """A span that tells nobody."""
        del name, parent, attributes
        return _NO_SPAN

    def traceparent(self) -> str | None:
        """Nothing to go on with."""
        return None


NO_TELEMETRY: Final = NoTelemetry()


def status_class(status: int) -> str:
    """`2xx` of 200."""
    return _CLASSES.get(status // 100, OTHER)


_CLASSES: Final[Mapping[int, str]] = {number: f"{number}xx" for number in range(1, 6)}

# Values ---------------------------------------------------------------------------------------------------------------

_STATUS = frozenset(_CLASSES.values())
_SURFACES = _either("authority", "management", "graph", "vault", "agents", "log", "events", "decision", "health")
_METHODS = _either("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_FAILURES = frozenset(kind.name.lower() for kind in FailureKind)
_GRANTS = _either("client_secret", "client_assertion", "device_code", "refresh_token")
_DUTIES = _either(
    "sequencing of the logs",
    "following of the logs",
    "key rotation",
    "succession of authorities",
    "renewal of listeners' certificates",
    "purge of deleted secrets",
    "purge of ended sign-ins",
    "removal of old log events",
    "trimming of the feed",
    "notes of when agents were seen",
    "records of refused requests",
    "removal of old refusals",
    "purge of ended portal sign-ins",
    "security events",
)
"""As `bootstrap.server` calls them."""
_OUTCOMES = _either("applied", "refused", "failed")
_STATES = _either("active", "locked", "banned")
_LOGS = _either("activity", "sign_ins")

# Metrics of a server ----------------------------------------------------------------------------------------------------

REQUESTS = _histogram(
    "request_seconds", "Requests and how long they took, by API and class of status.", surface=_SURFACES, status=_STATUS
)
CONNECTIONS = _gauge(
    "connections", "Open connections of clients, by listener.", listener=_either("public", "private", "endpoints")
)
REQUESTS_ADMITTED = _gauge(
    "requests_admitted", "Requests that are worked on, and that wait for their turn.", state=_either("working", "waiting")
)
TOKENS_ISSUED = _counter("tokens_issued_total", "Access tokens issued, by how the client proved itself.", grant=_GRANTS)
TOKENS_REFUSED = _counter("tokens_refused_total", "Token requests refused, by reason.", reason=_FAILURES)
STORE_COMMITS = _histogram(
    "store_commit_seconds",
    "Commits and how long they took; refused ones met another commit and are decided anew.",
    outcome=_OUTCOMES,
)
FEED_AGE = _gauge("feed_age_seconds", "How long ago this process last knew the end of the change feed.")
CERTIFICATES_ISSUED = _counter(
    "certificates_issued_total", "Certificates issued, by what for.", kind=_either("identity", "agent")
)
KEYS = _gauge(
    "keys",
    "Keys in the store, by purpose and state.",
    purpose=frozenset(purpose.value for purpose in KeyPurpose),
    state=_either("prepared", "active", "retired", "tainted"),
)
KEY_SECONDS_LEFT = _gauge(
    "key_expiry_seconds",
    "Time until the certificate of the active key with this purpose ends.",
    purpose=frozenset(purpose.value for purpose in KeyPurpose),
)
AGENTS_BY_STATE = _gauge("agents", "Enrolled agents, by state.", state=_STATES)
AGENTS_LAST_SEEN = _gauge(
    "agents_last_seen",
    "Enrolled agents, by when this process last heard from them.",
    within=_either("1m", "1h", "1d", "7d", "longer", "never"),
)
LEASES_HELD = _gauge("leases_held", "1 for each background duty that this process has the lease of.", duty=_DUTIES)
DUTY_FAILURES = _counter("duty_failures_total", "Turns of background duties that failed and will be tried again.", duty=_DUTIES)
REVOCATIONS = _counter(
    "revocations_total", "What was taken away, by what it was.", kind=_either("principal", "credential", "assignment")
)
REFUSALS_NOT_KEPT = _counter(
    "refusals_not_kept_total",
    "Refusals that cannot be explained by their id, by why they were not kept.",
    why=_either("rate", "room", "store"),
)
EVENTS_PUSHED = _counter(
    "security_events_total",
    "Security events for receivers, by what became of them; dropped ones had waited for too long.",
    outcome=_either("delivered", "failed", "dropped"),
)
LOG_EXPORT_BACKLOG = _gauge(
    "log_export_backlog", "Positions of the log that its collector has not taken yet: events, and gaps between them.", log=_LOGS
)
LOG_TRUSTED = _gauge(
    "log_trusted",
    "1 while the log in the database is the one that this process saw before; 0 once it was rolled back, rewritten or forked.",
)
LOG_CHECKPOINT_AGE = _gauge(
    "log_checkpoint_age_seconds",
    "How long ago the newest checkpoint of the log was signed; ten minutes at most while its duty is at work.",
)
SPANS_DROPPED = _counter("spans_dropped_total", "Spans that no collector got, by why.", why=_either("queue_full", "collector"))

# Metrics of an agent ------------------------------------------------------------------------------------------------------

AGENT_TOKENS = _counter(
    "agent_tokens_total",
    "Token requests of workloads, by dialect and outcome.",
    dialect=frozenset(one.value for one in Dialect),
    outcome=_either("cached", "fetched", "refused", "unavailable"),
)
AGENT_UPSTREAM = _histogram(
    "agent_upstream_seconds",
    "Requests of the agent to the servers, by class of status; unreachable ones got no answer.",
    status=_STATUS | {"unreachable"},
)
AGENT_CERTIFICATE_SECONDS_LEFT = _gauge("agent_certificate_expiry_seconds", "Time until the agent's own certificate ends.")
AGENT_HEARD_AGE = _gauge(
    "agent_heard_age_seconds", "Time since a server last answered what has changed: some 20 seconds when nothing does."
)

METRICS: Final = (
    REQUESTS,
    CONNECTIONS,
    REQUESTS_ADMITTED,
    TOKENS_ISSUED,
    TOKENS_REFUSED,
    STORE_COMMITS,
    FEED_AGE,
    CERTIFICATES_ISSUED,
    KEYS,
    KEY_SECONDS_LEFT,
    AGENTS_BY_STATE,
    AGENTS_LAST_SEEN,
    LEASES_HELD,
    DUTY_FAILURES,
    REVOCATIONS,
    REFUSALS_NOT_KEPT,
    EVENTS_PUSHED,
    LOG_EXPORT_BACKLOG,
    LOG_TRUSTED,
    LOG_CHECKPOINT_AGE,
    SPANS_DROPPED,
    AGENT_TOKENS,
    AGENT_UPSTREAM,
    AGENT_CERTIFICATE_SECONDS_LEFT,
    AGENT_HEARD_AGE,
)

# Spans --------------------------------------------------------------------------------------------------------------------

REQUEST = SpanName(
    name="request",
    kind=SpanKind.SERVER,
    root=True,
    attributes={"surface": _SURFACES, "http.request.method": _METHODS, "http.response.status_code": None},
)
DECISION = SpanName(name="authorization decision", attributes={"allowed": None, "data": None})
STORE_COMMIT = SpanName(name="store commit", kind=SpanKind.CLIENT, attributes={"outcome": _OUTCOMES, "operations": None})
SIGN = SpanName(name="signature", attributes={"purpose": frozenset(purpose.value for purpose in KeyPurpose)})
FEED_CATCH_UP = SpanName(name="feed catch-up", root=True, attributes={"changes": None})
DUTY = SpanName(name="duty", root=True, attributes={"duty": _DUTIES})
FETCH = SpanName(name="ask the server", kind=SpanKind.CLIENT, root=True, attributes={"http.response.status_code": None})
"""What an agent asks upstream; a server goes on from it."""

SPANS: Final = (REQUEST, DECISION, STORE_COMMIT, SIGN, FEED_CATCH_UP, DUTY, FETCH)
