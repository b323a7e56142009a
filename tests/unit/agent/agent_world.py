"""An agent on loopback sockets, and a server behind it whose answers a test decides and counts."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from idplane.agent.host import AgentIdentity, Dialect, HostAgent, UpstreamResponse
from idplane.jose import b64url, certificate_thumbprint, new_ec_key, parse
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.rates import MetadataRates
from idplane.ports.store import Change
from idplane.testing.worlds import FakeClock, SeededEntropy

SUBSCRIPTION = "/subscriptions/11111111-1111-1111-1111-111111111111"
TENANT = "22222222-2222-2222-2222-222222222222"
VM = ResourceId.parse(f"{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/stock-vm")
OTHER_VM = ResourceId.parse(f"{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/other-vm")
IDENTITIES = f"{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
ARM = "https://management.azure.com/"


@dataclass(frozen=True)
class Known:
    """An identity that the fake server knows."""

    principal_id: str
    client_id: str
    resource_id: str | None = None

    def described(self) -> dict[str, object]:
        return {
            "principalId": self.principal_id,
            "clientId": self.client_id,
            "resourceId": self.resource_id,
            "systemAssigned": self.resource_id is None,
        }


SYSTEM = Known("aaaaaaaa-0000-0000-0000-000000000001", "aaaaaaaa-1111-0000-0000-000000000001")
SHARED = Known("bbbbbbbb-0000-0000-0000-000000000002", "bbbbbbbb-1111-0000-0000-000000000002", f"{IDENTITIES}/Front-End")
SECOND = Known("cccccccc-0000-0000-0000-000000000003", "cccccccc-1111-0000-0000-000000000003", f"{IDENTITIES}/second")


@dataclass
class FakeServer:
    """Speaks the server's side of the agent API and of the token endpoint; an `Upstream` of the agent."""

    clock: FakeClock
    hosts: dict[str, list[Known]] = field(default_factory=lambda: {VM.key: [SYSTEM]})
    requests: list[tuple[str, str]] = field(default_factory=list)
    refusals: list[dict[str, Any]] = field(default_factory=list)
    """As the agent told them."""
    bindings: dict[str, list[dict[str, object]]] = field(default_factory=dict)
    """Of hosts, as agents are told them."""
    forms: list[dict[str, str]] = field(default_factory=list)
    proofs: list[str] = field(default_factory=list)
    certificates: dict[str, str] = field(default_factory=dict)
    """Live credential ids by thumbprint (base64url)."""
    lifetime: timedelta = timedelta(hours=1)
    certificate_lifetime: timedelta = timedelta(hours=24)
    compute: dict[str, object] = field(default_factory=lambda: {"name": "stock-vm", "osProfile": {"computerName": "stock"}})
    token_answer: UpstreamResponse | None = None
    down: bool = False
    gate: asyncio.Event | None = None
    """When set, token answers wait for it, after they have been made."""
    feed: list[Change] = field(default_factory=list)
    position: int = 0
    reset: bool = False
    """Whether the feed no longer has what the agent missed."""
    banned: str | None = None
    """The code with which every request of the agent is refused."""

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> UpstreamResponse:
        url = urlsplit(path)
        if url.path == "/agent/v1/refusals":
            if self.down:
                raise Failure(FailureKind.UNAVAILABLE, "connection refused")
            self.refusals += json.loads(body)["refusals"]
            return _answer({})
        self.requests.append((method, url.path))
        if self.down:
            raise Failure(FailureKind.UNAVAILABLE, "connection refused")
        if self.banned is not None and url.path.startswith("/agent/"):
            return _error(403, self.banned)
        if url.path.startswith("/agent/"):
            self.proofs.append(headers["Authorization"].removeprefix("Bearer "))
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        match url.path:
            case "/agent/v1/host":
                return self._host(ResourceId.parse(query["id"]))
            case "/agent/v1/certificates":
                return self._certificate(json.loads(body))
            case "/agent/v1/changes":
                return await self._changes(query)
            case _:
                answer = self._token({name: values[0] for name, values in parse_qs(body.decode()).items()})
                if self.gate is not None:
                    await self.gate.wait()
                return answer

    @property
    def token_requests(self) -> int:
        return len(self.forms)

    def count(self, path: str) -> int:
        return sum(1 for _, one in self.requests if one == path)

    def _host(self, host: ResourceId) -> UpstreamResponse:
        if host.key not in self.hosts:
            return _error(404, "RESOURCE_NOT_FOUND")
        body = {
            "id": str(host),
            "type": "Microsoft.Compute/virtualMachines",
            "location": "westeurope",
            "tenantId": TENANT,
            "tokenEndpoint": f"https://localhost:8443/{TENANT}/oauth2/token",
            "bindings": self.bindings.get(host.key, []),
            "identities": [one.described() for one in self.hosts[host.key]],
            "compute": self.compute,
        }
        return _answer(body)

    def _certificate(self, wanted: dict[str, str]) -> UpstreamResponse:
        known = self.hosts.get(ResourceId.parse(wanted["host"]).key, [])
        if wanted["principalId"] not in [one.principal_id for one in known]:
            return _error(400, "NOT_ENTITLED")
        request = x509.load_der_x509_csr(base64.b64decode(wanted["csr"]))
        key = request.public_key()
        assert request.is_signature_valid
        assert isinstance(key, ec.EllipticCurvePublicKey)
        until = self.clock.now() + self.certificate_lifetime
        der = make_certificate(key, self.clock.now(), until)
        credential_id = f"credential-{self.count('/agent/v1/certificates')}"
        self.certificates[b64url(bytes.fromhex(certificate_thumbprint(der)))] = credential_id
        body = {
            "certificate": base64.b64encode(der).decode(),
            "notBefore": self.clock.now().isoformat(),
            "notAfter": until.isoformat(),
            "credentialId": credential_id,
        }
        return _answer(body)

    async def _changes(self, query: dict[str, str]) -> UpstreamResponse:
        if "after" not in query:
            return _answer({"position": self.position, "changes": []})
        while not self.feed and not self.reset and self.position >= int(query["after"]):
            await self.clock.sleep(1)
            if self.down:
                raise Failure(FailureKind.UNAVAILABLE, "connection reset")
            if self.banned is not None:
                return _error(403, self.banned)
        told, self.feed = self.feed, []
        body = [
            {"position": it.position, "collection": it.collection, "key": it.key, "subject": it.subject, "deleted": it.deleted}
            for it in told
        ]
        return _answer(
            {"position": max((it.position for it in told), default=self.position), "changes": body, "reset": self.reset}
        )

    def _token(self, form: dict[str, str]) -> UpstreamResponse:
        self.forms.append(form)
        thumbprint = parse(form["client_assertion"]).header["x5t#S256"]
        if self.token_answer is not None:
            return self.token_answer
        if thumbprint not in self.certificates:
            return token_error(401, "invalid_client", 700027)
        if form["client_id"] not in [one.client_id for host in self.hosts.values() for one in host]:
            return token_error(400, "unauthorized_client", 700016)
        issued = int(self.clock.now().timestamp())
        expires = issued + int(self.lifetime.total_seconds())
        claims = {"aud": form["resource"], "n": self.token_requests, "nbf": issued - 300, "exp": expires, "tid": TENANT}
        token = ".".join(b64url(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT"}, claims)) + ".c2ln"
        return _answer({"token_type": "Bearer", "access_token": token, "expires_in": expires - issued})


def make_certificate(key: ec.EllipticCurvePublicKey, since: datetime, until: datetime) -> bytes:
    """A certificate for `key`, signed by nobody in particular."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    builder = x509.CertificateBuilder(name, name, key, 1, since, until)
    return builder.sign(new_ec_key(), SHA256()).public_bytes(Encoding.DER)


def token_error(status: int, error: str, number: int) -> UpstreamResponse:
    """What the token service says in refusal."""
    return _answer(
        {
            "error": error,
            "error_description": f"AADSTS{number}: no.\r\nTrace ID: t\r\nCorrelation ID: c\r\nTimestamp: 2026-01-01 12:00:00Z",
            "error_codes": [number],
            "timestamp": "2026-01-01 12:00:00Z",
            "trace_id": "t",
            "correlation_id": "c",
            "error_uri": f"https://localhost:8443/error?code={number}",
        },
        status,
    )


REFUSED = "eeeeeeee-1111-0000-0000-000000000001"
"""Id of whatever the server refuses."""


def _answer(body: object, status: int = 200) -> UpstreamResponse:
    return UpstreamResponse(status=status, body=json.dumps(body).encode())


def _error(status: int, code: str) -> UpstreamResponse:
    return _answer({"error": {"code": code, "message": "no", "requestId": REFUSED}}, status)


@dataclass(frozen=True)
class Response:
    """One response, parsed by the few rules that a client needs."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        document = json.loads(self.body)
        assert isinstance(document, dict)
        return document

    @property
    def error(self) -> tuple[int, object]:
        """Status and `error_description`."""
        return self.status, self.without_id(self.json["error_description"])

    def without_id(self, text: str) -> str:
        """A text for people, which names the refusal as the header does; an outage is none."""
        told = f" (refusal id {self.headers['x-ms-request-id']})"
        assert text.endswith(told) is (self.status < HTTPStatus.INTERNAL_SERVER_ERROR and "Trace ID" not in text), text
        return text.removesuffix(told)


@dataclass
class Client:
    """A TCP connection to a listener."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()

    async def response(self, *, body: bool = True) -> Response:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.rstrip("\r\n").split("\r\n")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(": ")
            assert name.lower() not in headers, f"{name} is repeated"
            headers[name.lower()] = value
        length = int(headers["content-length"]) if body else 0
        return Response(int(first.split(" ")[1]), headers, await self.reader.readexactly(length))

    async def ended(self) -> bool:
        """Whether the server has ended the connection, sending nothing more."""
        try:
            return await self.reader.read() == b""
        except ConnectionResetError:
            return True

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            return


@dataclass
class AgentWorld:
    """An agent with its server, and the clients that a test opened."""

    clock: FakeClock
    server: FakeServer
    agent: HostAgent
    clients: list[Client] = field(default_factory=list)

    @classmethod
    def make(
        cls, clock: FakeClock | None = None, rates: MetadataRates | None = None, server: FakeServer | None = None
    ) -> AgentWorld:
        clock = clock or FakeClock()
        server = server or FakeServer(clock)
        key = new_ec_key()
        certificate = make_certificate(key.public_key(), clock.now(), clock.now() + timedelta(days=1))
        identity = AgentIdentity(agent_id="agent-1", private_key=key, certificate=certificate)
        agent = HostAgent(upstream=server, clock=clock, entropy=SeededEntropy(), identity=identity, rates=rates)
        return cls(clock, server, agent)

    async def imds(self, *, host: ResourceId = VM, require_metadata: bool = True) -> tuple[str, int]:
        listening = await self.agent.listen(_loopback(), host=host, dialect=Dialect.IMDS, require_metadata=require_metadata)
        return listening.address

    async def app_service(self, secret: str, *, host: ResourceId = VM) -> tuple[str, int]:
        listening = await self.agent.listen(_loopback(), host=host, dialect=Dialect.APP_SERVICE, secret=secret)
        return listening.address

    async def open(
        self,
        dialect: Dialect,
        secret: str = "0123456789abcdef",
        *,
        key_folder: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> tuple[str, int]:
        """A listener for `VM` in any dialect, which answers to `localhost`, too."""
        listening = await self.agent.listen(
            _loopback(), host=VM, dialect=dialect, secret=secret, names=["localhost"], key_folder=key_folder, tls=tls
        )
        return listening.address

    async def connect(self, address: tuple[str, int], tls: ssl.SSLContext | None = None) -> Client:
        name = "localhost" if tls else None
        client = Client(*await asyncio.open_connection(*address, ssl=tls, server_hostname=name))
        self.clients.append(client)
        return client

    async def ask(self, address: tuple[str, int], raw: bytes) -> Response:
        """One request on a connection of its own."""
        client = await self.connect(address)
        await client.send(raw)
        return await client.response(body=not raw.startswith(b"HEAD"))

    async def landed(self) -> None:
        """Wait until nothing is fetched any more. Whoever asks is found out in other threads, so that settling is not enough."""
        source = self.agent._source
        while source._token_flights._tasks:
            await asyncio.gather(*source._token_flights._tasks, return_exceptions=True)

    async def close(self) -> None:
        for client in self.clients:
            await client.close()
        await self.agent.close()


def _loopback() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock


def get(target: str, *headers: str, method: str = "GET", version: str = "1.1") -> bytes:
    """A request with the headers that IMDS wants, unless `headers` says otherwise."""
    lines = headers or ("Host: 169.254.169.254", "Metadata: true")
    return "\r\n".join((f"{method} {target} HTTP/{version}", *lines, "", "")).encode()


def token_target(resource: str = ARM, **more: str) -> str:
    """The target of a token request, values as they are."""
    query = "".join(f"&{name}={value}" for name, value in more.items())
    return f"/metadata/identity/oauth2/token?api-version=2018-02-01&resource={resource}{query}"


async def settle() -> None:
    """Let every callback that is ready run, and those that it makes ready, on a loop whose time does not matter."""
    for _ in range(20):
        await asyncio.sleep(0)


def change(collection: str, key: str, *, subject: str | None = None, deleted: bool = False, position: int = 1) -> Change:
    """A row of the change feed."""
    return Change(position=position, collection=collection, key=key, subject=subject, deleted=deleted)
