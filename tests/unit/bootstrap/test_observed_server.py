"""A real `idplane server` over PostgreSQL, as operators see it: probes, metrics, traces, logs, backup, restore, check, and its end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.needed import postgres
from tests.unit.bootstrap.test_telemetry_traces import receiving

from idplane.testing.postgres_cluster import Cluster

pytestmark = pytest.mark.wide

RESOURCE = "https://management.azure.com"
IDPLANE = [sys.executable, "-c", "from idplane.cli.main import main; main()"]


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with postgres() as found:
        yield found


def create(running: Cluster, name: str) -> None:
    command = [str(running.binaries / "createdb"), "-h", str(running.folder), "-U", "idplane", name]
    subprocess.run(command, check=True)


def settings(running: Cluster, folder: Path, database: str, endpoint: str, port: int) -> Path:
    folder.mkdir(mode=0o700, exist_ok=True)
    file = folder / "server.toml"
    file.write_text(
        f"""
[server]
public_url = "https://localhost:{port}"
listen = "127.0.0.1:{port}"
data = "data"
[database]
url = "{running.url(database)}"
[custody]
file = "{folder.parent / "custody.key"}"
[replica]
notice_seconds = 2
[health]
listen = "{folder}/health.sock"
[log]
format = "json"
level = "debug"
file = "server.jsonl"
requests = true
[tracing]
endpoint = "{endpoint}"
ratio = 1.0
"""
    )
    return file


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@contextmanager
def server(file: Path) -> Iterator[subprocess.Popen[str]]:
    arguments = [*IDPLANE, "server", "--config", str(file), "--json"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline(), "the server did not start"
            yield process
        finally:
            process.kill()


def probe(file: Path, path: str) -> tuple[int, bytes]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(str(file.parent / "health.sock"))
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def idplane(*arguments: str, code: int = 0) -> str:
    done = subprocess.run([*IDPLANE, *arguments], capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def test_what_operators_see(running: Cluster, tmp_path: Path) -> None:
    create(running, "first")
    create(running, "second")
    with receiving() as (receiver, endpoint):
        file = settings(running, tmp_path / "one", "first", endpoint, free_port())
        with server(file) as process:
            status, body = probe(file, "/readyz")
            assert (status, json.loads(body)["ready"]) == (200, True)
            idplane("admin", "operator", "--config", str(file), "--out", str(tmp_path / "operator"))
            said = idplane("token", "--operator", "--resource", RESOURCE, "--json", "--data", str(tmp_path / "operator"))
            token = str(json.loads(said)["access_token"])
            assert token.count(".") == 2
            _, text = probe(file, "/metrics")
            found = {family.name: family for family in text_string_to_metric_families(text.decode())}
            issued = {sample.name: sample.value for sample in found["idplane_tokens_issued"].samples}
            assert issued["idplane_tokens_issued_total"] >= 1
            assert any(sample.value == 1 for sample in found["idplane_leases_held"].samples)
            assert found["idplane_feed_age_seconds"].samples[0].value < 5
            backup = tmp_path / "backup.jsonl"
            assert "not in it" in idplane("admin", "backup", "--config", str(file), str(backup))
            process.send_signal(signal.SIGTERM)
            # It is still there, and says that it goes.
            while (answer := probe(file, "/readyz"))[0] == 200:
                pass
            assert answer[0] == 503
            assert json.loads(answer[1])["checks"]["draining"]["ok"] is False
            assert process.wait(60) == 0
        log = (tmp_path / "one" / "server.jsonl").read_text()
        lines = [json.loads(line) for line in log.splitlines()]
        assert all({"ts", "level", "logger", "message"} <= line.keys() for line in lines)
        assert any(line["message"] == "request" and line["surface"] == "authority" and line["status"] == 200 for line in lines)
        for content in (log.encode(), text, receiver.raw, backup.read_bytes()):
            for part in (token, token.split(".")[1], token.split(".")[2]):
                assert part.encode() not in content
        assert {"request", "store commit", "signature"} <= {span.name for span in receiver.spans}
        again = settings(running, tmp_path / "two", "second", endpoint, free_port())
        assert "admin check" in idplane("admin", "restore", "--config", str(again), str(backup))
        assert json.loads(idplane("admin", "check", "--config", str(again), "--json"))["good"] is True
        assert "not empty" in idplane("admin", "restore", "--config", str(again), str(backup), code=1)
        with server(again):
            assert probe(again, "/readyz")[0] == 200
            idplane("admin", "operator", "--config", str(again), "--out", str(tmp_path / "operator2"))
            idplane("token", "--operator", "--resource", RESOURCE, "--data", str(tmp_path / "operator2"))
        assert json.loads(idplane("admin", "check", "--config", str(again), "--json"))["good"] is True
