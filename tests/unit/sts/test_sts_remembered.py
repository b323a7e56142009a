"""An assertion that is sent again gets what a new one would get, whatever happened in between."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.sts.sts_world import OTHER_TENANT_ID, VM_ID, StsWorld, agent_of, replacing

from idplane.model.failure import Failure, FailureKind
from idplane.model.resources import identity_assignment_key
from idplane.ports.collections import AGENTS, CREDENTIALS, IDENTITY_ASSIGNMENTS, PRINCIPALS, TENANTS
from idplane.ports.store import Delete
from idplane.sts import TokenRequest

_NOWHERE = "https://nowhere.example"


@pytest.fixture
async def world() -> AsyncIterator[StsWorld]:
    opened = await StsWorld.open()
    yield opened
    await opened.store.close()


@pytest.fixture
async def request_again(world: StsWorld) -> TokenRequest:
    """A request that has been answered with a token before, twice."""
    request = world.by_agent(world.system)
    await world.claims(request)
    await world.claims(request)
    return request


async def refusal(world: StsWorld, request: TokenRequest) -> FailureKind:
    with pytest.raises(Failure) as raised:
        await world.service.issue(request, world.call())
    return raised.value.kind


async def test_each_answer_is_a_token_of_its_own_with_a_record_of_its_own(world: StsWorld) -> None:
    request = world.by_agent(world.system)
    tokens = [await world.service.issue(request, world.call()) for _ in range(5)]
    assert len({token.access_token for token in tokens}) == 5
    assert [record.token_id for record in await world.sign_ins()] == [token.token_id for token in tokens]


async def test_records_tell_the_same_as_the_first(world: StsWorld, request_again: TokenRequest) -> None:
    await world.claims(request_again)
    first, *others = await world.sign_ins()
    assert first.credential_id == world.system_credential.id
    for other in others:
        assert replace(other, token_id=first.token_id) == first


async def test_disabled_principal(world: StsWorld, request_again: TokenRequest) -> None:
    await world.commit(replacing(PRINCIPALS, replace(world.system, enabled=False)))
    assert await refusal(world, request_again) is FailureKind.CLIENT_DISABLED
    await world.commit(replacing(PRINCIPALS, world.system))
    assert (await world.claims(request_again))["oid"] == world.system.id


async def test_identity_taken_off_the_host(world: StsWorld, request_again: TokenRequest) -> None:
    key = identity_assignment_key(VM_ID.lower(), world.system.id)
    await world.commit(Delete(collection=IDENTITY_ASSIGNMENTS, key=key))
    assert await refusal(world, request_again) is FailureKind.NOT_ENTITLED


async def test_agent_bound_elsewhere(world: StsWorld, request_again: TokenRequest) -> None:
    await world.commit(replacing(AGENTS, agent_of(world.agent_pair, "/another/host")))
    assert await refusal(world, request_again) is FailureKind.NOT_ENTITLED


async def test_certificate_taken_away(world: StsWorld, request_again: TokenRequest) -> None:
    await world.commit(Delete(collection=CREDENTIALS, key=world.system_credential.id))
    assert await refusal(world, request_again) is FailureKind.ASSERTION_INVALID


async def test_tenant_with_another_issuer(world: StsWorld, request_again: TokenRequest) -> None:
    await world.commit(replacing(TENANTS, replace(world.tenant, issuer_v1="https://elsewhere.example/")))
    assert (await world.claims(request_again))["iss"] == "https://elsewhere.example/"


async def test_principal_with_another_name(world: StsWorld, request_again: TokenRequest) -> None:
    await world.commit(replacing(PRINCIPALS, replace(world.system, display_name="renamed")))
    await world.claims(request_again)
    assert [record.principal_name for record in await world.sign_ins()][-1] == "renamed"


async def test_assertion_that_has_expired(world: StsWorld, request_again: TokenRequest) -> None:
    world.clock.advance(timedelta(minutes=15))
    assert await refusal(world, request_again) is FailureKind.ASSERTION_TIME


async def test_assertion_of_a_time_to_come(world: StsWorld, request_again: TokenRequest) -> None:
    world.clock.set(world.clock.now() - timedelta(minutes=6))
    assert await refusal(world, request_again) is FailureKind.ASSERTION_TIME


async def test_certificate_that_has_expired(world: StsWorld) -> None:
    short = replace(world.system_credential, not_after=world.clock.now() + timedelta(minutes=5))
    await world.commit(replacing(CREDENTIALS, short))
    request = world.by_agent(world.system)
    await world.claims(request)
    world.clock.advance(timedelta(minutes=6))
    assert await refusal(world, request) is FailureKind.ASSERTION_INVALID


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"tenant": OTHER_TENANT_ID}, FailureKind.CLIENT_UNKNOWN),
        ({"tenant": "no.such.domain"}, FailureKind.TENANT_NOT_FOUND),
        ({"client_id": None}, FailureKind.MISSING_PARAMETER),
        ({"client_id": "nobody"}, FailureKind.CLIENT_UNKNOWN),
        ({"client_secret": "also"}, FailureKind.INVALID_PARAMETER),
        ({"client_assertion_type": None}, FailureKind.INVALID_PARAMETER),
        ({"authority": "https://elsewhere.example"}, FailureKind.ASSERTION_AUDIENCE),
        ({"grant_type": "implicit"}, FailureKind.GRANT_UNSUPPORTED),
        ({"audience": _NOWHERE}, FailureKind.AUDIENCE_UNKNOWN),
        ({"claims": "not json"}, FailureKind.INVALID_PARAMETER),
    ],
)
async def test_the_rest_of_the_request_counts_each_time(
    world: StsWorld, request_again: TokenRequest, changes: dict[str, Any], kind: FailureKind
) -> None:
    assert await refusal(world, replace(request_again, **changes)) is kind
    assert (await world.claims(request_again))["oid"] == world.system.id


async def test_another_identity_of_the_same_host_cannot_use_it(world: StsWorld, request_again: TokenRequest) -> None:
    assert await refusal(world, replace(request_again, client_id=world.user.client_id)) is FailureKind.ASSERTION_INVALID


async def test_a_refusal_is_by_what_the_store_says_now(world: StsWorld, request_again: TokenRequest) -> None:
    await world.commit(replacing(PRINCIPALS, replace(world.system, enabled=False)))
    assert await refusal(world, replace(request_again, audience=_NOWHERE)) is FailureKind.CLIENT_DISABLED
    assert (await world.sign_ins())[-1].error_code == 7000112
