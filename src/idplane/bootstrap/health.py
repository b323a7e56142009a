"""Whether a process lives, and whether it is ready to be sent work: named checks, each with a bound in time and a sentence.

A check looks and says; it never mends. The sentences are fixed and hold nothing of what is stored or asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from idplane.model.failure import Failure
from idplane.ports.world import Clock

__all__ = ["Check", "Health", "Report", "Unready"]

_CHECK_SECONDS: Final = 2.0
_KEPT_SECONDS: Final = 0.25
"""Whoever asks more often is told what was found last: probes of many must not become work."""
_DRAINING: Final = "this process is about to end and takes no new work"
_LATE: Final = f"no answer within {_CHECK_SECONDS:.0f} seconds"

Check = Callable[[], Awaitable[None]]
"""Returns when all is well; raises `Unready`, or `Failure`."""


class Unready(Exception):  # noqa: N818 - an answer, not an error
    """Why not; the text is one sentence for operators."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the checks found: by name, None for one that is met, else why it is not."""

    checks: Mapping[str, str | None]

    @property
    def ready(self) -> bool:
        """Whether all are met."""
        return all(why is None for why in self.checks.values())

    def document(self) -> dict[str, object]:
        """As JSON."""
        shown = {name: {"ok": True} if why is None else {"ok": False, "reason": why} for name, why in self.checks.items()}
        return {"ready": self.ready, "checks": shown}


class Health:
    """The checks of one process. One question runs at a time, whoever asks."""

    def __init__(self, checks: Mapping[str, Check], *, clock: Clock) -> None:
        self._checks = dict(checks)
        self._clock = clock
        self._draining = False
        self._asking: asyncio.Task[Report] | None = None
        self._last: tuple[float, Report] | None = None

    def drain(self) -> None:
        """Not ready from now on, for good."""
        self._draining = True
        self._last = None

    async def report(self) -> Report:
        """What the checks say now, or said a moment ago; takes little longer than one check may."""
        if self._last is not None and self._clock.monotonic() - self._last[0] < _KEPT_SECONDS:
            return self._last[1]
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(self._ask())
        return await asyncio.shield(self._asking)

    async def close(self) -> None:
        """Stop asking."""
        if self._asking is not None and not self._asking.done():
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    async def _ask(self) -> Report:
        found = await asyncio.gather(*(_why(check) for check in self._checks.values()))
        checks = dict(zip(self._checks, found, strict=True))
        report = Report(checks={**checks, "draining": _DRAINING if self._draining else None})
        self._last = (self._clock.monotonic(), report)
        return report


async def _why(check: Check) -> str | None:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            await check()
    except TimeoutError:
        return _LATE
    except Unready as unready:
        return str(unready)
    except Failure as failure:
        return failure.kind.name.lower().replace("_", " ")
    except Exception as error:  # noqa: BLE001 - a check that breaks is not met, and its probe is answered all the same
        return f"the check failed ({type(error).__name__})"
    return None
