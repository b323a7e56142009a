"""Workloads' own tokens at the token service: issued with a record or not at all, and recognized only for what they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.sts.sts_world import (
    OTHER_TENANT_ID,
    TENANT_ID,
    VM_ID,
    StsWorld,
    foreign_rsa_pair,
    replacing,
    resource,
)

from idplane.directory.clients import federated_credential
from idplane.jose import Algorithm, Signer, parse
from idplane.model.failure import Failure, FailureKind
from idplane.model.federation import ClaimsExpression, Trust
from idplane.model.ids import ResourceId
from idplane.model.profile import AZURE, OPEN, Profile
from idplane.model.workload_issuers import EXCHANGE_AUDIENCE, issuer_of
from idplane.ports.collections import FEDERATED_CREDENTIALS, RESOURCES, SUBSCRIPTIONS
from idplane.ports.store import ANY, Batch, CommitRefused, Delete, RefusedBecause
from idplane.sts.projected import Projected, ProjectedTokens, Wanted

VM = ResourceId.parse(VM_ID)
ISSUER = issuer_of(resource(VM_ID), TENANT_ID)
WANTED = Wanted(host=VM, tenant_id=TENANT_ID, run_id="run-7")


@pytest.fixture
async def world() -> AsyncIterator[StsWorld]:
    opened = await StsWorld.open()
    yield opened
    await opened.store.close()


def issuing(world: StsWorld, store: Any = None, profile: Profile = AZURE) -> ProjectedTokens:
    return ProjectedTokens(
        store=store or world.store, ring=world.ring, clock=world.clock, entropy=world.entropy, profile=profile
    )


async def trust(world: StsWorld, name: str = "fic", **changes: Any) -> None:
    wanted = Trust(**{"issuer": ISSUER, "subject": VM_ID, "audiences": (EXCHANGE_AUDIENCE,), **changes})
    made = federated_credential(world.user, name=name, trust=wanted, entropy=world.entropy, now=world.clock.now())
    await world.commit(replacing(FEDERATED_CREDENTIALS, made))


async def issued(world: StsWorld, **changes: Any) -> Projected:
    return await issuing(world).issue(replace(WANTED, **changes), world.call())


async def exchange(world: StsWorld, token: str) -> FailureKind | None:
    """What the exchange for the user-assigned identity comes to; None for a token."""
    try:
        await world.service.issue(world.by_assertion(token, client_id=world.user.client_id), world.call())
    except Failure as failure:
        return failure.kind
    return None


async def test_a_token_and_its_record(world: StsWorld) -> None:
    made = await issued(world)
    claims = parse(made.token).claims
    assert list(claims) == ["aud", "exp", "iat", "iss", "jti", "nbf", "sub"]
    assert (claims["iss"], claims["sub"], made.issuer, made.subject) == (ISSUER, VM_ID, ISSUER, VM_ID)
    (record,) = await world.sign_ins()
    assert (record.token_id, record.host, record.principal_name) == (claims["jti"], VM_ID, "stock-vm")
    assert record.workload is not None
    assert (record.workload.run_id, record.expires_at, record.resource) == ("run-7", made.expires_at, EXCHANGE_AUDIENCE)
    assert made.token not in repr(record) + repr(made)


@pytest.mark.parametrize(("profile", "asked", "lives"), [(AZURE, 86400, 86400), (AZURE, 600, 600), (OPEN, 86400, 3600)])
async def test_how_long_it_lives(world: StsWorld, profile: Profile, asked: int, lives: int) -> None:
    made = await issuing(world, profile=profile).issue(replace(WANTED, seconds=asked), world.call())
    assert made.expires_at - made.issued_at == timedelta(seconds=lives)


@pytest.mark.parametrize("seconds", [-1, 0, 599, 86401, 10**12])
async def test_lives_out_of_bounds(world: StsWorld, seconds: int) -> None:
    with pytest.raises(Failure, match="600 to 86400 seconds"):
        await issued(world, seconds=seconds)
    assert await world.sign_ins() == ()


class _Refusing:
    """A store whose commits fail as told, first to last."""

    def __init__(self, world: StsWorld, outcomes: list[Exception]) -> None:
        self._store = world.store
        self._outcomes = outcomes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, batch: Batch) -> int:
        if self._outcomes:
            raise self._outcomes.pop(0)
        return await self._store.commit(batch)


async def test_no_durable_record_no_token(world: StsWorld) -> None:
    full = _Refusing(world, [Failure(FailureKind.STORAGE_FULL, "the disk is full")])
    with pytest.raises(Failure) as caught:
        await issuing(world, full).issue(WANTED, world.call())
    assert (caught.value.kind, await world.sign_ins()) == (FailureKind.STORAGE_FULL, ())


async def test_a_host_that_changes_meanwhile(world: StsWorld) -> None:
    refusals: list[Exception] = [CommitRefused(RefusedBecause.VERSION, "resources", VM.key) for _ in range(2)]
    made = await issuing(world, _Refusing(world, refusals)).issue(WANTED, world.call())
    assert len(await world.sign_ins()) == 1
    assert made.issuer == ISSUER
    restless: list[Exception] = [CommitRefused(RefusedBecause.VERSION, "resources", VM.key) for _ in range(50)]
    with pytest.raises(Failure) as caught:
        await issuing(world, _Refusing(world, restless)).issue(WANTED, world.call())
    assert caught.value.kind is FailureKind.UNAVAILABLE


async def test_a_host_that_is_gone(world: StsWorld) -> None:
    spare = resource(VM_ID.replace("stock-vm", "spare"))
    await world.commit(replacing(RESOURCES, spare))
    await trust(world, issuer=issuer_of(spare, TENANT_ID), subject=str(spare.id))
    token = (await issued(world, host=spare.id)).token
    assert await exchange(world, token) is None
    await world.commit(Delete(collection=RESOURCES, key=spare.id.key, expect=ANY))
    assert await exchange(world, token) is FailureKind.ISSUER_UNREACHABLE
    with pytest.raises(Failure) as caught:
        await issued(world, host=spare.id)
    assert caught.value.kind is FailureKind.RESOURCE_NOT_FOUND
    assert world.published.asked == []


async def test_who_trusts_it(world: StsWorld) -> None:
    assert (await issued(world)).trusted_by == ()
    await trust(world, subject=VM_ID.upper())
    await trust(world, audiences=("api://other",))
    assert (await issued(world)).trusted_by == ()
    await trust(
        world, name="by-expression", subject=None, expression=ClaimsExpression(value="claims['sub'] matches '*stock-vm'")
    )
    assert (await issued(world)).trusted_by == (world.user,)
    # A client of another tenant may trust it as well, and is not told of here.
    assert (await issued(world, tenant_id=OTHER_TENANT_ID)).trusted_by == ()


async def test_times_are_exact(world: StsWorld) -> None:
    await trust(world)
    token = (await issued(world)).token
    world.clock.advance(timedelta(seconds=3599))
    assert await exchange(world, token) is None
    world.clock.advance(timedelta(seconds=1))
    assert await exchange(world, token) is FailureKind.ASSERTION_TIME


async def test_forgeries(world: StsWorld) -> None:
    await trust(world)
    claims = parse((await issued(world)).token).claims
    kid = parse((await issued(world)).token).key_id
    pair = foreign_rsa_pair()
    for header in ({"kid": kid}, {"kid": "unknown"}, {}, {"kid": kid, "jku": "https://evil.example/keys"}):
        forged = Signer(pair.key, Algorithm.RS256, header).sign(claims)
        assert await exchange(world, forged) is FailureKind.FEDERATION_SIGNATURE
    assert world.published.asked == []


async def test_no_document_is_fetched_for_an_issuer_of_ours_that_never_was(world: StsWorld) -> None:
    never = issuer_of(resource(VM_ID.replace("stock-vm", "ghost")), TENANT_ID)
    await trust(world, issuer=never)
    claims = {**parse((await issued(world)).token).claims, "iss": never}
    assert await exchange(world, Signer(foreign_rsa_pair().key, Algorithm.RS256, {"kid": "k"}).sign(claims)) is (
        FailureKind.FEDERATION_SIGNATURE
    )
    assert world.published.asked == []


async def test_an_issuer_of_another_plane_s_is_an_outside_one(world: StsWorld) -> None:
    elsewhere = str(ISSUER).replace(TENANT_ID, "99999999-9999-4999-8999-999999999999")
    await trust(world, issuer=elsewhere)
    claims = {**parse((await issued(world)).token).claims, "iss": elsewhere}
    assert await exchange(world, Signer(foreign_rsa_pair().key, Algorithm.RS256, {"kid": "k"}).sign(claims)) is (
        FailureKind.ISSUER_UNREACHABLE
    )
    assert world.published.asked == [(f"{elsewhere}.well-known/openid-configuration", False)]


async def test_a_subscription_that_is_another_tenant_s_now(world: StsWorld) -> None:
    await trust(world)
    token = (await issued(world)).token
    subscription = await world.store.get(SUBSCRIPTIONS, VM.subscription or "")
    assert subscription is not None
    await world.commit(replacing(SUBSCRIPTIONS, replace(subscription.value, tenant_id=OTHER_TENANT_ID)))
    assert await exchange(world, token) is FailureKind.ISSUER_UNREACHABLE
