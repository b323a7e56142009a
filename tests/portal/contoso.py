"""A believable installation, and its last two weeks: what the portal is looked at with, attacked in and photographed.

Everything is made as its people make it: through Resource Manager, Graph, the token service, a vault, token endpoints and the agents' API.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import subprocess
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from tests.unit.web.refusals_world import identity

from idplane.bootstrap.world import SystemEntropy
from idplane.jose import Algorithm, Signer, make_csr, new_ec_key
from idplane.model.profile import OPEN
from idplane.ports.world import Entropy
from idplane.testing.local import Application, HostResource, LocalPlane, MovableClock

__all__ = ["ARM", "BEARER", "GRAPH", "OWN", "VAULT", "Contoso", "Reply"]

ARM = "https://management.azure.com"
VAULT = "https://vault.azure.net"
GRAPH = "https://graph.microsoft.com"
OWN = "2026-11-01"
_IDENTITIES = "Microsoft.ManagedIdentity/userAssignedIdentities"
_READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
_CONTRIBUTOR = "b24988ac-6180-42a0-ab88-20f7382dd24c"
_ADMINISTRATOR = "f58310d9-a9f6-439a-9e8d-f62e7b41a168"
_DENIES = "2024-07-01-preview"
_DENIED = "dddddddd-0000-4000-8000-000000000001"
_CONDITION = (
    "(!(ActionMatches{'Microsoft.Authorization/roleAssignments/write'})) OR "
    f"(@Request[Microsoft.Authorization/roleAssignments:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {{{_READER}}})"
)
_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL; Python has no name for it."""
_HISTORY = timedelta(days=13)
_LAST_HOURS = 23
_LAST_MINUTES = 60


@dataclass(frozen=True)
class Reply:
    """What a client was told."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def id(self) -> str:
        """What a person would copy."""
        return self.headers["x-ms-request-id"]


@dataclass
class Contoso:
    """The company's plane. `lived` makes it and its history."""

    plane: LocalPlane
    places: dict[str, str] = field(default_factory=dict)
    """What pages are about, by the words that their addresses are written with."""
    _addresses: dict[str, dict[str, str]] = field(default_factory=dict)

    _entropy: Entropy = field(default_factory=SystemEntropy)

    @classmethod
    def lived(cls, clock: MovableClock | None = None, entropy: Entropy | None = None) -> Contoso:
        """The installation as it is after two weeks, which end at what the clock shows now."""
        clock, entropy = clock or MovableClock(), entropy or SystemEntropy()
        clock.advance(-_HISTORY)
        made = cls(LocalPlane(profile=OPEN.without_rates(), clock=clock, entropy=entropy), _entropy=entropy)
        made._found()
        made._people()
        made._rules()
        made._bound()
        made._days()
        made._last_day()
        made._refusals()
        return made

    # Requests -----------------------------------------------------------------------------------------------------------

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        vault: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request over TLS; a mapping for the token service goes as a form."""
        form = "/oauth2/" in path
        sent = {"content-type": "application/x-www-form-urlencoded" if form else "application/json", **(headers or {})}
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        if vault is not None:
            sent["host"] = f"{vault}.{self.plane.vault_domain}"
        content = b"" if body is None else (urlencode(body) if form and isinstance(body, dict) else json.dumps(body)).encode()
        # The authority may have changed since the last request, and its certificates are of the plane's time, not of this machine's.
        trusted = ssl.create_default_context(cafile=str(self.plane.ca_file))
        trusted.verify_flags |= _NO_CHECK_TIME
        with closing(http.client.HTTPSConnection(urlsplit(self.plane.url).netloc, context=trusted, timeout=30)) as connection:
            return _exchanged(connection, method, path, content, sent)

    def endpoint(
        self, machine: HostResource, resource: str = ARM, *, headers: Mapping[str, str] | None = None, **query: str
    ) -> Reply:
        """A program's request for a token at its machine's endpoint."""
        if machine.id not in self._addresses:
            self._addresses[machine.id] = self.plane.environment(machine)
        opened = self._addresses[machine.id]
        url = f"{opened['IDENTITY_ENDPOINT']}?{urlencode({'api-version': '2019-08-01', 'resource': resource, **query})}"
        sent = {"X-IDENTITY-HEADER": opened["IDENTITY_HEADER"], **(headers or {})}
        # A process of its own, since the log says which program asked.
        given = [part for name, value in sent.items() for part in ("-H", f"{name}: {value}")]
        done = subprocess.run(["curl", "-s", "-i", *given, url], check=True, capture_output=True, text=True)
        head, _, text = done.stdout.replace("\r\n", "\n").partition("\n\n")
        status, *lines = head.splitlines()
        names = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return Reply(int(status.split()[1]), json.loads(text), names)

    def sign_in(self, client: Application, resource: str = ARM, **changes: str) -> Reply:
        """An application's request for a token."""
        fields = {"grant_type": "client_credentials", "client_id": client.client_id, "client_secret": client.secret}
        return self.send(
            "POST", f"/{self.plane.tenant_id}/oauth2/v2.0/token", {**fields, "scope": f"{resource}/.default", **changes}
        )

    def arm(
        self, method: str, path: str, body: object = None, *, version: str = "2024-11-01", token: str | None = None
    ) -> Reply:
        """A request to Resource Manager, by the owner unless there is a token."""
        token = token or str(self.plane.operator_token(ARM)["access_token"])
        return self.send(method, f"{quote(path, safe='/')}?api-version={version}", body, token=token)

    def graph(self, method: str, path: str, body: object = None) -> Any:
        """A request to Graph by the owner; its answer's body."""
        answer = self.send(method, f"/v1.0{path}", body, token=str(self.plane.operator_token(GRAPH)["access_token"]))
        assert answer.status < 300, answer.body
        return answer.body

    def link(self, user: str = "first") -> str:
        """What `idplane portal` prints."""
        path = f"/providers/Idplane.Directory/portalLinks/{quote(user, safe='')}/create"
        return str(self.plane.call("POST", path, {}, api_version=OWN).body["properties"]["link"])

    # What there is ------------------------------------------------------------------------------------------------------

    def _found(self) -> None:
        plane = self.plane
        company = plane.management_group("contoso")
        plane.subscription("Research", management_group=company)
        self.shop, self.data, self.platform = (plane.resource_group(name) for name in ("shop", "data", "platform"))
        self.front_end = plane.user_assigned_identity("front-end", group="shop")
        self.deploy = plane.user_assigned_identity("deploy", group="platform")
        self.backup = plane.user_assigned_identity("backup", group="platform")
        orders = plane.user_assigned_identity("orders", group="shop")
        self.stock_vault = plane.vault("contoso-stock", group="data", database_password="Wr1te0nly", api_key="3f9c")
        self.price_vault = plane.vault("contoso-prices", group="data", feed_password="s3cr3t")
        tags = {"team": "shop", "cost-center": "4711"}
        self.stock = plane.resource("Microsoft.Compute/virtualMachines", "stock-vm", group="shop", tags=tags)
        self.orders = plane.resource("Microsoft.Compute/virtualMachines", "orders-vm", group="shop", identities=[orders])
        self.front_ends = [
            plane.resource(
                "Microsoft.Compute/virtualMachines", f"front-end-{n}", group="shop", system=False, identities=[self.front_end]
            )
            for n in (1, 2, 3)
        ]
        self.site = plane.resource("Microsoft.Web/sites", "contoso-shop", group="shop", identities=[self.front_end])
        self.slot = plane.resource("Microsoft.Web/sites/slots", "contoso-shop/staging", group="shop")
        self.rack = plane.resource("Microsoft.HybridCompute/machines", "rack-07", group="platform")
        self.batch = plane.resource(
            "Microsoft.Compute/virtualMachineScaleSets", "nightly", group="data", identities=[self.backup]
        )
        plane.resource("Microsoft.App/containerApps", "checkout", group="shop")
        plane.resource("Microsoft.Logic/workflows", "invoices", group="data", system=False)
        self.web = plane.application("Contoso web", uris=["api://contoso-web"])
        self.pipeline = plane.application("Release pipeline")
        plane.federate(
            self.deploy, "https://token.actions.githubusercontent.com", "repo:contoso/shop:ref:refs/heads/main", name="main"
        )
        plane.federate(
            self.deploy, "https://gitlab.contoso.example", "project_path:contoso/shop:ref_type:branch:ref:main", name="gitlab"
        )
        plane.federate(self.web, "https://kubernetes.contoso.example", "system:serviceaccount:web:front", name="cluster")

    def _people(self) -> None:
        people = self.plane.people
        self.ada, self.ben, self.grace = (people.user(name) for name in ("ada", "ben", "grace"))
        team = people.group("Shop team", [self.ada, self.ben])
        for principal, role, scope in (
            (team, "Contributor", self.shop),
            (self.grace, "Reader", f"/subscriptions/{self.plane.subscription_id}"),
        ):
            self._assign(principal, role, scope, "Group" if principal == team else "User")

    def _assign(self, principal: str, role: str, scope: str, kind: str) -> None:
        query = f"api-version=2022-04-01&$filter=roleName%20eq%20'{quote(role)}'"
        token = str(self.plane.operator_token(ARM)["access_token"])
        found = self.send("GET", f"{scope}/providers/Microsoft.Authorization/roleDefinitions?{query}", token=token).body
        properties = {"roleDefinitionId": found["value"][0]["id"], "principalId": principal, "principalType": kind}
        self.plane.call(
            "PUT",
            f"{scope}/providers/Microsoft.Authorization/roleAssignments/{self._entropy.guid()}",
            {"properties": properties},
        )

    def _rules(self) -> None:
        plane, subscription = self.plane, f"/subscriptions/{self.plane.subscription_id}"
        plane.grant(identity(self.stock), "Key Vault Secrets User", self.stock_vault)
        plane.grant(identity(self.stock), "Reader", self.shop)
        plane.grant(identity(self.orders), "Contributor", self.shop)
        plane.grant(self.front_end, "Key Vault Secrets User", self.price_vault)
        plane.grant(self.front_end, "Reader", self.shop)
        plane.grant(self.deploy, "Contributor", subscription)
        plane.grant(self.backup, "Reader", self.data)
        plane.grant(self.pipeline, "Contributor", self.platform)
        plane.grant(self.web, "Reader", subscription)
        self.operators = (
            f"{subscription}/providers/Microsoft.Authorization/roleDefinitions/0aaaaaaa-0000-4000-8000-000000000001"
        )
        custom = {
            "roleName": "Machine operator",
            "description": "Starts and stops machines",
            "type": "CustomRole",
            "permissions": [{"actions": ["Microsoft.Compute/virtualMachines/*/action"], "notActions": []}],
            "assignableScopes": [subscription],
        }
        plane.call("PUT", self.operators, {"properties": custom})
        conditional = {
            "roleDefinitionId": f"/providers/Microsoft.Authorization/roleDefinitions/{_ADMINISTRATOR}",
            "principalId": self.pipeline.principal_id,
            "principalType": "ServicePrincipal",
            "condition": _CONDITION,
            "conditionVersion": "2.0",
            "description": "May make readers, and nobody else",
        }
        path = f"{self.data}/providers/Microsoft.Authorization/roleAssignments/aaaaaaaa-0000-4000-8000-000000000002"
        plane.call("PUT", path, {"properties": conditional})
        frozen = {
            "denyAssignmentName": "Frozen for the audit",
            "permissions": [{"actions": ["Microsoft.Resources/subscriptions/resourceGroups/write"]}],
            "principals": [{"id": self.pipeline.principal_id, "type": "ServicePrincipal"}],
        }
        path = f"{self.platform}/providers/Microsoft.Authorization/denyAssignments/{_DENIED}"
        plane.call("PUT", path, {"properties": frozen}, api_version=_DENIES)

    def _bound(self) -> None:
        self.plane.bind(self.stock, "tracker", user="tracker", executable={"path": "/usr/bin/stock-tracker"})

    def _machines(self) -> None:
        """Hosts that joined, one of them banned since; one that is expected and never came."""
        self.places["agent"] = self._join(self.orders)
        self._join(self.rack)
        agent = self._join(self.front_ends[0])
        self.plane.call("POST", f"{self.front_ends[0].id}/providers/Idplane.Workloads/agents/{agent}/ban", {}, api_version=OWN)
        expected = f"{self.batch.id}/providers/Idplane.Workloads/enrollments/rack"
        self.plane.call("PUT", expected, {"properties": {"method": "token"}}, api_version=OWN)

    def _join(self, machine: HostResource) -> str:
        enrollment = f"{machine.id}/providers/Idplane.Workloads/enrollments/rack"
        self.plane.call("PUT", enrollment, {"properties": {"method": "token"}}, api_version=OWN)
        secret = self.plane.call("POST", f"{enrollment}/issueToken", {}, api_version=OWN).body["token"]
        key = new_ec_key()
        csr = base64.b64encode(make_csr(key, "agent")).decode()
        asked = {"method": "token", "evidence": {"token": secret}, "csr": csr, "protocol": 1}
        joined = self.send("POST", "/agent/v1/enrollments", asked)
        assert joined.status == 200, joined.body
        return str(joined.body["agentId"])

    # What happened ------------------------------------------------------------------------------------------------------

    def _days(self) -> None:
        """Twelve days, in which a key was rotated by hand and some people worked."""
        for day in range((_HISTORY - timedelta(hours=_LAST_HOURS)).days):
            self._work(day)
            if day == 5:
                self._rotate("token")
            self.plane.advance(timedelta(days=1))

    def _last_day(self) -> None:
        for hour in range(_LAST_HOURS):
            for number in range(_busy(hour)):
                self._work(number)
            if hour % 5 == 3:
                self._refused_work()
            self.plane.advance(timedelta(hours=1))
        self._machines()
        for number in range(_LAST_MINUTES // 5):
            self._work(number)
            self.plane.advance(timedelta(minutes=5))

    def _work(self, number: int) -> None:
        """What programs do all day."""
        resource = (ARM, VAULT, GRAPH)[number % 3]
        for machine in (self.orders, self.site, self.slot, *self.front_ends):
            if machine in self.front_ends:
                self.endpoint(machine, resource, client_id=self.front_end.client_id)
            elif machine is not self.orders or number % 2 == 0:
                self.endpoint(machine, resource)
        self.sign_in(self.web, resource)

    def _refused_work(self) -> None:
        self.sign_in(self.web, client_secret="an old one")
        token = self.sign_in(self.web).body["access_token"]
        self.arm("PUT", self.shop, {"location": "westeurope"}, token=token)

    def _rotate(self, purpose: str) -> None:
        keys = self.plane.call("GET", "/providers/Idplane.Security/keys", api_version=OWN).body["value"]
        active = next(
            one for one in keys if one["properties"].get("purpose") == purpose and one["properties"].get("state") == "active"
        )
        self.plane.call("POST", f"/providers/Idplane.Security/keys/{active['name']}/rotate", {}, api_version=OWN)

    def _refusals(self) -> None:
        """One of every kind; the first is a program without a role, which is what most people ask about."""
        vault_token = self.endpoint(self.orders, VAULT).body["access_token"]
        refused = self.send("GET", "/secrets/database-password?api-version=7.4", token=vault_token, vault="contoso-stock")
        release = self.sign_in(self.pipeline).body["access_token"]
        denied = self.arm("PUT", self.platform, {"location": "westeurope"}, token=release)
        wanted = {
            "roleDefinitionId": f"/providers/Microsoft.Authorization/roleDefinitions/{_CONTRIBUTOR}",
            "principalId": self.web.principal_id,
            "principalType": "ServicePrincipal",
        }
        grant = f"{self.data}/providers/Microsoft.Authorization/roleAssignments/bbbbbbbb-0000-4000-8000-000000000001"
        conditional = self.arm("PUT", grant, {"properties": wanted}, version="2022-04-01", token=release)
        nowhere = self.endpoint(self.stock)
        selected = self.endpoint(self.front_ends[0], client_id=self.backup.client_id)
        secret = self.sign_in(self.web, client_secret="an old one")
        assertion = self.sign_in(
            self.web, client_secret="", client_assertion_type=BEARER, client_assertion=self.foreign_token()
        )
        graph = self.send("GET", "/v1.0/users", token=self.sign_in(self.web, GRAPH).body["access_token"])
        kinds = {
            "refusal": refused,
            "refusal_denied": denied,
            "refusal_condition": conditional,
            "refusal_process": nowhere,
            "refusal_selector": selected,
            "refusal_secret": secret,
            "refusal_federation": assertion,
            "refusal_graph": graph,
        }
        for name, reply in kinds.items():
            assert reply.status >= 400, (name, reply.body)
            self.places[name] = reply.id

    def foreign_token(self, **claims: object) -> str:
        """A token of an issuer whom nobody trusts."""
        now = int(self.plane.clock.now().timestamp())
        said = {
            "iss": "https://elsewhere.example",
            "sub": "system:serviceaccount:web:front",
            "aud": "api://AzureADTokenExchange",
        }
        return Signer(new_ec_key(), Algorithm.ES256, {"kid": "1"}).sign({**said, "iat": now, "exp": now + 600, **claims})


BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def _busy(hour: int) -> int:
    """How much is asked for in an hour of the day."""
    return 1 if hour % 24 < 6 else 3 if hour % 4 else 2


def _exchanged(
    connection: http.client.HTTPConnection, method: str, path: str, content: bytes, headers: Mapping[str, str]
) -> Reply:
    connection.request(method, path, content, dict(headers))
    answer = connection.getresponse()
    text = answer.read()
    names = {name.lower(): value for name, value in answer.getheaders()}
    return Reply(answer.status, json.loads(text) if text[:1] in {b"{", b"["} else text.decode(), names)
