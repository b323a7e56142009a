"""The memory of agents' proofs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from idplane.directory.shown_proofs import ShownProofs
from idplane.model.failure import Failure, FailureKind

_NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_a_proof_is_remembered_for_as_long_as_it_counts() -> None:
    proofs, until = ShownProofs(), _NOW + timedelta(seconds=90)
    assert proofs.is_first("a", "1", until=until, now=_NOW)
    for passed in (0, 60, 89):
        assert not proofs.is_first("a", "1", until=until, now=_NOW + timedelta(seconds=passed))
    assert proofs.is_first("b", "1", until=until, now=_NOW)
    assert proofs.is_first("a", "2", until=until, now=_NOW)
    assert len(proofs) == 3
    assert proofs.is_first("a", "3", until=until + timedelta(hours=1), now=until + timedelta(seconds=60))
    assert len(proofs) == 1


def test_a_full_memory_refuses_until_something_is_forgotten() -> None:
    proofs, until = ShownProofs(most=2), _NOW + timedelta(seconds=90)
    for number in ("1", "2"):
        assert proofs.is_first("a", number, until=until, now=_NOW)
    with pytest.raises(Failure) as caught:
        proofs.is_first("a", "3", until=until, now=_NOW)
    assert caught.value.kind is FailureKind.THROTTLED
    assert not proofs.is_first("a", "1", until=until, now=_NOW)
    later = until + timedelta(seconds=60)
    assert proofs.is_first("a", "3", until=later + timedelta(seconds=90), now=later)


def test_one_agent_cannot_fill_the_memory_for_others() -> None:
    proofs, until = ShownProofs(most=6, most_each=3), _NOW + timedelta(seconds=90)
    for number in ("1", "2", "3"):
        assert proofs.is_first("greedy", number, until=until, now=_NOW)
    for number, moment in (("4", until), ("5", until + timedelta(minutes=1))):  # whenever it says that the proof ends
        with pytest.raises(Failure, match="this agent") as caught:
            proofs.is_first("greedy", number, until=moment, now=_NOW)
        assert caught.value.kind is FailureKind.THROTTLED
        assert int(caught.value.data["retry_after"]) > 0
    assert not proofs.is_first("greedy", "1", until=until, now=_NOW), "what it has shown is still known"
    assert proofs.is_first("other", "1", until=until, now=_NOW)
    later = until + timedelta(seconds=60)
    assert proofs.is_first("greedy", "4", until=later + timedelta(seconds=90), now=later)
