"""Challenges as strangers may make them up: what they may cost, and what is shown of what was answered."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest

from idplane.directory.challenges import Challenges
from idplane.directory.evidence import Evidence
from idplane.model.enrollments import JoinMethod
from idplane.model.failure import Failure, FailureKind
from idplane.ports.world import KeyCustody
from idplane.store.custody import Custodies
from idplane.store.sealed import Envelope, Header, Kind, not_opened
from idplane.testing.worlds import FakeClock, MemoryCustody, SeededEntropy


class Slow:
    """A key-encryption key that counts how often it is asked to open something; data keys are wrapped by adding a byte."""

    def __init__(self) -> None:
        self.asked = 0

    def wrap(self, data_key: bytes) -> Header:
        return Header(kind=Kind.PASSPHRASE, key_id=bytes(8), wrapped=data_key + b"!")

    def unwrap(self, header: Header) -> bytes:
        self.asked += 1
        if not header.wrapped.endswith(b"!"):
            raise not_opened()
        return header.wrapped[:-1]


def made_up(number: int) -> str:
    """What anybody can write: the form of a seal, by a key that nobody has."""
    header = Header(kind=Kind.PASSPHRASE, key_id=bytes(8), wrapped=number.to_bytes(32))
    return base64.urlsafe_b64encode(header.encoded() + bytes(60)).decode()


def challenges(custody: KeyCustody, clock: FakeClock, seed: str = "a") -> Challenges:
    return Challenges(custody=custody, clock=clock, entropy=SeededEntropy(seed))


def refusal(reader: Challenges, text: str) -> FailureKind:
    with pytest.raises(Failure) as caught:
        reader.read(text, JoinMethod.SSH)
    return caught.value.kind


@pytest.mark.parametrize("several", [False, True])
def test_whoever_makes_challenges_up_hardly_costs_the_key_anything(*, several: bool) -> None:
    slow, clock = Slow(), FakeClock()
    custody: KeyCustody = Envelope(wrapping=slow, entropy=SeededEntropy("a"))
    if several:
        custody = Custodies(MemoryCustody(), [custody])
    reader = challenges(custody, clock)
    own = reader.make(JoinMethod.SSH, reader.new_nonce())
    told = [refusal(reader, made_up(number)) for number in range(100)]
    assert slow.asked == told.count(FailureKind.ENROLLMENT_REFUSED) == 4
    assert told.count(FailureKind.THROTTLED) == 96
    assert reader.read(own.text, JoinMethod.SSH).nonce == own.nonce
    forged = base64.urlsafe_b64decode(own.text)
    assert refusal(reader, base64.urlsafe_b64encode(forged[:-1] + b"?").decode()) is FailureKind.ENROLLMENT_REFUSED
    assert slow.asked == 4


def test_a_replica_s_challenge_under_a_data_key_of_its_own_is_opened_and_then_known() -> None:
    slow, clock = Slow(), FakeClock()
    one = challenges(Envelope(wrapping=slow, entropy=SeededEntropy("a")), clock)
    other = challenges(Envelope(wrapping=slow, entropy=SeededEntropy("b")), clock, "b")
    for number in range(100):
        made = other.make(JoinMethod.SSH, other.new_nonce())
        assert one.read(made.text, JoinMethod.SSH).nonce == made.nonce, number
    assert slow.asked == 1
    for number in range(4):
        refusal(one, made_up(number))
    assert refusal(one, made_up(4)) is FailureKind.THROTTLED
    clock.advance(timedelta(seconds=20))
    assert refusal(one, made_up(5)) is FailureKind.ENROLLMENT_REFUSED


def test_evidence_shows_no_token_and_nothing_of_what_was_sealed() -> None:
    now = FakeClock().now()
    shown = repr(Evidence(members={"token": "a join token"}, csr=b"", sealed={"secret": "5ec2e7"}, now=now))
    assert "a join token" not in shown
    assert "5ec2e7" not in shown
