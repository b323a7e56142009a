"""A whole plane in a thread of this process, with one-line verbs for tests.

It is the same composition as `idplane up`: real store, real TLS listener, real token service, RBAC and logs; only the clock can be
moved. The verbs are ordinary calls of the operator to Resource Manager and the vault, authenticated and authorized like any other.
"""

from __future__ import annotations

import json
import socket
import ssl
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from idplane.agent.opening import EndpointWish, FileWish, open_endpoint, open_token_file
from idplane.agent.workload_identity import Projection
from idplane.bootstrap.embedded import InProcessUpstream
from idplane.bootstrap.inside import PlaneHosts, PlanePublicNames
from idplane.bootstrap.operator import OperatorKey
from idplane.bootstrap.seed import allow_private_issuers, trust_operator
from idplane.bootstrap.settings import environment
from idplane.bootstrap.thread import PlaneThread
from idplane.bootstrap.world import SystemEntropy, World
from idplane.directory import clients
from idplane.model.bindings import SYSTEM_ASSIGNED
from idplane.model.dialects import Dialect
from idplane.model.events import ActivityEvent, SignIn
from idplane.model.federation import ClaimsExpression, Trust
from idplane.model.ids import ResourceId
from idplane.model.profile import AZURE_UNHURRIED, Profile
from idplane.ports.collections import ACTIVITY, APPLICATIONS, CREDENTIALS, FEDERATED_CREDENTIALS, PRINCIPALS, SIGN_INS
from idplane.ports.store import ABSENT, Batch, Log, Logged, Order, Put, Store
from idplane.ports.world import Entropy
from idplane.rbac import BUILT_IN_ROLES
from idplane.testing.people import People
from idplane.testing.reset import reset
from idplane.testing.values import Answer, Application, HostResource, ManagedIdentity, MovableClock, Token, VirtualMachine
from idplane.testing.versions import version_for
from idplane.testing.worlds import MemoryCustody, memory_store
from idplane.web.origins import Origins

__all__ = ["Answer", "Application", "HostResource", "LocalPlane", "ManagedIdentity", "MovableClock", "Token", "VirtualMachine"]

_LOCATION = "westeurope"
_HERE = ("localhost", "127.0.0.1", ".localhost")
_GROUP = "tests"
_MOST_LOGGED = 100_000
_MOMENT = timedelta(milliseconds=1)
_SECRET_LIFETIME = timedelta(days=180)
_EXCHANGE = "api://AzureADTokenExchange"

T = TypeVar("T")


class OperatorCredential:
    """The plane's owner as an azure-core credential, for management clients under test."""

    def __init__(self, plane: LocalPlane) -> None:
        self._plane = plane

    def get_token(self, *scopes: str, **_: Any) -> Token:
        """A token for one scope, which ends in `/.default`."""
        answer = self._plane.operator_token(scopes[0].removesuffix("/.default"))
        return Token(answer["access_token"], int(self._plane.clock.now().timestamp()) + int(answer["expires_in"]))


class LocalPlane:
    """A running plane and the things that tests do with one."""

    def __init__(
        self, *, profile: Profile = AZURE_UNHURRIED, clock: MovableClock | None = None, entropy: Entropy | None = None
    ) -> None:
        self.clock = clock or MovableClock()
        entropy = entropy or SystemEntropy()
        self._entropy = entropy
        self._tokens: dict[str, Mapping[str, Any]] = {}
        with ThreadPoolExecutor(1) as beside:  # the plane makes an RSA key too, and each takes 45 ms, at times 200
            operator = beside.submit(OperatorKey.create, self.clock, entropy)
            self._thread = PlaneThread(self._world(profile))
            self._operator = operator.result()
        self._plane = self._thread.plane
        self._folder = tempfile.TemporaryDirectory(prefix="idplane-")
        self.ca_file = Path(self._folder.name) / "ca.pem"
        self.ca_file.write_bytes(self._plane.server.tls.ca_pem)
        self._plane.server.certificates.publish = self._publish
        self.url = f"https://localhost:{self._thread.port}"
        self.vault_domain = f"vault.localhost:{self._thread.port}"
        self.tenant_id = self._plane.server.installation.tenant.id
        self.subscription_id = self._plane.server.installation.subscription.id
        self._upstream = InProcessUpstream(
            self._plane.server.app(Origins.local(self._thread.port)), host=f"localhost:{self._thread.port}"
        )
        self._thread.run(
            trust_operator(self._plane.server.world, self._plane.server.installation.operator, self._operator.certificate)
        )
        self._opened = AsyncExitStack()
        self._logs_before: dict[str, int] = {}

    async def _world(self, profile: Profile) -> World:
        return World(
            clock=self.clock, entropy=self._entropy, store=await memory_store(), custody=MemoryCustody(), profile=profile
        )

    def _publish(self, authorities: bytes) -> None:
        """Whoever reads the file anew goes on trusting the plane when it has another authority."""
        self.ca_file.write_bytes(authorities)

    # One-line verbs ---------------------------------------------------------------------------------------------------

    @property
    def credential(self) -> OperatorCredential:
        """The owner's credential, for azure-mgmt clients: `Client(plane.credential, plane.subscription_id, **plane.client)`."""
        return OperatorCredential(self)

    @property
    def client(self) -> Mapping[str, Any]:
        """Keyword arguments that point an azure-mgmt client at this plane."""
        return {"base_url": self.url, "credential_scopes": ["https://management.azure.com/.default"]}

    def resource_group(self, name: str = _GROUP) -> str:
        """A resource group, made if it is not there; its id."""
        identifier = f"/subscriptions/{self.subscription_id}/resourceGroups/{name}"
        self.call("PUT", identifier, {"location": _LOCATION})
        return identifier

    def subscription(self, name: str, *, management_group: str | None = None) -> str:
        """A further subscription, made if there is none under this alias; its scope. `management_group` is an id."""
        place = {"additionalProperties": {"managementGroupId": management_group}} if management_group else {}
        body = {"properties": {"displayName": name, "workload": "DevTest", **place}}
        made = self.call("PUT", f"/providers/Microsoft.Subscription/aliases/{name}", body, api_version="2021-10-01").body
        return f"/subscriptions/{made['properties']['subscriptionId']}"

    def management_group(self, name: str, *, parent: str | None = None) -> str:
        """A management group below `parent` (an id), or below the tenant's root group; its id."""
        details = {"details": {"parent": {"id": parent}}} if parent else {}
        identifier = f"/providers/Microsoft.Management/managementGroups/{name}"
        self.call("PUT", identifier, {"properties": {"displayName": name, **details}})
        return identifier

    def virtual_machine(
        self, name: str, *, system: bool = True, identities: Sequence[ManagedIdentity] = (), group: str = _GROUP
    ) -> VirtualMachine:
        """A machine with a system-assigned identity, user-assigned ones, both or neither."""
        made = self.resource("Microsoft.Compute/virtualMachines", name, system=system, identities=identities, group=group)
        return VirtualMachine(id=made.id, identity=made.identity)

    def resource(
        self,
        kind: str,
        name: str,
        *,
        system: bool = True,
        identities: Sequence[ManagedIdentity] = (),
        group: str = _GROUP,
        **members: Any,
    ) -> HostResource:
        """A resource of any type that bears identities, such as `("Microsoft.Web/sites", "shop")`.

        A child's name starts with its parents': `("Microsoft.Web/sites/slots", "shop/staging")`; the parents must be there.
        `members` are further members of the body: `sku={"capacity": 2}`.
        """
        namespace, *types = kind.split("/")
        path = "/".join(f"{word}/{one}" for word, one in zip(types, name.split("/"), strict=True))
        identifier = f"{self.resource_group(group)}/providers/{namespace}/{path}"
        kinds = [kind for kind, wanted in (("SystemAssigned", system), ("UserAssigned", bool(identities))) if wanted]
        block: dict[str, Any] = {"type": ", ".join(kinds) or "None"}
        if identities:
            block["userAssignedIdentities"] = {identity.id: {} for identity in identities}
        body = self.call("PUT", identifier, {"location": _LOCATION, "properties": {}, **members, "identity": block}).body
        return HostResource(id=body["id"], identity=self._system_identity(identifier) if system else None)

    def user_assigned_identity(self, name: str, *, group: str = _GROUP) -> ManagedIdentity:
        """A user-assigned identity."""
        identifier = f"{self.resource_group(group)}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}"
        body = self.call("PUT", identifier, {"location": _LOCATION}).body
        return ManagedIdentity.read(body)

    def application(self, name: str, *, certificate: bytes | None = None, uris: Sequence[str] = ()) -> Application:
        """An application that can sign in with a secret, and with the key of `certificate` (PEM) if there is one.

        `uris` are what others ask tokens for when they mean it, such as `api://orders`.
        """
        application = clients.new_application(
            tenant_id=self.tenant_id,
            display_name=name,
            entropy=self._entropy,
            now=self.clock.now(),
            identifier_uris=uris,
        )
        principal = clients.new_application_principal(
            tenant_id=self.tenant_id,
            display_name=name,
            entropy=self._entropy,
            now=self.clock.now(),
            client_id=application.client_id,
        )
        secret = clients.new_secret(principal, entropy=self._entropy, now=self.clock.now(), lifetime=_SECRET_LIFETIME)
        credentials = [secret.credential]
        if certificate is not None:
            der = x509.load_pem_x509_certificate(certificate).public_bytes(serialization.Encoding.DER)
            credentials.append(clients.certificate_credential(principal, certificate=der, entropy=self._entropy))
        made = Batch.of(
            Put(collection=APPLICATIONS, value=application, expect=ABSENT),
            Put(collection=PRINCIPALS, value=principal, expect=ABSENT),
            *(Put(collection=CREDENTIALS, value=credential, expect=ABSENT) for credential in credentials),
        )
        self._thread.run(self.store.commit(made))
        return Application(client_id=application.client_id, principal_id=principal.id, secret=secret.secret)

    def federate(
        self,
        principal: ManagedIdentity | Application,
        issuer: str,
        subject: str | None = None,
        *,
        name: str = "federated",
        audience: str = _EXCHANGE,
        expression: str | None = None,
    ) -> None:
        """Let another issuer's tokens sign in as a user-assigned identity or an application: one subject's, or by an expression."""
        if isinstance(principal, ManagedIdentity):
            matching = {"subject": subject} if expression is None else {"claimsMatchingExpression": {"value": expression}}
            properties = {"issuer": issuer, "audiences": [audience], **matching}
            path = f"{principal.id}/federatedIdentityCredentials/{name}"
            self.call("PUT", path, {"properties": properties}, api_version="2025-01-31-preview")
            return
        wanted = ClaimsExpression(value=expression) if expression is not None else None
        trust = Trust(issuer=issuer, subject=subject, audiences=(audience,), expression=wanted)
        self._thread.run(self._federate_application(principal, name, trust))

    async def _federate_application(self, application: Application, name: str, trust: Trust) -> None:
        found = await self.store.get(PRINCIPALS, application.principal_id)
        assert found is not None
        made = clients.federated_credential(found.value, name=name, trust=trust, entropy=self._entropy, now=self.clock.now())
        await self.store.commit(Batch.of(Put(collection=FEDERATED_CREDENTIALS, value=made, expect=ABSENT)))

    def trust_issuers(self, *issuers: str) -> None:
        """Let the documents of these issuers alone be fetched over `http` and from addresses such as this machine's."""
        self._thread.run(allow_private_issuers(self._plane.server.world, self.tenant_id, issuers))

    def vault(self, name: str, *, group: str = _GROUP, **secrets: str) -> str:
        """A Key Vault that holds these secrets; its id. Its address is `plane.vault_url(name)`."""
        identifier = f"{self.resource_group(group)}/providers/Microsoft.KeyVault/vaults/{name}"
        properties = {
            "tenantId": self.tenant_id,
            "sku": {"family": "A", "name": "standard"},
            "enableRbacAuthorization": True,
        }
        self.call("PUT", identifier, {"location": _LOCATION, "properties": properties})
        if secrets:
            self.grant(self._plane.server.installation.operator.id, "Key Vault Secrets Officer", identifier)
        for secret, value in secrets.items():
            self.secret(name, secret.replace("_", "-"), value)
        return identifier

    def secret(self, vault: str, name: str, value: str) -> None:
        """Set a secret; the operator needs a role for it, which `vault(..., name=value)` gives it."""
        token = self.operator_token("https://vault.azure.net")["access_token"]
        self._send(
            "PUT",
            f"/secrets/{name}?api-version=7.4",
            {"authorization": f"Bearer {token}"},
            {"value": value},
            host=f"{vault}.{self.vault_domain}",
        )

    def vault_url(self, name: str) -> str:
        """The address of a vault, for `SecretClient`."""
        return f"https://{name}.{self.vault_domain}"

    def grant(self, principal: str | ManagedIdentity | Application, role: str, scope: str) -> str:
        """Assign a built-in role by its name; the assignment's id."""
        principal_id = principal if isinstance(principal, str) else principal.principal_id
        role_id = next((one.id for one in BUILT_IN_ROLES.values() if one.name.lower() == role.lower()), None)
        assert role_id is not None, f"there is no built-in role named '{role}'"
        properties = {
            "roleDefinitionId": f"/providers/Microsoft.Authorization/roleDefinitions/{role_id}",
            "principalId": principal_id,
            "principalType": "ServicePrincipal",
        }
        path = f"{scope.rstrip('/')}/providers/Microsoft.Authorization/roleAssignments/{self._entropy.guid()}"
        identifier: str = self.call("PUT", path, {"properties": properties}).body["id"]
        return identifier

    @property
    def people(self) -> People:
        """Users, groups, and sign-ins to approve."""
        return People(domain=self._plane.server.installation.tenant.domain, ask=self._ask_graph, manage=self.call)

    def _ask_graph(self, method: str, path: str, body: Any) -> Answer:
        token = self.operator_token("https://graph.microsoft.com")["access_token"]
        return self._send(method, f"/v1.0{path}", {"authorization": f"Bearer {token}"}, body)

    def bind(
        self,
        host: HostResource | str,
        name: str,
        *,
        identities: Sequence[ManagedIdentity | str] = (),
        **processes: Any,
    ) -> str:
        """Admit processes to a host's identities, all of them unless some are named; the binding's id.

        `processes` are the facts that must hold, as Resource Manager names them: `user="alice"`, `systemdUnit="app.service"`,
        `executable={"path": "/usr/bin/app"}`, `container={"engine": "docker"}`, `run=True`. From the first binding on, no other process
        gets the host's identities.
        """
        path = f"{host if isinstance(host, str) else host.id}/providers/Idplane.Workloads/bindings/{name}"
        named = [one if isinstance(one, str) else _identity_name(one) for one in identities]
        properties = {**({"identities": named} if named else {}), "processes": processes}
        identifier: str = self.call("PUT", path, {"properties": properties}).body["id"]
        return identifier

    def delete(self, identifier: str) -> None:
        """Delete any resource or role assignment by its id."""
        self.call("DELETE", identifier)

    def environment(
        self,
        machine: HostResource | str,
        *,
        dialect: Dialect = Dialect.APP_SERVICE,
        account: str | None = None,
        client_id: str | None = None,
    ) -> dict[str, str]:
        """The variables that make code in a process get this machine's tokens; served until the plane is reset.

        `account` (`namespace/name`, on clusters) and `client_id` are for the dialect workload identity. Arc's clients read files from
        a folder that only root can make: use `idplane run` for them.
        """
        host = ResourceId.parse(machine if isinstance(machine, str) else machine.id)
        if dialect is Dialect.WORKLOAD_IDENTITY:
            file = FileWish(
                projection=Projection(host=host, account=account),
                client_id=client_id,
                authority=f"{self.url}/",
                folder=Path(self._folder.name) / "runs" / self._entropy.guid(),
            )
            opened = open_token_file(self._opened, file, agent=self._plane.agent)
        else:
            opened = self._open(EndpointWish(host=host, dialect=dialect))
        return {**self._thread.run(opened), **self._way_here()}

    def workload_issuer(self, machine: HostResource | str, account: str | None = None) -> tuple[str, str]:
        """Issuer and subject of the tokens that code on this machine shows with the dialect workload identity; see `federate`."""
        host = ResourceId.parse(machine if isinstance(machine, str) else machine.id)
        told = self._thread.run(PlaneHosts(self._plane.server).issuer(host, account))
        return str(told["issuer"]), str(told["subject"])

    async def _open(self, wish: EndpointWish) -> dict[str, str]:
        return await open_endpoint(
            self._opened,
            socket.create_server(("127.0.0.1", 0)),
            wish,
            agent=self._plane.agent,
            certificates=PlanePublicNames(self._plane.server),
            entropy=self._entropy,
        )

    def _way_here(self) -> dict[str, str]:
        """Trust in the plane's authority beside what is trusted already, and no proxy in between."""
        bundle = self.ca_file.with_name("bundle.pem")
        if not bundle.exists():
            trusted = ssl.get_default_verify_paths().cafile
            bundle.write_bytes((Path(trusted).read_bytes() + b"\n" if trusted else b"") + self._plane.server.tls.ca_pem)
        unproxied = ",".join(filter(None, (environment().get("NO_PROXY"), *_HERE)))
        trust = dict.fromkeys(("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"), str(bundle))
        return {**trust, **dict.fromkeys(("NO_PROXY", "no_proxy"), unproxied)}

    @contextmanager
    def names(self) -> Iterator[None]:
        """Resolve `*.localhost` to this machine inside the process, which plain glibc does not."""
        real = socket.getaddrinfo

        def resolve(host: Any, *rest: Any, **options: Any) -> Any:
            name = host.decode() if isinstance(host, bytes) else host
            return real("127.0.0.1" if isinstance(name, str) and name.endswith(".localhost") else host, *rest, **options)

        socket.getaddrinfo = resolve
        try:
            yield
        finally:
            socket.getaddrinfo = real

    # Looking --------------------------------------------------------------------------------------------------------

    def sign_ins(self) -> tuple[SignIn, ...]:
        """The sign-in log since the plane was last reset, oldest first."""
        return self._logged(SIGN_INS)

    def activity(self) -> tuple[ActivityEvent, ...]:
        """The activity log since the plane was last reset, oldest first."""
        return self._logged(ACTIVITY)

    def _logged(self, log: Log[T]) -> tuple[T, ...]:
        return tuple(item.event for item in self._since_reset(log))

    def _since_reset(self, log: Log[T]) -> tuple[Logged[T], ...]:
        position = self._logs_before.get(log.name)
        page = self.store.read_log(log, position=position, order=Order.OLDEST_FIRST, limit=_MOST_LOGGED)
        return self._thread.run(page)

    def operator_token(self, resource: str) -> Mapping[str, Any]:
        """The token service's answer to the plane's owner; kept until the clock is moved or the plane is reset."""
        if resource not in self._tokens:
            self._tokens[resource] = self._ask_operator_token(resource)
        return self._tokens[resource]

    def _ask_operator_token(self, resource: str) -> Mapping[str, Any]:
        path = f"/{self.tenant_id}/oauth2/v2.0/token"
        form = self._operator.token_request(
            client_id=self._plane.server.installation.operator.client_id,
            token_endpoint=self.url + path,
            resource=resource,
            clock=self.clock,
            entropy=self._entropy,
        )
        headers = {"content-type": "application/x-www-form-urlencoded"}
        answer = self._thread.run(self._upstream.send("POST", path, headers, urlencode(form).encode()))
        if answer.status != 200:  # noqa: PLR2004 - HTTP OK
            raise AssertionError(f"the operator got no token: {answer.body.decode()}")
        body: Mapping[str, Any] = json.loads(answer.body)
        return body

    def call(self, method: str, path: str, body: Any = None, *, api_version: str | None = None) -> Answer:
        """A Resource Manager call as the operator; raises `AssertionError` with the answer when it is refused."""
        token = self.operator_token("https://management.azure.com")["access_token"]
        version = api_version or version_for(path)
        return self._send(method, f"{path}?api-version={version}", {"authorization": f"Bearer {token}"}, body)

    @property
    def store(self) -> Store:
        """Everything that the plane knows, for tests that look inside: `plane.run(plane.store.all(...))`."""
        return self._plane.server.world.store

    def run(self, work: Any) -> Any:
        """Run a coroutine on the plane's own loop, for tests that look inside."""
        return self._thread.run(work)

    # Life -------------------------------------------------------------------------------------------------------------

    def advance(self, by: timedelta) -> None:
        """Let time pass for the plane, or set its clock back; what falls due on the way, such as key rotation, happens in its time."""
        end = self.clock.now() + by
        while (due := self._thread.run(self._plane.turn())) < end:
            self.clock.advance(max(due - self.clock.now(), _MOMENT))
        self.clock.advance(end - self.clock.now())
        self._thread.run(self._plane.turn())
        self._tokens.clear()

    def reset(self) -> None:
        """Remove everything that tests made; the tenant, the owner and the keys stay. The clock shows real time again."""
        self._thread.run(self._opened.aclose())
        if self.clock.reset():
            self._thread.run(self._plane.turn())  # what was made in the time that is no more gives way to what was there before
        self._tokens.clear()
        self.trust_issuers()
        self._thread.run(reset(self.store, self._plane.server.installation))
        self._pass_over(SIGN_INS)
        self._pass_over(ACTIVITY)

    def _pass_over(self, log: Log[T]) -> None:
        """Logs are for adding to: what was written so far stays there and is no longer shown."""
        for item in self._since_reset(log):
            self._logs_before[log.name] = item.position

    def close(self) -> None:
        """Stop the plane."""
        self._thread.close()
        self._folder.cleanup()

    def _system_identity(self, identifier: str) -> ManagedIdentity:
        default = f"{identifier}/providers/Microsoft.ManagedIdentity/identities/default"
        return ManagedIdentity.read(self.call("GET", default, api_version="2024-11-30").body)

    def _send(self, method: str, path: str, headers: Mapping[str, str], body: Any, *, host: str | None = None) -> Answer:
        content = b"" if body is None else json.dumps(body).encode()
        upstream = self._upstream if host is None else self._upstream.for_host(host)
        sent = self._thread.run(upstream.send(method, path, {**headers, "content-type": "application/json"}, content))
        answer = Answer(status=sent.status, body=json.loads(sent.body) if sent.body else None)
        if answer.status >= 400:  # noqa: PLR2004 - HTTP errors start here
            raise AssertionError(f"{method} {path} was refused with {answer.status}: {answer.body}")
        return answer


def _identity_name(identity: ManagedIdentity) -> str:
    """As a binding names it: a system-assigned identity has no resource of its own."""
    return identity.id if "/userassignedidentities/" in identity.id.lower() else SYSTEM_ASSIGNED
