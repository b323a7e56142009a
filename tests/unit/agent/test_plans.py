"""What is remembered of targets: enough to be quick, never who asked or with which headers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tests.unit.agent.agent_world import ARM, VM, AgentWorld, get

from idplane.agent.api import Dialect
from idplane.agent.identities import NoSelector
from idplane.agent.plans import Plans, TokenPlan, Wish
from idplane.agent.query import Target
from idplane.agent.source import TokenAsk
from idplane.agent.token_body import machine_token
from idplane.agent.tokens import Token
from idplane.model.failure import Failure, FailureKind

NOW = datetime(2026, 1, 1, tzinfo=UTC)
APP = f"/msi/token?api-version=2019-08-01&resource={ARM}"
GOOD = "X-IDENTITY-HEADER: 0123456789abcdef"


class Reader:
    """Reads targets as a dialect does, and counts."""

    def __init__(self) -> None:
        self.read = 0
        self.plans = Plans(self._wish)

    def _wish(self, target: Target, form: bytes) -> Wish:
        self.read += 1
        if target.path == "/bad" or form == b"bad":
            raise Failure(FailureKind.INVALID_PARAMETER, "It is bad", fact="known")
        ask = TokenAsk(host=VM, selector=None, default=NoSelector.SYSTEM, resource=target.parameters.get("resource", ""))
        return Wish(ask, machine_token)


def token(text: str) -> Token:
    return Token(access_token=text, client_id="c", resource="r", not_before=0, expires_on=2_000_000_000)


def test_a_failure_is_a_new_one_each_time_and_says_the_same() -> None:
    plan = Reader().plans.of(b"/bad")
    found = []
    for _ in range(2):
        with pytest.raises(Failure, match="It is bad") as raised:
            plan.asked()
        found.append(raised.value)
    assert found[0] is not found[1]
    assert [dict(one.data) for one in found] == [{"fact": "known"}] * 2


def test_the_same_target_with_another_form_is_another_plan() -> None:
    reader = Reader()
    good = reader.plans.of(b"/x", b"good")
    with pytest.raises(Failure):
        reader.plans.of(b"/x", b"bad").asked()
    assert reader.plans.of(b"/x", b"good") is good
    assert reader.read == 2


@pytest.mark.parametrize(("target", "form"), [(b"/" + b"x" * 1024, b""), (b"/x", b"y" * 1023)])
def test_long_ones_are_not_remembered(target: bytes, form: bytes) -> None:
    reader = Reader()
    assert reader.plans.of(target, form) is not reader.plans.of(target, form)


def test_many_do_not_pile_up() -> None:
    reader = Reader()
    first = reader.plans.of(b"/x?resource=0")
    for number in range(1, 513):
        reader.plans.of(b"/x?resource=%d" % number)
    assert reader.plans.of(b"/x?resource=0") is not first


def test_an_answer_serves_its_token_and_its_second_only() -> None:
    plan = Reader().plans.of(b"/x").asked()
    assert isinstance(plan, TokenPlan)
    one, other = token("one"), token("other")
    answer = plan.worded(one, NOW)
    assert plan.worded(one, NOW.replace(microsecond=999_999)) is answer
    assert plan.worded(one, NOW.replace(second=1)).head != answer.head
    assert b"other" in plan.worded(other, NOW.replace(second=1)).body


@pytest.mark.parametrize("headers", [[], ["X-IDENTITY-HEADER: 0123456789abcdeF"], [GOOD, "X-Forwarded-For: 10.0.0.1"]])
async def test_a_remembered_target_admits_nobody(world: AgentWorld, headers: list[str]) -> None:
    address = await world.open(Dialect.APP_SERVICE)
    for _ in range(2):
        assert (await world.ask(address, get(APP, "Host: localhost", GOOD))).status == 200
        assert (await world.ask(address, get(APP, "Host: localhost", *headers))).status in {400, 401, 403}
