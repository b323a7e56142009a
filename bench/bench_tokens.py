"""Tokens: from the agent's cache against a bare handler on the same HTTP parser, and fresh ones against the raw RSA-2048 rate.

All in CPU time of the whole serving process (its store's writer included) for each request, rounds interleaved in one run, load from
another process. A fresh token from the metadata endpoint is the whole path: IMDS → agent → client assertion → token endpoint → durable
sign-in record → signature. Each connection asks for a resource of its own, since requests for one token share one exchange; the
sign-in log is counted afterwards to prove that every answer was a token of its own.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from measure import (
    Listening,
    Load,
    Management,
    head,
    logged,
    median,
    percentile,
    print_environment,
    raw_rsa,
    running_plane,
)

from idplane.bootstrap.operator import OPERATOR_FILE, OperatorKey
from idplane.bootstrap.world import SystemClock, SystemEntropy

ROUNDS = 7
CONNECTIONS = 16
CACHED = 20_000
FRESH = 2_000
IMDS = "169.254.169.254"


def imds_request(resource: str, *, fresh: bool) -> bytes:
    query = urlencode({"api-version": "2018-02-01", "resource": resource} | ({"bypass_cache": "true"} if fresh else {}))
    return head("GET", f"/metadata/identity/oauth2/token?{query}", IMDS, headers={"Metadata": "true"})


def operator_request(data: Path, info: dict[str, Any]) -> bytes:
    """A token request with one client assertion, which a client may send until it expires."""
    path = f"/{info['tenant_id']}/oauth2/v2.0/token"
    form = OperatorKey.from_pem((data / OPERATOR_FILE).read_bytes()).token_request(
        client_id=info["operator_client_id"],
        token_endpoint=info["authority"] + path,
        resource="https://management.azure.com",
        clock=SystemClock(),
        entropy=SystemEntropy(),
    )
    netloc = urlsplit(info["authority"]).netloc
    return head("POST", path, netloc, urlencode(form).encode(), {"Content-Type": "application/x-www-form-urlencoded"})


def measure() -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Figures by name: CPU microseconds of each round, and latencies of all."""
    cpu: defaultdict[str, list[float]] = defaultdict(list)
    latency: defaultdict[str, list[float]] = defaultdict(list)
    with running_plane() as (data, info, pid):
        machine = Management(data, info).machine("bench")
        metadata = Listening(pid=pid, address=(IMDS, 80))
        authority = Listening(pid=pid, address=("localhost", info["port"]), tls=True, ca_file=info["ca_file"])
        cached = [imds_request("https://management.azure.com/", fresh=False)] * CONNECTIONS
        fresh = [imds_request(f"https://bench{n}.blob.core.windows.net", fresh=True) for n in range(CONNECTIONS)]
        with Load(inside=(data, machine)) as inside, Load() as outside:
            sends = {
                "bare": partial(inside.send, inside.bare, cached),
                "cached": partial(inside.send, metadata, cached),
                "fresh": partial(inside.send, metadata, fresh),
                "direct": partial(outside.send, authority, [operator_request(data, info)] * CONNECTIONS),
            }
            for send in sends.values():
                send(200)
            before = logged(data)
            for _ in range(ROUNDS):
                for name, send in sends.items():
                    served = send(FRESH if name in {"fresh", "direct"} else CACHED)
                    cpu[name].append(served.cpu)
                    latency[name] += served.latencies
                cpu["sign"].append(raw_rsa()[0])
            if logged(data) - before != 2 * ROUNDS * FRESH:
                raise SystemExit("the sign-in log does not hold one record for each fresh token")
    return cpu, latency


def main() -> None:
    print_environment()
    cpu, latency = measure()
    value = {name: median(samples) for name, samples in cpu.items()}

    def line(label: str, name: str, ratio: str) -> None:
        spread = f"(rounds {min(cpu[name]):.1f} to {max(cpu[name]):.1f})"
        times = f"p50 {median(latency[name]):.2f} p99 {percentile(latency[name], 0.99):.2f} ms" if name in latency else ""
        print(f"{label:38}{value[name]:8.1f} us CPU {spread:26}{ratio:34}{times}")

    line("bare handler on httptools", "bare", "")
    line("cached token, IMDS", "cached", f"{value['cached'] / value['bare']:.2f} x bare")
    line("raw RSA-2048 signature", "sign", "")
    line("fresh RS256 token, IMDS, whole path", "fresh", f"{value['sign'] / value['fresh']:.0%} of the signature rate")
    line("fresh RS256 token, endpoint over TLS", "direct", f"{value['sign'] / value['direct']:.0%} of the signature rate")


if __name__ == "__main__":
    main()
