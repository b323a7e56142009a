"""First tokens: after `idplane up` (first and later starts), after a machine is created, and after the pytest plugin is imported.

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

from measure import IDPLANE, idplane, management, median, running_plane, timed

STARTS = 7
MACHINES = 200

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
loaded = time.perf_counter()
connection = http.client.HTTPSConnection(urlsplit(info["arm"]).netloc, context=ssl.create_default_context(cafile=info["ca_file"]))
connection.request("POST", path, urlencode(form), {"content-type": "application/x-www-form-urlencoded"})
assert "access_token" in json.load(connection.getresponse())
print((ready - start + time.perf_counter() - loaded) * 1000)
process.terminate(); process.wait()
"""

_PLUGIN = """
import time
start = time.perf_counter()
import idplane.testing.plugin
from idplane.testing.local import LocalPlane
plane = LocalPlane()
plane.operator_token("https://management.azure.com")
print((time.perf_counter() - start) * 1000)
plane.close()
"""


def printed(*command: str) -> float:
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def starts() -> tuple[list[float], list[float]]:
    first, later = [], []
    for _ in range(STARTS):
        with tempfile.TemporaryDirectory() as folder:
            data = str(Path(folder) / "data")
            first.append(printed(sys.executable, "-c", _UP, IDPLANE, data))
            later.append(printed(sys.executable, "-c", _UP, IDPLANE, data))
    return first, later


def creations() -> list[float]:
    """Create a machine with an identity, then get its first token from its own IMDS."""
    elapsed = []
    with running_plane() as (data, info, _):
        plane = management(data, info)
        for number in range(MACHINES):
            # The listener is part of having the machine on a host, not of creating it, so it is opened after a first, untimed creation.
            name = f"vm{number}"
            machine = plane.machine(name)
            host = idplane(data, "env", "--as", machine, "--dialect", "imds")["AZURE_POD_IDENTITY_AUTHORITY_HOST"]
            query = urlencode({"api-version": "2018-02-01", "resource": "https://management.azure.com/"})
            ask = urllib.request.Request(f"{host}/metadata/identity/oauth2/token?{query}", headers={"Metadata": "true"})
            plane.call("DELETE", f"{machine}?api-version=2024-11-01")

            def create_and_ask(name: str = name, ask: urllib.request.Request = ask) -> None:
                plane.machine(name)
                with urllib.request.urlopen(ask) as answer:
                    assert "access_token" in json.load(answer)

            elapsed.append(timed(create_and_ask))
    return elapsed


def main() -> None:
    interpreter = median([timed(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True)) for _ in range(STARTS)])
    first, later = starts()
    plugin = [printed(sys.executable, "-c", _PLUGIN) for _ in range(STARTS)]
    created = sorted(creations())
    print(f"bare interpreter                          {interpreter:7.0f} ms")
    print(f"idplane up → first token, first start     {median(first):7.0f} ms  (worst {max(first):.0f})")
    print(f"idplane up → first token, later starts    {median(later):7.0f} ms  (worst {max(later):.0f})")
    print(f"pytest plugin import → first token        {median(plugin):7.0f} ms  (worst {max(plugin):.0f})")
    print(
        f"create VM → its first token               {median(created):7.1f} ms  (p99 {created[int(len(created) * 0.99) - 1]:.1f}, {MACHINES} machines)"
    )


if __name__ == "__main__":
    main()
