"""Azure's own Python clients against the agent's listeners, each in a process of its own: they keep sources and tokens globally.

The server behind the agent is a fake one, so that the exact queries and the number of requests can be seen.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.unit.agent.agent_world import SECOND, SHARED, SYSTEM, VM, AgentWorld, token_error

from idplane.agent.callers import Caller
from idplane.agent.source import TokenAsk
from idplane.agent.tokens import Token
from idplane.testing.worlds import FakeClock

pytestmark = pytest.mark.wide

SECRET = "0123456789abcdef0123456789abcdef"
RESOURCE = "https://vault.azure.net"

SYNC = """
import json, sys
from azure.core.exceptions import AzureError
from azure.identity import {credential} as Credential
options, scopes = json.loads(sys.argv[1]), json.loads(sys.argv[2])
try:
    credential = Credential(**options)
    print(json.dumps([[token.token, token.expires_on] for token in (credential.get_token(scope) for scope in scopes)]))
except AzureError as error:
    print(json.dumps({{"error": type(error).__name__, "text": str(error)}}))
"""
AIO = """
import asyncio, json, sys
from azure.core.exceptions import AzureError
from azure.identity.aio import {credential} as Credential
options, scopes = json.loads(sys.argv[1]), json.loads(sys.argv[2])
async def main():
    async with Credential(**options) as credential:
        try:
            tokens = [await credential.get_token(scope) for scope in scopes]
            print(json.dumps([[token.token, token.expires_on] for token in tokens]))
        except AzureError as error:
            print(json.dumps({{"error": type(error).__name__, "text": str(error)}}))
asyncio.run(main())
"""
MSAL = """
import json, sys
import msal, requests
options, scopes = json.loads(sys.argv[1]), json.loads(sys.argv[2])
identity = msal.UserAssignedManagedIdentity(**options) if options else msal.SystemAssignedManagedIdentity()
client = msal.ManagedIdentityClient(identity, http_client=requests.Session())
print(json.dumps([client.acquire_token_for_client(resource=scope.removesuffix("/.default")) for scope in scopes]))
"""
CREDENTIALS = {
    "sync": SYNC.format(credential="ManagedIdentityCredential"),
    "aio": AIO.format(credential="ManagedIdentityCredential"),
}
DEFAULTS = {
    "sync": SYNC.format(credential="DefaultAzureCredential"),
    "aio": AIO.format(credential="DefaultAzureCredential"),
}


@dataclass
class Machine:
    """A workload's environment: the agent's world, and the variables that lead to its listener."""

    world: AgentWorld
    variables: dict[str, str]
    asks: int = 0
    """Token requests that passed the dialect's checks."""

    def count_asks(self) -> None:
        source = self.world.agent._source
        cached = source.cached

        def counted(ask: TokenAsk, caller: Caller, now: float) -> Token | None:
            self.asks += 1
            return cached(ask, caller, now)

        source.cached = counted  # type: ignore[method-assign]  # counts, and changes nothing

    async def run(self, program: str, options: dict[str, Any] | None = None, *scopes: str) -> Any:
        environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **self.variables}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            program,
            json.dumps(options or {}),
            json.dumps(scopes or [f"{RESOURCE}/.default"]),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return json.loads(out)

    @property
    def audiences(self) -> list[str]:
        return [form["resource"] for form in self.world.server.forms]

    @property
    def clients(self) -> list[str]:
        return [form["client_id"] for form in self.world.server.forms]


@pytest.fixture(params=["imds", "app-service"])
async def machine(request: pytest.FixtureRequest) -> AsyncIterator[Machine]:
    world = AgentWorld.make(FakeClock(datetime.now(UTC)))
    world.server.hosts[VM.key] = [SYSTEM, SHARED]
    if request.param == "imds":
        host, port = await world.imds()
        variables = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": f"http://{host}:{port}"}
    else:
        host, port = await world.app_service(SECRET)
        variables = {"IDENTITY_ENDPOINT": f"http://{host}:{port}/msi/token", "IDENTITY_HEADER": SECRET}
    machine = Machine(world, variables)
    machine.count_asks()
    yield machine
    await world.close()


@pytest.mark.parametrize("flavour", ["sync", "aio"])
async def test_a_token_is_fetched_once_and_cached_by_the_client(machine: Machine, flavour: str) -> None:
    scope = f"{RESOURCE}/.default"
    first, second = await machine.run(CREDENTIALS[flavour], {}, scope, scope)
    assert first[0] == second[0]
    assert abs(first[1] - machine.world.clock.now().timestamp() - 3600) < 60
    assert machine.asks == 1, "the client asked again although its token was good"
    assert (machine.audiences, machine.clients) == ([RESOURCE], [SYSTEM.client_id])


@pytest.mark.parametrize("flavour", ["sync", "aio"])
@pytest.mark.parametrize(
    "options",
    [
        {"client_id": SHARED.client_id},
        {"client_id": SHARED.client_id.upper()},
        {"identity_config": {"object_id": SHARED.principal_id}},
        {"identity_config": {"resource_id": SHARED.resource_id}},
        {"identity_config": {"resource_id": str(SHARED.resource_id).lower()}},
    ],
)
async def test_an_identity_is_named(machine: Machine, flavour: str, options: dict[str, Any]) -> None:
    (token,) = await machine.run(CREDENTIALS[flavour], options)
    assert token[0].count(".") == 2
    assert machine.clients == [SHARED.client_id]


@pytest.mark.parametrize("flavour", ["sync", "aio"])
async def test_an_identity_that_is_not_here(machine: Machine, flavour: str) -> None:
    refused = await machine.run(CREDENTIALS[flavour], {"client_id": SECOND.client_id})
    assert refused["error"] in {"CredentialUnavailableError", "ClientAuthenticationError"}
    assert "Identity not found" in refused["text"] or "Managed Identity found" in refused["text"]
    assert machine.clients == []


@pytest.mark.parametrize("flavour", ["sync", "aio"])
async def test_the_token_services_words_reach_the_application(machine: Machine, flavour: str) -> None:
    machine.world.server.token_answer = token_error(400, "invalid_resource", 500011)
    refused = await machine.run(CREDENTIALS[flavour])
    assert "AADSTS500011" in refused["text"]


@pytest.mark.parametrize("flavour", ["sync", "aio"])
async def test_the_default_credential_finds_the_machine(machine: Machine, flavour: str) -> None:
    (token,) = await machine.run(DEFAULTS[flavour])
    assert token[0].count(".") == 2
    assert machine.clients == [SYSTEM.client_id]


@pytest.mark.parametrize("resource", [RESOURCE, f"{RESOURCE}/", "api://AzureADTokenExchange", SECOND.client_id])
async def test_the_slash_at_the_end_is_the_applications(machine: Machine, resource: str) -> None:
    scope = f"{resource}/.default"
    for program in CREDENTIALS.values():
        first, second = await machine.run(program, {}, scope, scope)
        assert first[0] == second[0]
    assert machine.audiences == [resource]
    assert machine.asks == len(CREDENTIALS)


async def test_msal_alone(machine: Machine) -> None:
    first, second = await machine.run(MSAL, {}, f"{RESOURCE}/.default", f"{RESOURCE}/.default")
    assert first["access_token"] == second["access_token"]
    assert (first["token_source"], second["token_source"]) == ("identity_provider", "cache")
    assert first["token_type"] == "Bearer"
    assert first["resource"] == RESOURCE


@pytest.mark.parametrize(
    "options", [{"client_id": SHARED.client_id}, {"object_id": SHARED.principal_id}, {"resource_id": SHARED.resource_id}]
)
async def test_msal_names_an_identity(machine: Machine, options: dict[str, Any]) -> None:
    (answer,) = await machine.run(MSAL, options)
    assert "access_token" in answer
    assert machine.clients == [SHARED.client_id]


async def test_imds_through_a_proxy_variable() -> None:
    """`HTTP_PROXY` leads the hard-coded address to the listener, in absolute form (MIE section 1.5)."""
    world = AgentWorld.make(FakeClock(datetime.now(UTC)))
    host, port = await world.imds()
    machine = Machine(world, {"HTTP_PROXY": f"http://{host}:{port}", "http_proxy": f"http://{host}:{port}"})
    (token,) = await machine.run(CREDENTIALS["sync"])
    assert token[0].count(".") == 2
    await world.close()


async def test_a_wrong_identity_header_gets_nothing(machine: Machine) -> None:
    if "IDENTITY_HEADER" not in machine.variables:
        return
    machine.variables["IDENTITY_HEADER"] = "guess"
    refused = await machine.run(CREDENTIALS["sync"])
    assert "X-IDENTITY-HEADER" in refused["text"]
    assert machine.clients == []
