"""Challenges to machines that want to enroll. The server keeps nothing of one until it is answered.

What must be remembered travels with the machine, sealed under the installation's key: any replica can read the answer, nobody else can read
or change it, and a flood of questions costs no memory. That a challenge was used is a row, so that it is used once.

A seal says which key it needs before anybody knows who made it. Where that key would have to be derived from a passphrase, or asked of a
token, only a few such challenges a minute are looked into: replicas mostly seal with a data key that all have in memory.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from idplane.arm.buckets import Buckets, Claim, Shortage
from idplane.directory.evidence import refused
from idplane.model.enrollments import JoinMethod, SpentProof
from idplane.model.failure import Failure, FailureKind
from idplane.model.rates import Rate
from idplane.ports.world import Clock, Entropy, KeyCustody

__all__ = ["LIFETIME", "Challenge", "Challenges"]

LIFETIME: Final = timedelta(minutes=2)
NONCE_BYTES: Final = 32
_CONTEXT: Final = "agent-challenge"
_MAX_TEXT: Final = 8192
_ID_BYTES: Final = 16
_COSTLY: Final = Claim(("costly",), Rate(4, 1 / 20))
"""Challenges that are looked into although their seal asks something of the key-encryption key."""


class _Sealed(msgspec.Struct):
    id: str
    method: str
    nonce: bytes
    expires_at: int
    further: dict[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One challenge: what the machine gets, or what came back."""

    text: str = field(repr=False)
    """Sealed."""
    nonce: bytes
    expires_at: datetime
    spent: SpentProof
    further: Mapping[str, str] = field(default_factory=dict, repr=False)


class Challenges:
    """Makes challenges and reads them back."""

    def __init__(self, *, custody: KeyCustody, clock: Clock, entropy: Entropy) -> None:
        self._custody = custody
        self._clock = clock
        self._entropy = entropy
        self._buckets = Buckets()

    def new_nonce(self) -> bytes:
        """For a challenge."""
        return self._entropy.bytes(NONCE_BYTES)

    def make(self, method: JoinMethod, nonce: bytes, further: Mapping[str, str] | None = None) -> Challenge:
        """A challenge for a method; `further` is what the server must find again with the answer."""
        expires_at = (self._clock.now() + LIFETIME).replace(microsecond=0)
        sealed = _Sealed(
            id=self._entropy.bytes(_ID_BYTES).hex(),
            method=method.value,
            nonce=nonce,
            expires_at=int(expires_at.timestamp()),
            further=dict(further or {}),
        )
        closed = self._custody.seal(msgspec.json.encode(sealed), context=_CONTEXT)
        return _challenge(base64.urlsafe_b64encode(closed).decode(), sealed)

    def read(self, text: str | None, method: JoinMethod) -> Challenge:
        """A challenge of this installation's, for this method and not yet past; raises `Failure(ENROLLMENT_REFUSED | THROTTLED)`."""
        if text is None or not 0 < len(text) <= _MAX_TEXT:
            raise refused("the method needs a challenge, which the request does not answer")
        try:
            sealed = self._opened(base64.b64decode(text, altchars=b"-_", validate=True))
        except (binascii.Error, ValueError, msgspec.DecodeError) as error:
            raise refused("the challenge is not one of this server's") from error
        if sealed.method != method.value:
            raise refused("the challenge is for another method")
        if self._clock.now().timestamp() >= sealed.expires_at:
            raise refused("the challenge has expired; ask for another one")
        return _challenge(text, sealed)

    def _opened(self, closed: bytes) -> _Sealed:
        if not self._custody.knows(closed):
            shortage = self._buckets.take((_COSTLY,), self._clock.monotonic())
            if isinstance(shortage, Shortage):
                words = "too many challenges that this server has not made itself"
                raise Failure(FailureKind.THROTTLED, words, retry_after=str(shortage.seconds))
        try:
            plain = self._custody.unseal(closed, context=_CONTEXT)
        except Failure as failure:
            if failure.kind is not FailureKind.INTERNAL:
                raise  # the key could not be asked: the challenge may be a good one
            raise refused("the challenge is not one of this server's") from failure
        return msgspec.json.decode(plain, type=_Sealed)


def _challenge(text: str, sealed: _Sealed) -> Challenge:
    expires_at = datetime.fromtimestamp(sealed.expires_at, UTC)
    spent = SpentProof(id=f"challenge|{sealed.id}", expires_at=expires_at)
    return Challenge(text=text, nonce=sealed.nonce, expires_at=expires_at, spent=spent, further=sealed.further)
