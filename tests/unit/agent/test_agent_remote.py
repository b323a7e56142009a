"""The HTTPS way to the servers: who is believed, what is bounded, and what a lost connection means."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from tests.attacks.table import met_by
from tests.unit.agent.remote_world import ServedWorld, presented, served

from idplane.agent.host import HostAgent
from idplane.agent.plane import Plane
from idplane.agent.remote import HttpsUpstream, ServerAddress
from idplane.agent.upstream import ABSENT, AGAIN, BUSY, RETRY_AFTER, TROUBLE, UNSETTLED
from idplane.bootstrap.server import context_for
from idplane.bootstrap.world import SystemEntropy
from idplane.jose import new_ec_key
from idplane.keys import TlsAuthority
from idplane.keys.certificates import Validity, name_of, new_serial, self_signed
from idplane.model.failure import Failure, FailureKind
from idplane.testing.worlds import FakeClock, MemoryCustody, memory_store

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def world() -> AsyncIterator[ServedWorld]:
    async with served() as made:
        yield made


async def authority(*, clock: FakeClock | None = None) -> TlsAuthority:
    clock = clock or FakeClock(datetime.now(UTC))
    store = await memory_store(clock)
    made = await TlsAuthority.open(store=store, custody=MemoryCustody(), clock=clock, entropy=SystemEntropy())
    await store.close()
    return made


@asynccontextmanager
async def scripted(tls: TlsAuthority, script: Script, *, name: str = "localhost") -> AsyncIterator[HttpsUpstream]:
    """An upstream to a server of a few lines."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await script(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    sock = socket.create_server(("127.0.0.1", 0))
    server = await asyncio.start_server(serve, sock=sock, ssl=context_for(tls.issue([name])))
    address = ServerAddress(host="localhost", port=sock.getsockname()[1])
    upstream = HttpsUpstream(servers=[address], authority=lambda: tls.ca_pem, clock=FakeClock(), entropy=SystemEntropy())
    try:
        yield upstream
    finally:
        await upstream.close()
        server.close()
        await asyncio.sleep(0.05)


def saying(answer: bytes, *, times: int = 1) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(times):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()

    return script


async def refused(upstream: HttpsUpstream, path: str = "/x") -> Failure:
    with pytest.raises(Failure) as caught:
        await upstream.send("GET", path, {}, b"")
    assert caught.value.kind is FailureKind.UNAVAILABLE
    return caught.value


async def test_requests_share_a_connection_and_the_poll_has_its_own(world: ServedWorld) -> None:
    connections = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await saying(OK, times=5)(reader, writer)

    async with scripted(world.server.tls, count) as upstream:
        for _ in range(3):
            assert (await upstream.send("GET", "/x", {}, b"")).body == b"ok"
        assert connections == 1
        await upstream.send("GET", "/agent/v1/changes?wait=1", {}, b"")
        await upstream.send("GET", "/agent/v1/changes?wait=1", {}, b"")
        assert connections == 2


async def test_a_server_under_another_authority_is_not_asked(world: ServedWorld, caplog: pytest.LogCaptureFixture) -> None:
    other = await authority()
    upstream = world.upstream(authority=other.ca_pem)
    assert "its certificate does not count" in (await refused(upstream)).detail
    assert upstream.connected_to is None
    identity, certificate = await world.enrolled("*")
    upstream.present(certificate)
    agent = HostAgent(upstream=upstream, clock=world.clock, entropy=SystemEntropy(), identity=identity)
    try:
        await agent.turn()
        (line,) = [one for one in caplog.messages if "its certificate does not count" in one]
        assert agent.condition.problem is not None
        assert agent.condition.problem in line
    finally:
        await agent.close()
        await upstream.close()
    met_by("server-other", answer="no connection", record="the agent's own log")


async def test_a_servers_certificate_that_ran_out_counts_for_nothing() -> None:
    tls = await authority(clock=FakeClock(datetime.now(UTC) - timedelta(days=500)))
    async with scripted(tls, saying(OK)) as upstream:
        assert "expired" in (await refused(upstream)).detail


async def test_a_certificate_for_another_name_counts_for_nothing() -> None:
    async with scripted(await authority(), saying(OK), name="other.localhost") as upstream:
        assert "its certificate does not count" in (await refused(upstream)).detail


async def test_a_server_without_tls_is_not_asked() -> None:
    server = await asyncio.start_server(saying(OK), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    tls = await authority()
    upstream = HttpsUpstream(
        servers=[ServerAddress(host="localhost", port=port)],
        authority=lambda: tls.ca_pem,
        clock=FakeClock(),
        entropy=SystemEntropy(),
    )
    server.close()
    await refused(upstream)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nx: " + b"a" * 40_000 + b"\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: a\r\n" * 8_000 + b"content-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9000000\r\n\r\n" + b"a" * 9_000_000,
        b"HTTP/1.1 103 Early Hints\r\n\r\n",
        b"SSH-2.0-nothing\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\naa",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n",
        b"",
    ],
    ids=["long header", "many headers", "large body", "interim", "no http", "two lengths", "cut off", "nothing"],
)
async def test_what_is_no_answer_is_a_failure_and_may_have_arrived(world: ServedWorld, answer: bytes) -> None:
    async with scripted(world.server.tls, saying(answer)) as upstream:
        failure = await refused(upstream)
    assert UNSETTLED in failure.data


async def test_two_answers_to_one_request_end_the_connection(world: ServedWorld) -> None:
    async with scripted(world.server.tls, saying(OK + OK)) as upstream:
        first = await upstream.send("GET", "/x", {}, b"")
        assert first.body == b"ok"
        await asyncio.sleep(0.05)
        assert (await upstream.send("GET", "/x", {}, b"")).body == b"ok"


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_server_that_cannot_answer_now_leads_to_another_connection(world: ServedWorld, status: int) -> None:
    answer = f"HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n".encode()
    async with scripted(world.server.tls, saying(answer)) as upstream:
        assert AGAIN in (await refused(upstream)).data


async def test_a_connection_that_is_lost_may_be_tried_again_at_once(world: ServedWorld) -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await saying(OK)(reader, writer)
        await reader.readuntil(b"\r\n\r\n")

    async with scripted(world.server.tls, once) as upstream:
        await upstream.send("GET", "/x", {}, b"")
        assert AGAIN in (await refused(upstream)).data
        assert (await upstream.send("GET", "/x", {}, b"")).status == 200


async def test_of_several_servers_one_is_enough(world: ServedWorld) -> None:
    silent = socket.create_server(("127.0.0.1", 0))
    dead = ServerAddress(host="localhost", port=silent.getsockname()[1])
    silent.close()
    unknown = ServerAddress(host="no-such-name.invalid", port=443)
    for _ in range(4):
        upstream = world.upstream(servers=(dead, unknown, world.address))
        assert (await upstream.send("GET", "/common/.well-known/openid-configuration", {}, b"")).status == 200
        await upstream.close()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while content := await reader.read(1 << 16):
        writer.write(content)
    writer.close()


@asynccontextmanager
async def cutting(world: ServedWorld, times: int) -> AsyncIterator[HttpsUpstream]:
    """A way through a balancer whose first connections end as soon as they are made."""
    left = times

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            writer.close()
            return
        far_reader, far = await asyncio.open_connection("127.0.0.1", world.port)
        await asyncio.gather(pump(reader, far), pump(far_reader, writer), return_exceptions=True)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = ServerAddress(host="localhost", port=server.sockets[0].getsockname()[1])
    upstream = world.upstream(servers=(address,))
    try:
        yield upstream
    finally:
        await upstream.close()
        server.close()


async def test_a_handshake_that_is_cut_short_is_tried_once_more(world: ServedWorld) -> None:
    async with cutting(world, 1) as upstream:
        # An answer, if only to a Host header with the balancer's port, which this server does not know.
        assert (await upstream.send("GET", "/common/.well-known/openid-configuration", {}, b"")).status == 400


async def test_a_handshake_that_is_cut_short_again_is_a_failure_with_a_reason(world: ServedWorld) -> None:
    async with cutting(world, 2) as upstream:
        assert not (await refused(upstream)).detail.endswith(": ")


async def test_a_handshake_that_a_server_does_not_get_round_to_is_no_reason_for_another_at_once() -> None:
    connections = 0

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    address = ServerAddress(host="localhost", port=server.sockets[0].getsockname()[1])
    tls = await authority()
    upstream = HttpsUpstream(
        servers=[address], authority=lambda: tls.ca_pem, clock=FakeClock(), entropy=SystemEntropy(), handshake_seconds=0.2
    )
    assert (await refused(upstream)).data[TROUBLE] == BUSY
    assert connections == 1
    await upstream.close()
    server.close()


@pytest.mark.parametrize(("named", "expected"), [("7", "7"), ("soon", None), ("-1", None), ("9" * 40, "999999999")])
async def test_the_time_that_a_server_names_is_kept(world: ServedWorld, named: str, expected: str | None) -> None:
    for status in (429, 503):
        answer = f"HTTP/1.1 {status} No\r\nRetry-After: {named}\r\ncontent-length: 0\r\n\r\n".encode()
        async with scripted(world.server.tls, saying(answer)) as upstream:
            if status == 429:
                heard = (await upstream.send("GET", "/x", {}, b"")).retry_after
                assert heard == (None if expected is None else float(expected))
            else:
                assert (await refused(upstream)).data.get(RETRY_AFTER) == expected


async def test_when_no_server_can_be_reached_requests_are_not_kept_waiting_for_the_same_again(world: ServedWorld) -> None:
    tried = 0

    def authority() -> bytes:
        nonlocal tried
        tried += 1
        return world.server.tls.ca_pem

    silent = socket.create_server(("127.0.0.1", 0))
    dead = ServerAddress(host="localhost", port=silent.getsockname()[1])
    silent.close()
    upstream = HttpsUpstream(servers=[dead], authority=authority, clock=world.clock, entropy=SystemEntropy())
    identity, _ = await world.enrolled()
    plane = Plane(upstream=upstream, identity=identity, clock=world.clock, entropy=SystemEntropy())
    pause = 0
    for _ in range(3):
        with pytest.raises(Failure) as first:
            await plane.trust()
        once = tried
        assert first.value.kind is FailureKind.UNAVAILABLE
        assert first.value.data[TROUBLE] == ABSENT
        with pytest.raises(Failure, match="no server can be reached") as second:
            await plane.trust()
        assert tried == once
        pause = int(second.value.data[RETRY_AFTER])
        assert pause >= 1
        world.clock.advance(pause)
    assert pause > 1, "pauses grow"


async def test_a_new_certificate_and_a_new_authority_mean_a_new_connection(world: ServedWorld) -> None:
    connections: list[ssl.SSLObject] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer.get_extra_info("ssl_object"))
        await saying(OK, times=9)(reader, writer)

    trusted = world.server.tls.ca_pem
    async with scripted(world.server.tls, note) as upstream:
        upstream._authority = lambda: trusted
        await upstream.send("GET", "/x", {}, b"")
        _, certificate = await world.enrolled("*")
        upstream.present(certificate)
        await upstream.send("GET", "/x", {}, b"")
        trusted += (await authority()).ca_pem
        await upstream.send("GET", "/x", {}, b"")
    assert len(connections) == 3
    assert not any(one.session_reused for one in connections)


async def test_an_authority_that_is_taken_away_ends_what_was_trusted_under_it(world: ServedWorld) -> None:
    trusted = world.server.tls.ca_pem
    async with scripted(world.server.tls, saying(OK, times=9)) as upstream:
        upstream._authority = lambda: trusted
        await upstream.send("GET", "/x", {}, b"")
        trusted = (await authority()).ca_pem
        await refused(upstream)


async def test_a_remote_agent_follows_over_its_certificate(world: ServedWorld) -> None:
    identity, certificate = await world.enrolled("*")
    upstream = world.upstream()
    upstream.present(certificate)
    agent = HostAgent(upstream=upstream, clock=world.clock, entropy=SystemEntropy(), identity=identity)
    try:
        news = await agent._heard()
        assert news.position > 0
        assert upstream.connected_to == f"https://localhost:{world.port} (127.0.0.1)"
    finally:
        await agent.close()
        await upstream.close()


async def test_a_certificate_of_another_authority_is_not_let_in(world: ServedWorld) -> None:
    key = new_ec_key()
    now = world.clock.now()
    validity = Validity.starting(now, timedelta(days=1))
    stranger = self_signed(key, name_of("stranger"), validity, new_serial(SystemEntropy()))
    upstream = world.upstream()
    upstream.present(presented(key, stranger, b""))
    await refused(upstream, "/common/.well-known/openid-configuration")


@pytest.mark.parametrize(
    "url",
    [
        "http://id.example.com",
        "id.example.com",
        "https://",
        "https://id.example.com/path",
        "https://user@id.example.com",
        "https://id.example.com:99999",
        "https://id.example.com?x",
    ],
)
def test_what_is_no_server(url: str) -> None:
    with pytest.raises(ValueError, match="write https://name"):
        ServerAddress.parse(url)


def test_a_servers_address() -> None:
    assert ServerAddress.parse("https://id.example.com").netloc == "id.example.com"
    assert ServerAddress.parse("https://id.example.com:8443/").url == "https://id.example.com:8443"
    assert ServerAddress.parse("https://[::1]:8443").netloc == "[::1]:8443"
