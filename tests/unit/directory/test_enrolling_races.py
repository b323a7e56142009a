"""What must hold when two things happen to one enrollment at once, and what strangers' attempts cost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.attacks.authorities import Authority, pem_files
from tests.attacks.joining import JoinWorld, join_world

from idplane.agent.attestors import attestor_of
from idplane.jose import new_ec_key
from idplane.model.enrollments import JoinMethod, SpentProof, Trust
from idplane.ports.collections import AGENTS, ENROLLMENTS, JOIN_TOKENS, SPENT_PROOFS
from idplane.ports.store import ABSENT, Batch, Delete, Put
from idplane.testing.worlds import FakeClock, memory_store

DNS = ("dns", "stock.example.com")


class Overtaken:
    """A store, to which somebody else comes first as soon as an agent is to be written."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.by: Callable[[], Awaitable[object]] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, batch: Batch, /) -> int:
        if self.by is not None and any(isinstance(one, Put) and one.collection is AGENTS for one in batch.operations):
            first, self.by = self.by, None
            await first()
        position: int = await self._store.commit(batch)
        return position


@pytest.fixture
async def world() -> AsyncIterator[JoinWorld]:
    clock = FakeClock()
    store = await memory_store(clock)
    async with join_world(stores=[store, Overtaken(store)], clock=clock) as world:
        yield world


def overtaken(world: JoinWorld, by: Callable[[], Awaitable[object]]) -> None:
    """Let the second server be overtaken by this."""
    second: Any = world.servers[1].world.store
    second.by = by


async def test_of_two_machines_with_one_proof_that_join_at_once_one_is_the_host(world: JoinWorld, tmp_path: Path) -> None:
    authority, key = Authority(), new_ec_key()
    await world.enrollment(JoinMethod.X509, trust=Trust(authorities=authority.pem), facts=(DNS,))
    attestor = attestor_of(f"x509:{pem_files(tmp_path, key, authority.leaf(key.public_key()))}")
    overtaken(world, lambda: world.by(attestor))
    answer, machine = await world.by(attestor, replica=1)
    assert machine is not None, answer.body
    assert [one.id for one in await world.agents()] == [machine.agent_id]


async def test_an_enrollment_that_ends_while_a_machine_joins_lets_nobody_in(world: JoinWorld) -> None:
    enrollment = await world.enrollment(JoinMethod.TOKEN)
    token = await world.token(enrollment)
    ending = Batch.of(
        *(Delete(collection=JOIN_TOKENS, key=row.value.id, expect=row.version) for row in await world.store.all(JOIN_TOKENS)),
        Delete(collection=ENROLLMENTS, key=enrollment.key),
    )
    overtaken(world, lambda: world.store.commit(ending))
    answer = await world.join(JoinMethod.TOKEN, {"token": token}, replica=1)
    assert answer.code == (403, "ENROLLMENT_REFUSED")
    assert not await world.agents()


async def test_a_proof_is_remembered_while_servers_whose_clocks_are_behind_would_take_it(world: JoinWorld) -> None:
    spent = SpentProof(id="challenge|x", expires_at=world.clock.now())
    await world.store.commit(Batch.of(Put(collection=SPENT_PROOFS, value=spent, expect=ABSENT)))
    for minutes, kept in ((9, True), (2, False)):
        world.clock.advance(timedelta(minutes=minutes))
        await world.joined(name=f"rack{minutes}")
        assert bool(await world.store.get(SPENT_PROOFS, spent.key)) is kept


async def test_the_authority_signs_for_nobody_who_has_proved_nothing(world: JoinWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    authority, signed = world.servers[0].credentials, []
    issue = authority.issue_agent

    def counted(*arguments: Any) -> bytes:
        signed.append(arguments[1])
        return issue(*arguments)

    monkeypatch.setattr(authority, "issue_agent", counted)
    await world.enrollment(JoinMethod.TOKEN)
    for evidence in ({"token": "x"}, {"token": f"idplane-join.{'0' * 32}.{'A' * 43}"}, {}):
        assert (await world.join(JoinMethod.TOKEN, evidence)).status == 403
    assert not signed
    machine = await world.joined(name="other")
    assert signed == [machine.agent_id]
