"""The logs as an OpenTelemetry collector gets them, read by OpenTelemetry's own protocol definitions."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import Parse
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from tests.stories.planes import Up


class Collector:
    """Takes requests while it is `up`; what they hold is read strictly: a member that OTLP does not know is an error."""

    def __init__(self) -> None:
        self.up = True
        self.records: list[Any] = []
        self.heard = threading.Condition()

    def take(self, body: bytes) -> int:
        if not self.up:
            return 503
        request = Parse(body, ExportLogsServiceRequest())
        with self.heard:
            for resource in request.resource_logs:
                assert {one.key: one.value.string_value for one in resource.resource.attributes}["service.name"] == "idplane"
                for scope in resource.scope_logs:
                    self.records += scope.log_records
            self.heard.notify_all()
        return 200

    def wait_for(self, wanted: set[str]) -> None:
        with self.heard:
            assert self.heard.wait_for(lambda: wanted <= {uid(one) for one in self.records}, 30), wanted


def uid(record: Any) -> str:
    return next(str(one.value.string_value) for one in record.attributes if one.key == "log.record.uid")


def body_of(record: Any) -> dict[str, Any]:
    return {one.key: one.value for one in record.body.kvlist_value.values}


@contextmanager
def serving(collector: Collector) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/logs"
            status = collector.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def group(up: Up, name: str) -> None:
    status, _ = up.arm(
        "PUT", f"/subscriptions/{up.info['subscription_id']}/resourceGroups/{name}?api-version=2022-09-01", {"location": "x"}
    )
    assert status == 201


def logged(up: Up, kind: str) -> list[dict[str, Any]]:
    printed = up.cli("log", "export", kind)
    assert printed.returncode == 0, printed.stderr
    return [json.loads(line) for line in printed.stdout.splitlines()]


def activity_ids(up: Up) -> list[str]:
    return [one["properties"]["eventDataId"] for one in logged(up, "activity")]


def test_nothing_is_lost_when_the_collector_or_the_plane_goes_away(tmp_path: Path) -> None:
    collector = Collector()
    with serving(collector) as url:
        up = Up(tmp_path / "data", "--otlp-endpoint", url)
        group(up, "first")
        collector.wait_for(set(activity_ids(up)))
        collector.up = False
        group(up, "second")
        up.kill()
        up = Up(tmp_path / "data", "--otlp-endpoint", url)
        group(up, "third")
        collector.up = True
        wanted = activity_ids(up)
        collector.wait_for(set(wanted))
        signed_in = {one["properties"]["id"] for one in logged(up, "signins")}
        collector.wait_for(signed_in)
        assert up.stop() == 0
    mine = [uid(one) for one in collector.records if uid(one) in set(wanted)]
    assert [one for at, one in enumerate(mine) if one not in mine[:at]] == wanted, "in the order in which they happened"


@pytest.mark.parametrize("kind", ["activity", "signins"])
def test_the_command_s_lines_are_requests_that_opentelemetry_reads(up: Up, kind: str) -> None:
    group(up, f"group-{kind}")
    lines = up.cli("log", "export", kind, "--format", "otlp-json").stdout.splitlines()
    records = [
        record
        for line in lines
        for resource in Parse(line, ExportLogsServiceRequest()).resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]
    assert records
    for record in records:
        assert record.time_unix_nano > 0
        assert record.observed_time_unix_nano >= record.time_unix_nano
        assert body_of(record)["category"].string_value in {"Administrative", "ServicePrincipalSignInLogs"}
