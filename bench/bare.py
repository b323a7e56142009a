"""The least that can answer HTTP on httptools and asyncio: parse the head, write constant bytes. Prints its ports, and serves.

With the file of a certificate and its key as argument it has a second listener, which does the same over TLS.
"""

from __future__ import annotations

import asyncio
import ssl
import sys

import httptools


class Bare(asyncio.Protocol):
    """Answers of a token answer's length."""

    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1900\r\n\r\n" + b"x" * 1900

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_header(self, name: bytes, value: bytes) -> None:
        pass

    def on_message_complete(self) -> None:
        self.transport.write(self.answer)


def contexts() -> list[ssl.SSLContext | None]:
    """One for each listener."""
    if len(sys.argv) == 1:
        return [None]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1])
    return [None, context]


async def main() -> None:
    # asyncio reads into 256 KiB at a time. glibc maps such blocks anew each time (10 us a request) until it has freed a larger one,
    # which every grown program has: without this line, the bare handler is slower than the real one.
    bytearray(1 << 22)
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(Bare, "127.0.0.1", 0, ssl=context) for context in contexts()]
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(main())
