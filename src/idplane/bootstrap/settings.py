"""Settings of a process, and the only place that reads the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from idplane.model.profile import AZURE, Profile

__all__ = ["DEFAULT_PORT", "UpSettings", "default_data_folder", "environment"]

DEFAULT_PORT = 8443


def environment() -> dict[str, str]:
    """A copy of the process environment, for commands that start other programs."""
    return dict(os.environ)  # noqa: TID251 - this module is the door


def default_data_folder() -> Path:
    """`$XDG_DATA_HOME/idplane`, or `~/.local/share/idplane` (XDG Base Directory Specification)."""
    base = environment().get("XDG_DATA_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "share") / "idplane"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpSettings:
    """What `idplane up` was asked for."""

    data: Path
    port: int = DEFAULT_PORT
    """0 takes any free port."""
    profile: Profile = AZURE
    private_issuers: tuple[str, ...] = ()
    """Issuers of federated tokens that may be asked over `http` and at addresses that are not public."""
    portal_link: bool = False
    """Whether there is somebody to show a link to that signs in to the portal."""
    keep_activity: str | None = None
    """How long the activity log is kept from now on (`audit.retention`); None leaves it as it was set before."""
    keep_sign_ins: str | None = None
    otlp_endpoint: str | None = None
    """An OpenTelemetry collector that both logs are handed on to; its headers are in OTEL_EXPORTER_OTLP_HEADERS."""
