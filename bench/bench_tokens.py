"""Tokens: from the agent's cache against a bare handler on the same HTTP parser, and fresh ones against the raw RSA-2048 rate.

All in CPU time of the serving process for each request, rounds interleaved in one run. A fresh token here is the whole path: IMDS →
agent → client assertion → token service → durable sign-in record → signature.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import time
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import httptools
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from measure import cpu_for_each, free_socket, hammer, idplane, management, median, running_plane

ROUNDS = 5
CONNECTIONS = 16
CACHED = 20_000
FRESH = 1_500


class _Bare(asyncio.Protocol):
    """The least that can answer: parse the head, send constant bytes."""

    body = b"x" * 1900
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1900\r\n\r\n" + body

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


def _serve_bare(sock: socket.socket) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(_Bare, sock=sock)
        await server.serve_forever()

    asyncio.run(main())


def rsa_sign_microseconds() -> float:
    """CPU time of one bare RSA-2048 signature over a token's worth of bytes."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    message = b"x" * 1100
    count = 1000
    start = time.process_time()
    for _ in range(count):
        key.sign(message, padding.PKCS1v15(), hashes.SHA256())
    return (time.process_time() - start) / count * 1e6


def request(path: str, host: str, **headers: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def main() -> None:
    bare_socket = free_socket()
    bare = multiprocessing.get_context("fork").Process(target=_serve_bare, args=(bare_socket,), daemon=True)
    bare.start()
    assert bare.pid is not None
    figures: dict[str, list[float]] = {"bare": [], "cached": [], "fresh": [], "sign": []}
    with running_plane() as (data, info, pid):
        machine = management(data, info).machine("bench")
        variables: Any = idplane(data, "env", "--as", machine, "--dialect", "imds")
        base = urlsplit(variables["AZURE_POD_IDENTITY_AUTHORITY_HOST"])
        address = ("127.0.0.1", int(base.port or 0))
        path = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://management.azure.com/"
        cached = request(path, base.netloc, Metadata="true")
        fresh = request(path + "&bypass_cache=true", base.netloc, Metadata="true")
        hammer(address, cached, connections=1, requests=100)
        for _ in range(ROUNDS):
            for name, process, where, what, count in (
                ("bare", bare.pid, bare_socket.getsockname(), cached, CACHED),
                ("cached", pid, address, cached, CACHED),
                ("fresh", pid, address, fresh, FRESH),
            ):
                load = partial(hammer, where, what, connections=CONNECTIONS, requests=count)
                figures[name].append(cpu_for_each(process, count, load))
            figures["sign"].append(rsa_sign_microseconds())
    bare.terminate()
    value = {name: median(samples) for name, samples in figures.items()}
    print(f"bare handler, httptools           {value['bare']:8.1f} us CPU a request")
    print(
        f"cached IMDS token                 {value['cached']:8.1f} us CPU a request = {value['cached'] / value['bare']:.2f} x bare"
    )
    print(f"raw RSA-2048 signature            {value['sign']:8.1f} us CPU")
    print(
        f"fresh RS256 token, whole path     {value['fresh']:8.1f} us CPU = {value['sign'] / value['fresh']:.0%} of what the signature alone allows"
    )


if __name__ == "__main__":
    main()
