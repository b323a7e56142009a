from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.sts.sts_world import (
    ARM,
    OTHER_TENANT_ID,
    UAMI_ID,
    VM_ID,
    Published,
    StsWorld,
    agent_of,
    replacing,
    rsa_pair,
)

from idplane.directory.audiences import Audiences
from idplane.directory.clients import new_application, new_application_principal, new_secret
from idplane.jose import parse
from idplane.model.calls import Workload
from idplane.model.failure import Failure, FailureKind
from idplane.model.profile import AZURE
from idplane.model.resources import identity_assignment_key
from idplane.ports.collections import AGENTS, APPLICATIONS, CREDENTIALS, IDENTITY_ASSIGNMENTS, PRINCIPALS
from idplane.ports.store import ABSENT, Batch, CommitRefused, Delete, Put, RefusedBecause
from idplane.sts import TokenService


@pytest.fixture
async def world() -> AsyncIterator[StsWorld]:
    opened = await StsWorld.open()
    yield opened
    await opened.store.close()


async def refusal(world: StsWorld, request: Any) -> FailureKind:
    with pytest.raises(Failure) as raised:
        await world.service.issue(request, world.call())
    return raised.value.kind


class TestRefusals:
    async def test_unknown_tenant(self, world: StsWorld) -> None:
        assert await refusal(world, world.by_secret(tenant="no.such.domain")) is FailureKind.TENANT_NOT_FOUND
        assert await world.sign_ins() == ()

    @pytest.mark.parametrize("name", ["common", "organizations", "", "11111111-1111-4111-8111-11111111111"])
    async def test_names_that_are_no_tenant(self, world: StsWorld, name: str) -> None:
        assert await refusal(world, world.by_secret(tenant=name)) is FailureKind.TENANT_NOT_FOUND

    async def test_client_of_another_tenant(self, world: StsWorld) -> None:
        assert await refusal(world, world.by_secret(tenant=OTHER_TENANT_ID)) is FailureKind.CLIENT_UNKNOWN

    @pytest.mark.parametrize(
        ("changes", "kind"),
        [
            ({"grant_type": None}, FailureKind.MISSING_PARAMETER),
            ({"grant_type": "password"}, FailureKind.PASSWORD_GRANT),
            ({"grant_type": "implicit"}, FailureKind.GRANT_UNSUPPORTED),
            ({"client_id": None}, FailureKind.MISSING_PARAMETER),
            ({"client_id": "nobody"}, FailureKind.CLIENT_UNKNOWN),
            ({"client_secret": None}, FailureKind.CLIENT_CREDENTIAL_MISSING),
            ({"client_secret": "wrong"}, FailureKind.CLIENT_SECRET_INVALID),
            ({"client_secret": "idp_ünïcode"}, FailureKind.CLIENT_SECRET_INVALID),
            ({"client_assertion": "also"}, FailureKind.INVALID_PARAMETER),
            ({"audience": None}, FailureKind.MISSING_PARAMETER),
            ({"audience": "https://nowhere.example"}, FailureKind.AUDIENCE_UNKNOWN),
            ({"audience": ""}, FailureKind.AUDIENCE_UNKNOWN),
            ({"endpoint": "scope", "audience": "https://vault.azure.net"}, FailureKind.SCOPE_INVALID),
            ({"claims": "not json"}, FailureKind.INVALID_PARAMETER),
            ({"claims": "[1]"}, FailureKind.INVALID_PARAMETER),
            ({"claims": "[" * 4000}, FailureKind.INVALID_PARAMETER),
        ],
    )
    async def test_what_a_request_lacks(self, world: StsWorld, changes: dict[str, str | None], kind: FailureKind) -> None:
        assert await refusal(world, world.by_secret(**changes)) is kind

    async def test_secret_of_another_client(self, world: StsWorld) -> None:
        other = new_application_principal(
            tenant_id=world.tenant.id, display_name="other", entropy=world.entropy, now=world.clock.now()
        )
        made = new_secret(other, entropy=world.entropy, now=world.clock.now(), lifetime=timedelta(days=1))
        await world.commit(replacing(PRINCIPALS, other), replacing(CREDENTIALS, made.credential))
        assert await refusal(world, world.by_secret(client_secret=made.secret)) is FailureKind.CLIENT_SECRET_INVALID

    async def test_expired_secret(self, world: StsWorld) -> None:
        world.clock.advance(timedelta(days=30))
        assert await refusal(world, world.by_secret()) is FailureKind.CLIENT_SECRET_EXPIRED

    async def test_disabled_client(self, world: StsWorld) -> None:
        await world.commit(replacing(PRINCIPALS, replace(world.app, enabled=False)))
        assert await refusal(world, world.by_secret()) is FailureKind.CLIENT_DISABLED

    async def test_host_that_lost_the_identity(self, world: StsWorld) -> None:
        key = identity_assignment_key(VM_ID.lower(), world.user.id)
        await world.commit(Delete(collection=IDENTITY_ASSIGNMENTS, key=key))
        assert await refusal(world, world.by_agent(world.user)) is FailureKind.NOT_ENTITLED
        assert (await world.claims(world.by_agent(world.system)))["oid"] == world.system.id

    async def test_agent_that_is_no_longer_bound_to_the_host(self, world: StsWorld) -> None:
        await world.commit(replacing(AGENTS, agent_of(world.agent_pair, "/another/host")))
        assert await refusal(world, world.by_agent(world.system)) is FailureKind.NOT_ENTITLED

    async def test_agent_that_is_gone(self, world: StsWorld) -> None:
        await world.commit(Delete(collection=AGENTS, key="embedded"))
        assert await refusal(world, world.by_agent(world.system)) is FailureKind.NOT_ENTITLED

    async def test_certificate_of_one_identity_for_another(self, world: StsWorld) -> None:
        request = world.by_agent(world.system, iss=world.user.client_id, sub=world.user.client_id)
        assert await refusal(world, replace(request, client_id=world.user.client_id)) is FailureKind.ASSERTION_INVALID

    async def test_expired_identity_certificate(self, world: StsWorld) -> None:
        world.clock.advance(timedelta(hours=23))
        assert await refusal(world, world.by_agent(world.system)) is FailureKind.ASSERTION_INVALID


class TestRecords:
    async def test_refusal_is_recorded_with_what_was_known(self, world: StsWorld) -> None:
        await refusal(world, world.by_secret(client_secret="wrong"))
        (record,) = await world.sign_ins()
        assert (record.error_code, record.client_id, record.principal_id) == (7000215, world.app.client_id, world.app.id)
        assert (record.token_id, record.credential_id, record.id) == (None, None, world.call().request_id)
        assert "Invalid client secret" in record.failure_reason
        assert "wrong" not in record.failure_reason

    async def test_unknown_client_is_recorded_as_it_called_itself(self, world: StsWorld) -> None:
        await refusal(world, world.by_secret(client_id="n" * 5000))
        (record,) = await world.sign_ins()
        assert (record.error_code, record.client_id, record.principal_id) == (700016, "n" * 1024, None)

    async def test_issued_token_is_recorded(self, world: StsWorld) -> None:
        issued = await world.service.issue(
            world.by_agent(world.user, workload={"pid": 7, "uid": 1000, "executable": "/usr/bin/python3", "run_id": "r"}),
            world.call(),
        )
        (record,) = await world.sign_ins()
        assert (record.error_code, record.token_id, record.expires_at) == (0, issued.token_id, issued.expires_at)
        assert (record.host, record.identity, record.system_assigned) == (VM_ID, UAMI_ID, False)
        assert record.signing_key == parse(issued.access_token).key_id
        assert record.credential_id == world.user_credential.id
        assert record.workload == Workload(pid=7, uid=1000, executable="/usr/bin/python3", run_id="r")
        assert (record.resource, record.resource_name) == (ARM, "Windows Azure Service Management API")

    async def test_only_agents_can_say_who_asked_them(self, world: StsWorld) -> None:
        await world.service.issue(
            world.by_assertion(world.assertion(rsa_pair(), claims={"workload": {"pid": 1}})), world.call()
        )
        (record,) = await world.sign_ins()
        assert record.workload is None

    async def test_workload_facts_of_another_type_are_left_out(self, world: StsWorld) -> None:
        facts = {"pid": "7", "uid": True, "executable": 5, "run_id": "x" * 9999}
        await world.service.issue(world.by_agent(world.system, workload=facts), world.call())
        (record,) = await world.sign_ins()
        assert record.workload == Workload(run_id="x" * 512)


class _BrokenStore:
    """The real store, whose commits fail or are overtaken."""

    def __init__(self, world: StsWorld, outcomes: list[Exception]) -> None:
        self._world = world
        self._outcomes = outcomes
        self.refused = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world.store, name)

    async def commit(self, batch: Batch) -> int:
        if self._outcomes:
            self.refused += 1
            raise self._outcomes.pop(0)
        return await self._world.store.commit(batch)


def service_over(world: StsWorld, store: Any) -> TokenService:
    return TokenService(
        store=store,
        ring=world.ring,
        audiences=Audiences(store=store),
        clock=world.clock,
        entropy=world.entropy,
        profile=AZURE,
        authenticator=world.authenticator,
        documents=Published(),
    )


class TestFailClosed:
    @pytest.mark.parametrize("kind", [FailureKind.STORAGE_FULL, FailureKind.UNAVAILABLE])
    async def test_no_durable_record_no_token(self, world: StsWorld, kind: FailureKind) -> None:
        service = service_over(world, _BrokenStore(world, [Failure(kind, "the disk is full")]))
        with pytest.raises(Failure) as raised:
            await service.issue(world.by_secret(), world.call())
        assert raised.value.kind is kind
        assert await world.sign_ins() == ()

    async def test_refusal_that_cannot_be_recorded_is_still_no_token(self, world: StsWorld) -> None:
        service = service_over(world, _BrokenStore(world, [Failure(FailureKind.STORAGE_FULL)]))
        with pytest.raises(Failure) as raised:
            await service.issue(world.by_secret(client_secret="wrong"), world.call())
        assert raised.value.kind is FailureKind.STORAGE_FULL

    async def test_overtaken_decision_is_taken_anew(self, world: StsWorld) -> None:
        store = _BrokenStore(world, [CommitRefused(RefusedBecause.VERSION, "principals", "x")])
        await service_over(world, store).issue(world.by_secret(), world.call())
        assert len(await world.sign_ins()) == 1

    async def test_a_decision_that_is_always_overtaken_ends(self, world: StsWorld) -> None:
        store = _BrokenStore(world, [CommitRefused(RefusedBecause.VERSION, "principals", "x") for _ in range(99)])
        with pytest.raises(Failure) as raised:
            await service_over(world, store).issue(world.by_secret(), world.call())
        assert raised.value.kind is FailureKind.UNAVAILABLE
        assert store.refused < 10

    async def test_revocation_between_check_and_record_wins(self, world: StsWorld) -> None:
        class Racing(_BrokenStore):
            async def commit(self, batch: Batch) -> int:
                if not self.refused:
                    self.refused = 1
                    key = identity_assignment_key(VM_ID.lower(), self._world.system.id)
                    await self._world.commit(Delete(collection=IDENTITY_ASSIGNMENTS, key=key))
                return await self._world.store.commit(batch)

        with pytest.raises(Failure) as raised:
            await service_over(world, Racing(world, [])).issue(world.by_agent(world.system), world.call())
        assert raised.value.kind is FailureKind.NOT_ENTITLED
        assert [it.error_code for it in await world.sign_ins()] == [50105]


class TestAnswers:
    @pytest.mark.parametrize("tenant", ["CONTOSO.onmicrosoft.com", "11111111-1111-4111-8111-111111111111".upper()])
    async def test_tenant_names_ignore_case(self, world: StsWorld, tenant: str) -> None:
        assert (await world.claims(world.by_secret(tenant=tenant)))["tid"] == world.tenant.id

    async def test_client_ids_ignore_case(self, world: StsWorld) -> None:
        assert (await world.claims(world.by_secret(client_id=world.app.client_id.upper())))["oid"] == world.app.id

    async def test_each_of_several_secrets_works(self, world: StsWorld) -> None:
        now = world.clock.now()
        second = new_secret(world.app, entropy=world.entropy, now=now, lifetime=timedelta(hours=1))
        await world.commit(replacing(CREDENTIALS, second.credential))
        for secret in (world.secret, second.secret):
            assert (await world.claims(world.by_secret(client_secret=secret)))["appidacr"] == "1"
        world.clock.advance(timedelta(hours=1))
        assert await refusal(world, world.by_secret(client_secret=second.secret)) is FailureKind.CLIENT_SECRET_EXPIRED
        assert await world.claims(world.by_secret())

    @pytest.mark.parametrize(("of_application", "seconds"), [(True, 3600), (False, 86400)])
    async def test_lifetimes(self, world: StsWorld, *, of_application: bool, seconds: int) -> None:
        request = world.by_secret() if of_application else world.by_agent(world.system)
        issued = await world.service.issue(request, world.call())
        claims: Any = parse(issued.access_token).claims
        assert issued.expires_in == seconds - 1
        assert claims["exp"] - claims["nbf"] == seconds + 300
        assert claims["iat"] == claims["nbf"] == int(issued.not_before.timestamp())
        assert claims["exp"] == int(issued.expires_at.timestamp())

    async def test_resource_is_kept_as_asked(self, world: StsWorld) -> None:
        for resource in ("https://management.azure.com", "https://management.azure.com/", "HTTPS://Management.azure.com"):
            assert (await world.claims(world.by_secret(audience=resource)))["aud"] == resource

    async def test_registered_application_of_version_2(self, world: StsWorld) -> None:
        app = new_application(
            tenant_id=world.tenant.id,
            display_name="orders",
            entropy=world.entropy,
            now=world.clock.now(),
            identifier_uris=("api://orders",),
            token_version=2,
        )
        await world.commit(Put(collection=APPLICATIONS, value=app, expect=ABSENT))
        claims = await world.claims(world.by_secret(endpoint="scope", audience="api://orders/.default"))
        assert (claims["ver"], claims["aud"], claims["iss"]) == ("2.0", app.client_id, world.tenant.issuer_v2)

    async def test_nothing_secret_is_in_a_repr(self, world: StsWorld) -> None:
        request = world.by_secret()
        issued = await world.service.issue(request, world.call())
        assert world.secret not in repr(request)
        assert issued.access_token not in repr(issued)

    async def test_token_ids_are_unique(self, world: StsWorld) -> None:
        ids = {(await world.service.issue(world.by_secret(), world.call())).token_id for _ in range(20)}
        assert len(ids) == 20
