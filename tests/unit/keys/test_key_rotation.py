from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from idplane.keys.rotation import (
    GRACE,
    Activate,
    Correct,
    Create,
    Drop,
    Pace,
    Plan,
    activated,
    active_key,
    corrected,
    known_until,
    longest_token,
    plan,
    replacement,
    retired,
    summoned,
    takes_over,
)
from idplane.model.keys import KeyPurpose, KeyState, SigningKey
from idplane.model.profile import AZURE, OPEN

T0 = datetime(2026, 1, 1, tzinfo=UTC)
PACE = Pace.of_tokens(OPEN)
LIFETIME, LEAD, LONGEST = OPEN.signing_key_lifetime, OPEN.signing_key_lead, longest_token(OPEN)
SECOND = timedelta(seconds=1)


def key(key_id: str, state: KeyState, **changes: object) -> SigningKey:
    base = SigningKey(
        id=key_id,
        purpose=KeyPurpose.TOKEN,
        algorithm="RS256",
        state=state,
        certificate=b"",
        sealed=b"",
        created_at=T0,
        activated_at=T0 if state is not KeyState.PREPARED else None,
        retired_at=T0 if state is KeyState.RETIRED else None,
    )
    return replace(base, **changes)  # type: ignore[arg-type]  # the tests pass what fits


ACTIVE = key("a", KeyState.ACTIVE)
PREPARED = key("p", KeyState.PREPARED, created_at=T0 + LIFETIME - LEAD)
RETIRED = key("r", KeyState.RETIRED)


def planned(now: datetime, *keys: SigningKey) -> Plan:
    return plan(keys, now, PACE)


def test_the_first_key_is_active_at_once() -> None:
    assert planned(T0) == Plan(steps=(Create(state=KeyState.ACTIVE),), due=T0)


@pytest.mark.parametrize(
    ("now", "keys", "steps", "due"),
    [
        (T0, [ACTIVE], (), T0 + LIFETIME - LEAD),
        (T0 + LIFETIME - LEAD - SECOND, [ACTIVE], (), T0 + LIFETIME - LEAD),
        (T0 + LIFETIME - LEAD, [ACTIVE], (Create(state=KeyState.PREPARED),), None),
        (T0 + LIFETIME - LEAD, [ACTIVE, PREPARED], (), T0 + LIFETIME),
        (T0 + LIFETIME - SECOND, [ACTIVE, PREPARED], (), T0 + LIFETIME),
        (T0 + LIFETIME, [ACTIVE, PREPARED], (Activate(key_id="p"),), None),
        (T0, [ACTIVE, RETIRED], (), T0 + LONGEST + GRACE),
        (T0 + LONGEST + GRACE, [ACTIVE, RETIRED], (Drop(key_id="r"),), None),
    ],
)
def test_steps_come_when_they_are_due(
    now: datetime, keys: list[SigningKey], steps: tuple[object, ...], due: datetime | None
) -> None:
    assert planned(now, *keys) == Plan(steps=steps, due=due or now)  # type: ignore[arg-type]  # the table holds steps only


def test_a_late_successor_is_published_for_its_lead_before_it_signs() -> None:
    now = T0 + 50 * LIFETIME
    late = replace(PREPARED, created_at=now)
    assert planned(now, ACTIVE).steps == (Create(state=KeyState.PREPARED),)
    assert planned(now, ACTIVE, late) == Plan(steps=(), due=now + LEAD)
    assert planned(now + LEAD, ACTIVE, late).steps == (Activate(key_id="p"),)


def test_one_turn_moves_one_key_however_many_are_overdue() -> None:
    others = [replace(PREPARED, id=name) for name in "xyz"]
    steps = planned(T0 + 50 * LIFETIME, ACTIVE, PREPARED, *others, RETIRED, replace(RETIRED, id="s")).steps
    assert steps == (Activate(key_id="p"), Drop(key_id="r"), Drop(key_id="s"))


def test_a_clock_that_differs_a_little_changes_nothing() -> None:
    assert planned(T0 - GRACE, ACTIVE, replace(PREPARED, created_at=T0)).steps == ()


@pytest.mark.parametrize("other", [(), (PREPARED,)])
def test_an_active_key_from_the_future_is_corrected_and_stays_active(other: tuple[SigningKey, ...]) -> None:
    now = T0 - timedelta(days=400)
    assert planned(now, ACTIVE, *other).steps == (Correct(key_id="a"),)
    fixed = corrected(ACTIVE, now, PACE)
    assert (fixed.state, fixed.created_at, fixed.activated_at) == (KeyState.ACTIVE, now, now)


def test_a_prepared_key_from_the_future_is_corrected_so_that_its_lead_starts_now() -> None:
    now = T0 + LIFETIME
    future = replace(PREPARED, created_at=now + timedelta(days=400))
    assert planned(now, ACTIVE, future).steps == (Correct(key_id="p"),)
    assert planned(now, ACTIVE, corrected(future, now, PACE)) == Plan(steps=(), due=now + LEAD)


# A key that somebody has told when to take over.

SUMMONED = replace(PREPARED, created_at=T0, activated_at=T0 + 2 * SECOND)
SLOW = replace(PACE, notice=2 * LEAD)


@pytest.mark.parametrize(
    ("now", "steps"),
    [(T0, ()), (T0 + SECOND, ()), (T0 + 2 * SECOND, (Activate(key_id="p"),)), (T0 + LIFETIME, (Activate(key_id="p"),))],
)
def test_a_key_takes_over_when_it_was_told_to(now: datetime, steps: tuple[object, ...]) -> None:
    made = planned(now, ACTIVE, SUMMONED)
    assert made == Plan(steps=steps, due=now if steps else T0 + 2 * SECOND)  # type: ignore[arg-type]  # the table holds steps only


def test_nobody_delays_a_key_by_telling_it_to_wait() -> None:
    late = replace(PREPARED, activated_at=T0 + LIFETIME + LEAD)
    assert planned(T0 + LIFETIME, ACTIVE, late).steps == (Activate(key_id="p"),)


def test_a_key_that_waits_too_long_because_the_clock_was_wrong_is_corrected() -> None:
    far = replace(SUMMONED, activated_at=T0 + 2 * LEAD + 2 * GRACE)
    assert planned(T0, ACTIVE, far).steps == (Correct(key_id="p"),)
    assert plan([ACTIVE, far], T0, replace(PACE, notice=3 * LEAD)).steps == ()
    assert corrected(far, T0, SLOW).activated_at == T0 + 2 * LEAD
    assert planned(T0, ACTIVE, corrected(far, T0, PACE)).steps == ()


@pytest.mark.parametrize(
    ("keys", "notice", "at"),
    [
        ([ACTIVE], timedelta(), T0),
        ([ACTIVE], LEAD, T0 + LEAD),
        ([], LEAD, T0),
        ([replace(ACTIVE, tainted=True)], LEAD, T0),
        ([ACTIVE, replace(PREPARED, created_at=T0 - LEAD)], LEAD, T0),
        ([ACTIVE, replace(PREPARED, created_at=T0 - SECOND)], LEAD, T0 + LEAD - SECOND),
        ([ACTIVE, replace(PREPARED, created_at=T0 + 100 * LEAD)], LEAD, T0 + LEAD),
    ],
)
def test_another_may_sign_once_it_has_been_published_for_long_enough(
    keys: list[SigningKey], notice: timedelta, at: datetime
) -> None:
    assert takes_over(keys, T0, notice) == at


def test_only_a_prepared_key_waits_for_its_turn() -> None:
    assert summoned([ACTIVE, PREPARED]) is None
    assert summoned([ACTIVE, RETIRED]) is None
    assert summoned([ACTIVE, SUMMONED]) == SUMMONED


def test_a_key_whose_work_is_good_for_ever_is_never_forgotten() -> None:
    for_ever = replace(PACE, outlived=None)
    assert known_until(RETIRED, for_ever) is None
    assert plan([ACTIVE, RETIRED], T0 + LIFETIME, for_ever).steps == (Create(state=KeyState.PREPARED),)


def test_a_retired_key_from_the_future_is_kept_for_longer() -> None:
    now = T0 - timedelta(days=9)
    young = replace(ACTIVE, created_at=now, activated_at=now)
    assert planned(now, young, RETIRED).steps == ()
    assert planned(now + LONGEST + GRACE, young, RETIRED).steps == ()


def test_tainted_keys_are_never_chosen() -> None:
    tainted = replace(PREPARED, tainted=True)
    assert replacement([tainted]) == Create(state=KeyState.ACTIVE)
    assert active_key([replace(ACTIVE, tainted=True)]) is None
    assert planned(T0 + 2 * LIFETIME, replace(ACTIVE, tainted=True), tainted).steps == (Create(state=KeyState.ACTIVE),)


def test_the_key_published_longest_takes_over() -> None:
    younger = replace(PREPARED, id="0", created_at=PREPARED.created_at + SECOND)
    assert replacement([younger, PREPARED]) == Activate(key_id="p")


def test_a_retired_key_outlives_tokens_that_it_signed_in_the_future() -> None:
    future = T0 + timedelta(days=30)
    assert retired(ACTIVE, T0).retired_at == T0
    assert retired(ACTIVE, T0, signed_until=T0 - SECOND).retired_at == T0
    assert retired(ACTIVE, T0, signed_until=future).retired_at == future


def test_tainting_a_retired_key_does_not_prolong_it() -> None:
    again = retired(RETIRED, T0 + LIFETIME, tainted=True)
    assert (again.retired_at, again.tainted, again.state) == (T0, True, KeyState.RETIRED)


def test_activation_is_dated() -> None:
    assert activated(PREPARED, T0) == replace(PREPARED, state=KeyState.ACTIVE, activated_at=T0)


def test_the_longest_token_is_the_profiles() -> None:
    assert longest_token(AZURE) == timedelta(hours=24)
    assert longest_token(OPEN) == timedelta(hours=1)
