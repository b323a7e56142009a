"""Machines that join: servers that share one store, and hosts as the agent's own code makes them, over connections that prove what they say."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from tests.unit.directory.hosts_world import OTHER_VM, SHARED_ID, VM, resource

from idplane.agent.attestors import Attestor, Challenge
from idplane.agent.upstream import UpstreamResponse
from idplane.bootstrap.embedded import InProcessUpstream
from idplane.bootstrap.server import Server
from idplane.bootstrap.world import World
from idplane.directory.identities import new_system_identity, new_user_assigned
from idplane.jose import Algorithm, Signer, b64url, certificate_thumbprint, make_csr, new_ec_key
from idplane.model.directory import Agent, Principal, Subscription
from idplane.model.enrollments import Enrollment, JoinMethod, JoinToken, Trust
from idplane.model.events import ActivityEvent
from idplane.model.ids import ResourceId
from idplane.model.join_tokens import secret_hash, token_text
from idplane.model.profile import OPEN, Profile
from idplane.model.resources import IdentityAssignment
from idplane.ports.collections import (
    ACTIVITY,
    AGENTS,
    ENROLLMENTS,
    IDENTITY_ASSIGNMENTS,
    JOIN_TOKENS,
    PRINCIPALS,
    RESOURCES,
    SUBSCRIPTIONS,
)
from idplane.ports.issuers import IssuerDocuments
from idplane.ports.store import ABSENT, Batch, Order, Put, Store
from idplane.ports.telemetry import NO_TELEMETRY, Telemetry
from idplane.testing.worlds import FakeClock, MemoryCustody, SeededEntropy, memory_store
from idplane.web.origins import Origins

UNHURRIED = OPEN.without_rates()


@dataclass
class Machine:
    """A host: a key, and what the server gave for it."""

    world: JoinWorld
    key: ec.EllipticCurvePrivateKey
    agent_id: str
    certificate: bytes = field(repr=False)
    address: str = "192.0.2.1"
    replica: int = 0

    def copied(self, address: str) -> Machine:
        """The same state on another machine."""
        return Machine(self.world, self.key, self.agent_id, self.certificate, address)

    def proof(self, **changes: object) -> str:
        now = int(self.world.clock.now().timestamp())
        claims = {
            "iss": self.agent_id,
            "sub": self.agent_id,
            "aud": "idplane-agent",
            "iat": now,
            "exp": now + 60,
            "jti": self.world.entropy.guid(),
            **changes,
        }
        thumbprint = b64url(bytes.fromhex(certificate_thumbprint(self.certificate)))
        return Signer(self.key, Algorithm.ES256, {"x5t#S256": thumbprint}).sign(claims)

    async def ask(self, method: str, path: str, body: object = None, *, connection: bytes | None = None) -> Answer:
        headers = {"Authorization": f"Bearer {self.proof()}"}
        shown = self.certificate if connection is None else connection
        return await self.world.send(method, path, body, headers, replica=self.replica, address=self.address, certificate=shown)

    async def renew(self) -> Answer:
        """Ask for a new certificate, and forget it: `accept` takes it into use."""
        self.fresh = new_ec_key()
        body = {"csr": base64.b64encode(make_csr(self.fresh, "agent")).decode()}
        return await self.ask("POST", "/agent/v1/renewals", body)

    def accept(self, answer: Answer) -> None:
        assert answer.status == 200, answer.body
        self.key, self.certificate = self.fresh, base64.b64decode(answer.body["certificate"])

    async def host(self, host: ResourceId = VM) -> Answer:
        return await self.ask("GET", f"/agent/v1/host?id={host}")

    async def record(self) -> Agent | None:
        found = await self.world.store.get(AGENTS, self.agent_id)
        return found.value if found else None


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any

    @property
    def code(self) -> tuple[int, str]:
        return self.status, self.body["error"]["code"]

    @property
    def message(self) -> str:
        message: str = self.body["error"]["message"]
        return message


@dataclass
class JoinWorld:
    store: Store
    clock: FakeClock
    entropy: SeededEntropy
    servers: list[Server]
    system: Principal
    shared: Principal

    async def send(  # noqa: PLR0913 - a request, and where it comes from
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        replica: int = 0,
        address: str = "192.0.2.1",
        certificate: bytes | None = None,
        host: str = "localhost",
        connected_at: float | None = None,
    ) -> Answer:
        """One request, over a connection of its own unless it is told when the connection began."""
        app = self.servers[replica].app(Origins.local(443))
        sent = {"Content-Type": "application/json", **(headers or {})}
        content = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
        seen: Any = _From(app, address, self.clock.monotonic() if connected_at is None else connected_at)
        upstream = InProcessUpstream(seen, host=host, certificate=certificate)
        answer: UpstreamResponse = await upstream.send(method, path, sent, content)
        return Answer(answer.status, json.loads(answer.body))

    async def enrollment(self, method: JoinMethod, name: str = "rack", host: ResourceId = VM, **members: Any) -> Enrollment:
        made = Enrollment(
            id=self.entropy.guid(),
            host=host,
            name=name,
            tenant_id=self.servers[0].installation.tenant.id,
            method=method,
            created_at=self.clock.now(),
            **members,
        )
        await self.store.commit(Batch.of(Put(collection=ENROLLMENTS, value=made, expect=ABSENT)))
        return made

    async def token(self, enrollment: Enrollment, lifetime: timedelta = timedelta(hours=1)) -> str:
        secret = self.entropy.bytes(32)
        made = JoinToken(
            id=self.entropy.bytes(16).hex(),
            enrollment_id=enrollment.id,
            secret_hash=secret_hash(secret),
            created_at=self.clock.now(),
            expires_at=self.clock.now() + lifetime,
        )
        await self.store.commit(Batch.of(Put(collection=JOIN_TOKENS, value=made, expect=ABSENT)))
        return token_text(made.id, secret)

    async def join(
        self,
        method: JoinMethod,
        evidence: object,
        *,
        key: ec.EllipticCurvePrivateKey | None = None,
        csr: bytes | None = None,
        replica: int = 0,
        address: str = "192.0.2.1",
        **members: Any,
    ) -> Answer:
        csr = csr if csr is not None else make_csr(key or new_ec_key(), "agent")
        body = {
            "method": method.value,
            "evidence": evidence,
            "csr": base64.b64encode(csr).decode(),
            "protocol": 1,
            **{name: value for name, value in members.items() if value is not None},
        }
        return await self.send("POST", "/agent/v1/enrollments", body, replica=replica, address=address)

    async def by(
        self, attestor: Attestor, *, address: str = "192.0.2.1", replica: int = 0, **members: Any
    ) -> tuple[Answer, Machine | None]:
        """A machine that joins as an agent does."""
        asked = {"method": attestor.method, **await attestor.challenge_body()}
        answer = await self.send("POST", "/agent/v1/challenges", asked, replica=replica, address=address)
        if answer.status != 200:
            return answer, None
        key = new_ec_key()
        csr = make_csr(key, "agent")
        evidence = await attestor.evidence(challenge_of(answer, csr))
        made = await self.join(
            JoinMethod(attestor.method),
            evidence,
            csr=csr,
            replica=replica,
            address=address,
            challenge=answer.body["challenge"],
            **members,
        )
        return made, self.machine(made, key, address)

    def machine(self, answer: Answer, key: ec.EllipticCurvePrivateKey, address: str = "192.0.2.1") -> Machine | None:
        if answer.status != 200:
            return None
        return Machine(self, key, answer.body["agentId"], base64.b64decode(answer.body["certificate"]), address)

    async def joined(self, host: ResourceId = VM, address: str = "192.0.2.1", name: str = "rack") -> Machine:
        """A machine that joined by a token."""
        key = new_ec_key()
        token = await self.token(await self.enrollment(JoinMethod.TOKEN, name, host))
        machine = self.machine(await self.join(JoinMethod.TOKEN, {"token": token}, key=key, address=address), key, address)
        assert machine is not None
        return machine

    async def agents(self) -> list[Agent]:
        return [one.value for one in await self.store.all(AGENTS) if one.value.enrollment is not None]

    async def last_event(self) -> ActivityEvent:
        (event,) = await self.store.read_log(ACTIVITY, order=Order.NEWEST_FIRST, limit=1)
        return event.event


class _From:
    """The application, as somebody at an address calls it."""

    def __init__(self, app: Any, address: str, connected_at: float) -> None:
        self._app, self._told = app, {"client": (address, 1), "idplane.connected_at": connected_at}

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        await self._app({**scope, **self._told}, receive, send)


def challenge_of(answer: Answer, csr: bytes) -> Challenge:
    body = answer.body
    return Challenge(
        challenge=body["challenge"],
        nonce=base64.b64decode(body["nonce"]),
        csr=csr,
        credential_blob=base64.b64decode(body["credentialBlob"]) if "credentialBlob" in body else None,
        secret=base64.b64decode(body["secret"]) if "secret" in body else None,
    )


@asynccontextmanager
async def join_world(
    *,
    replicas: int = 1,
    profile: Profile = UNHURRIED,
    stores: Sequence[Store] = (),
    documents: IssuerDocuments | None = None,
    clock: FakeClock | None = None,
    telemetry: Telemetry = NO_TELEMETRY,
) -> AsyncIterator[JoinWorld]:
    """Servers over one store in memory, or each over a store of its own that leads to the same database."""
    clock, entropy = clock or FakeClock(), SeededEntropy()
    shared_store = stores[0] if stores else await memory_store(clock)
    custody = MemoryCustody()
    servers = [
        await Server.open(
            World(clock=clock, entropy=entropy, store=store, custody=custody, profile=profile, telemetry=telemetry),
            documents=documents,
        )
        for store in stores or [shared_store] * replicas
    ]
    tenant = servers[0].installation.tenant.id
    group = ResourceId(VM.segments[:4])
    machines = [resource(VM, clock), resource(OTHER_VM, clock)]
    system = new_system_identity(machines[0], tenant_id=tenant, entropy=entropy, now=clock.now())
    shared = new_user_assigned(SHARED_ID, tenant_id=tenant, entropy=entropy, now=clock.now())
    records: list[tuple[Any, object]] = [
        (SUBSCRIPTIONS, Subscription(id=VM.subscription or "", tenant_id=tenant, display_name="s")),
        (RESOURCES, resource(group, clock)),
        *((RESOURCES, machine) for machine in machines),
        (RESOURCES, resource(SHARED_ID, clock)),
        (PRINCIPALS, system),
        (PRINCIPALS, shared),
        *(
            (IDENTITY_ASSIGNMENTS, IdentityAssignment(host=host, principal_id=who.id, client_id=who.client_id, identity=what))
            for host, who, what in ((VM, system, None), (OTHER_VM, shared, SHARED_ID))
        ),
    ]
    await shared_store.commit(Batch.of(*(Put(collection=into, value=value, expect=ABSENT) for into, value in records)))
    try:
        yield JoinWorld(shared_store, clock, entropy, servers, system, shared)
    finally:
        for server in servers:
            await server.close()
        for store in stores or [shared_store]:
            await store.close()


__all__ = ["UNHURRIED", "Answer", "JoinWorld", "Machine", "Trust", "challenge_of", "join_world"]
