"""Traces: gone on with from callers, told to a real OTLP receiver, and never at the cost of a request."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.unit.bootstrap.telemetry_world import observed_server

from idplane.bootstrap.telemetry import ProcessTelemetry
from idplane.bootstrap.telemetry_settings import TracingSection
from idplane.bootstrap.telemetry_upstream import ObservedUpstream
from idplane.bootstrap.world import SystemClock, SystemEntropy
from idplane.model.failure import Failure, FailureKind
from idplane.ports.telemetry import FETCH, REQUEST, SIGN, SPANS, STORE_COMMIT

TRACE = "0af7651916cd43dd8448eb211c80319c"
TOLD, UNTOLD = f"00-{TRACE}-b7ad6b7169203331-01", f"00-{TRACE}-b7ad6b7169203331-00"


class Receiver:
    """An OTLP/HTTP receiver of spans."""

    def __init__(self) -> None:
        self.status = 200
        self.spans: list[Any] = []
        self.raw = b""

    def take(self, body: bytes) -> int:
        if self.status == 200:
            request = ExportTraceServiceRequest.FromString(body)
            self.raw += body
            for resource in request.resource_spans:
                names = {one.key: one.value.string_value for one in resource.resource.attributes}
                assert names.keys() == {"service.name", "service.version"}
                for scope in resource.scope_spans:
                    self.spans += scope.spans
        return self.status

    def named(self, name: str) -> list[Any]:
        return [one for one in self.spans if one.name == name]


@contextmanager
def receiving() -> Iterator[tuple[Receiver, str]]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                raise AssertionError("not asked for")
            self.send_response(receiver.take(body))
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield receiver, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def telemetry(endpoint: str, ratio: float = 1.0, callers: int = 50) -> ProcessTelemetry:
    settings = TracingSection(endpoint=endpoint, ratio=ratio, callers_per_second=callers)
    return ProcessTelemetry(settings, clock=SystemClock(), entropy=SystemEntropy())


def attributes(span: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


def dropped(one: ProcessTelemetry) -> list[str]:
    return [line for line in one.metrics.text(None)[1].decode().splitlines() if line.startswith("idplane_spans_dropped_total")]


async def test_a_callers_trace_goes_on_through_decision_commit_and_signature() -> None:
    with receiving() as (receiver, endpoint):
        async with observed_server(TracingSection(endpoint=endpoint, ratio=0)) as world:
            status, token = await world.token(headers={"traceparent": TOLD})
            assert status == 200
            bearer = {"authorization": f"Bearer {token['access_token']}", "traceparent": TOLD}
            assert (await world.ask("GET", "/subscriptions?api-version=2022-12-01", bearer))[0] == 200
            secret = str(token["access_token"])
    assert {one.trace_id.hex() for one in receiver.spans} == {TRACE}
    requests = receiver.named("request")
    assert [attributes(one)["surface"] for one in requests] == ["authority", "management"]
    assert all(one.parent_span_id.hex() == "b7ad6b7169203331" for one in requests)
    (signature,) = receiver.named("signature")
    assert signature.parent_span_id == requests[0].span_id
    assert attributes(receiver.named("store commit")[0])["outcome"] == "applied"
    assert receiver.named("authorization decision")
    for part in secret.split("."):
        assert part.encode() not in receiver.raw
    assert world.server.installation.operator.client_id.encode() not in receiver.raw


async def test_what_a_caller_sends_is_in_no_attribute() -> None:
    mark = "VerySecretValue-7f3a"
    with receiving() as (receiver, endpoint):
        async with observed_server(TracingSection(endpoint=endpoint, ratio=1)) as world:
            await world.ask("GET", f"/{mark}?{mark}={mark}", {"authorization": f"Bearer {mark}"})
            await world.ask(mark, f"/subscriptions/{mark}", {"traceparent": mark, "tracestate": f"{mark}={mark}"})
            await world.token(client_id=mark, client_assertion=mark, scope=mark)
    assert len(receiver.named("request")) == 3
    assert mark.encode() not in receiver.raw
    declared = {name.name: name.attributes.keys() | {"error.type"} for name in SPANS}
    for span in receiver.spans:
        assert attributes(span).keys() <= declared[span.name]
        assert not span.events
        assert not span.status.message


async def test_the_ratio_says_which_traces_are_told() -> None:
    with receiving() as (receiver, endpoint):
        none, every = telemetry(endpoint, 0), telemetry(endpoint, 1)
        for one in (none, every):
            with one.span(REQUEST), one.span(SIGN):
                pass
            one.close()
    assert [one.name for one in receiver.spans] == ["signature", "request"]


async def test_a_caller_who_wants_nothing_told_gets_nothing_told_below_either() -> None:
    with receiving() as (receiver, endpoint):
        one = telemetry(endpoint, 0)
        with one.span(REQUEST, parent=UNTOLD), one.span(STORE_COMMIT):
            assert one.traceparent() == UNTOLD
            assert one.trace_id() == TRACE
        assert one.traceparent() is None
        one.close()
    assert receiver.spans == []


async def test_callers_cannot_decide_how_much_work_tracing_is() -> None:
    with receiving() as (receiver, endpoint):
        one = telemetry(endpoint, 0, callers=3)
        for _ in range(50):
            with one.span(REQUEST, parent=TOLD):
                pass
        one.close()
    assert 3 <= len(receiver.spans) <= 10


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "00",
        f"00-{TRACE}-b7ad6b7169203331",
        f"00-{TRACE.upper()}-b7ad6b7169203331-01",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-b7ad6b7169203331-01",
        f"00-{TRACE}-b7ad6b7169203331-01-more",
        f"00-{TRACE}-b7ad6b7169203331-01\n",
        f" 00-{TRACE}-b7ad6b7169203331-01",
        "x" * 10_000,
    ],
)
async def test_what_is_no_traceparent_begins_a_trace_of_its_own(parent: str) -> None:
    with receiving() as (receiver, endpoint):
        one = telemetry(endpoint, 1)
        with one.span(REQUEST, parent=parent):
            pass
        one.close()
    (span,) = receiver.spans
    assert span.trace_id.hex() != TRACE
    assert span.parent_span_id == b""


async def test_a_later_version_of_the_header_is_read_as_far_as_it_is_known() -> None:
    with receiving() as (receiver, endpoint):
        one = telemetry(endpoint, 0)
        with one.span(REQUEST, parent=f"01-{TRACE}-b7ad6b7169203331-01-more"):
            pass
        one.close()
    assert receiver.spans[0].trace_id.hex() == TRACE


@given(parent=st.text(max_size=80))
def test_no_header_makes_it_fail(parent: str) -> None:
    one = ProcessTelemetry(TracingSection(endpoint="http://127.0.0.1:1", ratio=0), clock=SystemClock(), entropy=SystemEntropy())
    with one.span(REQUEST, parent=parent):
        one.traceparent()
    one.close()


async def test_a_collector_that_refuses_costs_spans_and_no_request() -> None:
    with receiving() as (receiver, endpoint):
        receiver.status = 400
        async with observed_server(TracingSection(endpoint=endpoint, ratio=1)) as world:
            assert (await world.token())[0] == 200
            told = world.telemetry
        assert receiver.spans == []
        assert any('why="collector"' in line and not line.endswith(" 0.0") for line in dropped(told))


async def test_an_exception_is_told_by_its_kind_alone() -> None:
    with receiving() as (receiver, endpoint):
        one = telemetry(endpoint)
        with pytest.raises(Failure), one.span(REQUEST):
            raise Failure(FailureKind.UNAVAILABLE, "the password is hunter2")
        one.close()
    assert attributes(receiver.spans[0]) == {"error.type": "unavailable"}
    assert b"hunter2" not in receiver.raw


async def test_the_server_goes_on_from_its_agent() -> None:
    with receiving() as (receiver, endpoint):
        agent = telemetry(endpoint, 1)
        async with observed_server(TracingSection(endpoint=endpoint, ratio=0)) as world:
            upstream = ObservedUpstream(world.upstream, telemetry=agent, clock=SystemClock())
            await upstream.send("GET", "/agent/v1/host", {}, b"")
        agent.close()
    (fetch,), (request,) = receiver.named("ask the server"), receiver.named("request")
    assert request.trace_id == fetch.trace_id
    assert request.parent_span_id == fetch.span_id
    assert attributes(request)["surface"] == "agents"


async def test_without_a_collector_spans_tell_nobody() -> None:
    one = ProcessTelemetry(clock=SystemClock(), entropy=SystemEntropy())
    with one.span(FETCH, parent=TOLD) as span:
        span.set(**{"http.response.status_code": 200})
        assert one.traceparent() is None
    one.close()
