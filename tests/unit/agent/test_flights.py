import asyncio

import pytest

from idplane.agent.flights import Flights
from idplane.model.failure import Failure, FailureKind


class Landings:
    """Flights of texts, and what has landed."""

    def __init__(self) -> None:
        self.landed: dict[str, str] = {}
        self.flights: Flights[str, str] = Flights(self.landed.__setitem__)
        self.begun = 0

    async def work(self) -> str:
        self.begun += 1
        await asyncio.sleep(0)
        return "value"


async def test_work_that_is_superseded_before_its_first_turn_brings_nothing_and_harms_nobody() -> None:
    made = Landings()
    waiting = asyncio.ensure_future(made.flights.join("key", made.work))
    made.flights.begin("other", made.work)
    made.flights.supersede(lambda key: key == "other")
    await asyncio.sleep(0)
    made.flights.supersede(lambda _: True)
    await waiting
    assert made.landed == {}
    await made.flights.join("key", made.work)
    assert made.landed == {"key": "value"}
    await made.flights.close()


async def test_one_piece_of_work_is_for_all_who_wait() -> None:
    made = Landings()
    await asyncio.gather(*(made.flights.join("key", made.work) for _ in range(5)))
    assert (made.begun, made.landed) == (1, {"key": "value"})


async def test_a_failure_reaches_every_waiter_and_is_not_remembered() -> None:
    made = Landings()

    async def failing() -> str:
        raise Failure(FailureKind.UNAVAILABLE, "no")

    found = await asyncio.gather(*(made.flights.join("key", failing) for _ in range(3)), return_exceptions=True)
    assert [type(one) for one in found] == [Failure] * 3
    await made.flights.join("key", made.work)
    assert made.landed == {"key": "value"}


async def test_who_stops_hears_that_the_agent_is_stopping() -> None:
    made = Landings()
    waiting = asyncio.ensure_future(made.flights.join("key", asyncio.Event().wait))  # type: ignore[arg-type] # never lands
    await asyncio.sleep(0)
    await made.flights.close()
    with pytest.raises(Failure) as caught:
        await waiting
    assert caught.value.kind is FailureKind.UNAVAILABLE
