"""Revoked tokens stay dead and new ones live, whatever the clocks of the replicas say and however close together things happen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from tests.unit.sts.sts_world import StsWorld, shared_ring

from idplane.directory.revocation import bound, revoke_host, revoke_principal, revoke_tenant
from idplane.model.directory import TokenBinding
from idplane.model.failure import Failure, FailureKind
from idplane.ports.collections import PRINCIPALS, TENANTS
from idplane.ports.store import Batch, Put
from idplane.sts import TokenAuthenticator
from idplane.testing.worlds import FakeClock

AUDIENCES = frozenset({"https://management.azure.com/"})


@dataclass(frozen=True)
class Case:
    """Two replicas on one store; the second one's clock is off."""

    world: StsWorld
    other: TokenAuthenticator

    async def token(self) -> str:
        answer = await self.world.service.issue(self.world.by_secret(), self.world.call())
        return answer.access_token

    async def dead(self, token: str) -> bool:
        found: list[FailureKind | None] = []
        for one in (self.world.authenticator, self.other):
            try:
                await one.authenticate(token, AUDIENCES)
            except Failure as failure:
                found.append(failure.kind)
            else:
                found.append(None)
        assert len(set(found)) == 1, "the replicas disagree"
        return found[0] is FailureKind.TOKEN_REVOKED


@pytest.fixture(params=[-10, 0, 10])
async def case(request: pytest.FixtureRequest) -> AsyncIterator[Case]:
    world = await StsWorld.open()
    clock = FakeClock(world.clock.now() + timedelta(minutes=request.param))
    yield Case(world, TokenAuthenticator(store=world.store, ring=shared_ring(), clock=clock))
    await world.store.close()


async def principal_revoked(world: StsWorld) -> None:
    row = await world.store.get(PRINCIPALS, world.app.id)
    assert row is not None
    await world.store.commit(await revoke_principal(world.store, row, entropy=world.entropy, now=world.clock.now()))


async def tenant_revoked(world: StsWorld) -> None:
    row = await world.store.get(TENANTS, world.tenant.id)
    assert row is not None
    await world.store.commit(revoke_tenant(row, entropy=world.entropy, now=world.clock.now()))


REVOKE: list[Callable[[StsWorld], Awaitable[None]]] = [principal_revoked, tenant_revoked]


@pytest.mark.parametrize("revoke", REVOKE)
async def test_tokens_of_the_same_second_are_told_apart(case: Case, revoke: Callable[[StsWorld], Awaitable[None]]) -> None:
    """The clock stands still: every token here has the same `iat`."""
    first = await case.token()
    assert not await case.dead(first)
    for _ in range(3):
        await revoke(case.world)
        second = await case.token()
        assert await case.dead(first)
        assert not await case.dead(second)
        first = second


@pytest.mark.parametrize("revoke", REVOKE)
async def test_a_clock_that_goes_back_revives_nothing(case: Case, revoke: Callable[[StsWorld], Awaitable[None]]) -> None:
    case.world.clock.advance(timedelta(minutes=10))
    old = await case.token()
    await revoke(case.world)
    case.world.clock.set(case.world.clock.now() - timedelta(minutes=10))
    fresh = await case.token()
    assert await case.dead(old)
    assert not await case.dead(fresh)


async def test_what_was_revoked_stays_dead_when_disabled_and_enabled_again(case: Case) -> None:
    old = await case.token()
    await principal_revoked(case.world)
    for enabled in (False, True):
        row = await case.world.store.get(PRINCIPALS, case.world.app.id)
        assert row is not None
        change = Put(collection=PRINCIPALS, value=replace(row.value, enabled=enabled), expect=row.version)
        await case.world.store.commit(Batch.of(change))
        assert await case.dead(old)


async def test_revoking_one_leaves_the_others(case: Case) -> None:
    theirs = await case.token()
    row = await case.world.store.get(PRINCIPALS, case.world.system.id)
    assert row is not None
    await case.world.store.commit(
        await revoke_principal(case.world.store, row, entropy=case.world.entropy, now=case.world.clock.now())
    )
    await case.world.store.commit(await revoke_host(case.world.store, "/no/such", entropy=case.world.entropy))
    assert not await case.dead(theirs)


async def test_a_decision_in_memory_does_not_outlive_a_revocation(case: Case) -> None:
    """The second token of a client is issued by records that were read before: those of a revocation since are read anew."""
    await case.token()
    await principal_revoked(case.world)
    assert not await case.dead(await case.token())


async def test_binding_a_principal_ends_its_unbound_tokens(case: Case) -> None:
    stolen = await case.token()
    row = await case.world.store.get(PRINCIPALS, case.world.app.id)
    assert row is not None
    made = bound(row.value, TokenBinding.CERTIFICATE, entropy=case.world.entropy, now=case.world.clock.now())
    await case.world.store.commit(Batch.of(Put(collection=PRINCIPALS, value=made, expect=row.version)))
    assert await case.dead(stolen)
    assert bound(made, TokenBinding.CERTIFICATE, entropy=case.world.entropy, now=case.world.clock.now()) is made
