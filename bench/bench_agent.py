"""An agent as a process of its own, beside a plane over TLS: memory, CPU when idle and for cached tokens, and how soon changes reach it.

The agent runs as its unit runs it (`deploy/systemd`): without docstrings, with few arenas. Memory is what the process has to itself (private)
and with the libraries that it shares (resident), after it has served.
"""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measure import (
    IDPLANE,
    Listening,
    Load,
    Management,
    cpu_seconds,
    head,
    median,
    percentile,
    print_environment,
    running_plane,
)

from idplane.bootstrap.settings import environment

IDLE_SECONDS = 10
CACHED = 20_000
CHANGES = 100
VAULT = "https://vault.azure.net"
_IDENTITY_VERSION = "2024-11-30"


@contextmanager
def running_agent(data: Path, info: dict[str, Any], machine: str) -> Iterator[tuple[int, tuple[str, int]]]:
    """Its process id, and where its metadata endpoint is."""
    folder = data.parent
    subprocess.run(
        [IDPLANE, "enroll", "token", machine, "--data", str(data), "--out", str(folder / "join-token")],
        check=True,
        capture_output=True,
    )
    (folder / "agent.toml").write_text(f'[[endpoint]]\ndialect = "imds"\nenv_file = "{folder / "agent.env"}"\n')
    options = ("--server", info["arm"], "--ca", info["ca_file"], "--join", f"token:{folder / 'join-token'}")
    command = [IDPLANE, "agent", *options, "--data", str(folder / "agent"), "--config", str(folder / "agent.toml"), "--json"]
    with started(command):
        pass  # joins, and leaves its bytecode, as an installed program has it
    with started(command) as (process, ready):
        address, _, port = ready["endpoints"][0]["at"].rpartition(":")
        yield process.pid, (address, int(port))


@contextmanager
def started(command: list[str]) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A process that says in one line of JSON that it is ready."""
    unit = {"PYTHONOPTIMIZE": "2", "MALLOC_ARENA_MAX": "2"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**environment(), **unit})
    assert process.stdout is not None
    try:
        yield process, json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()


def memory(pid: int) -> tuple[float, float]:
    """Private and resident, in MB."""
    found = {
        name: float(rest.split()[0])
        for name, rest in (line.split(":") for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    }
    return (found["Private_Clean"] + found["Private_Dirty"]) / 1024, found["Rss"] / 1024


def target(client_id: str | None = None) -> str:
    chosen = f"&client_id={client_id}" if client_id else ""
    return f"/metadata/identity/oauth2/token?api-version=2018-02-01&resource={VAULT}{chosen}"


def status(address: tuple[str, int], client_id: str) -> int:
    request = urllib.request.Request(f"http://{address[0]}:{address[1]}{target(client_id)}", headers={"Metadata": "true"})
    try:
        with urllib.request.urlopen(request) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code


def changes(plane: Management, machine: str, address: tuple[str, int]) -> tuple[list[float], list[float]]:
    """From the answer that an identity was assigned to its first token, and from the answer that it was taken away to the first refusal."""
    first: list[float] = []
    refused: list[float] = []
    path = f"{plane.group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/bench"
    made = plane.call("PUT", f"{path}?api-version={_IDENTITY_VERSION}", {"location": "westeurope"})
    client_id = made["properties"]["clientId"]
    for _ in range(CHANGES):
        for kind, wanted, into in (("SystemAssigned, UserAssigned", {path: {}}, first), ("SystemAssigned", None, refused)):
            block = {"type": kind, **({"userAssignedIdentities": wanted} if wanted else {})}
            plane.call(
                "PUT", f"{machine}?api-version=2024-11-01", {"location": "westeurope", "identity": block, "properties": {}}
            )
            answered = time.perf_counter()
            while (status(address, client_id) == 200) is not (wanted is not None):
                pass
            into.append((time.perf_counter() - answered) * 1000)
    return first, refused


def main() -> None:
    print_environment()
    with running_plane() as (data, info, _), Load() as load:
        plane = Management(data, info)
        machine = plane.machine("bench-vm")
        with running_agent(data, info, machine) as (pid, address):
            listening = Listening(pid=pid, address=address)
            request = head("GET", target(), "169.254.169.254", headers={"Metadata": "true"})
            load.send(listening, [request], 200)
            before = cpu_seconds(pid)
            time.sleep(IDLE_SECONDS)  # noqa: TID251 - what is measured is that time passes
            idle = (cpu_seconds(pid) - before) / IDLE_SECONDS * 100
            private, resident = memory(pid)
            print(f"idle: {private:.1f} MB private, {resident:.1f} MB resident, {idle:.2f} % of a core")
            served = load.send(listening, [request] * 8, CACHED)
            bare = load.send(load.bare, [request] * 8, CACHED)
            print(
                f"cached tokens over 8 connections: {served.rate:,.0f}/s, {served.cpu:.0f} us of CPU each ({bare.cpu:.0f} us a bare handler);"
                f" at 1,000/s {served.cpu / 10:.1f} % of a core"
            )
            private, resident = memory(pid)
            print(f"after {CACHED:,} tokens: {private:.1f} MB private, {resident:.1f} MB resident")
            for name, found in zip(
                ("assigned → first token", "taken away → refused"), changes(plane, machine, address), strict=True
            ):
                print(
                    f"{name}: p50 {median(found):.1f} ms, p99 {percentile(found, 0.99):.1f} ms, max {max(found):.1f} ms of {len(found)}"
                )


if __name__ == "__main__":
    main()
