"""First tokens: after `idplane up` (first and later starts), after the pytest plugin is imported, and after a machine is created.

Milliseconds of wall time, beside what a bare interpreter needs to start on the same machine in the same run.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from urllib.parse import urlencode

from measure import IDPLANE, Management, idplane, median, percentile, print_environment, running_plane, timed

STARTS = 9
MACHINES = 200

# The clock stands still while the asking side, which is no part of the plane, imports its own modules.
_UP = """
import http.client, json, ssl, subprocess, sys, time
from pathlib import Path
from urllib.parse import urlencode, urlsplit
from idplane.bootstrap.operator import OPERATOR_FILE, OperatorKey
from idplane.bootstrap.world import SystemClock, SystemEntropy
data = Path(sys.argv[2])
start = time.perf_counter()
process = subprocess.Popen([sys.argv[1], "up", "--data", str(data), "--port", "0", "--json"], stdout=subprocess.PIPE, text=True)
info = json.loads(process.stdout.readline())
ready = time.perf_counter()
key = OperatorKey.from_pem((data / OPERATOR_FILE).read_bytes())
path = f"/{info['tenant_id']}/oauth2/v2.0/token"
form = key.token_request(client_id=info["operator_client_id"], token_endpoint=info["authority"] + path,
    resource="https://management.azure.com", clock=SystemClock(), entropy=SystemEntropy())
context = ssl.create_default_context(cafile=info["ca_file"])
asking = time.perf_counter()
connection = http.client.HTTPSConnection(urlsplit(info["arm"]).netloc, context=context)
connection.request("POST", path, urlencode(form), {"content-type": "application/x-www-form-urlencoded"})
assert "access_token" in json.load(connection.getresponse())
print((ready - start + time.perf_counter() - asking) * 1000)
process.terminate(); process.wait()
"""

# pytest is what loads the plugin, so it is there already; nothing else is.
_PLUGIN = """
import time, pytest
start = time.perf_counter()
import idplane.testing.plugin
from idplane.testing.local import LocalPlane
plane = LocalPlane()
plane.operator_token("https://management.azure.com")
print((time.perf_counter() - start) * 1000)
plane.close()
"""


def printed(*command: str) -> float:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(done.stdout)


def starts() -> tuple[list[float], list[float]]:
    first, later = [], []
    for _ in range(STARTS):
        with tempfile.TemporaryDirectory() as folder:
            data = str(Path(folder) / "data")
            first.append(printed(sys.executable, "-c", _UP, IDPLANE, data))
            later.append(printed(sys.executable, "-c", _UP, IDPLANE, data))
    return first, later


def creations() -> list[float]:
    """Create a machine with an identity over TLS, then get its first token from its own endpoint on the host."""
    elapsed = []
    with running_plane() as (data, info, _):
        plane = Management(data, info)
        for number in range(MACHINES):
            # The listener is part of putting the machine on a host, not of creating it, so it is opened after a first, untimed creation.
            name = f"vm{number}"
            machine = plane.machine(name)
            opened = idplane(data, "env", "--as", machine)
            query = urlencode({"api-version": "2019-08-01", "resource": "https://management.azure.com/"})
            endpoint, secret = opened["variables"]["IDENTITY_ENDPOINT"], opened["variables"]["IDENTITY_HEADER"]
            ask = urllib.request.Request(f"{endpoint}?{query}", headers={"X-IDENTITY-HEADER": secret})
            plane.call("DELETE", f"{machine}?api-version=2024-11-01")

            def create_and_ask(name: str = name, ask: urllib.request.Request = ask) -> None:
                plane.machine(name)
                with urllib.request.urlopen(ask) as answer:
                    assert "access_token" in json.load(answer)

            elapsed.append(timed(create_and_ask))
            idplane(data, "env", "--revoke", opened["id"])
    return elapsed


def main() -> None:
    print_environment()
    printed(sys.executable, "-c", _PLUGIN)  # compiles what is imported
    interpreter = [timed(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True)) for _ in range(STARTS)]
    first, later = starts()
    plugin = [printed(sys.executable, "-c", _PLUGIN) for _ in range(STARTS)]
    created = creations()

    def line(label: str, values: list[float]) -> None:
        multiple = median(values) / median(interpreter)
        print(
            f"{label:44}{median(values):7.0f} ms = {multiple:4.1f} x bare start  (from {min(values):.0f} to {max(values):.0f})"
        )

    line("bare interpreter, start to end", interpreter)
    line("idplane up → first token, first start", first)
    line("idplane up → first token, later starts", later)
    line("pytest plugin import → first token", plugin)
    p50, p99 = median(created), percentile(created, 0.99)
    print(f"{'create a machine → its first token':44}{p50:7.1f} ms, p99 {p99:.1f} ms  ({MACHINES} machines)")


if __name__ == "__main__":
    main()
