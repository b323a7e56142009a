"""The private listener: alive, ready and why not, over real sockets; no hang, no secret, nothing but GET."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.unit.bootstrap.telemetry_world import observed_server

from idplane.bootstrap.health import Check, Health, Unready
from idplane.bootstrap.server_health import server_health
from idplane.bootstrap.survey import Survey
from idplane.bootstrap.world import SystemClock
from idplane.model.failure import Failure, FailureKind
from idplane.model.keys import KeyState
from idplane.ports.collections import SIGNING_KEYS
from idplane.ports.store import Batch, Delete
from idplane.testing.worlds import FakeClock
from idplane.web.health import HealthApp, bind_private


async def fine() -> None:
    """Nothing to object to."""


async def asked(app: HealthApp, request: bytes, *, path: Path | None = None) -> tuple[int, dict[str, str], bytes]:
    sock = bind_private(str(path) if path is not None else "127.0.0.1:0")
    listener = await app.listen(sock)
    try:
        opening = asyncio.open_unix_connection(str(path)) if path is not None else asyncio.open_connection(*sock.getsockname())
        reader, writer = await opening
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode().splitlines()
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        length = 0 if request.startswith(b"HEAD") else int(headers.get("content-length", "0"))
        body = await reader.readexactly(length)
        writer.close()
        return int(first.split()[1]), headers, body
    finally:
        await listener.close()


def get(path: str, method: str = "GET", more: str = "") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n".encode()


@asynccontextmanager
async def health_of(**checks: Check) -> AsyncIterator[Health]:
    health = Health(checks, clock=SystemClock())
    yield health
    await health.close()


async def test_a_server_says_that_it_is_ready_and_counts_it() -> None:
    async with observed_server() as world:
        health = server_health(world.server, freshness=lambda: 0.0, bound=5)
        survey = Survey(world.server, world.telemetry, freshness=lambda: 0.0, connections=dict)
        app = HealthApp(ready=health.report, metrics=survey.metrics)
        status, headers, body = await asked(app, get("/readyz"))
        assert status == 200
        assert headers["cache-control"] == "no-store"
        document = json.loads(body)
        assert document["ready"] is True
        assert document["checks"].keys() == {"database", "feed", "signing_key", "custody", "log", "draining"}
        status, headers, body = await asked(app, get("/metrics"))
        assert (status, headers["content-type"].split(";")[0]) == (200, "text/plain")
        assert b"idplane_feed_age_seconds 0.0" in body
        await health.close()


async def test_a_stale_feed_is_not_ready() -> None:
    async with observed_server() as world:
        health = server_health(world.server, freshness=lambda: 5.1, bound=5)
        status, _, body = await asked(HealthApp(ready=health.report), get("/readyz"))
        assert status == 503
        assert [name for name, it in json.loads(body)["checks"].items() if not it["ok"]] == ["feed"]


async def test_a_lost_database_is_not_ready() -> None:
    async with observed_server() as world:
        health = server_health(world.server, freshness=lambda: 0.0, bound=5)
        await world.server.world.store.close()
        report = await health.report()
        assert report.checks["database"] == "unavailable"
        assert not report.ready


async def test_no_active_key_is_not_ready() -> None:
    async with observed_server() as world:
        store = world.server.world.store
        keys = await store.all(SIGNING_KEYS, where={"state": KeyState.ACTIVE.value, "purpose": "token"})
        await store.commit(Batch.of(*(Delete(collection=SIGNING_KEYS, key=one.value.id) for one in keys)))
        await world.server.ring.read()
        report = await server_health(world.server, freshness=lambda: 0.0, bound=5).report()
        assert report.checks["signing_key"] == "no signing key is active"


async def test_a_check_that_hangs_is_late_and_the_probe_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("idplane.bootstrap.health._CHECK_SECONDS", 0.01)
    never = asyncio.Event()
    async with health_of(hanging=lambda: _wait(never), fine=fine) as health:
        status, _, body = await asked(HealthApp(ready=health.report), get("/readyz"))
        assert status == 503
        assert json.loads(body)["checks"]["hanging"]["ok"] is False
        assert json.loads(body)["checks"]["fine"] == {"ok": True}


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


async def test_many_probes_are_one_question() -> None:
    asked_of: list[int] = []
    gate = asyncio.Event()

    async def counted() -> None:
        asked_of.append(1)
        await gate.wait()

    async with health_of(counted=counted) as health:
        probes = [asyncio.ensure_future(health.report()) for _ in range(100)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        probes[0].cancel()  # a probe that hangs up does not end the question for the others
        gate.set()
        assert all(report.ready for report in await asyncio.gather(*probes[1:]))
        assert asked_of == [1]


async def test_reports_are_kept_for_a_moment_and_no_longer() -> None:
    clock, asked_of = FakeClock(), []

    async def counted() -> None:
        asked_of.append(1)

    health = Health({"counted": counted}, clock=clock)
    await health.report()
    await health.report()
    assert asked_of == [1]
    clock.advance(1)
    await health.report()
    assert asked_of == [1, 1]


async def test_draining_is_said_at_once_and_for_good() -> None:
    async with health_of(fine=fine) as health:
        assert (await health.report()).ready
        health.drain()
        report = await health.report()
        assert not report.ready
        assert report.checks["draining"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Unready("not yet"), "not yet"),
        (Failure(FailureKind.STORAGE_FULL, "/var/secret is full"), "storage full"),
        (RuntimeError("password=hunter2"), "the check failed (RuntimeError)"),
    ],
)
async def test_reasons_hold_nothing_secret(error: Exception, said: str) -> None:
    async def failing() -> None:
        raise error

    async with health_of(failing=failing) as health:
        assert (await health.report()).checks["failing"] == said


async def test_alive_needs_no_check() -> None:
    async def failing() -> None:
        raise Unready("down")

    async with health_of(failing=failing) as health:
        status, _, body = await asked(HealthApp(ready=health.report), get("/livez"))
        assert (status, json.loads(body)) == (200, {"live": True})


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (get("/"), 404),
        (get("/metrics"), 404),
        (get("/livez/.."), 404),
        (get("/livez", "POST", "Content-Length: 0\r\n"), 405),
        (get("/livez", "DELETE"), 405),
        (get("/livez", "POST", "Content-Length: 5\r\n") + b"hello", 405),
        (get("/livez", "HEAD"), 200),
        (get("/livez?x=1"), 200),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 413),
        (b"nonsense\r\n\r\n", 400),
        (get("/livez", more="Transfer-Encoding: gzip\r\n"), 400),
    ],
)
async def test_everything_else_is_refused(request_bytes: bytes, expected: int) -> None:
    async with health_of(fine=fine) as health:
        status, _, _ = await asked(HealthApp(ready=health.report), request_bytes)
        assert status == expected


async def test_a_unix_socket_is_for_its_owner_and_group(tmp_path: Path) -> None:
    path = tmp_path / "health.sock"
    async with health_of(fine=fine) as health:
        assert (await asked(HealthApp(ready=health.report), get("/readyz"), path=path))[0] == 200
        # What a killed process leaves behind is no obstacle.
        assert path.exists()
        assert (await asked(HealthApp(ready=health.report), get("/readyz"), path=path))[0] == 200
    assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0


def test_no_file_is_taken_for_a_socket(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(ValueError, match="no socket"):
        bind_private(str(path))
    assert path.read_text() == "data"


@pytest.mark.parametrize(
    "listen", ["", "9464", "localhost", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000", ":9464", "127.0.0.1:-1"]
)
def test_addresses_that_are_none(listen: str) -> None:
    with pytest.raises(ValueError, match=r"health\.listen must be like"):
        bind_private(listen)
