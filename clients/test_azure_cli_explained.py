"""The commands that explanations of refusals suggest, pasted as they are told: after each, the request that was refused succeeds."""

from __future__ import annotations

import base64
import http.client
import json
import shlex
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest
from clients.azure_cli_world import Az, new_group, new_identity, put
from tests.stories.planes import Up

pytestmark = pytest.mark.xdist_group("azure-cli-explained")

ARM, GRAPH, VAULT = "https://management.azure.com", "https://graph.microsoft.com", "https://vault.azure.net"


@dataclass(frozen=True, slots=True)
class Program:
    """An application that signs in with a secret."""

    application_id: str
    client_id: str
    principal_id: str
    secret: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal by the id that its caller was shown."""

    up: Up
    az: Az
    id: str

    def explanation(self) -> Any:
        told = self.up.cli("explain", self.id, "--json")
        assert told.returncode == 0, told.stderr
        return json.loads(told.stdout)["explanation"]

    def mend(self) -> Any:
        """Run what the explanation suggests, all of it where all is needed; what the last command prints."""
        told = self.explanation()
        lines = [one["command"] for one in told["fixes"] if one["command"]]
        printed = None
        for line in lines if told["together"] else lines[:1]:
            for one in line.split(" && "):
                printed = self._run(one)
        assert lines, told["fixes"]
        return printed

    def _run(self, line: str) -> Any:
        name, *words = shlex.split(line)
        assert name == "idplane"
        if words[0] == "az":
            return self.az(*words[1:])
        ended = subprocess.run(
            [*self.up.program, *words, "--data", str(self.up.data)], capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout


@pytest.fixture(scope="module")
def group(up: Up) -> str:
    """The id of the module's group."""
    return new_group(up, "explained")


@pytest.fixture(scope="module")
def vault(up: Up, az: Az, group: str) -> str:
    """A vault with a secret, and the operator as its officer."""
    properties = {"tenantId": up.info["tenant_id"], "sku": {"family": "A", "name": "standard"}, "enableRbacAuthorization": True}
    identifier = f"{group}/providers/Microsoft.KeyVault/vaults/explained"
    put(up, identifier, "2023-07-01", {"location": "westeurope", "properties": properties})
    az(
        "role",
        "assignment",
        "create",
        "--assignee",
        up.info["operator_client_id"],
        "--role",
        "Key Vault Secrets Officer",
        "--scope",
        identifier,
    )
    az("keyvault", "secret", "set", "--vault-name", "explained", "--name", "db", "--value", "hello")
    return identifier


@pytest.fixture
def refused(up: Up, az: Az) -> Callable[[tuple[int, Any, str]], Refused]:
    """A refusal out of an answer that is one."""

    def found(answer: tuple[int, Any, str]) -> Refused:
        status, body, identifier = answer
        assert status >= 400, body
        return Refused(up, az, identifier)

    return found


def send(
    up: Up, method: str, path: str, body: Any = None, *, token: str | None = None, host: str | None = None
) -> tuple[int, Any, str]:
    """Status, body and id of an answer."""
    form = isinstance(body, str)
    headers = {"content-type": "application/x-www-form-urlencoded" if form else "application/json"}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    if host is not None:
        headers["host"] = host
    with closing(up.connect()) as connection:
        connection.request(method, path, body if form or body is None else json.dumps(body), headers)
        answer: http.client.HTTPResponse = connection.getresponse()
        text = answer.read()
    return answer.status, json.loads(text) if text else None, answer.headers["x-ms-request-id"]


def graph(up: Up, method: str, path: str, body: Any = None) -> Any:
    """As the operator."""
    status, answer, _ = send(up, method, f"/v1.0{path}", body, token=up.operator_token(GRAPH))
    assert status < 400, answer
    return answer


def program(up: Up, name: str) -> Program:
    made = graph(up, "POST", "/applications", {"displayName": name})
    principal = graph(up, "POST", "/servicePrincipals", {"appId": made["appId"]})
    secret = graph(up, "POST", f"/applications/{made['id']}/addPassword", {"passwordCredential": {}})
    return Program(made["id"], made["appId"], principal["id"], secret["secretText"])


def ask(up: Up, one: Program, resource: str = ARM, secret: str | None = None) -> tuple[int, Any, str]:
    form = {
        "grant_type": "client_credentials",
        "client_id": one.client_id,
        "client_secret": secret or one.secret,
        "resource": resource,
    }
    return send(up, "POST", f"/{up.info['tenant_id']}/oauth2/token", urlencode(form))


def token(up: Up, one: Program, resource: str = ARM) -> str:
    status, body, _ = ask(up, one, resource)
    assert status == 200, body
    text: str = body["access_token"]
    return text


def read(up: Up, by: str, name: str = "db") -> tuple[int, Any, str]:
    """A secret of the module's vault."""
    return send(up, "GET", f"/secrets/{name}?api-version=7.4", token=by, host=_vault_host(up))


def _vault_host(up: Up) -> str:
    host, _, port = up.info["arm"].removeprefix("https://").partition(":")
    return f"explained.vault.{host}:{port}"


def as_operator(up: Up, method: str, path: str, body: Any = None) -> tuple[int, Any, str]:
    return send(up, method, path, body, token=up.operator_token(ARM))


def test_a_role_is_assigned(up: Up, vault: str, refused: Callable[..., Refused]) -> None:
    stock = program(up, "stock")
    refused(read(up, token(up, stock, VAULT))).mend()
    assert read(up, token(up, stock, VAULT))[1]["value"] == "hello"


def test_somebody_joins_a_group(up: Up, vault: str, az: Az, refused: Callable[..., Refused]) -> None:
    worker = program(up, "worker")
    team = graph(
        up, "POST", "/groups", {"displayName": "team", "mailEnabled": False, "mailNickname": "team", "securityEnabled": True}
    )
    az(
        *("role", "assignment", "create", "--assignee-object-id", team["id"], "--assignee-principal-type", "Group"),
        *("--role", "Key Vault Secrets User", "--scope", vault),
    )
    refused(read(up, token(up, worker, VAULT))).mend()
    assert read(up, token(up, worker, VAULT))[0] == 200


def test_a_deny_assignment_goes(up: Up, group: str, az: Az, refused: Callable[..., Refused]) -> None:
    deployer = program(up, "deployer")
    az("role", "assignment", "create", "--assignee", deployer.client_id, "--role", "Contributor", "--scope", group)
    properties = {
        "denyAssignmentName": "frozen",
        "permissions": [{"actions": ["Microsoft.Resources/subscriptions/resourceGroups/write"]}],
        "principals": [{"id": deployer.principal_id, "type": "ServicePrincipal"}],
    }
    path = f"{group}/providers/Microsoft.Authorization/denyAssignments/dddddddd-0000-4000-8000-000000000001"
    put(up, path, "2024-07-01-preview", {"properties": properties})

    def tag() -> tuple[int, Any, str]:
        return send(up, "PATCH", f"{group}?api-version=2024-11-01", {"tags": {"a": "b"}}, token=token(up, deployer))

    refused(tag()).mend()
    assert tag()[0] == 200


def test_a_condition_is_taken_off(up: Up, group: str, refused: Callable[..., Refused]) -> None:
    """It stands where the request was refused, so that there is no lesser remedy."""
    one = program(up, "conditional")
    properties = {
        "roleDefinitionId": "/providers/Microsoft.Authorization/roleDefinitions/b24988ac-6180-42a0-ab88-20f7382dd24c",
        "principalId": one.principal_id,
        "principalType": "ServicePrincipal",
        "condition": "@Environment[isPrivateLink] BoolEquals true",
        "conditionVersion": "2.0",
    }
    put(
        up,
        f"{group}/providers/Microsoft.Authorization/roleAssignments/{one.principal_id}",
        "2022-04-01",
        {"properties": properties},
    )

    def tag() -> tuple[int, Any, str]:
        return send(up, "PATCH", f"{group}?api-version=2024-11-01", {"tags": {"a": "c"}}, token=token(up, one))

    refused(tag()).mend()
    assert tag()[0] == 200


def test_a_lock_goes(up: Up, group: str, refused: Callable[..., Refused]) -> None:
    made = new_identity(up, group, "locked")
    lock = f"{made['id']}/providers/Microsoft.Authorization/locks/keep"
    put(up, lock, "2020-05-01", {"properties": {"level": "CanNotDelete"}})
    path = f"{made['id']}?api-version=2024-11-30"
    refused(as_operator(up, "DELETE", path)).mend()
    assert as_operator(up, "DELETE", path)[0] == 200


def test_a_namespace_is_registered(up: Up, group: str, refused: Callable[..., Refused]) -> None:
    scope = f"/subscriptions/{up.info['subscription_id']}"
    as_operator(up, "POST", f"{scope}/providers/Microsoft.Automation/unregister?api-version=2022-12-01")
    path = f"{group}/providers/Microsoft.Automation/automationAccounts/one?api-version=2023-11-01"
    refused(as_operator(up, "PUT", path, {"location": "westeurope"})).mend()
    assert as_operator(up, "PUT", path, {"location": "westeurope"})[0] in (200, 201)


def test_a_subscription_is_enabled(up: Up, refused: Callable[..., Refused]) -> None:
    alias = "/providers/Microsoft.Subscription/aliases/second"
    made = put(up, alias, "2021-10-01", {"properties": {"displayName": "second", "workload": "DevTest"}})
    scope = f"/subscriptions/{made['properties']['subscriptionId']}"
    as_operator(up, "POST", f"{scope}/providers/Microsoft.Subscription/cancel?api-version=2021-10-01")
    path = f"{scope}/resourceGroups/new?api-version=2024-11-01"
    refused(as_operator(up, "PUT", path, {"location": "westeurope"})).mend()
    assert as_operator(up, "PUT", path, {"location": "westeurope"})[0] == 201


def test_a_client_is_enabled(up: Up, refused: Callable[..., Refused]) -> None:
    one = program(up, "switched-off")
    graph(up, "PATCH", f"/servicePrincipals/{one.principal_id}", {"accountEnabled": False})
    refused(ask(up, one)).mend()
    assert ask(up, one)[0] == 200


def test_a_secret_is_renewed(up: Up, refused: Callable[..., Refused]) -> None:
    one = program(up, "forgetful")
    printed = refused(ask(up, one, secret="wrong")).mend()
    assert ask(up, one, secret=printed["password"])[0] == 200


def test_a_resource_is_registered(up: Up, refused: Callable[..., Refused]) -> None:
    one = program(up, "customer")
    wanted = f"api://{up.info['tenant_id']}/orders"
    refused(ask(up, one, wanted)).mend()
    assert ask(up, one, wanted)[0] == 200


_TRUST = {"issuer": "https://issuer.example/", "subject": "somebody", "audiences": ["api://AzureADTokenExchange"]}


def test_a_federated_credential_of_an_identity_is_changed(up: Up, group: str, refused: Callable[..., Refused]) -> None:
    """Issuer and subject are not those that are trusted."""
    builder = new_identity(up, group, "builder")
    put(up, f"{builder['id']}/federatedIdentityCredentials/main", "2024-11-30", {"properties": _TRUST})
    refused(_exchange(up, builder["clientId"])).mend()
    assert _matches(up, builder["clientId"])


def test_federated_credentials_of_an_application_are_made_and_changed(up: Up, refused: Callable[..., Refused]) -> None:
    one = program(up, "federated")
    refused(_exchange(up, one.client_id)).mend()
    assert _matches(up, one.client_id)
    other = program(up, "federated-elsewhere")
    graph(up, "POST", f"/applications/{other.application_id}/federatedIdentityCredentials", {"name": "main", **_TRUST})
    refused(_exchange(up, other.client_id)).mend()
    assert _matches(up, other.client_id)


def _exchange(up: Up, client_id: str) -> tuple[int, Any, str]:
    """A token that nobody signed: which credential matches is looked at first."""
    claims = {"iss": "https://issuer.example", "sub": "me", "aud": "api://AzureADTokenExchange"}
    form = {
        "grant_type": "client_credentials",
        "client_id": client_id,
        "client_assertion": f"{_b64(json.dumps({'alg': 'RS256', 'kid': 'one'}))}.{_b64(json.dumps(claims))}.{_b64('signature')}",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "resource": ARM,
    }
    return send(up, "POST", f"/{up.info['tenant_id']}/oauth2/token", urlencode(form))


def _matches(up: Up, client_id: str) -> bool:
    """A credential matches; that nobody publishes the issuer's keys is another matter."""
    status, body, _ = _exchange(up, client_id)
    return (status, body["error_codes"]) == (400, [50166])


def test_a_secret_of_the_vault_is_enabled_and_recovered(up: Up, vault: str, az: Az, refused: Callable[..., Refused]) -> None:
    named = ("--vault-name", "explained", "--name", "off")
    az("keyvault", "secret", "set", *named, "--value", "hello")
    az("keyvault", "secret", "set-attributes", *named, "--enabled", "false")
    by = up.operator_token(VAULT)
    refused(read(up, by, "off")).mend()
    assert read(up, by, "off")[0] == 200
    az("keyvault", "secret", "delete", *named)
    refused(read(up, by, "off")).mend()
    assert read(up, by, "off")[0] == 200


@pytest.mark.parametrize("identity", ["system", "user"])
@pytest.mark.parametrize(
    ("kind", "version"),
    [("Compute/virtualMachines", "2024-11-01"), ("Web/sites", "2023-12-01"), ("Logic/workflows", "2019-05-01")],
)
def test_an_identity_is_assigned(
    up: Up, group: str, refused: Callable[..., Refused], identity: str, kind: str, version: str
) -> None:
    host = f"{group}/providers/Microsoft.{kind}/{kind.partition('/')[0].lower()}-{identity}"
    put(up, host, version, {"location": "westeurope", "properties": {}})
    asked = ("--client-id", new_identity(up, group, f"for-{kind.replace('/', '-')}")["clientId"]) if identity == "user" else ()
    before = _as_host(up, host, *asked)
    assert before[0] != 0
    refused((400, None, before[1])).mend()
    assert _as_host(up, host, *asked)[0] == 0


def _as_host(up: Up, host: str, *options: str) -> tuple[int, str]:
    """What code on a host gets: the exit status of its run, and the refusal's id out of the answer."""
    code = (
        "import os, sys, json, urllib.request, urllib.parse, urllib.error\n"
        "query = {'api-version': '2019-08-01', 'resource': 'https://management.azure.com'}\n"
        "query |= {'client_id': sys.argv[2]} if len(sys.argv) > 2 else {}\n"
        "url = os.environ['IDENTITY_ENDPOINT'] + '?' + urllib.parse.urlencode(query)\n"
        "request = urllib.request.Request(url, headers={'X-IDENTITY-HEADER': os.environ['IDENTITY_HEADER']})\n"
        "try:\n"
        "    urllib.request.urlopen(request)\n"
        "except urllib.error.HTTPError as error:\n"
        "    print(error.headers['x-ms-request-id'])\n"
        "    sys.exit(3)\n"
    )
    ended = up.cli("run", "--as", host, "--isolation", "env", "--", "python3", "-c", code, *options)
    return ended.returncode, ended.stdout.strip()


def test_a_process_is_admitted(up: Up, group: str, refused: Callable[..., Refused]) -> None:
    host = f"{group}/providers/Microsoft.Compute/virtualMachines/bound"
    put(up, host, "2024-11-01", {"location": "westeurope", "properties": {}, "identity": {"type": "SystemAssigned"}})
    binding = f"{host}/providers/Idplane.Workloads/bindings/other"
    put(up, binding, "2026-11-01", {"properties": {"processes": {"user": "nobody"}}})
    before = _as_host(up, host)
    assert before[0] != 0
    refused((403, None, before[1])).mend()
    assert _as_host(up, host)[0] == 0


def _b64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
