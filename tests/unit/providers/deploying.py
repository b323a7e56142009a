"""Templates deployed in a test's hands: short ways to deploy, to wait for the end, and types that wait until a test lets them go on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from tests.unit.providers.surface_plane import GROUP, HOME, MSI, ORIGIN, Plane, Reply

from idplane.arm.declare import Provider, ResourceType, Write, Written
from idplane.model.deployments import deployment_key
from idplane.model.ids import ResourceId

__all__ = [
    "DEPLOY",
    "READER",
    "SCHEMA",
    "Gate",
    "asked",
    "at",
    "code_of",
    "deploy",
    "ended",
    "grant",
    "identity",
    "machine",
    "nested",
    "status",
    "template",
]

DEPLOY = "2025-04-01"
SCHEMA = {
    "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
    "contentVersion": "1.0.0.0",
}


def at(name: str, scope: str = GROUP) -> str:
    return f"{scope}/providers/Microsoft.Resources/deployments/{name}"


def template(*resources: dict[str, Any], **sections: Any) -> dict[str, Any]:
    return {**SCHEMA, "resources": list(resources), **sections}


def asked(document: object, parameters: dict[str, Any] | None = None, *, mode: str = "Incremental") -> dict[str, Any]:
    given = {name: {"value": one} for name, one in (parameters or {}).items()}
    return {"properties": {"mode": mode, "template": document, "parameters": given}}


async def ended(plane: Plane, url: str) -> Any:
    """Wait for the end of a deployment, and read it."""
    await plane.manager.background.finished(deployment_key(HOME, ResourceId.parse(url)))
    return await plane.get(url, version=DEPLOY)


async def deploy(  # noqa: PLR0913 - one deployment, spelled out
    plane: Plane,
    document: object,
    parameters: dict[str, Any] | None = None,
    *,
    name: str = "main",
    scope: str = GROUP,
    mode: str = "Incremental",
    by: str = "owner",
) -> Any:
    """Deploy and wait: the properties of what came of it."""
    body = asked(document, parameters, mode=mode)
    if scope != GROUP and "resourceGroups" not in scope:
        body["location"] = "westeurope"
    reply = await plane.call("PUT", at(name, scope), body, version=DEPLOY, by=by)
    assert reply.status in (200, 201), reply.body
    polled = f"{ORIGIN.management}{scope}/providers/Microsoft.Resources/deployments/"
    assert reply.headers["azure-asyncoperation"].lower().startswith(polled.lower())
    return (await ended(plane, at(name, scope)))["properties"]


def code_of(reply: Reply) -> tuple[int, str]:
    return reply.status, reply.code


@dataclass(slots=True)
class Gate:
    """A provider whose resources are not written before a test says so."""

    open: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: set[str] = field(default_factory=set)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def _put(self, write: Write) -> Written:
        async with self.arrived:
            self.waiting.add(write.id.name)
            self.arrived.notify_all()
        await self.open.wait()
        return Written(resource=write.draft)

    async def until(self, *names: str) -> None:
        """Wait until all these are being written at once."""
        async with self.arrived:
            await self.arrived.wait_for(lambda: self.waiting >= set(names))

    @property
    def provider(self) -> Provider:
        declared = ResourceType(name="Test.Gates/gates", api_versions=("2020-01-01",), located=False, put=self._put)
        return Provider(namespace="Test.Gates", types=(declared,))

    def resource(self, name: str, **more: Any) -> dict[str, Any]:
        return {"type": "Test.Gates/gates", "apiVersion": "2020-01-01", "name": name, **more}


def identity(name: str, **more: Any) -> dict[str, Any]:
    """A user-assigned identity: the smallest resource that every plane has."""
    return {
        "type": "Microsoft.ManagedIdentity/userAssignedIdentities",
        "apiVersion": "2024-11-30",
        "name": name,
        "location": "westeurope",
        **more,
    }


READER = "[subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'acdd72a7-3385-48ef-bd42-f606fba81ae7')]"


def machine(name: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "Microsoft.Compute/virtualMachines",
        "apiVersion": "2024-11-01",
        "name": name,
        "location": "[resourceGroup().location]",
        **more,
    }


def grant(principal: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "Microsoft.Authorization/roleAssignments",
        "apiVersion": "2022-04-01",
        "name": f"[guid(resourceGroup().id, '{principal.replace(chr(39), '')}')]",
        "properties": {"roleDefinitionId": READER, "principalId": principal, "principalType": "ServicePrincipal"},
        **more,
    }


def nested(name: str, document: dict[str, Any], *, inner: bool = True, **more: Any) -> dict[str, Any]:
    properties = {"mode": "Incremental", "template": document, **more.pop("properties", {})}
    if inner:
        properties["expressionEvaluationOptions"] = {"scope": "inner"}
    return {
        "type": "Microsoft.Resources/deployments",
        "apiVersion": "2022-09-01",
        "name": name,
        "properties": properties,
        **more,
    }


async def status(plane: Plane, url: str) -> int:
    return (await plane.call("GET", url, version=MSI if "ManagedIdentity" in url else "2024-11-01")).status
