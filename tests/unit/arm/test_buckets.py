"""Token buckets: laws, whatever the order of claims."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from idplane.arm.buckets import Buckets, Claim, Shortage
from idplane.model.rates import Rate

RATE = Rate(5, 0.5)


def taken(buckets: Buckets, now: float, *, key: str = "k", rate: Rate = RATE, count: int = 1) -> bool:
    return not isinstance(buckets.take([Claim((key,), rate, count)], now), Shortage)


@given(st.lists(st.floats(min_value=0, max_value=30), max_size=60))
def test_no_more_than_the_bucket_and_what_flowed_into_it(steps: list[float]) -> None:
    buckets, now, had = Buckets(), 1000.0, 0
    for step in steps:
        now += step
        had += taken(buckets, now)
        assert had <= RATE.most + (now - 1000.0) * RATE.per_second


@given(st.integers(min_value=1, max_value=40), st.floats(min_value=0.01, max_value=50))
def test_who_waits_as_long_as_told_is_served(most: int, per_second: float) -> None:
    buckets, rate = Buckets(), Rate(most, per_second)
    for _ in range(most):
        assert taken(buckets, 0.0, rate=rate)
    short = buckets.take([Claim(("k",), rate)], 0.0)
    assert isinstance(short, Shortage)
    assert short.seconds >= 1
    assert taken(buckets, float(short.seconds), rate=rate)


def test_nothing_is_taken_where_one_bucket_is_short() -> None:
    buckets = Buckets()
    small, large = Claim(("small",), Rate(1, 1)), Claim(("large",), Rate(10, 1))
    assert buckets.take([small, large], 0.0) == (0, 9)
    short = buckets.take([large, small], 0.0)
    assert isinstance(short, Shortage)
    assert short.claim is small
    assert buckets.take([large], 0.0) == (8,)


def test_the_longest_wait_is_told() -> None:
    buckets = Buckets()
    claims = [Claim(("a",), Rate(1, 1)), Claim(("b",), Rate(1, 0.1))]
    buckets.take(claims, 0.0)
    short = buckets.take(claims, 0.0)
    assert isinstance(short, Shortage)
    assert short.seconds == 10


def test_a_clock_that_is_set_back_refills_nothing() -> None:
    buckets = Buckets()
    assert all(taken(buckets, 100.0) for _ in range(5))
    assert not taken(buckets, 50.0)
    assert not taken(buckets, 100.0)
    assert taken(buckets, 102.0)


def test_a_claim_larger_than_its_bucket_needs_a_full_one() -> None:
    buckets = Buckets()
    assert taken(buckets, 0.0, count=9)
    assert not taken(buckets, 5.0, count=9)
    assert taken(buckets, 10.0, count=9)


def test_memory_is_bounded() -> None:
    buckets = Buckets(limit=10)
    for number in range(100):
        assert taken(buckets, 0.0, key=str(number))
    assert len(buckets) == 10
