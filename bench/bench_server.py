"""Servers over PostgreSQL: fresh tokens over TLS, roles and audit on, of one process and of two that share an address.

Every token is the whole path of a production server: TLS, client assertion, entitlement, a durable sign-in record (`fsync` and
`synchronous_commit` as PostgreSQL has them by default), signature. In rounds of one run: one process, two processes, each over connections
that are kept and over a new one for each token, and the raw RSA-2048 rate. The generator and PostgreSQL share the machine's cores with the
servers, so what a server can do on cores of its own is told by CPU time: the rate that the servers' own CPU time allows for each core.
The sign-in log is counted afterwards.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench_tokens import operator_request
from measure import IDPLANE, Listening, Load, Served, children, cpu_seconds, median, percentile, print_environment, raw_rsa

from idplane.testing.postgres_cluster import Cluster, binaries, cluster

ROUNDS = 5
CONNECTIONS = 16
KEPT = 1_500
ANEW = 600
PORTS = {"one": 18443, "two": 18444}
PROCESSES = {"one": 1, "two": 2}


def settings(folder: Path, url: str, port: int, name: str) -> Path:
    """The settings file of a server."""
    path = folder / f"{name}.toml"
    path.write_text(
        f'[server]\npublic_url = "https://localhost:{port}"\nlisten = "127.0.0.1:{port}"\ndata = "{name}"\n'
        f'[database]\nurl = "{url}"\n[custody]\nfile = "custody.key"\n'
    )
    return path


@contextmanager
def server(config: Path) -> Iterator[int]:
    """A running server's process id."""
    process = subprocess.Popen([IDPLANE, "server", "--config", str(config), "--json"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        if not process.stdout.readline():
            raise SystemExit("a server did not start")
        yield process.pid
    finally:
        process.kill()
        process.wait()


def operator(folder: Path, config: Path, name: str) -> Path:
    """A folder to act as the operator from."""
    out = folder / f"operator-{name}"
    subprocess.run([IDPLANE, "admin", "operator", "--config", str(config), "--out", str(out)], check=True, capture_output=True)
    return out


def postmaster(running: Cluster) -> int:
    """The process id of the database's first process."""
    return int((running.folder / "data" / "postmaster.pid").read_text().split()[0])


def logged(running: Cluster) -> int:
    """Records in the sign-in log."""
    command = [str(running.binaries / "psql"), "-qAt", "-d", running.url("postgres"), "-c", "select count(*) from sign_ins"]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def used_since(pid: int, before: float) -> float:
    """Seconds of CPU since then; none of a process that has ended, such as one that cleaned a table."""
    try:
        return cpu_seconds(pid) - before
    except FileNotFoundError:
        return 0.0


class Rounds:
    """Figures of each kind of round, by name."""

    def __init__(self, running: Cluster) -> None:
        self._running = running
        self.cpu: defaultdict[str, list[float]] = defaultdict(list)
        self.database: defaultdict[str, list[float]] = defaultdict(list)
        self.rate: defaultdict[str, list[float]] = defaultdict(list)
        self.latency: defaultdict[str, list[float]] = defaultdict(list)

    def take(self, name: str, pids: Sequence[int], load: Load, to: Listening, requests: Sequence[bytes], *, anew: bool) -> None:
        """One round: its figures are kept."""
        count = ANEW if anew else KEPT
        backends = children(postmaster(self._running))
        before, database = sum(map(cpu_seconds, pids)), {one: cpu_seconds(one) for one in backends}
        served: Served = load.send(to, requests, count, connections=CONNECTIONS, anew=anew)
        self.cpu[name].append((sum(map(cpu_seconds, pids)) - before) / count * 1e6)
        self.database[name].append(sum(used_since(one, at) for one, at in database.items()) / count * 1e6)
        self.rate[name].append(served.rate)
        self.latency[name] += served.latencies


def measure() -> tuple[Rounds, list[float]]:
    """The rounds, and the raw signature's microseconds."""
    installed = binaries()
    if installed is None:
        raise SystemExit("PostgreSQL's server is not installed")
    signs: list[float] = []
    with ExitStack() as stack:
        running = stack.enter_context(cluster(installed, settings="-c fsync=on -c max_connections=100"))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        rounds, load = Rounds(running), {name: stack.enter_context(Load()) for name in PORTS}
        pids: dict[str, list[int]] = {}
        to: dict[str, Listening] = {}
        requests: dict[str, list[bytes]] = {}
        for name, port in PORTS.items():
            configs = [settings(folder, running.url("postgres"), port, f"{name}{one}") for one in range(PROCESSES[name])]
            pids[name] = [stack.enter_context(server(one)) for one in configs]
            data = operator(folder, configs[0], name)
            info: dict[str, Any] = json.loads((data / "plane.json").read_text())
            requests[name] = [operator_request(data, info)] * CONNECTIONS
            to[name] = Listening(pid=pids[name][0], address=("localhost", port), tls=True, ca_file=str(data / "ca.pem"))
            load[name].send(to[name], requests[name], 300, connections=CONNECTIONS)
        before = logged(running)
        for _ in range(ROUNDS):
            for name in PORTS:
                for anew in (False, True):
                    kind = f"{name}, {'new' if anew else 'kept'}"
                    rounds.take(kind, pids[name], load[name], to[name], requests[name], anew=anew)
            signs.append(raw_rsa()[0])
        if logged(running) - before != ROUNDS * len(PORTS) * (KEPT + ANEW):
            raise SystemExit("the sign-in log does not hold one record for each token")
    return rounds, signs


def main() -> None:
    print_environment()
    rounds, signs = measure()
    sign = median(signs)
    print(f"{'raw RSA-2048 signature':34}{sign:8.0f} us CPU (rounds {min(signs):.0f} to {max(signs):.0f})")
    for name, samples in rounds.cpu.items():
        cpu, database = median(samples), median(rounds.database[name])
        spread = f"(rounds {min(samples):.0f} to {max(samples):.0f})"
        times = f"p50 {median(rounds.latency[name]):.1f} p99 {percentile(rounds.latency[name], 0.99):.1f} ms"
        print(
            f"{name + ' connections':34}{cpu:8.0f} us CPU {spread:24}{sign / cpu:5.0%} of the signature rate; database {database:.0f} us; "
            f"{median(rounds.rate[name]):.0f}/s on this machine, {times}"
        )
    for kind in ("kept", "new"):
        one, two = (median(rounds.cpu[f"{name}, {kind}"]) for name in PORTS)
        wall = median(rounds.rate[f"two, {kind}"]) / median(rounds.rate[f"one, {kind}"])
        print(f"two processes, {kind} connections: {2 * one / two:.2f} x one by CPU time, {wall:.2f} x on this machine")


if __name__ == "__main__":
    main()
