"""A template of 200 resources, beside the same requests sent one by one over one connection.

Each resource is a user-assigned identity or, after it, a machine that uses it. Seconds of wall time over TLS, on SQLite with durable
commits; the deployment's own end is polled every 20 ms. The same again for a deployment that changes nothing, and for what-if.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from measure import Management, median, print_environment, running_plane

PAIRS = 100
ROUNDS = 5
_NEVER = threading.Event()
_IDENTITY, _MACHINE = "Microsoft.ManagedIdentity/userAssignedIdentities", "Microsoft.Compute/virtualMachines"
_TEMPLATE = {
    "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
    "contentVersion": "1.0.0.0",
    "resources": [
        {
            "type": _IDENTITY,
            "apiVersion": "2023-01-31",
            "name": "[format('id-{0}', copyIndex())]",
            "location": "[resourceGroup().location]",
            "copy": {"name": "identities", "count": PAIRS},
        },
        {
            "type": _MACHINE,
            "apiVersion": "2024-11-01",
            "name": "[format('vm-{0}', copyIndex())]",
            "location": "[resourceGroup().location]",
            "identity": {
                "type": "UserAssigned",
                "userAssignedIdentities": {f"[resourceId('{_IDENTITY}', format('id-{{0}}', copyIndex()))]": {}},
            },
            "properties": {},
            "dependsOn": [f"[resourceId('{_IDENTITY}', format('id-{{0}}', copyIndex()))]"],
            "copy": {"name": "machines", "count": PAIRS},
        },
    ],
}
_BODY = {"properties": {"mode": "Incremental", "template": _TEMPLATE, "parameters": {}}}


def one_by_one(plane: Management, group: str) -> float:
    start = time.perf_counter()
    for at in range(PAIRS):
        identity = f"{group}/providers/{_IDENTITY}/id-{at}"
        plane.call("PUT", f"{identity}?api-version=2023-01-31", {"location": "westeurope"})
    for at in range(PAIRS):
        users: dict[str, Any] = {f"{group}/providers/{_IDENTITY}/id-{at}": {}}
        body = {
            "location": "westeurope",
            "identity": {"type": "UserAssigned", "userAssignedIdentities": users},
            "properties": {},
        }
        plane.call("PUT", f"{group}/providers/{_MACHINE}/vm-{at}?api-version=2024-11-01", body)
    return time.perf_counter() - start


def deployed(plane: Management, group: str) -> float:
    url = f"{group}/providers/Microsoft.Resources/deployments/main?api-version=2022-09-01"
    start = time.perf_counter()
    state = plane.call("PUT", url, _BODY)["properties"]["provisioningState"]
    while state in ("Accepted", "Running"):
        _NEVER.wait(0.02)
        state = plane.call("GET", url)["properties"]["provisioningState"]
    if state != "Succeeded":
        raise SystemExit(f"the deployment is {state}")
    return time.perf_counter() - start


def foreseen(plane: Management, group: str) -> float:
    url = f"{group}/providers/Microsoft.Resources/deployments/main/whatIf?api-version=2022-09-01"
    start = time.perf_counter()
    plane.call("POST", url, _BODY)
    return time.perf_counter() - start


def main() -> None:
    print_environment()
    found: dict[str, list[float]] = {}
    with running_plane() as (data, info, _):
        plane = Management(data, info)
        for turn in range(ROUNDS):
            groups = [f"{plane.group}-{name}-{turn}" for name in ("requests", "template")]
            for group in groups:
                plane.call("PUT", f"{group}?api-version=2024-11-01", {"location": "westeurope"})
            found.setdefault("one by one", []).append(one_by_one(plane, groups[0]))
            found.setdefault("template", []).append(deployed(plane, groups[1]))
            found.setdefault("one by one, again", []).append(one_by_one(plane, groups[0]))
            found.setdefault("template, again", []).append(deployed(plane, groups[1]))
            found.setdefault("what-if", []).append(foreseen(plane, groups[1]))
    base = median(found["one by one"])
    for name, times in found.items():
        print(f"{2 * PAIRS} resources, {name:<18} {median(times):6.2f} s = {median(times) / base:.2f} x one by one")


if __name__ == "__main__":
    main()
