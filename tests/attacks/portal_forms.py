"""Every form of the portal: where it goes, and what it would change if it were sent by somebody who may.

Whoever adds a page that takes a form adds a line, or `test_portal_forms.py` fails.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.unit.web.portal_world import HOST, PortalWorld

from idplane.bootstrap.embedded import InProcessUpstream
from idplane.jose import make_csr, new_ec_key
from idplane.ports.collections import (
    AGENTS,
    ENROLLMENTS,
    FEDERATED_CREDENTIALS,
    IDENTITY_ASSIGNMENTS,
    JOIN_TOKENS,
    PRINCIPALS,
    RESOURCES,
    ROLE_ASSIGNMENTS,
    SIGNING_KEYS,
)

__all__ = ["FORMS", "OF_THE_SESSION", "Form", "Target", "stage", "standing"]

_OWN = "2026-11-01"
_IDENTITY = "Microsoft.ManagedIdentity/userAssignedIdentities"
_READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
_GRANT = "aaaaaaaa-0000-4000-8000-000000000001"
_COLLECTIONS: tuple[Any, ...] = (
    RESOURCES,
    PRINCIPALS,
    ROLE_ASSIGNMENTS,
    IDENTITY_ASSIGNMENTS,
    FEDERATED_CREDENTIALS,
    AGENTS,
    ENROLLMENTS,
    JOIN_TOKENS,
    SIGNING_KEYS,
)


@dataclass(frozen=True)
class Form:
    """Where it is sent, and its fields; both may hold the words of `Target` in braces. `request` is as its page has it."""

    url: str
    fields: Mapping[str, str]

    def at(self, target: Target) -> tuple[str, dict[str, str]]:
        words = target.words
        return self.url.format_map(words), {name: value.format_map(words) for name, value in self.fields.items()}


@dataclass(frozen=True)
class Target:
    """What the forms are about."""

    words: Mapping[str, str]


_PLACE = {"location": "westeurope", "tags": ""}
FORMS: Mapping[str, Form] = {
    "/portal/resources/new/resource-group": Form(
        "/portal/resources/new/resource-group", {"name": "mine", "subscription": "{subscription}", **_PLACE}
    ),
    "/portal/resources/new/{kind}": Form(
        "/portal/resources/new/virtual-machine",
        {"name": "mine", "group": "{group}", "image": "ubuntu", "size": "Standard_B1s", "admin": "me", **_PLACE},
    ),
    "/portal/identities/new": Form("/portal/identities/new", {"name": "mine-too", "group": "{group}", **_PLACE}),
    "/portal/identity/federated/edit/{id:path}": Form(
        "/portal/identity/federated/edit{shared}",
        {
            "name": "mine",
            "scenario": "other",
            "issuer": "https://evil.example",
            "subject": "me",
            "audience": "api://AzureADTokenExchange",
        },
    ),
    "/portal/identity/federated/delete/{id:path}": Form("/portal/identity/federated/delete{shared}", {"name": "trusted"}),
    "/portal/identity/grants/{principal}/add": Form(
        "/portal/identity/grants/{principal}/add", {"role": _READER, "scope": "{machine}", "description": "mine"}
    ),
    "/portal/identity/grants/{principal}/remove": Form("/portal/identity/grants/{principal}/remove", {"assignment": _GRANT}),
    "/portal/hosts/enroll": Form("/portal/hosts/enroll", {"host": "{machine}", "name": "mine", "method": "token"}),
    "/portal/hosts/enroll/token": Form("/portal/hosts/enroll/token", {"host": "{machine}", "name": "rack", "minutes": "60"}),
    "/portal/hosts/enroll/delete": Form("/portal/hosts/enroll/delete", {"host": "{machine}", "name": "rack"}),
    "/portal/hosts/agent/{agent}/ban": Form("/portal/hosts/agent/{agent}/ban", {}),
    "/portal/hosts/agent/{agent}/unban": Form("/portal/hosts/agent/{agent}/unban", {}),
    "/portal/hosts/agent/{agent}/remove": Form("/portal/hosts/agent/{agent}/remove", {}),
    "/portal/keys/act/{action}": Form("/portal/keys/act/rotate", {"key": "{key}"}),
    "/portal/access/unused": Form("/portal/access/unused", {"assignment": _GRANT}),
    "/portal/explain/ask/fix": Form(
        "/portal/explain/ask/fix?as={principal}&action=Microsoft.Compute/virtualMachines/write&scope={machine}&fix=0",
        {"request": ""},
    ),
    "/portal/explain/{id}/fix": Form("/portal/explain/{refusal}/fix?fix=0", {"request": ""}),
    "/portal/iam/add": Form(f"/portal/iam/add?role={_READER}&who={{principal}}", {}),
    "/portal/iam/add/{scope:path}": Form(f"/portal/iam/add{{machine}}?role={_READER}&who={{principal}}", {}),
    "/portal/iam/remove": Form("/portal/iam/remove", {"assignment": _GRANT}),
    "/portal/resource/tags/{id:path}": Form("/portal/resource/tags{machine}", {"tags": "mine=1"}),
    "/portal/resource/identity/{id:path}": Form("/portal/resource/identity{machine}", {"status": "off", "confirmed": "yes"}),
    "/portal/resource/user-assigned/add/{id:path}": Form(
        "/portal/resource/user-assigned/add{machine}", {"identity": "{shared}"}
    ),
    "/portal/resource/user-assigned/remove/{id:path}": Form(
        "/portal/resource/user-assigned/remove{site}", {"identity": "{shared}"}
    ),
    "/portal/resource/delete/{id:path}": Form("/portal/resource/delete{machine}", {"name": "stock-vm"}),
    "/portal/resource/move/{id:path}": Form("/portal/resource/move{machine}", {"target": "{other}"}),
}
"""By the pattern of the route."""

OF_THE_SESSION: Mapping[str, Form] = {
    "/portal/sign-out": Form("/portal/sign-out", {}),
    "/portal/account/end": Form("/portal/account/end", {"session": "x"}),
    "/portal/theme": Form("/portal/theme", {"theme": "dark", "to": "/portal"}),
}
"""What a person does to nobody else."""


async def stage(world: PortalWorld) -> Target:
    """A machine and an app with identities, a trust and a role: something to change for each form."""
    group, other = await world.group("stock"), await world.group("elsewhere")
    shared = f"{group}/providers/{_IDENTITY}/shared"
    made = await world.manage("PUT", shared, {"location": "westeurope"}, version="2024-11-30")
    machine = f"{group}/providers/Microsoft.Compute/virtualMachines/stock-vm"
    system = {"location": "westeurope", "properties": {}, "identity": {"type": "SystemAssigned"}}
    await world.manage("PUT", machine, system, version="2024-11-01")
    site = f"{group}/providers/Microsoft.Web/sites/contoso-shop"
    users = {"type": "UserAssigned", "userAssignedIdentities": {shared: {}}}
    await world.manage("PUT", site, {"location": "westeurope", "properties": {}, "identity": users}, version="2023-12-01")
    trust = {"issuer": "https://issuer.example", "subject": "app", "audiences": ["api://AzureADTokenExchange"]}
    await world.manage("PUT", f"{shared}/federatedIdentityCredentials/trusted", {"properties": trust}, version="2024-11-30")
    principal = made["properties"]["principalId"]
    role = f"/providers/Microsoft.Authorization/roleDefinitions/{_READER}"
    grant = {"roleDefinitionId": role, "principalId": principal, "principalType": "ServicePrincipal"}
    path = f"{group}/providers/Microsoft.Authorization/roleAssignments/{_GRANT}"
    await world.manage("PUT", path, {"properties": grant}, version="2022-04-01")
    agent = await _joined(world, machine)
    keys = (await world.manage("GET", "/providers/Idplane.Security/keys", version=_OWN))["value"]
    key = next(one["name"] for one in keys if one["properties"]["purpose"] == "token")
    nobody = await world.person("nora")
    refused = await nobody.post(f"/portal/resource/tags{machine}", {"tags": ""})
    words = {
        "refusal": refused.refusal_id,
        "agent": agent,
        "key": key,
        "group": group,
        "other": other,
        "shared": shared,
        "machine": machine,
        "site": site,
        "principal": principal,
    }
    return Target({**words, "subscription": world.server.installation.subscription.id})


async def _joined(world: PortalWorld, machine: str) -> str:
    """An agent of the machine."""
    enrollment = f"{machine}/providers/Idplane.Workloads/enrollments/rack"
    await world.manage("PUT", enrollment, {"properties": {"method": "token"}}, version=_OWN)
    given = await world.manage("POST", f"{enrollment}/issueToken", {}, version=_OWN)
    csr = base64.b64encode(make_csr(new_ec_key(), "agent")).decode()
    asked = {"method": "token", "evidence": {"token": given["token"]}, "csr": csr, "protocol": 1}
    upstream = InProcessUpstream(world.app, host=HOST)
    headers = {"content-type": "application/json"}
    joined = await upstream.send("POST", "/agent/v1/enrollments", headers, json.dumps(asked).encode())
    assert joined.status == 200, joined.body
    return str(json.loads(joined.body)["agentId"])


async def standing(world: PortalWorld) -> dict[str, object]:
    """All that the forms could change, with its versions."""
    return {
        f"{collection.name} {collection.key(one.value)}": one.version
        for collection in _COLLECTIONS
        for one in await world.store.all(collection)
    }
