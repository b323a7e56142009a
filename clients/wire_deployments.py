"""Traffic of deployments and their operations, at every scope that has them."""

from __future__ import annotations

from typing import Any

from clients.traffic import Wire

__all__ = ["deployments", "management_group_deployments"]

_VERSION = "2021-04-01"
_IDENTITY: dict[str, Any] = {
    "type": "Microsoft.ManagedIdentity/userAssignedIdentities",
    "apiVersion": "2024-11-30",
    "name": "deployed",
    "location": "westeurope",
}
_GROUP: dict[str, Any] = {
    "type": "Microsoft.Resources/resourceGroups",
    "apiVersion": "2024-11-01",
    "name": "deployed",
    "location": "westeurope",
}
_MANY: dict[str, Any] = {
    **_IDENTITY,
    "name": "[concat('many-', copyIndex())]",
    "copy": {"name": "many", "count": 400, "mode": "serial", "batchSize": 1},
}


def deployments(wire: Wire) -> None:
    """At a group, the subscription and the tenant."""
    group = f"{wire.subscription}/resourceGroups/deploy"
    wire.good("PUT", group, _VERSION, {"location": "westeurope"})
    spelled = f"{wire.subscription}/resourcegroups/deploy"
    _life(wire, spelled, _asked(_IDENTITY), short=True)
    _life(wire, wire.subscription, {**_asked(_GROUP), "location": "westeurope"})
    nested = {**_asked(_GROUP), "location": "westeurope"}
    inner = {
        "type": "Microsoft.Resources/deployments",
        "apiVersion": "2024-11-01",
        "name": "inner",
        "location": "westeurope",
        "subscriptionId": wire.subscription_id,
        "properties": nested["properties"],
    }
    _life(wire, "", {**_asked(inner), "location": "westeurope"})
    failing = {**_IDENTITY, "name": "x"}
    wire.good("PUT", f"{spelled}/providers/Microsoft.Resources/deployments/failing", _VERSION, _asked(failing))
    _ended(wire, f"{spelled}/providers/Microsoft.Resources/deployments/failing")


def management_group_deployments(wire: Wire) -> None:
    """At a management group."""
    group = "/providers/Microsoft.Management/managementGroups/wire"
    wire.good("PUT", group, "2020-05-01", {"properties": {"displayName": "wire"}})
    inner = {
        "type": "Microsoft.Resources/deployments",
        "apiVersion": "2024-11-01",
        "name": "inner",
        "location": "westeurope",
        "subscriptionId": wire.subscription_id,
        "properties": _asked(_GROUP)["properties"],
    }
    _life(wire, group, {**_asked(inner), "location": "westeurope"})


def _life(wire: Wire, scope: str, body: Any, *, short: bool = False) -> None:
    every = f"{scope}/providers/Microsoft.Resources/deployments"
    one, gone = f"{every}/one", f"{every}/gone"
    wire.good("POST", f"{one}/validate", _VERSION, body)
    wire.good("POST", f"{one}/whatIf", _VERSION, body)
    wire.good("PUT", one, _VERSION, body)
    assert _ended(wire, one) == "Succeeded"
    wire.good("PUT", one, _VERSION, body)
    _ended(wire, one)
    assert wire.call("HEAD", one, _VERSION)[0] == 204
    assert wire.call("HEAD", gone, _VERSION)[0] == 404
    wire.good("POST", f"{one}/exportTemplate", _VERSION)
    wire.good("GET", f"{every}/", _VERSION)
    wire.good("GET", f"{every}/", _VERSION, **{"$filter": "provisioningState eq 'Succeeded'", "$top": "1"})
    operations = f"{scope}/deployments/{{}}/operations" if short else f"{every}/{{}}/operations"
    _operations(wire, operations)
    if short:
        _operations(wire, f"{every}/{{}}/operations")
    _canceled(wire, every, scope, short=short)
    broken = {**body, "properties": {**body["properties"], "template": {"resources": 1}}}
    invalid = (400, "InvalidTemplate")
    for method, path in (("PUT", gone), ("POST", f"{one}/whatIf"), ("POST", f"{one}/validate")):
        wire.refused(invalid, method, path, _VERSION, broken)
    missing = (404, "DeploymentNotFound")
    for method, path in (
        ("GET", gone),
        ("POST", f"{gone}/cancel"),
        ("POST", f"{gone}/exportTemplate"),
    ):
        wire.refused(missing, method, path, _VERSION)
    wire.refused((409, "DeploymentCannotBeCancelled"), "POST", f"{one}/cancel", _VERSION)
    for _ in range(2):
        wire.good("DELETE", one, _VERSION)


def _operations(wire: Wire, template: str) -> None:
    operations = template.format("one")
    found = wire.good("GET", operations, _VERSION)["value"]
    wire.good("GET", f"{operations}/{found[0]['operationId']}", _VERSION)
    wire.refused((404, "DeploymentNotFound"), "GET", template.format("gone"), _VERSION)
    wire.refused((404, "ResourceNotFound"), "GET", f"{operations}/0123456789ABCDEF", _VERSION)


def _canceled(wire: Wire, every: str, scope: str, *, short: bool) -> None:
    """A deployment of many resources, each after the one before it, that is canceled on its way."""
    body = _asked(_MANY if short else {**_GROUP, "name": "[concat('many-', copyIndex())]", "copy": _MANY["copy"]})
    if not short and scope != wire.subscription:
        inner = {
            "type": "Microsoft.Resources/deployments",
            "apiVersion": "2024-11-01",
            "name": "many",
            "location": "westeurope",
            "subscriptionId": wire.subscription_id,
            "properties": body["properties"],
        }
        body = _asked(inner)
    wire.good("PUT", f"{every}/many", _VERSION, body if short else {**body, "location": "westeurope"})
    wire.good("POST", f"{every}/many/cancel", _VERSION)
    assert _ended(wire, f"{every}/many") == "Canceled"


def _ended(wire: Wire, deployment: str) -> str:
    while True:
        state: str = wire.good("GET", deployment, _VERSION)["properties"]["provisioningState"]
        if state not in ("Accepted", "Running"):
            return state
        wire.forget()


def _asked(*resources: dict[str, Any]) -> dict[str, Any]:
    template = {
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "resources": list(resources),
        "outputs": {"told": {"type": "string", "value": "x"}},
    }
    return {"properties": {"mode": "Incremental", "template": template, "parameters": {}}}
