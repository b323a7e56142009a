"""What metrics and traces cost a fresh token: one server without them, with metrics, and with traces of 1 % and of all requests.

CPU time of the whole process (the store's writer and the exporter's thread included) for each token, rounds interleaved in one run. The application is
asked in process, without TLS and HTTP around it, so that the shares are larger than a client would see. The collector is another process.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from urllib.parse import urlencode

from measure import print_environment

from idplane.bootstrap.embedded import InProcessUpstream
from idplane.bootstrap.observed import observed, telemetry_of
from idplane.bootstrap.operator import OperatorKey
from idplane.bootstrap.seed import trust_operator
from idplane.bootstrap.server import Server
from idplane.bootstrap.telemetry import ProcessTelemetry
from idplane.bootstrap.telemetry_settings import HealthSection, TracingSection
from idplane.bootstrap.world import SystemClock, SystemEntropy, World
from idplane.model.profile import OPEN
from idplane.ports.telemetry import (
    REQUEST,
    REQUESTS,
    SIGN,
    STORE_COMMIT,
    STORE_COMMITS,
    TOKENS_ISSUED,
    Telemetry,
    status_class,
)
from idplane.store.sqlite import SqliteStore
from idplane.testing.worlds import MemoryCustody
from idplane.web.origins import Origins

ROUNDS = 90
TOKENS = 160
AT_ONCE = 16
COLLECTOR = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


class Asked:
    """A server that is asked for tokens."""

    def __init__(self, upstream: InProcessUpstream, path: str, form: bytes) -> None:
        self._upstream = upstream
        self._path = path
        self._form = form

    async def tokens(self, count: int) -> None:
        async def some(number: int) -> None:
            for _ in range(number):
                headers = {"content-type": "application/x-www-form-urlencoded"}
                answer = await self._upstream.send("POST", self._path, headers, self._form)
                assert answer.status == 200, answer.body

        await asyncio.gather(*(some(count // AT_ONCE + 1) for _ in range(AT_ONCE)))


async def server(stack: AsyncExitStack, health: HealthSection, tracing: TracingSection) -> Asked:
    clock, entropy = SystemClock(), SystemEntropy()
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    store = await SqliteStore.open(Path(folder) / "store.sqlite", clock=clock)
    stack.push_async_callback(store.close)
    telemetry = telemetry_of(health, tracing, clock=clock, entropy=entropy, stack=stack)
    plain = World(clock=clock, entropy=entropy, store=store, custody=MemoryCustody(), profile=OPEN)
    world = observed(plain, telemetry)
    made = await Server.open(world)
    stack.push_async_callback(made.close)
    operator = OperatorKey.create(clock, entropy)
    await trust_operator(world, made.installation.operator, operator.certificate)
    path = f"/{made.installation.tenant.id}/oauth2/v2.0/token"
    form = operator.token_request(
        client_id=made.installation.operator.client_id,
        token_endpoint=f"https://localhost{path}",
        resource="https://management.azure.com",
        clock=clock,
        entropy=entropy,
    )
    return Asked(InProcessUpstream(made.app(Origins.local(443)), host="localhost"), path, urlencode(form).encode())


def own_cost(health: HealthSection, tracing: TracingSection) -> float:
    """Microseconds that the calls of one token take by themselves: nothing else goes on, so that little disturbs the figure."""
    clock, entropy = SystemClock(), SystemEntropy()
    with ExitStack() as stack:
        told = AsyncExitStack()
        telemetry = telemetry_of(health, tracing, clock=clock, entropy=entropy, stack=told)
        stack.callback(telemetry.close if isinstance(telemetry, ProcessTelemetry) else lambda: None)
        return min(_calls(telemetry, clock) for _ in range(20))


def _calls(telemetry: Telemetry, clock: SystemClock) -> float:
    count = 500
    before = time.process_time()
    for _ in range(count):
        started = clock.monotonic()
        with telemetry.span(REQUEST, parent=None, surface="authority", **{"http.request.method": "POST"}) as request:
            with telemetry.span(SIGN, purpose="token"):
                pass
            begun = clock.monotonic()
            with telemetry.span(STORE_COMMIT, operations=4) as commit:
                commit.set(outcome="applied")
            telemetry.observe(STORE_COMMITS, clock.monotonic() - begun, outcome="applied")
            telemetry.count(TOKENS_ISSUED, grant="client_assertion")
            request.set(**{"http.response.status_code": 200})
        telemetry.observe(REQUESTS, clock.monotonic() - started, surface="authority", status=status_class(200))
    return (time.process_time() - before) * 1e6 / count


async def measure(endpoint: str) -> dict[str, list[float]]:
    """CPU microseconds a token, by name, of each round."""
    figures: defaultdict[str, list[float]] = defaultdict(list)
    none, some = HealthSection(), HealthSection(listen="127.0.0.1:0")
    async with AsyncExitStack() as stack:
        servers = {
            "without": await server(stack, none, TracingSection()),
            "metrics": await server(stack, some, TracingSection()),
            "metrics, 1 % traced": await server(stack, some, TracingSection(endpoint=endpoint, ratio=0.01)),
            "metrics, all traced": await server(stack, some, TracingSection(endpoint=endpoint, ratio=1.0)),
        }
        for one in servers.values():
            await one.tokens(TOKENS)
        for number in range(ROUNDS):
            names = list(servers)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                before = time.process_time()
                await servers[name].tokens(TOKENS)
                figures[name].append((time.process_time() - before) * 1e6 / (TOKENS // AT_ONCE + 1) / AT_ONCE)
    return figures


def main() -> None:
    print_environment()
    with subprocess.Popen([sys.executable, "-c", COLLECTOR], stdout=subprocess.PIPE, text=True) as collector:
        assert collector.stdout is not None
        port = collector.stdout.readline().strip()
        figures = asyncio.run(measure(f"http://127.0.0.1:{port}"))
        collector.kill()
    # The tenth of the rounds that the machine's other work disturbed least.
    quiet = {name: statistics.quantiles(rounds, n=10)[0] for name, rounds in figures.items()}
    none, some = HealthSection(), HealthSection(listen="127.0.0.1:0")
    own = {
        "without": own_cost(none, TracingSection()),
        "metrics": own_cost(some, TracingSection()),
        "metrics, 1 % traced": own_cost(some, TracingSection(endpoint="http://127.0.0.1:1", ratio=0.01)),
    }
    print(f"\n{'CPU of a fresh token':24} {'us':>8} {'ratio':>8}")
    for name, found in quiet.items():
        print(f"{name:24} {found:8.0f} {found / quiet['without']:8.3f}")
    print(f"\n{'its calls by themselves':24} {'us':>8} {'share':>8}")
    for name, cost in own.items():
        print(f"{name:24} {cost:8.1f} {cost / quiet['without']:8.2%}")


if __name__ == "__main__":
    main()
