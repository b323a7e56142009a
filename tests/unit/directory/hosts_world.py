"""A directory with a machine, its identities and enrolled agents, over the real store and the real credential authority."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec

from idplane.directory.agents import AgentDirectory
from idplane.directory.hosts import HostDirectory
from idplane.directory.identities import new_system_identity, new_user_assigned, removal_of
from idplane.directory.sightings import Sightings
from idplane.jose import Algorithm, Signer, b64url, certificate_thumbprint, make_csr, new_ec_key
from idplane.keys import CredentialAuthority
from idplane.model.calls import Call
from idplane.model.directory import Agent, Principal, Subscription, Tenant
from idplane.model.ids import ResourceId
from idplane.model.profile import OPEN
from idplane.model.resources import IdentityAssignment, Resource
from idplane.ports.collections import (
    AGENTS,
    IDENTITY_ASSIGNMENTS,
    PRINCIPALS,
    RESOURCES,
    SUBSCRIPTIONS,
    TENANTS,
)
from idplane.ports.store import ABSENT, ANY, Batch, Delete, Put, Store
from idplane.testing.worlds import FakeClock, MemoryCustody, SeededEntropy, memory_store

TENANT = "22222222-2222-2222-2222-222222222222"
SUBSCRIPTION = "11111111-1111-1111-1111-111111111111"
GROUP = ResourceId.parse(f"/subscriptions/{SUBSCRIPTION}/resourceGroups/Rg")
VM = GROUP.extension("Microsoft.Compute/virtualMachines", "Stock-VM")
OTHER_VM = GROUP.extension("Microsoft.Compute/virtualMachines", "other-vm")
SHARED_ID = GROUP.extension("Microsoft.ManagedIdentity/userAssignedIdentities", "front-end")


@dataclass(frozen=True)
class Enrolled:
    """An agent with its key."""

    agent: Agent
    key: ec.EllipticCurvePrivateKey

    def signer(self, **header: object) -> Signer:
        return Signer(self.key, Algorithm.ES256, {"x5t#S256": b64url(bytes.fromhex(self.agent.thumbprint)), **header})


@dataclass
class HostsWorld:
    """What the tests act on."""

    store: Store
    clock: FakeClock
    entropy: SeededEntropy
    authority: CredentialAuthority
    hosts: HostDirectory
    agents: AgentDirectory
    system: Principal
    shared: Principal

    async def enroll(self, name: str, *hosts: str) -> Enrolled:
        key = new_ec_key()
        certificate = self.authority.issue_agent(make_csr(key, name), name)
        agent = Agent(
            id=name,
            display_name=name,
            certificate=certificate,
            thumbprint=certificate_thumbprint(certificate),
            enrolled_at=self.clock.now(),
            hosts=hosts,
        )
        await self.store.commit(Batch.of(Put(collection=AGENTS, value=agent, expect=ABSENT)))
        return Enrolled(agent, key)

    def claims(self, enrolled: Enrolled, **changes: object) -> dict[str, object]:
        now = int(self.clock.now().timestamp())
        claims: dict[str, object] = {
            "iss": enrolled.agent.id,
            "sub": enrolled.agent.id,
            "aud": "idplane-agent",
            "iat": now,
            "exp": now + 60,
            "jti": self.entropy.guid(),
        }
        claims |= changes
        return {name: value for name, value in claims.items() if value is not None}

    def proof(self, enrolled: Enrolled, **changes: object) -> str:
        return enrolled.signer().sign(self.claims(enrolled, **changes))

    def call(self, enrolled: Enrolled | None, address: str = "192.0.2.1") -> Call:
        """A request over a connection that proves the agent's certificate."""
        return Call(
            request_id="request-1",
            correlation_id="c",
            received_at=self.clock.now(),
            client_address=address,
            client_certificate=enrolled.agent.certificate if enrolled is not None else None,
        )

    async def authenticate(self, enrolled: Enrolled, token: str) -> Agent:
        return await self.agents.authenticate(token, self.call(enrolled))

    async def assign(self, host: ResourceId, principal: Principal, identity: ResourceId | None = None) -> None:
        row = IdentityAssignment(host=host, principal_id=principal.id, client_id=principal.client_id, identity=identity)
        await self.store.commit(Batch.of(Put(collection=IDENTITY_ASSIGNMENTS, value=row, expect=ANY)))

    async def unassign(self, host: ResourceId, principal: Principal) -> None:
        key = f"{host.key}|{principal.id}"
        await self.store.commit(Batch.of(Delete(collection=IDENTITY_ASSIGNMENTS, key=key, subject=host.key)))

    async def remove(self, principal: Principal) -> None:
        await self.store.commit(await removal_of(self.store, principal.id))


def new_csr(name: str = "x") -> bytes:
    return make_csr(new_ec_key(), name)


def csr_text() -> str:
    return base64.b64encode(new_csr()).decode()


def resource(identifier: ResourceId, clock: FakeClock) -> Resource:
    return Resource(
        id=identifier,
        type=identifier.type,
        created_at=clock.now(),
        changed_at=clock.now(),
        location="westeurope",
        tags={"team": "stocks"},
        properties={"vmId": "v", "hardwareProfile": {"vmSize": "Standard_B1s"}, "osProfile": {"computerName": "stock"}},
    )


@asynccontextmanager
async def hosts_world() -> AsyncIterator[HostsWorld]:
    clock, entropy = FakeClock(), SeededEntropy()
    store = await memory_store(clock)
    tenant = Tenant(id=TENANT, display_name="t", domain="t.example", issuer_v1="i1", issuer_v2="i2", created_at=clock.now())
    machines = [resource(VM, clock), resource(OTHER_VM, clock)]
    system = new_system_identity(machines[0], tenant_id=TENANT, entropy=entropy, now=clock.now())
    shared = new_user_assigned(SHARED_ID, tenant_id=TENANT, entropy=entropy, now=clock.now())
    records = (
        (TENANTS, tenant),
        (SUBSCRIPTIONS, Subscription(id=SUBSCRIPTION, tenant_id=TENANT, display_name="s")),
        (RESOURCES, resource(GROUP, clock)),
        *((RESOURCES, machine) for machine in machines),
        (RESOURCES, resource(SHARED_ID, clock)),
        (PRINCIPALS, system),
        (PRINCIPALS, shared),
    )
    await store.commit(Batch.of(*(Put(collection=into, value=value, expect=ABSENT) for into, value in records)))  # type: ignore[arg-type]  # each record goes with its collection
    authority = await CredentialAuthority.open(store=store, custody=MemoryCustody(), clock=clock, entropy=entropy, profile=OPEN)
    hosts = HostDirectory(store=store, authority=authority)
    agents = AgentDirectory(
        store=store,
        authority=authority,
        sightings=Sightings(store=store, clock=clock),
        clock=clock,
        entropy=entropy,
        profile=OPEN,
    )
    world = HostsWorld(store, clock, entropy, authority, hosts, agents, system, shared)
    await world.assign(VM, system)
    await world.assign(VM, shared, SHARED_ID)
    await world.assign(OTHER_VM, shared, SHARED_ID)
    yield world
    await store.close()
