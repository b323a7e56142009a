"""Framing over real sockets: limits, order, connections, and clients that misbehave."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.agent.agent_world import (
    ARM,
    OTHER_VM,
    SECOND,
    SYSTEM,
    VM,
    AgentWorld,
    Client,
    change,
    get,
    settle,
    token_target,
)

from idplane.agent.protocol import Limits

TOKEN = get(token_target())
PROBE = get("/metadata/versions")


async def until_ended(world: AgentWorld, client: Client, *, step: float) -> float:
    """Let time pass until the server ends the connection; how long that took."""
    ended = asyncio.ensure_future(client.ended())
    passed = 0.0
    while not ended.done():
        assert passed < 1000, "the connection was never ended"
        world.clock.advance(step)
        passed += step
        await asyncio.sleep(0.001)
    assert await ended
    return passed


async def test_a_connection_serves_many_requests(world: AgentWorld) -> None:
    client = await world.connect(await world.imds())
    for _ in range(5):
        await client.send(TOKEN)
        assert (await client.response()).status == 200
    assert world.server.token_requests == 1


async def test_pipelined_requests_are_answered_in_order(world: AgentWorld) -> None:
    world.server.gate = asyncio.Event()
    client = await world.connect(await world.imds())
    await client.send(TOKEN + PROBE + get("/nothing") + TOKEN)
    await settle()
    world.server.gate.set()
    answers = [await client.response() for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 404, 200]
    assert "apiVersions" in answers[1].json
    assert answers[0].body == answers[3].body


async def test_requests_may_arrive_byte_by_byte(world: AgentWorld) -> None:
    client = await world.connect(await world.imds())
    for byte in TOKEN:
        await client.send(bytes([byte]))
        await asyncio.sleep(0)
    assert (await client.response()).status == 200


async def test_too_many_pipelined_requests_end_the_connection_after_what_was_taken(world: AgentWorld) -> None:
    world.server.gate = asyncio.Event()
    client = await world.connect(await world.imds())
    await client.send(TOKEN * 200)
    await settle()
    world.server.gate.set()
    answered = 0
    while (answer := await client.response()).headers.get("connection") != "close":
        assert answer.status == 200
        answered += 1
    assert answered == 33
    assert await client.ended()


async def test_many_pipelined_requests_that_need_no_waiting_are_all_answered(world: AgentWorld) -> None:
    address = await world.imds()
    await world.ask(address, TOKEN)
    client = await world.connect(address)
    await client.send(TOKEN * 500)
    for _ in range(500):
        assert (await client.response()).status == 200


@pytest.mark.parametrize(
    ("version", "header", "kept", "announced"),
    [
        ("1.1", "X-Nothing: x", True, None),
        ("1.1", "Connection: close", False, "close"),
        ("1.1", "Connection: keep-alive", True, None),
        ("1.0", "X-Nothing: x", False, "close"),
        ("1.0", "Connection: keep-alive", True, "keep-alive"),
    ],
)
async def test_connections_are_kept_as_the_client_wants(
    world: AgentWorld, version: str, header: str, *, kept: bool, announced: str | None
) -> None:
    client = await world.connect(await world.imds())
    raw = get(token_target(), "Host: 169.254.169.254", "Metadata: true", header, version=version)
    await client.send(raw)
    response = await client.response()
    assert (response.status, response.headers.get("connection")) == (200, announced)
    if kept:
        await client.send(raw)
        assert (await client.response()).status == 200
    else:
        assert await client.ended()


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /metadata/versions\r\n\r\n",
        b"GET /metadata/versions HTTP/9.9\r\n\r\n",
        b"BREW /metadata/versions HTTP/1.1\r\nHost: x\r\n\r\n",
        b"get /metadata/versions HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /metadata /versions HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /metadata/versions HTTP/1.1\r\nMetadata : true\r\n\r\n",
        b"GET /metadata/versions HTTP/1.1\r\nMeta data: true\r\n\r\n",
        b"GET /metadata/versions HTTP/1.1\r\n: true\r\n\r\n",
        b"GET /metadata/versions HTTP/1.1\r\nMetadata: tr\x00ue\r\n\r\n",
        b"GET /metadata/versions HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_refused_and_the_connection_ends(world: AgentWorld, raw: bytes) -> None:
    client = await world.connect(await world.imds())
    await client.send(raw)
    response = await client.response()
    assert response.status in {400, 404}
    assert set(response.json) == {"error", "error_description"}
    assert response.headers["x-ms-request-id"]
    if response.status == 400:
        assert response.headers["connection"] == "close"
        assert await client.ended()


async def test_the_request_before_a_malformed_one_is_still_answered(world: AgentWorld) -> None:
    world.server.gate = asyncio.Event()
    client = await world.connect(await world.imds())
    await client.send(TOKEN + b"nonsense\r\n\r\n")
    await settle()
    world.server.gate.set()
    assert (await client.response()).status == 200
    assert (await client.response()).status == 400
    assert await client.ended()


@pytest.mark.parametrize(
    "raw",
    [
        get(token_target("x" * 20_000)),
        get("/" + "a" * 17_000),
        get(token_target(), "Host: 169.254.169.254", "X-Big: " + "x" * 17_000),
        get(token_target(), "Host: 169.254.169.254", "X" * 17_000 + ": 1"),
        get(token_target(), "Host: 169.254.169.254", *(f"X-{n}: {'y' * 600}" for n in range(40))),
        get(token_target(), "Host: 169.254.169.254", *(f"X-{n}: y" for n in range(70))),
        get(token_target(), "Host: 169.254.169.254", *(f"X-{n}: y" for n in range(2000))),
        b"GET /" + b"a" * 200_000,
        b"GET / HTTP/1.1\r\nX: " + b"a" * 200_000,
    ],
)
async def test_a_head_beyond_its_bounds_is_refused(world: AgentWorld, raw: bytes) -> None:
    client = await world.connect(await world.imds())
    for start in range(0, len(raw), 4096):
        client.writer.write(raw[start : start + 4096])
        await asyncio.sleep(0)
    response = await client.response()
    assert response.status == 431
    assert response.json["error"] == "invalid_request"
    assert await client.ended()


async def test_a_head_just_within_its_bounds_is_served(world: AgentWorld) -> None:
    raw = get(token_target(), "Host: 169.254.169.254", "Metadata: true", "X-Big: " + "x" * 16_000)
    assert (await world.ask(await world.imds(), raw)).status == 200


@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        ("Content-Length: 5", b"hello", 200),
        ("Content-Length: 16384", b"x" * 16384, 200),
        ("Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n", 200),
        ("Content-Length: 16385", b"x" * 16385, 413),
        ("Content-Length: 1000000", b"x" * 100_000, 413),
        ("Transfer-Encoding: chunked", b"8000\r\n" + b"x" * 0x8000 + b"\r\n0\r\n\r\n", 413),
    ],
)
async def test_bodies_are_dropped_within_bounds(world: AgentWorld, head: str, body: bytes, status: int) -> None:
    client = await world.connect(await world.imds())
    await client.send(get(token_target(), "Host: 169.254.169.254", "Metadata: true", head) + body)
    assert (await client.response()).status == status
    if status == 200:
        await client.send(TOKEN)
        assert (await client.response()).status == 200
    else:
        assert await client.ended()


async def test_a_post_that_waits_for_permission_gets_it_and_is_refused(world: AgentWorld) -> None:
    client = await world.connect(await world.imds())
    headers = ("Host: 169.254.169.254", "Metadata: true", "Expect: 100-continue", "Content-Length: 5")
    await client.send(get(token_target(), *headers, method="POST"))
    assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await client.send(b"hello")
    assert (await client.response()).status == 405
    await client.send(TOKEN)
    assert (await client.response()).status == 200


async def test_a_head_request_gets_no_body(world: AgentWorld) -> None:
    client = await world.connect(await world.imds())
    await client.send(get(token_target(), "Host: 169.254.169.254", method="HEAD") + PROBE)
    assert (await client.response(body=False)).status == 405
    assert "apiVersions" in (await client.response()).json


async def test_an_upgrade_is_not_taken(world: AgentWorld) -> None:
    headers = (
        "Host: 169.254.169.254",
        "Metadata: true",
        "Connection: Upgrade, HTTP2-Settings",
        "Upgrade: h2c",
        "HTTP2-Settings: AA",
    )
    client = await world.connect(await world.imds())
    await client.send(get(token_target(), *headers))
    assert (await client.response()).status == 200
    assert await client.ended()


async def test_connect_is_refused(world: AgentWorld) -> None:
    response = await world.ask(await world.imds(), get("169.254.169.254:80", method="CONNECT"))
    assert response.status in {404, 405}


async def test_a_client_that_closes_its_side_still_gets_its_answer(world: AgentWorld) -> None:
    world.server.gate = asyncio.Event()
    client = await world.connect(await world.imds())
    await client.send(TOKEN)
    client.writer.write_eof()
    await asyncio.sleep(0.01)
    world.server.gate.set()
    assert (await client.response()).status == 200
    assert await client.ended()


async def test_a_client_that_leaves_does_not_stop_the_others(world: AgentWorld) -> None:
    world.server.gate = asyncio.Event()
    address = await world.imds()
    first, second = await world.connect(address), await world.connect(address)
    await first.send(TOKEN)
    await second.send(TOKEN)
    await asyncio.sleep(0.01)
    first.writer.transport.abort()
    await asyncio.sleep(0.01)
    world.server.gate.set()
    assert (await second.response()).status == 200
    assert world.server.token_requests == 1


async def test_an_idle_connection_is_ended(world: AgentWorld) -> None:
    client = await world.connect(await world.imds())
    await client.send(TOKEN)
    await client.response()
    assert Limits.IDLE <= await until_ended(world, client, step=5) <= Limits.IDLE + 10


async def test_a_request_that_never_completes_is_ended(world: AgentWorld) -> None:
    client = await world.connect(await world.imds())
    await client.send(TOKEN[:-2])
    await asyncio.sleep(0.01)
    assert Limits.REQUEST <= await until_ended(world, client, step=1) <= Limits.REQUEST + 10


async def test_sending_slowly_does_not_help(world: AgentWorld) -> None:
    client = await world.connect(await world.imds())
    ended = asyncio.ensure_future(client.ended())
    for byte in TOKEN[:60]:
        if ended.done():
            break
        client.writer.write(bytes([byte]))
        world.clock.advance(1)
        await asyncio.sleep(0.001)
    assert ended.done()


async def test_a_client_that_sends_on_after_a_refusal_is_cut_off(world: AgentWorld) -> None:
    client = await world.connect(await world.imds())
    await client.send(b"nonsense\r\n\r\n")
    assert (await client.response()).status == 400

    async def flood() -> None:
        for _ in range(1000):
            await client.send(b"x" * 65536)

    with pytest.raises(ConnectionError):
        await flood()


async def test_a_client_that_does_not_read_is_not_served_on_and_on(world: AgentWorld) -> None:
    """Answers pile up in the sockets' buffers only; then the server reads no more, or ends the connection."""
    address = await world.imds()
    await world.ask(address, TOKEN)
    client = await world.connect(address)
    client.writer.transport.set_write_buffer_limits(high=1)
    sent = 0
    try:
        async with asyncio.timeout(0.5):
            while sent < 500_000:
                client.writer.write(TOKEN * 20)
                await client.writer.drain()
                sent += 20
    except (TimeoutError, ConnectionError):
        pass
    assert sent < 500_000
    client.writer.transport.abort()


async def test_when_all_places_are_taken_the_longest_idle_makes_room(world: AgentWorld) -> None:
    address = await world.imds()
    clients = [await world.connect(address) for _ in range(512)]
    await clients[0].send(TOKEN)
    assert (await clients[0].response()).status == 200
    world.clock.advance(1)
    await clients[1].send(TOKEN)
    assert (await clients[1].response()).status == 200
    for idle in (clients[0], clients[2]):
        extra = await world.connect(address)
        await extra.send(TOKEN)
        assert (await extra.response()).status == 200
        assert await idle.ended()
    await clients[1].send(TOKEN)
    assert (await clients[1].response()).status == 200


async def test_who_is_being_answered_does_not_make_room_while_others_idle(world: AgentWorld) -> None:
    world.server.gate = asyncio.Event()
    address = await world.imds()
    waiting = await world.connect(address)
    await waiting.send(TOKEN)
    await settle()
    idle = [await world.connect(address) for _ in range(600)]
    world.server.gate.set()
    assert (await waiting.response()).status == 200
    assert await idle[0].ended()
    await idle[-1].send(PROBE)
    assert (await idle[-1].response()).status == 200


async def test_closing_the_listener_drops_its_connections_and_its_port(world: AgentWorld) -> None:
    address = await world.imds()
    client = await world.connect(address)
    await client.send(TOKEN)
    await client.response()
    await world.agent.close()
    assert await client.ended()
    with pytest.raises(ConnectionError):
        await asyncio.open_connection(*address)


async def test_a_bug_is_an_opaque_answer(world: AgentWorld, caplog: pytest.LogCaptureFixture) -> None:
    world.server.compute = {"name": "x"}
    address = await world.imds()
    await world.ask(address, get("/metadata/instance?api-version=2021-02-01"))

    def broken(*_: object, **__: object) -> object:
        raise ZeroDivisionError("secret detail")

    world.agent._source.cached = broken  # type: ignore[method-assign,assignment]  # stands for any bug
    response = await world.ask(address, TOKEN)
    assert response.status == 503
    assert b"secret detail" not in response.body
    assert "bug at the token endpoint" in caplog.text


async def test_nothing_in_a_request_reaches_another_host(world: AgentWorld) -> None:
    """The listener decides who asks: every selector, header and target speaks for that resource alone."""
    world.server.hosts = {VM.key: [SYSTEM], OTHER_VM.key: [SECOND]}
    address, other = await world.imds(), await world.imds(host=OTHER_VM)
    assert (await world.ask(other, TOKEN)).json["client_id"] == SECOND.client_id
    attempts = [
        get(token_target(client_id=SECOND.client_id)),
        get(token_target(msi_res_id=str(SECOND.resource_id))),
        get(token_target(), f"Host: 127.0.0.1:{other[1]}", "Metadata: true"),
        get(f"http://127.0.0.1:{other[1]}" + token_target()),
        get(token_target(), "Host: 169.254.169.254", "Metadata: true", f"X-Original-Host: {OTHER_VM}"),
    ]
    for raw in attempts:
        assert SECOND.client_id not in (await world.ask(address, raw)).body.decode()


async def test_tokens_are_evicted_between_pipelined_requests(world: AgentWorld) -> None:
    client = await world.connect(await world.imds())
    await client.send(TOKEN)
    first = await client.response()
    world.agent.apply([change("principals", SYSTEM.principal_id, subject="x")])
    await client.send(TOKEN)
    assert (await client.response()).body != first.body
    assert ARM in first.body.decode()
