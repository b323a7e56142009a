"""Bad input over the real listener: what is not quite HTTP, what is too much of it, and what two readers could understand differently."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.stories.planes import Up
from tests.stories.wire import Wire, assert_refusal, read_reply

KEYS = "/common/discovery/keys"
FORM = "Content-Type: application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    up = Up(tmp_path_factory.mktemp("framing") / "data")
    yield up
    assert up.stop() == 0


@pytest.fixture(scope="module")
def wire(running: Up) -> Wire:
    return Wire(running)


AMBIGUOUS = {
    "length and chunked": (("Content-Length: 5", "Transfer-Encoding: chunked"), b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
    "chunked and length": (("Transfer-Encoding: chunked", "Content-Length: 5"), b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
    "two lengths": (("Content-Length: 5", "Content-Length: 6"), b"abcdef"),
    "the same length twice": (("Content-Length: 5", "Content-Length: 5"), b"abcde"),
    "a list of lengths": (("Content-Length: 5, 5",), b"abcde"),
    "negative length": (("Content-Length: -5",), b"abcde"),
    "signed length": (("Content-Length: +5",), b"abcde"),
    "hexadecimal length": (("Content-Length: 0x5",), b"abcde"),
    "a length beyond 64 bits": (("Content-Length: 99999999999999999999999",), b""),
    "two transfer codings": (("Transfer-Encoding: gzip, chunked",), b"0\r\n\r\n"),
    "chunked twice": (("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), b"0\r\n\r\n"),
    "chunked that is not last": (("Transfer-Encoding: chunked, identity",), b"0\r\n\r\n"),
    "an unknown transfer coding": (("Transfer-Encoding: xchunked",), b"0\r\n\r\n"),
    "a folded header": (("X: a", " Transfer-Encoding: chunked"), b"0\r\n\r\n"),
    "a space before the colon": (("Transfer-Encoding : chunked",), b"0\r\n\r\n"),
    "a bare CR": (("X: a\rTransfer-Encoding: chunked",), b"0\r\n\r\n"),
    "a bare LF": (("X: a\nTransfer-Encoding: chunked",), b"0\r\n\r\n"),
    "NUL": (("X: a\0b",), b""),
    "a header without a colon": (("nonsense",), b""),
    "a chunk size that is none": (("Transfer-Encoding: chunked",), b"zz\r\nabcde\r\n0\r\n\r\n"),
    "a chunk size beyond 64 bits": (("Transfer-Encoding: chunked",), b"ffffffffffffffff1\r\nabcde\r\n0\r\n\r\n"),
    "a negative chunk size": (("Transfer-Encoding: chunked",), b"-5\r\nabcde\r\n0\r\n\r\n"),
    "a chunk longer than it says": (("Transfer-Encoding: chunked",), b"3\r\nabcde\r\n0\r\n\r\n"),
    "an endless row of trailers": (("Transfer-Encoding: chunked",), b"0\r\n" + b"x: y\r\n" * 40000 + b"\r\n"),
}


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_framing_that_two_readers_could_read_differently_is_refused(wire: Wire, case: str) -> None:
    headers, body = AMBIGUOUS[case]
    with wire.open() as connection:
        connection.sendall(wire.request("POST /common/oauth2/token HTTP/1.1", FORM, *headers, body=body))
        reply = read_reply(connection)
        assert_refusal(reply, 400)
        assert reply.headers["connection"] == "close"


def test_nothing_behind_unreadable_framing_is_taken_for_a_request(wire: Wire) -> None:
    headers, body = AMBIGUOUS["length and chunked"]
    smuggled = wire.request(f"GET {KEYS} HTTP/1.1") * 3
    with wire.open() as connection:
        connection.sendall(wire.request("POST /common/oauth2/token HTTP/1.1", FORM, *headers, body=body + smuggled))
        assert_refusal(read_reply(connection), 400)
        assert read_reply(connection).status == 0


LINES = {
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20,
    "no HTTP": b"hello\r\n\r\n",
    "an unknown method": b"FROBNICATE / HTTP/1.1\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a version of the future": b"GET / HTTP/1.9\r\n\r\n",
    "no target": b"GET HTTP/1.1\r\n\r\n",
    "a target without a path": b"GET ?x HTTP/1.1\r\n\r\n",
    "bytes beyond ASCII in the path": b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
    "NUL in the path": b"GET /a\0b HTTP/1.1\r\n\r\n",
    "two spaces": b"GET  / HTTP/1.1\r\n\r\n",
    "bare line feeds": b"GET / HTTP/1.1\nHost: localhost\n\n",
    "HTTP/0.9": b"GET /common/discovery/keys\r\n\r\n",
}


@pytest.mark.parametrize("case", LINES)
def test_what_is_not_http_is_answered_with_an_error_and_an_id(wire: Wire, case: str) -> None:
    assert_refusal(wire.ask(LINES[case]), 400)


def test_a_refusal_is_in_the_dialect_that_the_path_names(wire: Wire) -> None:
    bad = ("Content-Length: 1", "Content-Length: 2")
    assert wire.ask(wire.request("PUT /subscriptions/x HTTP/1.1", *bad)).json["error"]["code"] == "InvalidParameter"
    assert "trace_id" in wire.ask(wire.request("POST /common/oauth2/token HTTP/1.1", *bad)).json
    assert "innerError" in wire.ask(wire.request("GET /v1.0/x HTTP/1.1", *bad)).json["error"]
    assert "requestId" in wire.ask(wire.request("GET /agent/v1/host HTTP/1.1", *bad)).json["error"]
    # A vault is known by its Host header, which came before what could not be read.
    vault = wire.ask(wire.request("GET /secrets HTTP/1.1", *bad, host=f"kv.vault.{wire.host}")).json["error"]
    assert vault["code"] == "BadParameter"


def test_absolute_targets_must_name_the_host_of_the_host_header(wire: Wire) -> None:
    assert wire.ask(wire.request(f"GET https://{wire.host}{KEYS} HTTP/1.1")).status == 200
    for authority in ("evil.example", f"kv.vault.{wire.host}", f"user@{wire.host}", f"{wire.host}.evil", ""):
        assert_refusal(wire.ask(wire.request(f"GET https://{authority}{KEYS} HTTP/1.1")), 400)
    for line in (
        "OPTIONS * HTTP/1.1",
        f"CONNECT {wire.host} HTTP/1.1",
        f"CONNECT {KEYS} HTTP/1.1",
        f"GET ftp://{wire.host}/ HTTP/1.1",
    ):
        assert_refusal(wire.ask(wire.request(line)), 400)


def test_protocols_are_not_switched(wire: Wire) -> None:
    for protocol in ("websocket", "h2c", "TLS/1.0"):
        assert_refusal(wire.ask(wire.request(f"GET {KEYS} HTTP/1.1", "Connection: Upgrade", f"Upgrade: {protocol}")), 400)


def test_trailers_cannot_add_headers(wire: Wire) -> None:
    """Not even when they arrive together with the head."""
    body = b"1\r\na\r\n0\r\nHost: evil\r\nAuthorization: Basic eDp5\r\nContent-Type: text/plain\r\n\r\n"
    reply = wire.ask(wire.request("POST /common/oauth2/token HTTP/1.1", FORM, "Transfer-Encoding: chunked", body=body))
    assert "is not a form" in reply.json["error_description"]


def test_heads_are_bounded(wire: Wire) -> None:
    assert wire.ask(wire.request(f"GET {KEYS} HTTP/1.1", *("X: y" for _ in range(120)))).status == 200
    assert wire.ask(wire.request(f"GET {KEYS} HTTP/1.1", "X: " + "y" * 50_000)).status == 200
    assert_refusal(wire.ask(wire.request(f"GET {KEYS} HTTP/1.1", *("X: y" for _ in range(200)))), 413)
    assert_refusal(wire.ask(wire.request(f"GET {KEYS} HTTP/1.1", *("a:b" for _ in range(15_000)))), 413)
    assert_refusal(wire.ask(wire.request(f"GET {KEYS} HTTP/1.1", "X: " + "y" * 1_000_000)), 413)
    assert_refusal(wire.ask(wire.request(f"GET /{'a' * 5_000} HTTP/1.1")), 413)
    assert_refusal(wire.ask(wire.request(f"GET /{'a' * 1_000_000} HTTP/1.1")), 413)
    assert_refusal(wire.ask(wire.request(f"GET {KEYS}?{'a' * 17_000} HTTP/1.1")), 413)
    assert_refusal(wire.ask(wire.request(f"GET {KEYS}?{'&'.join('a=b' for _ in range(200))} HTTP/1.1")), 400)


def test_a_head_that_never_ends_is_refused_without_waiting_for_its_end(wire: Wire) -> None:
    with wire.open() as connection:
        connection.sendall(f"GET {KEYS} HTTP/1.1\r\nX: ".encode())
        for _ in range(60):
            connection.sendall(b"y" * 8192)
        assert_refusal(read_reply(connection), 413)


def test_bodies_are_bounded_and_the_client_gets_to_read_so(wire: Wire) -> None:
    """Also a client that sends everything before it reads, as most do."""
    size = 20 * 1024 * 1024
    declared = wire.request("POST /common/oauth2/token HTTP/1.1", FORM, f"Content-Length: {size}", body=b"x" * size)
    assert_refusal(wire.ask(declared), 413)
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    chunked = wire.request(
        "POST /common/oauth2/token HTTP/1.1", FORM, "Transfer-Encoding: chunked", body=chunk * 20 + b"0\r\n\r\n"
    )
    assert_refusal(wire.ask(chunked), 413)


def test_a_client_may_ask_before_it_sends(wire: Wire) -> None:
    with wire.open() as connection:
        connection.sendall(
            wire.request("POST /common/oauth2/token HTTP/1.1", FORM, "Expect: 100-continue", "Content-Length: 5")
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"a=b&c")
        assert_refusal(read_reply(connection), 400)
    # What would be refused anyway is refused at once.
    big = wire.request("POST /common/oauth2/token HTTP/1.1", FORM, "Expect: 100-continue", "Content-Length: 50000000")
    assert_refusal(wire.ask(big), 413)


def test_a_body_that_ends_early_is_dropped(wire: Wire) -> None:
    with wire.open() as connection:
        connection.sendall(wire.request("POST /common/oauth2/token HTTP/1.1", FORM, "Content-Length: 500", body=b"grant_type="))
        connection.unwrap().close()
    assert wire.ask(wire.request(f"GET {KEYS} HTTP/1.1")).status == 200


def test_what_follows_a_short_length_is_another_request(wire: Wire) -> None:
    """The rest of a longer body reads as garbage, and is refused behind the first answer, not instead of it."""
    with wire.open() as connection:
        connection.sendall(wire.request("POST /common/oauth2/token HTTP/1.1", FORM, "Content-Length: 3", body=b"a=bcdef"))
        assert "grant_type" in read_reply(connection).json["error_description"]
        assert "not well-formed" in read_reply(connection).json["error_description"]
        assert read_reply(connection).status == 0


def test_pipelined_requests_are_answered_in_order(wire: Wire) -> None:
    paths = [KEYS, "/nothing/here", KEYS, "/subscriptions?api-version=2022-12-01", KEYS]
    with wire.open() as connection:
        connection.sendall(b"".join(wire.request(f"GET {path} HTTP/1.1") for path in paths) + b"nonsense\r\n\r\n")
        assert [read_reply(connection).status for _ in paths] == [200, 404, 200, 401, 200]
        assert_refusal(read_reply(connection), 400)


def test_http_1_0_is_served_and_closed(wire: Wire) -> None:
    with wire.open() as connection:
        connection.sendall(wire.request(f"GET {KEYS} HTTP/1.0", "Connection: keep-alive"))
        assert read_reply(connection).status == 200
        assert connection.recv(1) == b""
    assert_refusal(wire.ask(f"GET {KEYS} HTTP/1.0\r\n\r\n".encode()), 400)


HOSTS = (
    "evil.example", "{host}.evil", "evil.{host}", "localhost", "localhost:1", "localhost.:{port}", "localhost:0{port}", "localhost:{port}:80",
    "user@{host}", "{host}, evil.example", "{host}/..", "{host}#", "2130706433:{port}", "0x7f.1:{port}", "127.1:{port}", "0:{port}",
    "127.0.0.1.:{port}", "[::]:{port}", "[::ffff:127.0.0.1]:{port}", "vault.{host}", ".vault.{host}", "a.b.vault.{host}", "kv_1.vault.{host}",
    "kv.vault.{host}.evil", "kv.vault.localhost", "kv.vault.localhost.:{port}", "k\xf6.vault.{host}", "login.microsoftonline.com", "management.azure.com", "*",
)  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_foreign_hosts_are_refused(wire: Wire, host: str) -> None:
    named = host.format(host=wire.host, port=wire.port)
    for path in (KEYS, "/metadata/endpoints?api-version=2022-09-01"):
        reply = wire.ask(wire.request(f"GET {path} HTTP/1.1", host=named))
        assert_refusal(reply, 400)
        assert wire.host in reply.body.decode()  # which host would have been right


def test_a_missing_or_repeated_host_is_refused(wire: Wire) -> None:
    assert_refusal(wire.ask(f"GET {KEYS} HTTP/1.1\r\n\r\n".encode()), 400)
    assert_refusal(wire.ask(wire.request(f"GET {KEYS} HTTP/1.1", f"Host: {wire.host}")), 400)
    assert_refusal(wire.ask(wire.request(f"GET {KEYS} HTTP/1.1", host=" ")), 400)


def test_own_hosts_are_served_in_any_case_and_no_header_moves_them(wire: Wire) -> None:
    for host in (wire.host.upper(), f"127.0.0.1:{wire.port}", f"[::1]:{wire.port}"):
        assert wire.ask(wire.request(f"GET {KEYS} HTTP/1.1", host=host)).status == 200
    forwarded = (
        "X-Forwarded-For: 10.0.0.1",
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Proto: http",
        "Forwarded: host=evil.example",
    )
    reply = wire.ask(wire.request("GET /common/v2.0/.well-known/openid-configuration HTTP/1.1", *forwarded))
    assert reply.status == 200
    assert b"evil.example" not in reply.body
    assert reply.json["token_endpoint"].startswith(f"https://{wire.host}/")


def test_plain_http_and_garbage_in_place_of_tls_do_no_harm(wire: Wire) -> None:
    for data in (b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 1000, b"\x16\x03\x01\xff\xff" + b"a" * 70_000, b"\x80\x2e\x01\x03\x01"):
        with socket.create_connection(("127.0.0.1", wire.port), timeout=30) as plain:
            try:
                plain.sendall(data)
                plain.shutdown(socket.SHUT_WR)
                while plain.recv(65536):
                    pass
            except OSError:
                continue
    assert wire.ask(wire.request(f"GET {KEYS} HTTP/1.1")).status == 200


def test_idle_half_open_and_slow_connections_do_not_stop_service(wire: Wire) -> None:
    with ExitStack() as open_connections:
        for number in range(200):
            plain = open_connections.enter_context(socket.create_connection(("127.0.0.1", wire.port), timeout=30))
            if number % 4 == 0:
                plain.sendall(b"\x16\x03\x01")  # the start of a handshake
        for number in range(50):
            connection = open_connections.enter_context(wire.open())
            if number % 2:
                connection.sendall(f"GET {KEYS} HTTP/1.1\r\nX: ".encode())
            else:
                connection.sendall(wire.request("POST /common/oauth2/token HTTP/1.1", FORM, "Content-Length: 500", body=b"a"))
        for _ in range(20):
            assert wire.ask(wire.request(f"GET {KEYS} HTTP/1.1")).status == 200


def test_a_client_that_resets_in_the_middle_does_no_harm(wire: Wire) -> None:
    for cut in (1, 20, 60, 5000):
        with wire.open() as connection:
            connection.sendall(wire.request(f"GET {KEYS} HTTP/1.1", "X: " + "y" * 10_000)[:cut])
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert wire.ask(wire.request(f"GET {KEYS} HTTP/1.1")).status == 200


def test_many_connections_at_once_are_all_answered(wire: Wire) -> None:
    statuses: list[int] = []

    def ask() -> None:
        statuses.extend(wire.ask(wire.request(f"GET {KEYS} HTTP/1.1")).status for _ in range(5))

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 100
