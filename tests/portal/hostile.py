"""What somebody who means ill puts wherever text goes: names, tags, claims, headers, conditions. Planted through the APIs, as the owner or a stranger."""

from __future__ import annotations

from collections.abc import Mapping

from tests.portal.contoso import ARM, BEARER, OWN, VAULT, Contoso

__all__ = ["PAYLOAD", "plant"]

PAYLOAD = (
    "\"'><img src=x onerror=alert(1)><script>alert(2)</script><svg onload=alert(3)>{{ 7191*7 }}{% now %}</textarea></title>"
)
_TURNED = "\u202egnp.exe\u202c \u2066x\u2069"
_LONG = "W" * 10_000
_SCRIPT = "javascript:alert(1)//"
_COMPUTE = "Microsoft.Compute/virtualMachines"


def plant(world: Contoso) -> Mapping[str, int]:
    """The status that each place answered with: what was taken is shown by pages, and what was refused by the logs."""
    planted: dict[str, int] = {}
    for number, text in enumerate((PAYLOAD, _TURNED, _SCRIPT, _LONG)):
        planted |= {f"{name} {number}": status for name, status in _everywhere(world, text, number).items()}
    return planted


def _everywhere(world: Contoso, text: str, number: int) -> dict[str, int]:
    return {
        **_in_the_directory(world, text, number),
        **_on_resources(world, text, number),
        **_in_rules(world, text, number),
        **_of_hosts(world, text, number),
        **_in_requests(world, text),
    }


def _in_the_directory(world: Contoso, text: str, number: int) -> dict[str, int]:
    token = str(world.plane.operator_token("https://graph.microsoft.com")["access_token"])

    def ask(path: str, body: object) -> int:
        return world.send("POST", f"/v1.0{path}", body, token=token).status

    user = {
        "accountEnabled": True,
        "mailNickname": f"evil{number}",
        "userPrincipalName": f"evil{number}@{world.plane.people.domain}",
    }
    return {
        "user": ask("/users", {**user, "displayName": text}),
        "user's name": ask("/users", {**user, "displayName": "x", "userPrincipalName": f"{text}@{world.plane.people.domain}"}),
        "group": ask(
            "/groups",
            {"displayName": text, "mailNickname": f"evil-group{number}", "mailEnabled": False, "securityEnabled": True},
        ),
        "application": ask("/applications", {"displayName": text}),
        "application's uri": ask("/applications", {"displayName": "uri", "identifierUris": [text]}),
        "app role": ask(
            "/applications",
            {
                "displayName": f"roles{number}",
                "appRoles": [
                    {
                        "id": f"0000000{number}-0000-4000-8000-000000000001",
                        "displayName": text,
                        "description": text,
                        "value": "x",
                        "allowedMemberTypes": ["Application"],
                    }
                ],
            },
        ),
        "service principal": ask("/servicePrincipals", {"appId": world.web.client_id, "displayName": text}),
        "secret's name": ask(
            f"/servicePrincipals/{world.web.principal_id}/addPassword", {"passwordCredential": {"displayName": text}}
        ),
    }


def _on_resources(world: Contoso, text: str, number: int) -> dict[str, int]:
    def put(path: str, body: object, version: str = "2024-11-01") -> int:
        return world.arm("PUT", path, body, version=version).status

    place = {"location": "westeurope"}
    return {
        "tag": put(f"{world.shop}/providers/{_COMPUTE}/tagged{number}", {**place, "properties": {}, "tags": {text: text}}),
        "tag's value": put(
            f"{world.shop}/providers/{_COMPUTE}/valued{number}", {**place, "properties": {}, "tags": {"x": text}}
        ),
        "location": put(f"{world.shop}/providers/{_COMPUTE}/placed{number}", {"location": text, "properties": {}}),
        "property": put(
            f"{world.shop}/providers/{_COMPUTE}/typed{number}",
            {**place, "properties": {"osProfile": {"computerName": text, text[:50]: text}}},
        ),
        "machine's name": put(f"{world.shop}/providers/{_COMPUTE}/{text[:60]}", {**place, "properties": {}}),
        "group's name": put(f"/subscriptions/{world.plane.subscription_id}/resourceGroups/{text[:60]}", place),
        "management group": put(
            f"/providers/Microsoft.Management/managementGroups/evil{number}",
            {"properties": {"displayName": text}},
            "2023-04-01",
        ),
        "subscription": put(
            f"/providers/Microsoft.Subscription/aliases/evil{number}",
            {"properties": {"displayName": text, "workload": "DevTest"}},
            "2021-10-01",
        ),
        "container": put(
            f"{world.shop}/providers/Microsoft.ContainerInstance/containerGroups/evil{number}",
            {
                **place,
                "properties": {
                    "osType": "Linux",
                    "containers": [
                        {"name": text, "properties": {"image": text, "resources": {"requests": {"cpu": 1, "memoryInGB": 1}}}}
                    ],
                },
            },
            "2023-05-01",
        ),
    }


def _in_rules(world: Contoso, text: str, number: int) -> dict[str, int]:
    subscription = f"/subscriptions/{world.plane.subscription_id}"
    authorization = "providers/Microsoft.Authorization"

    def put(path: str, properties: object, version: str = "2022-04-01") -> int:
        return world.arm("PUT", path, {"properties": properties}, version=version).status

    quoted = text.replace("'", "\\'")
    grant = {
        "roleDefinitionId": f"/{authorization}/roleDefinitions/2a2b9908-6ea1-4ae2-8e65-a410df84e7d1",
        "principalId": world.front_end.principal_id,
        "principalType": "ServicePrincipal",
        "description": text,
    }
    condition = f"(@Resource[Microsoft.Storage/storageAccounts/blobServices/containers:name] StringEquals '{quoted}')"
    conditional = {**grant, "principalId": world.deploy.principal_id, "conditionVersion": "2.0", "condition": condition}
    scope = (world.shop, world.data, world.platform, world.stock_vault)[number]
    trust = {"issuer": "https://issuer.example", "subject": text, "audiences": ["api://AzureADTokenExchange"]}
    return {
        "role": put(
            f"{subscription}/{authorization}/roleDefinitions/0aaaaaaa-0000-4000-8000-0000000001{number:02}",
            {
                "roleName": f"{text[:400]}{number}",
                "description": text,
                "type": "CustomRole",
                "permissions": [{"actions": ["Microsoft.Compute/virtualMachines/read"]}],
                "assignableScopes": [subscription],
            },
        ),
        "assignment": put(f"{scope}/{authorization}/roleAssignments/0bbbbbbb-0000-4000-8000-0000000001{number:02}", grant),
        "condition": put(f"{scope}/{authorization}/roleAssignments/0bbbbbbb-0000-4000-8000-0000000002{number:02}", conditional),
        "deny assignment": put(
            f"{world.data}/{authorization}/denyAssignments/0ccccccc-0000-4000-8000-0000000001{number:02}",
            {
                "denyAssignmentName": text,
                "description": text,
                "permissions": [{"actions": ["Microsoft.Storage/*/write"]}],
                "principals": [{"id": world.pipeline.principal_id, "type": "ServicePrincipal"}],
            },
            "2024-07-01-preview",
        ),
        "trust": put(f"{world.deploy.id}/federatedIdentityCredentials/evil{number}", trust, "2024-11-30"),
        "trusted issuer": put(
            f"{world.deploy.id}/federatedIdentityCredentials/issuer{number}", {**trust, "issuer": text}, "2024-11-30"
        ),
    }


def _of_hosts(world: Contoso, text: str, number: int) -> dict[str, int]:
    def put(path: str, properties: object) -> int:
        return world.arm(
            "PUT", f"{world.rack.id}/providers/Idplane.Workloads/{path}", {"properties": properties}, version=OWN
        ).status

    return {
        "binding": put(f"bindings/evil{number}", {"processes": {"executable": {"path": f"/opt/{text}"}}}),
        "enrollment": put(
            f"enrollments/evil{number}", {"method": "oidc", "issuer": "https://issuer.example", "facts": {"repository": text}}
        ),
    }


def _in_requests(world: Contoso, text: str) -> dict[str, int]:
    """What strangers and programs say of themselves."""
    plain = "".join(one if 32 <= ord(one) < 127 else "?" for one in text)[:4000]
    said = {
        "user-agent": plain,
        "x-ms-client-request-id": plain,
        "client-request-id": plain,
        "x-ms-correlation-request-id": plain,
        "referer": plain,
    }
    tenant = world.plane.tenant_id
    application = {"grant_type": "client_credentials", "client_id": world.web.client_id, "scope": f"{ARM}/.default"}
    owner = str(world.plane.operator_token(ARM)["access_token"])
    token = world.sign_in(world.web, VAULT).body["access_token"]
    foreign = dict.fromkeys(("iss", "sub", "aud", "oid", "name"), text[:3000])

    def signs_in(**changes: str) -> int:
        return world.send("POST", f"/{tenant}/oauth2/v2.0/token", {**application, **changes}, headers=said).status

    return {
        "client": signs_in(client_id=text[:1000], client_secret="x"),
        "scope": signs_in(client_secret=world.web.secret, scope=f"{text[:1000]}/.default"),
        "secret": signs_in(client_secret=text[:1000]),
        "claims": signs_in(client_assertion_type=BEARER, client_assertion=world.foreign_token(**foreign)),
        "header": world.send(
            "PUT", f"{world.shop}?api-version=2024-11-01", {"location": "x"}, token=owner, headers=said
        ).status,
        "path": world.arm(
            "DELETE", f"{world.shop}/providers/{_COMPUTE}/{text[:60]}", token=world.sign_in(world.web).body["access_token"]
        ).status,
        "vault": world.send(
            "GET", "/secrets/database-password?api-version=7.4", token=token, vault="contoso-stock", headers=said
        ).status,
        "endpoint": world.endpoint(world.stock, text[:300], headers={"user-agent": plain[:2000]}, client_id=text[:300]).status,
    }
