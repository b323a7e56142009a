"""What the server accepts from agents: proofs, bindings, entitlement, and what they are told of."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from tests.unit.directory.hosts_world import (
    GROUP,
    OTHER_VM,
    SHARED_ID,
    TENANT,
    VM,
    Enrolled,
    HostsWorld,
    hosts_world,
    new_csr,
)

from idplane.directory.hosts import HostDirectory
from idplane.jose import Algorithm, Signer, b64url, certificate_thumbprint, new_ec_key, new_rsa_key
from idplane.model.directory import Credential, CredentialKind, Principal
from idplane.model.failure import Failure, FailureKind
from idplane.ports.collections import AGENTS, CREDENTIALS, IDENTITY_ASSIGNMENTS, PRINCIPALS, RESOURCES
from idplane.ports.store import ANY, Batch, Change, Delete, Put


@pytest.fixture
async def world() -> AsyncIterator[HostsWorld]:
    async with hosts_world() as world:
        yield world


@pytest.fixture
async def agent(world: HostsWorld) -> Enrolled:
    return await world.enroll("agent-1", VM.key)


async def refused(world: HostsWorld, agent: Enrolled, token: str) -> FailureKind:
    with pytest.raises(Failure) as caught:
        await world.authenticate(agent, token)
    return caught.value.kind


async def test_an_agent_is_known_by_its_proof(world: HostsWorld, agent: Enrolled) -> None:
    assert await world.authenticate(agent, world.proof(agent)) == agent.agent


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "agent-2", "sub": "agent-2"},
        {"iss": "nobody", "sub": "nobody"},
        {"sub": "agent-2"},
        {"sub": None},
        {"iss": None},
        {"iss": 5, "sub": 5},
        {"iss": ["agent-1"], "sub": ["agent-1"]},
        {"aud": "https://localhost:8443/"},
        {"aud": ["idplane-agent"]},
        {"aud": None},
        {"exp": None},
        {"iat": None},
        {"exp": "soon"},
        {"exp": True},
        {"exp": -1},
        {"exp": 1e300},
        {"jti": None},
        {"jti": ""},
        {"jti": 7},
        {"jti": "x" * 129},
    ],
)
async def test_claims_that_prove_nothing(world: HostsWorld, agent: Enrolled, changes: dict[str, object]) -> None:
    await world.enroll("agent-2", OTHER_VM.key)
    assert await refused(world, agent, world.proof(agent, **changes)) is FailureKind.AGENT_UNKNOWN


@pytest.mark.parametrize(
    ("iat", "exp"),
    [(-400, -100), (-130, -60), (61, 121), (-10, 300), (0, 301), (0, 10**9)],
)
async def test_times_that_prove_nothing(world: HostsWorld, agent: Enrolled, iat: int, exp: int) -> None:
    now = int(world.clock.now().timestamp())
    assert await refused(world, agent, world.proof(agent, iat=now + iat, exp=now + exp)) is FailureKind.AGENT_UNKNOWN


@pytest.mark.parametrize(("iat", "exp"), [(-59, 1), (60, 120), (0, 300), (-100, -59)])
async def test_clocks_may_differ_by_a_minute(world: HostsWorld, agent: Enrolled, iat: int, exp: int) -> None:
    now = int(world.clock.now().timestamp())
    assert await world.authenticate(agent, world.proof(agent, iat=now + iat, exp=now + exp)) == agent.agent


@pytest.mark.parametrize("token", ["", "x", "a.b", "a.b.c", "..", "a.b.c.d", "é.b.c", "x" * 20_000])
async def test_what_is_no_token(world: HostsWorld, agent: Enrolled, token: str) -> None:
    assert await refused(world, agent, token) is FailureKind.AGENT_UNKNOWN


async def test_keys_and_algorithms_that_prove_nothing(world: HostsWorld, agent: Enrolled) -> None:
    named = {"x5t#S256": b64url(bytes.fromhex(agent.agent.thumbprint))}
    claims = world.claims(agent)
    tokens = [
        Signer(new_ec_key(), Algorithm.ES256, named).sign(claims),
        Signer(new_rsa_key(), Algorithm.RS256, named).sign(claims),
        Signer(agent.key, Algorithm.ES256, {}).sign(claims),
        Signer(agent.key, Algorithm.ES256, {"x5t#S256": "AAAA"}).sign(claims),
        Signer(agent.key, Algorithm.ES256, {"x5t#S256": "not base64!"}).sign(claims),
        Signer(agent.key, Algorithm.ES256, {"x5t#S256": 5}).sign(claims),
    ]
    good = agent.signer().sign(claims)
    header, body, signature = good.split(".")
    none = b64url(b'{"typ":"JWT","alg":"none","x5t#S256":"' + named["x5t#S256"].encode() + b'"}')
    tokens += [f"{none}.{body}.", f"{none}.{body}.{signature}", f"{header}.{body}.", f"{header}.{b64url(b'{}')}.{signature}"]
    for token in tokens:
        assert await refused(world, agent, token) is FailureKind.AGENT_UNKNOWN
    assert await world.authenticate(agent, good) == agent.agent


async def test_a_proof_counts_once(world: HostsWorld, agent: Enrolled) -> None:
    token = world.proof(agent)
    await world.authenticate(agent, token)
    for passed in (0, 60, 59):
        world.clock.advance(passed)
        assert await refused(world, agent, token) is FailureKind.AGENT_UNKNOWN


async def test_two_agents_may_use_one_id(world: HostsWorld, agent: Enrolled) -> None:
    other = await world.enroll("agent-2", OTHER_VM.key)
    await world.authenticate(agent, world.proof(agent, jti="same"))
    await world.authenticate(other, world.proof(other, jti="same"))


async def test_a_refused_proof_is_not_remembered(world: HostsWorld, agent: Enrolled) -> None:
    """Or strangers could use up the ids of an agent, and the memory."""
    stranger = Signer(new_ec_key(), Algorithm.ES256, {})
    assert await refused(world, agent, stranger.sign(world.claims(agent, jti="one"))) is FailureKind.AGENT_UNKNOWN
    assert await world.authenticate(agent, world.proof(agent, jti="one")) == agent.agent


async def test_the_memory_of_proofs_is_bounded_by_time(world: HostsWorld, agent: Enrolled) -> None:
    for _ in range(20):
        await world.authenticate(agent, world.proof(agent))
        world.clock.advance(timedelta(minutes=1))
    assert len(world.agents._proofs) <= 7


async def test_an_agent_that_is_gone_or_enrolled_anew(world: HostsWorld, agent: Enrolled) -> None:
    other = await world.enroll("other")
    await world.store.commit(
        Batch.of(
            Delete(collection=AGENTS, key="other"),
            Put(
                collection=AGENTS,
                value=replace(agent.agent, certificate=other.agent.certificate, thumbprint=other.agent.thumbprint),
                expect=ANY,
            ),
        )
    )
    assert await refused(world, agent, world.proof(agent)) is FailureKind.AGENT_UNKNOWN
    assert await refused(world, agent, world.proof(other)) is FailureKind.AGENT_UNKNOWN


async def test_an_expired_agent_certificate(world: HostsWorld, agent: Enrolled) -> None:
    world.clock.advance(timedelta(days=500))
    assert await refused(world, agent, world.proof(agent)) is FailureKind.AGENT_UNKNOWN


async def test_a_host_is_described(world: HostsWorld, agent: Enrolled) -> None:
    described = await world.hosts.describe(agent.agent, VM)
    assert (described.id, described.type, described.location) == (VM, "Microsoft.Compute/virtualMachines", "westeurope")
    assert described.tenant_id == TENANT
    assert [(it.principal_id, it.identity) for it in described.identities] == [
        (world.system.id, None),
        (world.shared.id, SHARED_ID),
    ]
    compute = described.compute
    assert compute["name"] == "Stock-VM"
    assert compute["resourceId"] == str(VM)
    assert compute["resourceGroupName"] == "Rg"
    assert compute["tags"] == "team:stocks"
    assert compute["vmSize"] == "Standard_B1s"
    assert compute["zone"] == ""


async def test_every_primitive_of_the_compute_document_is_a_string(world: HostsWorld, agent: Enrolled) -> None:
    machine = await world.store.get(RESOURCES, VM.key)
    assert machine is not None
    odd = {
        "osProfile": {"linuxConfiguration": {"disablePasswordAuthentication": True, "ssh": {"publicKeys": [{"path": 1}, 5]}}},
        "storageProfile": {"osDisk": {"diskSizeGB": 30}, "imageReference": "not an object"},
        "securityProfile": None,
        "vmId": {},
    }
    changed = replace(machine.value, properties=odd, envelope={"zones": ["2"], "plan": 5})
    await world.store.commit(Batch.of(Put(collection=RESOURCES, value=changed, expect=machine.version)))
    compute = (await world.hosts.describe(agent.agent, VM)).compute

    def primitives(value: object) -> list[object]:
        if isinstance(value, dict):
            return [one for inner in value.values() for one in primitives(inner)]
        if isinstance(value, list):
            return [one for inner in value for one in primitives(inner)]
        return [value]

    assert all(isinstance(one, str) for one in primitives(compute))
    assert compute["zone"] == "2"


async def test_a_host_of_another_agent_is_not_described(world: HostsWorld, agent: Enrolled) -> None:
    for host in (OTHER_VM, GROUP, SHARED_ID):
        with pytest.raises(Failure) as caught:
            await world.hosts.describe(agent.agent, host)
        assert caught.value.kind is FailureKind.HOST_NOT_BOUND


async def test_an_agent_for_everything_learns_what_does_not_exist(world: HostsWorld) -> None:
    everywhere = await world.enroll("everywhere", "*")
    with pytest.raises(Failure) as caught:
        await world.hosts.describe(everywhere.agent, GROUP.extension("Microsoft.Compute/virtualMachines", "nothing"))
    assert caught.value.kind is FailureKind.RESOURCE_NOT_FOUND


async def test_a_certificate_is_issued_and_stored(world: HostsWorld, agent: Enrolled) -> None:
    credential = await world.hosts.certify(agent.agent, VM, world.system.id, new_csr())
    stored = await world.store.get(CREDENTIALS, credential.id)
    assert stored is not None
    assert stored.value == credential
    assert credential.kind is CredentialKind.IDENTITY_CERTIFICATE
    assert (credential.host, credential.agent_id) == (VM.key, "agent-1")
    assert credential.certificate is not None
    assert credential.thumbprint == certificate_thumbprint(credential.certificate)
    x509.load_der_x509_certificate(credential.certificate)


@pytest.mark.parametrize(
    ("host", "which", "kind"),
    [
        (OTHER_VM, "shared", FailureKind.HOST_NOT_BOUND),
        (VM, "00000000-0000-0000-0000-000000000000", FailureKind.NOT_ENTITLED),
        (VM, "", FailureKind.NOT_ENTITLED),
        (VM, "' OR 1=1", FailureKind.NOT_ENTITLED),
    ],
)
async def test_certificates_that_are_not_issued(
    world: HostsWorld, agent: Enrolled, host: object, which: str, kind: FailureKind
) -> None:
    principal = world.shared.id if which == "shared" else which
    with pytest.raises(Failure) as caught:
        await world.hosts.certify(agent.agent, host, principal, new_csr())  # type: ignore[arg-type]  # parametrized
    assert caught.value.kind is kind
    assert not await world.store.all(CREDENTIALS)


async def test_an_identity_of_another_host_is_not_certified(world: HostsWorld) -> None:
    other = await world.enroll("agent-2", OTHER_VM.key)
    with pytest.raises(Failure) as caught:
        await world.hosts.certify(other.agent, OTHER_VM, world.system.id, new_csr())
    assert caught.value.kind is FailureKind.NOT_ENTITLED


@pytest.mark.parametrize("csr", [b"", b"x", b"\x30\x00", b"\x30" * 10_000])
async def test_what_is_no_certificate_request(world: HostsWorld, agent: Enrolled, csr: bytes) -> None:
    with pytest.raises(Failure) as caught:
        await world.hosts.certify(agent.agent, VM, world.system.id, csr)
    assert caught.value.kind is FailureKind.CSR_INVALID


async def test_a_new_certificate_ends_the_old_one_of_that_agent_only(world: HostsWorld, agent: Enrolled) -> None:
    other = await world.enroll("agent-2", OTHER_VM.key)
    same_host = await world.enroll("agent-3", VM.key)
    old = await world.hosts.certify(agent.agent, VM, world.shared.id, new_csr())
    others = {
        (await world.hosts.certify(other.agent, OTHER_VM, world.shared.id, new_csr())).id,
        (await world.hosts.certify(same_host.agent, VM, world.shared.id, new_csr())).id,
        (await world.hosts.certify(agent.agent, VM, world.system.id, new_csr())).id,
    }
    new = await world.hosts.certify(agent.agent, VM, world.shared.id, new_csr())
    assert {row.value.id for row in await world.store.all(CREDENTIALS)} == others | {new.id}
    assert old.id not in others | {new.id}


class _Meanwhile:
    """A certifier during whose work something happens, as between a read and a commit it may."""

    def __init__(self, world: HostsWorld, happenings: list[Batch]) -> None:
        self._world = world
        self._happenings = happenings
        self.pending: list[Batch] = []

    def issue_identity(self, csr_der: bytes, principal: Principal, host_key: str, agent_id: str, /) -> Credential:
        if self._happenings:
            self.pending.append(self._happenings.pop(0))
        return self._world.authority.issue_identity(csr_der, principal, host_key, agent_id)

    issue_workload = issue_identity


class _RacedStore:
    """The real store, with a commit of somebody else's just before ours."""

    def __init__(self, world: HostsWorld, certifier: _Meanwhile) -> None:
        self._world = world
        self._certifier = certifier

    def __getattr__(self, name: str) -> object:
        return getattr(self._world.store, name)

    async def commit(self, batch: Batch, /) -> int:
        while self._certifier.pending:
            await self._world.store.commit(self._certifier.pending.pop())
        return await self._world.store.commit(batch)


def raced(world: HostsWorld, *happenings: Batch) -> HostDirectory:
    certifier = _Meanwhile(world, list(happenings))
    return HostDirectory(store=_RacedStore(world, certifier), authority=certifier)  # type: ignore[arg-type]  # forwards everything else


async def test_an_assignment_that_is_removed_meanwhile_wins(world: HostsWorld, agent: Enrolled) -> None:
    removal = Batch.of(Delete(collection=IDENTITY_ASSIGNMENTS, key=f"{VM.key}|{world.system.id}", subject=VM.key))
    with pytest.raises(Failure) as caught:
        await raced(world, removal).certify(agent.agent, VM, world.system.id, new_csr())
    assert caught.value.kind is FailureKind.NOT_ENTITLED
    assert not await world.store.all(CREDENTIALS)


async def test_a_principal_that_is_removed_meanwhile_wins(world: HostsWorld, agent: Enrolled) -> None:
    removal = Batch.of(
        Delete(collection=IDENTITY_ASSIGNMENTS, key=f"{VM.key}|{world.system.id}", subject=VM.key),
        Delete(collection=PRINCIPALS, key=world.system.id),
    )
    with pytest.raises(Failure) as caught:
        await raced(world, removal).certify(agent.agent, VM, world.system.id, new_csr())
    assert caught.value.kind is FailureKind.NOT_ENTITLED


async def test_an_assignment_that_is_written_meanwhile_costs_another_try(world: HostsWorld, agent: Enrolled) -> None:
    row = await world.store.get(IDENTITY_ASSIGNMENTS, f"{VM.key}|{world.system.id}")
    assert row is not None
    rewrite = Batch.of(Put(collection=IDENTITY_ASSIGNMENTS, value=row.value, expect=ANY))
    credential = await raced(world, rewrite).certify(agent.agent, VM, world.system.id, new_csr())
    assert await world.store.get(CREDENTIALS, credential.id)


async def test_an_assignment_that_keeps_changing_is_given_up_on(world: HostsWorld, agent: Enrolled) -> None:
    row = await world.store.get(IDENTITY_ASSIGNMENTS, f"{VM.key}|{world.system.id}")
    assert row is not None
    rewrite = Batch.of(Put(collection=IDENTITY_ASSIGNMENTS, value=row.value, expect=ANY))
    with pytest.raises(Failure) as caught:
        await raced(world, *[rewrite] * 10).certify(agent.agent, VM, world.system.id, new_csr())
    assert caught.value.kind is FailureKind.UNAVAILABLE


def change(collection: str, key: str, subject: str | None = None) -> Change:
    return Change(position=1, collection=collection, key=key, subject=subject, deleted=True)


async def test_an_agent_is_told_of_its_own_hosts_only(world: HostsWorld, agent: Enrolled) -> None:
    mine = [
        change("resources", VM.key, VM.key),
        change("identity_assignments", f"{VM.key}|gone", VM.key),
        change("bindings", f"{VM.key}|app", VM.key),
        change("principals", world.shared.id, world.shared.id),
        change("role_assignments", "r", world.system.id),
        change("credentials", "c", world.system.id),
        change("signing_keys", "k"),
        change("tenants", TENANT),
    ]
    foreign = [
        change("resources", OTHER_VM.key, OTHER_VM.key),
        change("identity_assignments", f"{OTHER_VM.key}|{world.shared.id}", OTHER_VM.key),
        change("bindings", f"{OTHER_VM.key}|app", OTHER_VM.key),
        change("principals", "somebody", "somebody"),
        change("role_assignments", "r", "somebody"),
        change("secrets", "v|n|1"),
        change("settings", "x"),
        change("agents", "agent-1"),
    ]
    assert await world.hosts.visible(agent.agent, [*mine, *foreign]) == tuple(mine)
    everywhere = await world.enroll("everywhere", "*")
    assert await world.hosts.visible(everywhere.agent, [*mine, *foreign]) == (*mine, *foreign[:5])
