"""Tunnels of programs that speak for their person, not for a resource, such as the Azure CLI: a way to the names below `localhost`.

Plain glibc resolves no such name, and vaults have them. A tunnel belongs to one process and is closed when that ends, or with the plane.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import AsyncExitStack

from idplane.agent.peers import Process
from idplane.agent.tunnel import Tunnel, proxy_variables
from idplane.model.failure import Failure, FailureKind
from idplane.ports.world import Entropy

__all__ = ["Tunnels"]

_MOST = 256
_SECRET_BYTES = 32


class Tunnels:
    """All such tunnels of one plane. Invariant: what was opened for a process is closed exactly once."""

    def __init__(self, *, entropy: Entropy) -> None:
        self._entropy = entropy
        self._open: dict[int, AsyncExitStack] = {}
        self._endings: set[asyncio.Task[None]] = set()

    @property
    def count(self) -> int:
        """How many are open."""
        return len(self._open)

    async def open(self, process: Process) -> dict[str, str]:
        """The variables that lead a process through a tunnel of its own; takes over its descriptor, even when it raises.

        Raises `Failure(LIMIT_EXCEEDED)`.
        """
        async with AsyncExitStack() as stack:
            stack.callback(os.close, process.descriptor)
            if len(self._open) >= _MOST:
                raise Failure(FailureKind.LIMIT_EXCEEDED, f"{_MOST} tunnels are open already")
            secret = self._entropy.bytes(_SECRET_BYTES).hex()
            sock = socket.create_server(("127.0.0.1", 0))
            stack.callback(sock.close)
            address, port = sock.getsockname()
            tunnel = Tunnel(inside=None, secret=secret)
            await tunnel.start(sock)
            stack.push_async_callback(tunnel.close)
            loop = asyncio.get_running_loop()
            loop.add_reader(process.descriptor, self._process_ended, process.descriptor)
            stack.callback(loop.remove_reader, process.descriptor)
            self._open[process.descriptor] = stack.pop_all()
        return proxy_variables(address, port, secret)

    async def close(self) -> None:
        """Close all."""
        await asyncio.gather(*(self._end(descriptor) for descriptor in tuple(self._open)))
        await asyncio.gather(*self._endings)

    def _process_ended(self, descriptor: int) -> None:
        asyncio.get_running_loop().remove_reader(descriptor)
        task = asyncio.ensure_future(self._end(descriptor))
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    async def _end(self, descriptor: int) -> None:
        stack = self._open.pop(descriptor, None)
        if stack is not None:
            await stack.aclose()
