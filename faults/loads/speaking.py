"""How a load speaks: JSON lines to whoever started it, and the loop that every load is."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import IO, Any

import msgspec

from faults.outcomes import Kind, Outcome, Result

__all__ = ["Done", "Said", "Told", "Voice", "keep_asking", "order", "stopped"]


class Told(enum.StrEnum):
    """What a line is about."""

    OUTCOME = "outcome"
    TOKEN = "token"
    """One that was given out; each is told once by each load."""
    SECRET = "secret"
    """Anything else that must be found nowhere."""
    WRITE = "write"


class Done(enum.StrEnum):
    """What is known of a write."""

    ACKNOWLEDGED = "acknowledged"
    REPEATED = "repeated"
    """Acknowledged at a second try, as HTTP foresees it; nobody knows what became of the first."""
    REFUSED = "refused"
    """For good: it was never done."""
    UNKNOWN = "unknown"
    """No answer, or one that leaves it open: then it was done wholly or not at all."""


class Said(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line."""

    told: Told
    outcome: Outcome | None = None
    value: str = ""
    """The token or secret; of a write the path."""
    deletes: bool = False
    done: Done | None = None
    principal: str = ""
    """Of a written resource: the principal that came with it."""


class Voice:
    """Says lines, from any thread."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._known: set[int] = set()

    def outcome(self, client: str, kind: Kind, result: Result, at: float, detail: str = "") -> None:
        """A request that began at `at` and ended now."""
        seconds = time.monotonic() - at
        made = Outcome(client=client, kind=kind, result=result, at=at, seconds=seconds, detail=detail[:200])
        self._say(Said(told=Told.OUTCOME, outcome=made))

    def token(self, value: str) -> None:
        """A token that was given out."""
        if self._is_new(value):
            self._say(Said(told=Told.TOKEN, value=value))

    def secret(self, value: str) -> None:
        """Something that must be found nowhere."""
        if self._is_new(value):
            self._say(Said(told=Told.SECRET, value=value))

    def write(self, path: str, done: Done, *, deletes: bool = False, principal: str = "") -> None:
        """What is known of a write."""
        self._say(Said(told=Told.WRITE, value=path, done=done, deletes=deletes, principal=principal))

    def _is_new(self, value: str) -> bool:
        with self._lock:
            known = hash(value) in self._known
            self._known.add(hash(value))
            return not known

    def _say(self, said: Said) -> None:
        line = msgspec.json.encode(said) + b"\n"
        # Whoever listened may be gone already.
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._stream.write(line)
            self._stream.flush()


def order() -> Any:
    """What this program is to do."""
    return msgspec.json.decode(sys.stdin.buffer.readline())


def stopped() -> threading.Event:
    """An event that is set when whoever gave the order wants no more."""
    event = threading.Event()

    def listen() -> None:
        sys.stdin.buffer.read()
        event.set()

    threading.Thread(target=listen, daemon=True).start()
    return event


async def keep_asking(ask: Callable[[], Awaitable[None]], ended: threading.Event, *, every: float, offset: float) -> None:
    """Ask, and ask again: the next one begins `every` seconds after the last began, or when that has ended."""
    await asyncio.sleep(offset)
    while not ended.is_set():
        started = time.monotonic()
        await ask()
        pause = every - (time.monotonic() - started)
        await asyncio.sleep(max(pause, 0.01))
