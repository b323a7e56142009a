"""What a collector gets: everything, in order, at least once, whatever it or the plane does in between."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from idplane.bootstrap.collector import HttpCollector, header_words
from idplane.bootstrap.log_export import CollectorAnswer, LogExport
from idplane.ports.collections import ACTIVITY, SIGN_INS
from idplane.ports.store import Append, Batch, Store
from idplane.testing import store_samples as sample
from idplane.testing.worlds import FakeClock, memory_store


@dataclass
class Receiver:
    """A collector in the test's hands; `answer` decides about each request by the ids in it."""

    answer: Callable[[list[str]], CollectorAnswer] = lambda _: CollectorAnswer(status=200)
    name: str = "http://collector/v1/logs"
    taken: list[str] = field(default_factory=list)
    requests: list[list[str]] = field(default_factory=list)

    async def send(self, body: bytes) -> CollectorAnswer:
        records = json.loads(body)["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
        found = [
            one["value"]["stringValue"] for record in records for one in record["attributes"] if one["key"] == "log.record.uid"
        ]
        self.requests.append(found)
        answered = self.answer(found)
        if 200 <= answered.status < 300:
            self.taken += found
        return answered


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    opened = await memory_store(FakeClock())
    yield opened
    await opened.close()


def export(store: Store, receiver: Receiver) -> LogExport:
    return LogExport(store=store, clock=FakeClock(), collector=receiver)


async def fill(store: Store, *names: str) -> None:
    await store.commit(Batch.of(*(Append(log=ACTIVITY, event=sample.activity(name)) for name in names)))


async def test_everything_goes_once_and_what_comes_later_follows(store: Store) -> None:
    receiver = Receiver()
    await fill(store, "1", "2")
    assert await export(store, receiver).turn("activity") is None
    assert await export(store, receiver).turn("activity") is None
    await fill(store, "3")
    assert await export(store, receiver).turn("activity") is None
    assert receiver.requests == [["1", "2"], ["3"]]


async def test_the_logs_go_on_by_themselves(store: Store) -> None:
    receiver = Receiver()
    await store.commit(Batch.of(Append(log=SIGN_INS, event=sample.sign_in("s"))))
    await fill(store, "1")
    await export(store, receiver).turn("signins")
    assert receiver.taken == ["s"]
    await export(store, receiver).turn("activity")
    assert receiver.taken == ["s", "1"]


async def test_more_than_one_request_holds(store: Store) -> None:
    receiver = Receiver()
    names = [str(number) for number in range(450)]
    await fill(store, *names)
    await export(store, receiver).turn("activity")
    assert [len(one) for one in receiver.requests] == [200, 200, 50]
    assert receiver.taken == names


@pytest.mark.parametrize(("status", "retry_after"), [(0, None), (503, 7.0), (429, 3.0), (401, None), (404, None), (302, None)])
async def test_what_is_not_taken_is_kept_and_sent_again(store: Store, status: int, retry_after: float | None) -> None:
    receiver = Receiver(answer=lambda _: CollectorAnswer(status=status, retry_after=retry_after))
    await fill(store, "1")
    assert await export(store, receiver).turn("activity") == (retry_after or 0.0)
    receiver.answer = lambda _: CollectorAnswer(status=200)
    await export(store, receiver).turn("activity")
    assert receiver.taken == ["1"]


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_one_event_that_is_refused_for_itself_does_not_hold_up_the_rest(store: Store, status: int) -> None:
    receiver = Receiver(answer=lambda found: CollectorAnswer(status=status if "bad" in found else 200))
    names = ["a", "b", "bad", "c", "d", "e"]
    await fill(store, *names)
    assert await export(store, receiver).turn("activity") is None
    assert receiver.taken == [one for one in names if one != "bad"]


async def test_a_collector_that_goes_away_between_halves_gets_the_rest_later(store: Store) -> None:
    receiver = Receiver(answer=lambda found: CollectorAnswer(status=413 if len(found) > 2 else 503 if "c" in found else 200))
    await fill(store, "a", "b", "c", "d")
    assert await export(store, receiver).turn("activity") == 0.0
    receiver.answer = lambda _: CollectorAnswer(status=200)
    await export(store, receiver).turn("activity")
    assert receiver.taken == ["a", "b", "c", "d"]


async def test_each_collector_has_a_place_of_its_own(store: Store) -> None:
    first, second = Receiver(), Receiver(name="http://other/v1/logs")
    await fill(store, "1")
    await export(store, first).turn("activity")
    await export(store, second).turn("activity")
    assert first.taken == second.taken == ["1"]


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"null", b"[]", b"\xff", b'{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"no"}}']
)
async def test_whatever_a_collector_says_with_its_200_is_taken_for_yes(
    store: Store, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = Receiver(answer=lambda _: CollectorAnswer(status=200, body=body))
    await fill(store, "1")
    assert await export(store, receiver).turn("activity") is None
    assert ("dropped 2 events: no" in caplog.text) == (b"rejected" in body)


# Over HTTP


@contextmanager
def listening(status: int, *headers: tuple[str, str]) -> Iterator[tuple[str, list[tuple[str, dict[str, str], bytes]]]]:
    seen: list[tuple[str, dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()
        thread.join()


async def test_a_post_with_the_headers_that_were_given() -> None:
    with listening(200) as (url, seen):
        answer = await HttpCollector(f"{url}/base/", {"authorization": "Bearer x"}).send(b"{}")
    assert answer.status == 200
    ((path, headers, body),) = seen
    assert (path, body) == ("/base/v1/logs", b"{}")
    assert (headers["content-type"], headers["authorization"]) == ("application/json", "Bearer x")


@pytest.mark.parametrize(("header", "seconds"), [("3", 3.0), ("-3", None), ("soon", None), ("999999", None)])
async def test_when_to_come_back(header: str, seconds: float | None) -> None:
    with listening(429, ("Retry-After", header)) as (url, _):
        answer = await HttpCollector(url, {}).send(b"{}")
    assert (answer.status, answer.retry_after) == (429, seconds)


async def test_nobody_there() -> None:
    with listening(200) as (url, _):
        pass
    assert (await HttpCollector(url, {}).send(b"{}")).status == 0


@pytest.mark.parametrize(
    "endpoint", ["", "collector:4318", "ftp://a", "http://", "http://user:secret@a", "https://a?key=secret"]
)
def test_what_is_no_collector_s_address(endpoint: str) -> None:
    with pytest.raises(ValueError, match="is not the address of a collector"):
        HttpCollector(endpoint, {})


def test_a_collector_s_name_holds_no_header() -> None:
    assert HttpCollector("https://a.example/v1/logs", {"key": "secret"}).name == "https://a.example:443/v1/logs"


def test_headers_as_opentelemetry_writes_them() -> None:
    assert header_words(" api-key = a%20b , X_Y=1,") == {"api-key": "a b", "X_Y": "1"}


@pytest.mark.parametrize("text", ["novalue", "a b=c", "=x", "a=b%0d%0ac: d", "ä=b"])
def test_headers_that_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="OTEL_EXPORTER_OTLP_HEADERS"):
        header_words(text)
