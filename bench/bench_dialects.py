"""Cached tokens in every dialect, beside a bare handler on the same HTTP parser: the same core, the same run, rounds interleaved.

Plane and bare handler are kept on one core and the load generators on the others. Each dialect is asked where code finds it: inside
a run of its own, at the address that the dialect has there, with the headers that the SDKs send. Arc's figure is for a whole token,
which is two exchanges and a key file; Service Fabric's is over TLS, and so is the bare handler beside it. In every other round the host has a
binding, so that each connection's caller must be proved; processes that start meanwhile make proofs be made anew, as in production.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlencode, urlsplit

from measure import Listening, Load, Management, Served, head, median, percentile, pin, print_environment, running_plane

ROUNDS = 3
CONNECTIONS = (1, 16, 64)
REQUESTS = {1: 2_000, 16: 6_000, 64: 6_000}
CHALLENGED = 800
"""Tokens a round of a dialect that asks twice and writes a file between."""
RESOURCE = "https://management.azure.com/"
IMDS = "http://169.254.169.254/metadata/identity/oauth2/token"


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How one dialect is asked, from the variables that a run has."""

    name: str
    version: str
    url: Callable[[dict[str, str]], str] = lambda variables: variables["IDENTITY_ENDPOINT"]
    headers: Callable[[dict[str, str]], dict[str, str]] = lambda _: {"Metadata": "true"}
    challenged: bool = False
    form: bool = False

    def listening(self, plane: int, variables: dict[str, str]) -> Listening:
        """Where it is asked."""
        url = urlsplit(self.url(variables))
        address = (url.hostname or "", url.port or 80)
        return Listening(pid=plane, address=address, tls=url.scheme == "https", challenged=self.challenged)

    def request(self, variables: dict[str, str]) -> bytes:
        """For the machine's own identity and one resource."""
        url = urlsplit(self.url(variables))
        asked = {"resource": RESOURCE} | ({} if self.form else {"api-version": self.version})
        if self.form:
            form = self.headers(variables) | {"Content-Type": "application/x-www-form-urlencoded"}
            return head("POST", url.path, url.netloc, urlencode(asked).encode(), form)
        return head("GET", f"{url.path}?{urlencode(asked)}", url.netloc, headers=self.headers(variables))


DIALECTS = (
    Dialect(name="imds", version="2018-02-01", url=lambda _: IMDS),
    Dialect(
        name="app-service",
        version="2019-08-01",
        headers=lambda variables: {"X-IDENTITY-HEADER": variables["IDENTITY_HEADER"]},
    ),
    Dialect(
        name="app-service-2017",
        version="2017-09-01",
        url=lambda variables: variables["MSI_ENDPOINT"],
        headers=lambda variables: {"Secret": variables["MSI_SECRET"]},
    ),
    Dialect(name="arc", version="2020-06-01", challenged=True),
    Dialect(
        name="service-fabric",
        version="2019-07-01-preview",
        headers=lambda variables: {"Secret": variables["IDENTITY_HEADER"]},
    ),
    Dialect(name="cloud-shell", version="", url=lambda variables: variables["MSI_ENDPOINT"], form=True),
    Dialect(
        name="machine-learning",
        version="2017-09-01",
        url=lambda variables: variables["MSI_ENDPOINT"],
        headers=lambda variables: {"Secret": variables["MSI_SECRET"]},
    ),
)

Found: TypeAlias = defaultdict[tuple[str, int, str], list[Served]]
"""By dialect, connections, and who served: the plane `open` or `proved`, or the `bare` handler."""


def run_of(data: Path, machine: str, dialect: Dialect) -> Load:
    """A load generator as code of the machine that speaks the dialect, on the cores that are not the servers'."""
    load = Load(inside=(data, machine), options=("--dialect", dialect.name))
    pin(load.bare.pid, 0)
    if len(others := sorted(os.sched_getaffinity(0) - {0})):
        pin(load.pid, others[-1])
    return load


def one_round(found: Found, dialect: Dialect, load: Load, plane: int, kind: str) -> None:
    """One dialect at every number of connections, the plane and the bare handler in turn."""
    listening, request = dialect.listening(plane, load.variables), dialect.request(load.variables)
    bare = load.bare_tls if listening.tls else load.bare
    for connections in CONNECTIONS:
        count = CHALLENGED if dialect.challenged else REQUESTS[connections]
        many = [request] * connections
        found[dialect.name, connections, kind].append(load.send(listening, many, count))
        if kind == "open":
            found[dialect.name, connections, "bare"].append(load.send(bare, many, REQUESTS[connections]))


def measure() -> Found:
    found: Found = defaultdict(list)
    with running_plane() as (data, info, pid), ExitStack() as stack:
        management = Management(data, info)
        machine = management.machine("bench")
        binding = f"{machine}/providers/Idplane.Workloads/bindings/load?api-version=2026-11-01"
        loads = {one: stack.enter_context(run_of(data, machine, one)) for one in DIALECTS}
        pin(pid, 0)
        for dialect, load in loads.items():
            load.send(dialect.listening(pid, load.variables), [dialect.request(load.variables)], 100)
        for _ in range(ROUNDS):
            for dialect, load in loads.items():
                one_round(found, dialect, load, pid, "open")
            management.call("PUT", binding, {"properties": {"processes": {"run": True}}})
            for dialect, load in loads.items():
                one_round(found, dialect, load, pid, "proved")
            management.call("DELETE", binding)
    return found


def main() -> None:
    print_environment()
    found = measure()
    for dialect in DIALECTS:
        for connections in CONNECTIONS:
            for kind in ("open", "proved"):
                print(line(found, dialect.name, connections, kind))


def line(found: Found, dialect: str, connections: int, kind: str) -> str:
    """One figure beside the bare handler's."""
    own, bare = found[dialect, connections, kind], found[dialect, connections, "bare"]
    cpu, bare_cpu = min(one.cpu for one in own), min(one.cpu for one in bare)
    rate, bare_rate = median([one.rate for one in own]), median([one.rate for one in bare])
    worst = median([percentile(one.latencies, 0.99) for one in own])
    return (
        f"{dialect:17}{connections:3} connections, {kind:6} {cpu:6.1f} us CPU = {cpu / bare_cpu:5.2f} x bare ({bare_cpu:5.1f})"
        f"   {rate:7.0f} tokens/s = {rate / bare_rate:4.2f} x bare   p99 {worst:6.2f} ms"
    )


if __name__ == "__main__":
    main()
