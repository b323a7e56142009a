"""What Graph changes, in tokens: a whole plane, its own token service and its agent."""

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import pytest
from azure.identity import ManagedIdentityCredential

from idplane.testing.local import LocalPlane, VirtualMachine

GRAPH = "https://graph.microsoft.com"
GRAPH_APP = "00000003-0000-0000-c000-000000000000"
ROLE = {
    "id": "aaaaaaaa-0000-4000-8000-000000000001",
    "value": "Orders.Read",
    "displayName": "Read",
    "description": "Read",
    "isEnabled": True,
    "allowedMemberTypes": ["Application"],
}


class Graph:
    """A caller of Graph: the operator, or the bearer of a token."""

    def __init__(self, plane: LocalPlane, token: str | None = None) -> None:
        self._plane = plane
        self._token = token or plane.operator_token(GRAPH)["access_token"]

    def __call__(self, method: str, path: str, body: object = None) -> Any:
        status, answer = self.status(method, path, body)
        assert status < 300, answer
        return answer

    def status(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        content = b"" if body is None else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {self._token}", "content-type": "application/json"}
        sent = self._plane.run(self._plane._upstream.send(method, f"/v1.0{path}", headers, content))
        return sent.status, json.loads(sent.body) if sent.body else None

    def grant(self, holder: str, resource_app: str, role_id: str) -> str:
        resource = self("GET", f"/servicePrincipals(appId='{resource_app}')")["id"]
        body = {"principalId": holder, "resourceId": resource, "appRoleId": role_id}
        return f"/servicePrincipals/{holder}/appRoleAssignments/{self('POST', f'/servicePrincipals/{holder}/appRoleAssignments', body)['id']}"

    def role(self, value: str) -> str:
        roles = self("GET", f"/servicePrincipals(appId='{GRAPH_APP}')")["appRoles"]
        return next(str(one["id"]) for one in roles if one["value"] == value)


@pytest.fixture
def graph(idplane: LocalPlane) -> Graph:
    return Graph(idplane)


def signed_in(plane: LocalPlane, client_id: str, secret: str, scope: str = GRAPH) -> tuple[int, Mapping[str, Any]]:
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret, "scope": f"{scope}/.default"}
    headers = {"content-type": "application/x-www-form-urlencoded"}
    path = f"/{plane.tenant_id}/oauth2/v2.0/token"
    sent = plane.run(plane._upstream.send("POST", path, headers, urlencode(form).encode()))
    return sent.status, json.loads(sent.body)


def claims(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    read: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return read


def test_an_application_signs_in_as_long_as_it_may(idplane: LocalPlane, graph: Graph) -> None:
    app = graph("POST", "/applications", {"displayName": "job"})
    secret = graph("POST", f"/applications/{app['id']}/addPassword", {})
    assert signed_in(idplane, app["appId"], secret["secretText"])[0] == 400  # no service principal yet
    principal = graph("POST", "/servicePrincipals", {"appId": app["appId"]})
    status, answer = signed_in(idplane, app["appId"], secret["secretText"])
    assert (status, claims(answer["access_token"])["oid"]) == (200, principal["id"])
    own = Graph(idplane, answer["access_token"])
    assert own("GET", f"/servicePrincipals/{principal['id']}")["displayName"] == "job"

    graph("PATCH", f"/servicePrincipals/{principal['id']}", {"accountEnabled": False})
    assert own.status("GET", f"/servicePrincipals/{principal['id']}")[0] == 401
    assert signed_in(idplane, app["appId"], secret["secretText"])[0] == 401
    graph("PATCH", f"/servicePrincipals/{principal['id']}", {"accountEnabled": True})
    assert own.status("GET", f"/servicePrincipals/{principal['id']}")[0] == 200

    graph("POST", f"/applications/{app['id']}/removePassword", {"keyId": secret["keyId"]})
    assert signed_in(idplane, app["appId"], secret["secretText"])[0] == 401
    graph("DELETE", f"/applications/{app['id']}")
    assert own.status("GET", f"/servicePrincipals/{principal['id']}")[0] == 401


def test_another_owner_s_secret_proves_nothing(idplane: LocalPlane, graph: Graph) -> None:
    first, second = (graph("POST", "/applications", {"displayName": name}) for name in ("one", "two"))
    for app in (first, second):
        graph("POST", "/servicePrincipals", {"appId": app["appId"]})
    secret = graph("POST", f"/applications/{first['id']}/addPassword", {})["secretText"]
    status, answer = signed_in(idplane, second["appId"], secret)
    assert (status, answer["error"]) == (401, "invalid_client")


def test_roles_of_an_application(idplane: LocalPlane, graph: Graph, machine: VirtualMachine) -> None:
    assert machine.identity is not None
    api = graph("POST", "/applications", {"displayName": "orders", "identifierUris": ["api://orders"], "appRoles": [ROLE]})
    graph("POST", "/servicePrincipals", {"appId": api["appId"]})
    credential = ManagedIdentityCredential()
    assert "roles" not in claims(credential.get_token("api://orders/.default").token)

    granted = graph.grant(machine.identity.principal_id, api["appId"], str(ROLE["id"]))
    assert claims(ManagedIdentityCredential().get_token("api://orders/.default").token)["roles"] == ["Orders.Read"]
    assert "roles" not in claims(ManagedIdentityCredential().get_token("https://management.azure.com/.default").token)

    graph("DELETE", granted)
    assert "roles" not in claims(ManagedIdentityCredential().get_token("api://orders/.default").token)


def test_a_role_of_graph_ends_with_its_assignment(idplane: LocalPlane, graph: Graph, machine: VirtualMachine) -> None:
    assert machine.identity is not None
    before = Graph(idplane, ManagedIdentityCredential().get_token(f"{GRAPH}/.default").token)
    status, answer = before.status("GET", "/applications")
    assert (status, answer["error"]["code"]) == (403, "Authorization_RequestDenied")

    granted = graph.grant(machine.identity.principal_id, GRAPH_APP, graph.role("Application.Read.All"))
    reader = Graph(idplane, ManagedIdentityCredential().get_token(f"{GRAPH}/.default").token)
    assert reader("GET", "/applications")["value"] == []
    assert reader.status("POST", "/applications", {"displayName": "x"})[0] == 403
    assert before.status("GET", "/applications")[0] == 403  # the token says what it says

    graph("DELETE", granted)
    status, answer = reader.status("GET", "/applications")
    assert (status, answer["error"]["code"]) == (401, "InvalidAuthenticationToken")


def test_roles_of_a_group_are_its_members(idplane: LocalPlane, graph: Graph, machine: VirtualMachine) -> None:
    assert machine.identity is not None
    role = {**ROLE, "allowedMemberTypes": ["User", "Application"]}
    api = graph("POST", "/applications", {"displayName": "orders", "identifierUris": ["api://orders"], "appRoles": [role]})
    graph("POST", "/servicePrincipals", {"appId": api["appId"]})
    group = graph("POST", "/groups", {"displayName": "g", "mailNickname": "g", "mailEnabled": False, "securityEnabled": True})
    resource = graph("GET", f"/servicePrincipals(appId='{api['appId']}')")["id"]
    body = {"principalId": group["id"], "resourceId": resource, "appRoleId": role["id"]}
    graph("POST", f"/groups/{group['id']}/appRoleAssignments", body)
    member = {"@odata.id": f"{GRAPH}/v1.0/directoryObjects/{machine.identity.principal_id}"}
    assert "roles" not in claims(ManagedIdentityCredential().get_token("api://orders/.default").token)
    graph("POST", f"/groups/{group['id']}/members/$ref", member)
    assert claims(ManagedIdentityCredential().get_token("api://orders/.default").token)["roles"] == ["Orders.Read"]
    graph("DELETE", f"/groups/{group['id']}/members/{machine.identity.principal_id}/$ref")
    assert "roles" not in claims(ManagedIdentityCredential().get_token("api://orders/.default").token)


def test_a_managed_identity_as_an_application_s_credential(idplane: LocalPlane, graph: Graph, machine: VirtualMachine) -> None:
    assert machine.identity is not None
    app = graph("POST", "/applications", {"displayName": "job"})
    principal = graph("POST", "/servicePrincipals", {"appId": app["appId"]})
    issuer = f"https://login.microsoftonline.com/{idplane.tenant_id}/v2.0"
    user = idplane.user_assigned_identity("front-end")
    host = idplane.virtual_machine("other", system=False, identities=[user])
    trust = {"name": "identity", "issuer": issuer, "subject": user.principal_id, "audiences": ["api://AzureADTokenExchange"]}
    graph("POST", f"/applications/{app['id']}/federatedIdentityCredentials", trust)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in idplane.environment(host).items():
            patch.setenv(name, value)
        proof = ManagedIdentityCredential(client_id=user.client_id).get_token("api://AzureADTokenExchange/.default").token
    form = {
        "grant_type": "client_credentials",
        "client_id": app["appId"],
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": proof,
        "scope": f"{GRAPH}/.default",
    }
    headers = {"content-type": "application/x-www-form-urlencoded"}
    path = f"/{idplane.tenant_id}/oauth2/v2.0/token"
    sent = idplane.run(idplane._upstream.send("POST", path, headers, urlencode(form).encode()))
    assert sent.status == 200, sent.body
    assert claims(json.loads(sent.body)["access_token"])["oid"] == principal["id"]
    graph("DELETE", f"/applications/{app['id']}/federatedIdentityCredentials/identity")
    sent = idplane.run(idplane._upstream.send("POST", path, headers, urlencode(form).encode()))
    assert sent.status == 401


@pytest.fixture
def machine(idplane: LocalPlane, monkeypatch: pytest.MonkeyPatch) -> VirtualMachine:
    """A machine that this process runs as."""
    made = idplane.virtual_machine("stock-vm")
    for name, value in idplane.environment(made).items():
        monkeypatch.setenv(name, value)
    return made
