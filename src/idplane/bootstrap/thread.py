"""A plane on an event loop of its own thread, for programs that are not built around one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from idplane.bootstrap.plane import Plane
from idplane.bootstrap.world import World
from idplane.web.serving import Listener

__all__ = ["PlaneThread"]

T = TypeVar("T")


class PlaneThread:
    """A running plane with its public listener on a free loopback port, from construction until `close`."""

    def __init__(self, make_world: Coroutine[Any, Any, World]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="idplane", daemon=True)
        self._thread.start()
        self.plane, self._listener, self.port = self.run(self._open(make_world))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the plane's loop and wait for its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        """Stop serving, close the store, end the thread."""
        self.run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self, make_world: Coroutine[Any, Any, World]) -> tuple[Plane, Listener, int]:
        plane = await Plane.open(await make_world)
        sock = socket.create_server(("127.0.0.1", 0))
        listener = await plane.server.listen(sock)
        return plane, listener, sock.getsockname()[1]

    async def _close(self) -> None:
        await self._listener.close()
        await self.plane.close()
        await self.plane.server.world.store.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
