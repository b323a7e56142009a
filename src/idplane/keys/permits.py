"""What goes into the key ring and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from idplane.jose import Algorithm, PublicKey
from idplane.model.failure import Failure, FailureKind
from idplane.model.values import JsonObject

__all__ = ["PublicKeyInfo", "SignedToken", "SigningPermit"]

_VERSIONS = (1, 2)


class _Once:
    """Remembers that it was used."""

    __slots__ = ("_used",)

    def __init__(self) -> None:
        self._used = False

    def use(self) -> bool:
        """True the first time."""
        first, self._used = not self._used, True
        return first


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SigningPermit:
    """Validated claims that may be signed, once. Only the token service makes permits, after every check has passed.

    `claims` hold `exp` in whole seconds; their order is the token's.
    """

    claims: JsonObject = field(repr=False)
    algorithm: Algorithm = Algorithm.RS256
    token_version: int = 1
    """1 or 2: the form of the header (MIE section 9)."""
    _once: _Once = field(init=False, repr=False, default_factory=_Once)

    def __post_init__(self) -> None:
        if self.token_version not in _VERSIONS:
            raise ValueError(f"{self.token_version!r} is not a token version")

    def spend(self) -> JsonObject:
        """The claims, the first time; then `Failure(INTERNAL)`."""
        if not self._once.use():
            raise Failure(FailureKind.INTERNAL, "a signing permit was used twice")
        return self.claims


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedToken:
    """A token and the key that signed it."""

    token: str = field(repr=False)
    kid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKeyInfo:
    """A key that our tokens verify with, and the one algorithm that it is good for."""

    kid: str
    algorithm: Algorithm
    key: PublicKey = field(repr=False)
    certificate: bytes = field(repr=False)
    """DER."""
