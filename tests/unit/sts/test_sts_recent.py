"""Records that were read a moment ago: whatever another replica commits unheard, no answer is older than its sign-in record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar

import pytest
from tests.unit.sts.sts_world import StsWorld, rsa_pair

from idplane.directory.clients import new_application_principal, new_secret
from idplane.model.failure import Failure, FailureKind
from idplane.ports.collections import CREDENTIALS, PRINCIPALS, TENANTS
from idplane.ports.store import ABSENT, ANY, Batch, Collection, Delete, Put, Store, Versioned
from idplane.store.sqlite import SqliteStore
from idplane.sts import TokenRequest
from idplane.sts.recent import RecentReads

T = TypeVar("T")


@dataclass(frozen=True)
class Replicas:
    """The service, and another store of the same database, of whose commits the service's is told nothing."""

    world: StsWorld
    other: Store

    async def unheard(self, *operations: object) -> None:
        await self.other.commit(Batch.of(*operations))

    async def refusal(self, request: TokenRequest) -> FailureKind:
        with pytest.raises(Failure) as raised:
            await self.world.service.issue(request, self.world.call())
        return raised.value.kind


@pytest.fixture
async def replicas() -> AsyncIterator[Replicas]:
    world = await StsWorld.open()
    assert isinstance(world.store, SqliteStore)
    other = await SqliteStore.open(world.store.path, clock=world.clock)
    yield Replicas(world, other)
    await other.close()
    await world.store.close()


@pytest.fixture(params=["secret", "certificate"])
async def request_again(replicas: Replicas, request: pytest.FixtureRequest) -> TokenRequest:
    """A request of a client that has just got a token, so that all records of its decision are remembered."""
    world = replicas.world
    await world.claims(world.by_secret())
    await world.claims(world.by_assertion(world.assertion(rsa_pair(), claims={"jti": "first"})))
    return world.by_secret() if request.param == "secret" else world.by_assertion(world.assertion(rsa_pair()))


async def test_what_is_remembered_is_what_the_store_says(replicas: Replicas, request_again: TokenRequest) -> None:
    claims = await replicas.world.claims(request_again)
    assert claims["oid"] == replicas.world.app.id
    last = (await replicas.world.sign_ins())[-1]
    assert (last.principal_id, last.error_code) == (replicas.world.app.id, 0)


async def test_a_client_that_was_disabled_elsewhere(replicas: Replicas, request_again: TokenRequest) -> None:
    await replicas.unheard(Put(collection=PRINCIPALS, value=replace(replicas.world.app, enabled=False), expect=ANY))
    assert await replicas.refusal(request_again) is FailureKind.CLIENT_DISABLED
    assert len([one for one in await replicas.world.sign_ins() if one.error_code]) == 1


async def test_credentials_that_were_taken_away_elsewhere(replicas: Replicas, request_again: TokenRequest) -> None:
    rows = await replicas.other.all(CREDENTIALS, where={"principal_id": replicas.world.app.id})
    await replicas.unheard(*(Delete(collection=CREDENTIALS, key=row.value.id) for row in rows))
    refusal = await replicas.refusal(request_again)
    by_secret = request_again.client_secret is not None
    assert refusal is (FailureKind.CLIENT_SECRET_INVALID if by_secret else FailureKind.ASSERTION_INVALID)


async def test_a_tenant_that_was_changed_elsewhere(replicas: Replicas, request_again: TokenRequest) -> None:
    changed = replace(replicas.world.tenant, issuer_v1="https://elsewhere.example/")
    await replicas.unheard(Put(collection=TENANTS, value=changed, expect=ANY))
    assert (await replicas.world.claims(request_again))["iss"] == "https://elsewhere.example/"


async def test_a_secret_that_was_added_elsewhere_counts_at_once(replicas: Replicas, request_again: TokenRequest) -> None:
    world = replicas.world
    await world.claims(request_again)
    added = new_secret(world.app, entropy=world.entropy, now=world.clock.now(), lifetime=timedelta(days=1))
    await replicas.unheard(Put(collection=CREDENTIALS, value=added.credential, expect=ABSENT))
    assert (await world.claims(world.by_secret(client_secret=added.secret)))["oid"] == world.app.id


async def test_a_client_that_was_refused_because_it_did_not_exist(replicas: Replicas) -> None:
    world = replicas.world
    late = new_application_principal(
        tenant_id=world.tenant.id, display_name="late", entropy=world.entropy, now=world.clock.now()
    )
    secret = new_secret(late, entropy=world.entropy, now=world.clock.now(), lifetime=timedelta(days=1))
    request = world.by_secret(client_id=late.client_id, client_secret=secret.secret)
    assert await replicas.refusal(request) is FailureKind.CLIENT_UNKNOWN
    await replicas.unheard(
        Put(collection=PRINCIPALS, value=late, expect=ABSENT),
        Put(collection=CREDENTIALS, value=secret.credential, expect=ABSENT),
    )
    assert (await world.claims(request))["oid"] == late.id


async def test_changes_that_are_told_are_read(replicas: Replicas) -> None:
    world = replicas.world
    recent = RecentReads(world.store)
    before = await recent.get(PRINCIPALS, world.app.id)
    await replicas.unheard(Put(collection=PRINCIPALS, value=replace(world.app, display_name="unheard"), expect=ANY))
    assert await recent.get(PRINCIPALS, world.app.id) is before
    await world.commit(Put(collection=PRINCIPALS, value=replace(world.app, display_name="told"), expect=ANY))
    after = await recent.get(PRINCIPALS, world.app.id)
    assert after is not None
    assert after.value.display_name == "told"


class Delayed(SqliteStore):
    """A store whose answers take until they are let go."""

    let_go: asyncio.Event

    async def get(self, collection: Collection[T], key: str, /) -> Versioned[T] | None:
        found = await super().get(collection, key)
        await self.let_go.wait()
        return found


async def test_a_read_that_was_under_way_during_a_change_is_not_kept(replicas: Replicas) -> None:
    world = replicas.world
    assert isinstance(world.store, SqliteStore)
    store = await Delayed.open(world.store.path, clock=world.clock)
    assert isinstance(store, Delayed)
    store.let_go = asyncio.Event()
    recent = RecentReads(store)
    reading = asyncio.create_task(recent.get(PRINCIPALS, world.app.id))
    await asyncio.sleep(0)
    await store.commit(Batch.of(Put(collection=PRINCIPALS, value=replace(world.app, display_name="new"), expect=ANY)))
    store.let_go.set()
    first = await reading
    second = await recent.get(PRINCIPALS, world.app.id)
    assert first is not None
    assert second is not None
    assert (first.value.display_name, second.value.display_name) == ("pipeline", "new")
    await store.close()
