"""The tables `[health]`, `[log]` and `[tracing]` of a settings file, a server's or an agent's."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

__all__ = ["HealthSection", "LogSection", "TracingSection"]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Members that a table does not declare are refused."""


class HealthSection(_Section, frozen=True, kw_only=True):
    """`[health]`: who asks how the process is, asks here; plain HTTP, so by default from this machine only."""

    listen: str | None = None
    """`127.0.0.1:9464`, or the absolute path of a Unix socket; None is no listener."""


class LogSection(_Section, frozen=True, kw_only=True):
    """`[log]`: what the process tells while it runs."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"
    file: str | None = None
    """None is standard error."""
    requests: bool = False
    """A line for each request."""


class TracingSection(_Section, frozen=True, kw_only=True):
    """`[tracing]`: spans for an OpenTelemetry collector."""

    endpoint: str | None = None
    """The collector's base URL (OTLP over HTTP); `/v1/traces` is added. None is no tracing."""
    ratio: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.01
    """Of the traces that begin here, how many are told."""
    callers_per_second: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 50
    """How many traces that callers began, and want told, are gone on with each second: they must not decide how much work it is."""
    service: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] = "idplane"
