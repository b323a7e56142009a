"""A process that floods the agent with requests that must be fetched for: it waits for itself, and is the only one to hear so."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable

import pytest
from tests.attacks.callers_world import SOMEBODY, SOMEBODY_ELSE, Puppet, is_root
from tests.unit.agent.agent_world import AgentWorld

FLOOD = 100
SHARE = 8
"""How many fetches of one caller are under way at a time."""
ROW = 64
"""How many more of them may wait."""


@pytest.fixture
async def world() -> AsyncIterator[AgentWorld]:
    world = AgentWorld.make()
    world.server.gate = asyncio.Event()
    yield world
    await world.close()


async def until(happened: Callable[[], bool]) -> None:
    """Let the agent work until something has happened there."""
    async with asyncio.timeout(60):  # hanging is how this would fail
        while not happened():  # noqa: ASYNC110 - threads and sockets of other processes give no sign
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("proved", [True, False], ids=["that is known", "that is not known yet"])
@pytest.mark.parametrize("users", [(None, None), (SOMEBODY, SOMEBODY_ELSE)], ids=["one user", "two users"])
async def test_a_noisy_caller_waits_for_itself(
    world: AgentWorld, users: tuple[int | None, int | None], *, proved: bool
) -> None:
    if users[0] is not None and not is_root():
        pytest.skip("only root can be another user")

    def judged() -> bool:
        """Whether all of the flood has been proved, and waits or is refused."""
        return world.agent._callers._share.callers == 0 and world.agent._source._share._waiting >= ROW

    assert world.server.gate is not None
    _, port = await world.imds()
    noisy, quiet = [await asyncio.to_thread(Puppet, uid=user) for user in users]
    try:
        await asyncio.to_thread(noisy.do, f"!all = [Connection({port}) for _ in range({FLOOD})]")
        await asyncio.to_thread(noisy.do, "![one.send(f'/{n}') for n, one in enumerate(all)]")
        if proved:
            await until(judged)
        await asyncio.to_thread(quiet.connect, port)
        await asyncio.to_thread(quiet.do, "c.send('/quiet')")
        asked = world.server.forms
        await until(lambda: any(form["resource"].endswith("/quiet") for form in asked))
        place = next(number for number, form in enumerate(asked) if form["resource"].endswith("/quiet"))
        assert place <= 2 * SHARE
        await until(judged)
        world.server.gate.set()
        assert await asyncio.to_thread(quiet.do, "c.receive()") == [200, None]
        heard = Counter(status for status, _ in await asyncio.to_thread(noisy.do, "[one.receive() for one in all]"))
        assert heard.keys() == {200, 429}
        assert heard[200] <= 2 * (SHARE + ROW)
        assert await asyncio.to_thread(noisy.do, "all[0].ask('/again')") == [200, None]
    finally:
        noisy.end()
        quiet.end()
