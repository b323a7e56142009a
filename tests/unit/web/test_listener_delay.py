"""Answers leave at once: a connection whose small packets wait for acknowledgements costs each request 40 ms."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from idplane.web.serving import Listener


class _Empty:
    """Answers every request with nothing."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert (scope["type"], callable(receive)) == ("http", True)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def refuse(self, *_: Any) -> Any:
        raise AssertionError("nothing here is refused")


async def test_accepted_connections_do_not_delay_small_packets() -> None:
    listener = Listener(_Empty())
    with socket.create_server(("127.0.0.1", 0)) as sock:
        await listener.listen(sock, None)
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 204")
        (connection,) = listener._state.connections
        accepted = connection.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        writer.close()
        await listener.close()
