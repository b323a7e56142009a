"""What makes a server ready."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from idplane.bootstrap.health import Check, Health, Unready
from idplane.bootstrap.server import Server
from idplane.model.keys import KeyState
from idplane.ports.world import KeyCustody

__all__ = ["server_health"]

_PROBE: Final = b"idplane health"
_CONTEXT: Final = "health"


def server_health(server: Server, *, freshness: Callable[[], float], bound: float) -> Health:
    """The checks of a server: `freshness` is the age of what it knows of the feed, `bound` how old that may be, in seconds."""
    world = server.world

    async def database() -> None:
        await world.store.position()

    async def feed() -> None:
        if freshness() > bound:
            raise Unready("the end of the change feed has not been known for longer than the staleness bound")

    async def signing_key() -> None:
        if not any(key.state is KeyState.ACTIVE and not key.tainted for key in server.ring.keys):
            raise Unready("no signing key is active")

    checks: dict[str, Check] = {
        "database": database,
        "feed": feed,
        "signing_key": signing_key,
        "custody": lambda: _custody(world.custody),
        "log": server.log.check,
    }
    return Health(checks, clock=world.clock)


async def _custody(custody: KeyCustody) -> None:
    def sealed_and_opened() -> bytes:
        return custody.unseal(custody.seal(_PROBE, context=_CONTEXT), context=_CONTEXT)

    # Not on the event loop: a hardware module may take its time, and a broken one all of it.
    if await asyncio.to_thread(sealed_and_opened) != _PROBE:
        raise Unready("the key custody does not open what it sealed")
