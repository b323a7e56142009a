"""Requests in requests: whatever two readers could read differently has one answer at most, and what hides in it has none."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator

import pytest
from tests.attacks.targets import Answer, Target, answers, assert_refused
from tests.stories.planes import Up
from tests.stories.workloads import Owner, require_namespaces

from idplane.model.dialects import Dialect

Targets = Callable[..., Target]

HIDDEN = "{hidden}"
"""Where a good request is put, whole."""
POST = "POST {path} HTTP/1.1\r\nHost: {host}\r\n"
GET = "GET {path} HTTP/1.1\r\nHost: {host}\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n\r\n"
ZERO = "0\r\n\r\n"

AMBIGUOUS = {
    # Two framings at once
    "CL.TE": POST + "Content-Length: 6\r\n" + CHUNKED + ZERO + HIDDEN,
    "TE.CL": POST + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + ZERO + HIDDEN,
    "CL.TE on a GET": GET + "Content-Length: 6\r\n" + CHUNKED + ZERO + HIDDEN,
    "CL.0": GET + "Content-Length: {length}\r\nContent-Length: 0\r\n\r\n" + HIDDEN,
    "0.CL": GET + "Content-Length: 0\r\nContent-Length: {length}\r\n\r\n" + HIDDEN,
    "equal lengths": GET + "Content-Length: 0\r\nContent-Length: 0\r\n\r\n" + HIDDEN,
    "a list of lengths": GET + "Content-Length: 0, 0\r\n\r\n" + HIDDEN,
    "a signed length": GET + "Content-Length: +0\r\n\r\n" + HIDDEN,
    "a negative length": GET + "Content-Length: -1\r\n\r\n" + HIDDEN,
    "a length in hexadecimal": GET + "Content-Length: 0x0\r\n\r\n" + HIDDEN,
    "a length with a point": GET + "Content-Length: 0.0\r\n\r\n" + HIDDEN,
    "a length beyond 64 bits": GET + "Content-Length: 18446744073709551616\r\n\r\n" + HIDDEN,
    "no length": GET + "Content-Length:\r\n\r\n" + HIDDEN,
    "a length behind a vertical tab": GET + "Content-Length: \x0b0\r\n\r\n" + HIDDEN,
    "a length before a space": GET + "Content-Length : 0\r\n\r\n" + HIDDEN,
    # Transfer codings that only one reader knows
    "identity": POST + "Transfer-Encoding: identity\r\n\r\n" + HIDDEN,
    "identity, chunked": POST + "Transfer-Encoding: identity, chunked\r\n\r\n" + ZERO + HIDDEN,
    "chunked, identity": POST + "Transfer-Encoding: chunked, identity\r\n\r\n" + ZERO + HIDDEN,
    "gzip, chunked": POST + "Transfer-Encoding: gzip, chunked\r\n\r\n" + ZERO + HIDDEN,
    "chunked twice": POST + "Transfer-Encoding: chunked\r\n" + CHUNKED + ZERO + HIDDEN,
    "chunked in a list twice": POST + "Transfer-Encoding: chunked, chunked\r\n\r\n" + ZERO + HIDDEN,
    "an empty coding before it": POST + "Transfer-Encoding: ,chunked\r\n\r\n" + ZERO + HIDDEN,
    "an empty coding behind it": POST + "Transfer-Encoding: chunked,\r\n\r\n" + ZERO + HIDDEN,
    "xchunked": POST + "Transfer-Encoding: xchunked\r\n\r\n" + ZERO + HIDDEN,
    "chunked with a parameter": POST + "Transfer-Encoding: chunked;q=1\r\n\r\n" + ZERO + HIDDEN,
    "chunked in quotes": POST + 'Transfer-Encoding: "chunked"\r\n\r\n' + ZERO + HIDDEN,
    "chunked behind a vertical tab": POST + "Transfer-Encoding: \x0bchunked\r\n\r\n" + ZERO + HIDDEN,
    "chunked behind a fold": POST + "Transfer-Encoding:\r\n chunked\r\n\r\n" + ZERO + HIDDEN,
    "chunked in a fold": POST + "X: y\r\n Transfer-Encoding: chunked\r\n\r\n" + ZERO + HIDDEN,
    "chunked behind a space": POST + "Transfer-Encoding : chunked\r\n\r\n" + ZERO + HIDDEN,
    "chunked behind NUL": POST + "Transfer-Encoding\0: chunked\r\n\r\n" + ZERO + HIDDEN,
    "chunked behind a bare CR": POST + "X: y\rTransfer-Encoding: chunked\r\n\r\n" + ZERO + HIDDEN,
    "chunked behind a bare LF": POST + "X: y\nTransfer-Encoding: chunked\r\n\r\n" + ZERO + HIDDEN,
    "chunked in HTTP/1.0": "POST {path} HTTP/1.0\r\nHost: {host}\r\nConnection: keep-alive\r\n" + CHUNKED + ZERO + HIDDEN,
    # Chunks
    "a chunk that ends with LF": POST + CHUNKED + "0\n\n" + HIDDEN,
    "a chunk that ends with CR": POST + CHUNKED + "0\r\r" + HIDDEN,
    "a chunk without an end": POST + CHUNKED + "1\r\nx" + "0\r\n\r\n" + HIDDEN,
    "a chunk longer than it says": POST + CHUNKED + "1\r\nxyz\r\n" + ZERO + HIDDEN,
    "a chunk beyond 64 bits": POST + CHUNKED + "10000000000000000\r\n" + HIDDEN,
    "a negative chunk": POST + CHUNKED + "-1\r\n" + HIDDEN,
    "a chunk in 0x": POST + CHUNKED + "0x0\r\n\r\n" + HIDDEN,
    "a chunk behind a space": POST + CHUNKED + " 0\r\n\r\n" + HIDDEN,
    "a chunk before a space": POST + CHUNKED + "0 \r\n\r\n" + HIDDEN,
    "LF in an extension": POST + CHUNKED + "0;x\n\r\n\r\n" + HIDDEN,
    "LF in a quoted extension": POST + CHUNKED + '0;x="\n"\r\n\r\n' + HIDDEN,
    "CR in an extension": POST + CHUNKED + "0;x\ry\r\n\r\n" + HIDDEN,
    "a trailer with a bare LF": POST + CHUNKED + "0\r\nX: y\n\r\n" + HIDDEN,
    # Lines
    "bare LFs": "GET {path} HTTP/1.1\nHost: {host}\n\n" + HIDDEN,
    "a bare LF at the head's end": GET + "X: y\r\n\n" + HIDDEN,
    "a bare CR at the line's end": "GET {path} HTTP/1.1\rHost: {host}\r\n\r\n" + HIDDEN,
    "a tab in the line": "GET\t{path} HTTP/1.1\r\nHost: {host}\r\n\r\n" + HIDDEN,
    "a space behind the line": "GET {path} HTTP/1.1 \r\nHost: {host}\r\n\r\n" + HIDDEN,
    "two targets": "GET {path} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n" + HIDDEN,
    "a request in the target": "GET {path} HTTP/1.1\rX GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n" + HIDDEN,
    "a version of the future": "GET {path} HTTP/2.0\r\nHost: {host}\r\nConnection: keep-alive\r\n\r\n" + HIDDEN,
    "a version of the past": "GET {path} HTTP/0.9\r\nHost: {host}\r\nConnection: keep-alive\r\n\r\n" + HIDDEN,
    "a version with zeros": "GET {path} HTTP/01.1\r\nHost: {host}\r\n\r\n" + HIDDEN,
    "no version": "GET {path}\r\nHost: {host}\r\n\r\n" + HIDDEN,
    "another protocol": "GET {path} ICY/1.1\r\nHost: {host}\r\n\r\n" + HIDDEN,
    "NUL in the target": "GET {path}\0 HTTP/1.1\r\nHost: {host}\r\n\r\n" + HIDDEN,
    "NUL in a header": GET + "X: \0\r\n\r\n" + HIDDEN,
    "a header without a name": GET + ": x\r\n\r\n" + HIDDEN,
    "a header without a colon": GET + "x\r\n\r\n" + HIDDEN,
    "a folded header": GET + "X: y\r\n\tz\r\n\r\n" + HIDDEN,
    "the first header folded": "GET {path} HTTP/1.1\r\n Host: {host}\r\n\r\n" + HIDDEN,
}
"""Each is refused as unreadable, which ends the connection: what is behind it is never read."""
ENDING = {
    "close": GET + "Connection: close\r\n\r\n" + HIDDEN,
    "HTTP/1.0": "GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n" + HIDDEN,
    "an upgrade": GET + "Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n" + HIDDEN,
    "CONNECT": "CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n" + HIDDEN,
    "HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + HIDDEN,
    "garbage": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + HIDDEN,
}
"""Each is answered in one way or another, and is the last of its connection."""
INSIDE = {
    "a body": GET + "Content-Length: {length}\r\n\r\n" + HIDDEN,
    "a posted body": POST + "Content-Length: {length}\r\n\r\n" + HIDDEN,
    "a chunk": POST + CHUNKED + "{hex}\r\n" + HIDDEN + "\r\n" + ZERO,
    "a chunk of a GET": GET + CHUNKED + "{hex}\r\n" + HIDDEN + "\r\n" + ZERO,
    "a chunk with an extension": GET + CHUNKED + "{hex};a=b\r\n" + HIDDEN + "\r\n0;c\r\n\r\n",
    "a body behind permission": POST + "Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n" + HIDDEN,
    "a header": GET + "X: {flat}\r\n\r\n",
    "a path": "GET /{flat} HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "a query": "GET {path}&x={flat} HTTP/1.1\r\nHost: {host}\r\n\r\n",
}
"""The hidden request is part of the other one for every reader."""


def attack(target: Target, shape: str) -> bytes:
    hidden = target.good(close=False).decode("latin-1")
    return (
        shape.replace(HIDDEN, "\0hidden\0")
        .format(
            path=target.target,
            host=target.host,
            length=len(hidden),
            hex=f"{len(hidden):x}",
            flat=hidden.replace("\r\n", "%0d%0a").replace(" ", "%20"),
        )
        .replace("\0hidden\0", hidden)
        .encode("latin-1")
    )


@pytest.fixture(params=[Dialect.IMDS, Dialect.APP_SERVICE, Dialect.CLOUD_SHELL])
def aimed(request: pytest.FixtureRequest, target: Targets) -> Iterator[Target]:
    """A listener that serves the hidden request by itself, and a real client after the attack."""
    found = target(request.param)
    assert found.ask(found.good()).status == 200
    yield found
    found.assert_serves()


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_what_could_be_read_in_two_ways_is_not_read(aimed: Target, case: str) -> None:
    answer = aimed.ask(attack(aimed, AMBIGUOUS[case]))
    assert_refused(answer, 400)
    assert "\r\nConnection: close" in answer.head


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_nor_when_it_comes_in_pieces_behind_a_good_request(aimed: Target, case: str) -> None:
    received = b""
    with aimed.connect() as connection:
        connection.sendall(aimed.good(close=False))
        raw = attack(aimed, AMBIGUOUS[case])
        for start in range(0, len(raw), 7):
            try:
                connection.sendall(raw[start : start + 7])
            except ConnectionError:
                break
        while more := received_or_reset(connection.recv):
            received += more
    first, second = answers(received)
    assert first.status == 200
    assert_refused(second, 400)


def received_or_reset(receive: Callable[[int], bytes]) -> bytes:
    try:
        return receive(65536)
    except ConnectionError:
        return b""


@pytest.mark.parametrize("case", ENDING)
def test_nothing_is_read_behind_the_last_request(aimed: Target, case: str) -> None:
    assert_refused(aimed.ask(attack(aimed, ENDING[case])), 400, 401, 404, 405)


@pytest.mark.parametrize("case", INSIDE)
def test_a_request_inside_another_is_none(aimed: Target, case: str) -> None:
    found = [answer for answer in aimed.send(attack(aimed, INSIDE[case])) if answer.status != 100]
    assert len(found) == 1
    assert_refused(found[0], 400, 401, 404, 405)


def test_permission_to_send_is_never_taken_for_an_answer(aimed: Target) -> None:
    """It is given when nothing else is under way; a client that pipelines sends its body without."""
    asked = attack(aimed, INSIDE["a body behind permission"])
    assert aimed.send(asked)[0].status == 100
    statuses = [answer.status for answer in aimed.send(aimed.good(close=False) + asked + aimed.good())]
    assert statuses[0] == statuses[-1] == 200
    assert len(statuses) == 3
    assert 100 not in statuses


@pytest.mark.parametrize(
    "authority", ["evil.example", "user@{host}", "{host}@evil", "{host}.evil", "{host}/", "", ":80", "{host}, evil"]
)
def test_absolute_targets_speak_for_their_own_host(aimed: Target, authority: str) -> None:
    url = f"http://{authority.format(host=aimed.host)}{aimed.target}"
    if authority == "{host}/":
        url = f"http://evil/?http://{aimed.host}{aimed.target}"
    assert_refused(aimed.ask(aimed.request(aimed.proof, line=f"GET {url} HTTP/1.1")), 400, 404)
    assert_refused(
        aimed.ask(aimed.request(aimed.proof, line=f"GET http://{aimed.host}{aimed.target} HTTP/1.1", host="evil")), 400
    )


def test_an_absolute_target_with_its_own_host_is_served(aimed: Target) -> None:
    """As clients send it through what they take for a proxy (MIE section 1.5)."""
    assert aimed.ask(aimed.request(aimed.proof, line=f"GET http://{aimed.host}{aimed.target} HTTP/1.1")).status == 200


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Owner]:
    require_namespaces()
    up = Up(tmp_path_factory.mktemp("smuggling") / "data")
    owner = Owner(up)
    owner.machine("vm")
    yield owner
    assert up.stop() == 0


INSIDE_RUN = """
import json, socket, sys
from azure.identity import ManagedIdentityCredential
shown = []
for raw in json.load(sys.stdin):
    received = b""
    with socket.create_connection(("169.254.169.254", 80), timeout=30) as connection:
        connection.sendall(raw.encode("latin-1"))
        connection.shutdown(socket.SHUT_WR)
        try:
            while more := connection.recv(65536):
                received += more
        except ConnectionError:
            pass
    shown.append(received.decode("latin-1"))
    ManagedIdentityCredential().get_token("https://vault.azure.net/.default")
print(json.dumps(shown))
"""


def test_the_same_inside_a_run(owner: Owner) -> None:
    """At the address that code finds there without any variable."""
    inside = Target(
        dialect=Dialect.IMDS,
        port=80,
        path="/metadata/identity/oauth2/token",
        header="Metadata",
        value="true",
        variables={},
        address="169.254.169.254",
    )
    shapes = [*AMBIGUOUS.values(), *ENDING.values()]
    program = [sys.executable, "-c", INSIDE_RUN]
    sent = json.dumps([attack(inside, shape).decode("latin-1") for shape in shapes])
    ended = owner.up.cli("run", "--as", "vm", "--", *program, input=sent)
    assert ended.returncode == 0, ended.stderr
    for shape, received in zip(shapes, json.loads(ended.stdout), strict=True):
        found: list[Answer] = answers(received.encode("latin-1"))
        assert len(found) == 1, shape
        assert_refused(found[0], 400, 404, 405)
