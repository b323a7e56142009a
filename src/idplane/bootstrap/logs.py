"""How log records are written: one line each, as text or as JSON with one schema, and without anything that looks like a secret.

Nothing in this program logs a token or a key. What looks like one is taken out here all the same, as the last line of defence against exceptions
of other people's code. Control characters are escaped, so that no value can begin a line of its own.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Final

import msgspec

from idplane.bootstrap.telemetry_settings import LogSection
from idplane.model.redaction import without_secrets

__all__ = ["JsonLines", "TextLines", "configure_logs", "redacted"]

_FACTS: Final = (
    "request_id",
    "correlation_id",
    "surface",
    "method",
    "path",
    "status",
    "seconds",
    "client",
    "agent_id",
    "duty",
    "event",
)
"""Further members that a record may have, by `extra`; whatever else it carries is left out."""
_MAX_TEXT: Final = 16 * 1024
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_OURS: Final = "idplane"
_REQUESTS: Final = "idplane.requests"


def redacted(text: str) -> str:
    """The text without what looks like a token, a private key or a password, and no longer than a line may be."""
    text = without_secrets(text)
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…"


class JsonLines(logging.Formatter):
    """One JSON object a record: `ts`, `level`, `logger`, `message`, `trace_id`, `error` and what `_FACTS` lists."""

    def __init__(self, trace_id: Callable[[], str | None]) -> None:
        super().__init__()
        self._trace_id = trace_id

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        text = msgspec.json.encode(_members(record, self._trace_id())).decode()
        # JSON lets these stand, and some readers take them for the end of a line.
        return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class TextLines(logging.Formatter):
    """For people: time, level, logger, message, the further members, and the lines of an exception, each set off."""

    def __init__(self, trace_id: Callable[[], str | None]) -> None:
        super().__init__()
        self._trace_id = trace_id

    def format(self, record: logging.LogRecord) -> str:
        """The line, and those of an exception."""
        members = _members(record, self._trace_id())
        head = (
            f"{members.pop('ts')} {members.pop('level')!s:7} {members.pop('logger')}: {_escaped(str(members.pop('message')))}"
        )
        error = members.pop("error", None)
        more = "".join(f" {name}={_escaped(str(value))}" for name, value in members.items())
        lines = [] if error is None else [f"\n    | {_escaped(line)}" for line in str(error).splitlines()]
        return head + more + "".join(lines)


def configure_logs(settings: LogSection, *, trace_id: Callable[[], str | None] = lambda: None) -> None:
    """Send what this process logs where the settings say; what libraries log, from warnings on. Raises `OSError` for a file that cannot be written."""
    handler = _Quiet(sys.stderr) if settings.file is None else _file(Path(settings.file))
    handler.setFormatter(JsonLines(trace_id) if settings.format == "json" else TextLines(trace_id))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        with contextlib.suppress(OSError):
            old.close()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(_OURS).setLevel(settings.level.upper())
    logging.getLogger(_REQUESTS).setLevel(logging.INFO if settings.requests else logging.CRITICAL)
    logging.captureWarnings(capture=True)


class _Quiet(logging.StreamHandler):  # type: ignore[type-arg]  # generic in the stubs only
    """A log that cannot be written must not stop what it tells of."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Go on."""


class _QuietFile(WatchedFileHandler):
    """As `_Quiet`, for a file that may be moved away by whoever rotates logs."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Go on."""


def _file(path: Path) -> logging.Handler:
    path.touch(mode=0o640)
    return _QuietFile(path, encoding="utf-8", errors="backslashreplace")


def _members(record: logging.LogRecord, trace_id: str | None) -> dict[str, object]:
    members: dict[str, object] = {
        "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": redacted(_message(record)),
    }
    if trace_id is not None:
        members["trace_id"] = trace_id
    for name in _FACTS:
        value = record.__dict__.get(name)
        if value is not None:
            members[name] = value if isinstance(value, bool | int | float) else redacted(_plain(str(value)))
    if record.exc_info and record.exc_info[0] is not None:
        members["error"] = redacted(_plain("".join(traceback.format_exception(*record.exc_info))))
    return members


def _message(record: logging.LogRecord) -> str:
    try:
        return _plain(record.getMessage())
    except Exception:  # noqa: BLE001 - a message whose arguments do not fit is told without them
        return _plain(str(record.msg))


def _plain(text: str) -> str:
    """Without what UTF-8 cannot say."""
    return text.encode("utf-8", "backslashreplace").decode()


def _escaped(text: str) -> str:
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
