"""The least that can answer HTTP on httptools and asyncio: parse the head, write constant bytes. Prints its port, and serves."""

from __future__ import annotations

import asyncio

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


async def main() -> None:
    # asyncio reads into 256 KiB at a time. glibc maps such blocks anew each time (10 us a request) until it has freed a larger one,
    # which every grown program has: without this line, the bare handler is slower than the real one.
    bytearray(1 << 22)
    server = await asyncio.get_running_loop().create_server(Bare, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
