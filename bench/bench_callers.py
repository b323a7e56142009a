"""Who asks: the proof by itself, on machines with few and many processes. What it costs cached tokens is in `bench_dialects`.

The proof of a connection (the client's socket, everybody who holds it, what each of them is) is timed in this process, for a client in
another one, beside idle processes. A kept connection repeats only the look that tells whether its proof still stands.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from measure import median, per_call, percentile, print_environment

from idplane.agent.callers import Callers, Place
from idplane.agent.fairness import FairShare
from idplane.agent.processes import Births
from idplane.agent.protocol import Peer
from idplane.bootstrap.world import SystemClock

PROOFS = 100
LOOKS = 20_000
IDLE = (100, 1_000)
CLIENT = (
    "import socket, sys; c = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); print(flush=True); sys.stdin.read()"
)


@contextmanager
def idle_processes(count: int) -> Iterator[None]:
    """Processes that do nothing."""
    idle = [subprocess.Popen(["sleep", "600"]) for _ in range(count)]
    try:
        yield
    finally:
        for one in idle:
            one.kill()
        for one in idle:
            one.wait()


@contextmanager
def connected() -> Iterator[socket.socket]:
    """A connection from a process that does nothing else."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = [sys.executable, "-c", CLIENT, str(server.getsockname()[1])]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
            accepted, _ = server.accept()
            assert client.stdout is not None
            client.stdout.readline()
            with accepted:
                yield accepted
            client.kill()


async def proofs(accepted: socket.socket) -> tuple[list[float], float, float]:
    """Milliseconds of each proof of a connection, of CPU for each, and microseconds of CPU of a look at a kept one."""
    callers = Callers(clock=SystemClock(), share=FairShare())
    place, peer = Place(tables=callers.tables), Peer(cast("Any", accepted))
    taken, used = [], time.process_time()
    for _ in range(PROOFS):
        start = time.perf_counter()
        proof = await callers.prove(place, peer, (), "bench")
        taken.append((time.perf_counter() - start) * 1000)
    used = (time.process_time() - used) / PROOFS * 1000
    # As `Callers.stands` does, but that other processes of this machine are born meanwhile.
    births = Births()
    look = per_call(lambda: (births.last(), [mark.stands() for mark in proof.marks]), LOOKS)
    births.close()
    await callers.close()
    return taken, used, look


def alone() -> None:
    for count in IDLE:
        with idle_processes(count), connected() as accepted:
            taken, used, look = asyncio.run(proofs(accepted))
        print(
            f"proof beside {count:5} idle processes   p50 {median(taken):6.2f} p99 {percentile(taken, 0.99):6.2f} ms, {used:6.2f} ms CPU"
            f"      a look at a kept one {look:5.1f} us CPU"
        )


def main() -> None:
    print_environment()
    alone()


if __name__ == "__main__":
    main()
