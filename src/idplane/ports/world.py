"""Time, randomness and key custody."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol, runtime_checkable

from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["Clock", "Entropy", "HeldKey", "KeyCustody"]


class Clock(Protocol):
    """Wall time, elapsed time, and sleeping, so that a test owns all three."""

    def now(self) -> datetime:
        """The current instant, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards, from an arbitrary start."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` of this clock."""
        ...


class Entropy(Protocol):
    """Unpredictable values."""

    def bytes(self, count: int) -> bytes:
        """`count` random bytes."""
        ...

    def guid(self) -> str:
        """A random GUID (RFC 9562 version 4), lower case with hyphens."""
        ...


class KeyCustody(Protocol):
    """Seals secrets at rest with a key-encryption key that the database never holds.

    `context` is bound into the seal: what was sealed for one place cannot be opened as another.
    """

    @property
    def key_id(self) -> str:
        """The id of the key-encryption key that seals now, for people; each seal names the one that made it."""
        ...

    def seal(self, plaintext: bytes, *, context: str) -> bytes:
        """Encrypt and authenticate."""
        ...

    def unseal(self, sealed: bytes, *, context: str) -> bytes:
        """The plaintext; raises `Failure(INTERNAL)` if the seal, the context or the key is not the right one."""
        ...

    def knows(self, sealed: bytes, /) -> bool:
        """Whether `unseal` needs nothing but memory for this, whatever comes of it: the key-encryption key itself may be slow, or far.

        What strangers may have made up is asked this first.
        """
        ...

    def new_authority_key(self) -> ec.EllipticCurvePrivateKey | None:
        """A new P-256 key that is inside the custody and signs there, a `HeldKey`; None when the custody holds no keys of others.

        Raises `Failure(UNAVAILABLE)`.
        """
        ...

    def authority_key(self, reference: bytes, /) -> ec.EllipticCurvePrivateKey:
        """A key that the custody holds; raises `Failure(INTERNAL)` when it holds none, `Failure(UNAVAILABLE)` when it cannot be asked."""
        ...


@runtime_checkable
class HeldKey(Protocol):
    """A private key that is inside a custody: what is stored of it is a reference."""

    reference: bytes
