"""An authority of the installation: its present issuer, everything that vouches for what it issued, and its succession."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from idplane.keys.certificates import Issuer
from idplane.keys.moves import Line, Moves
from idplane.keys.roots import issuer_of
from idplane.keys.succession import Succession
from idplane.model.failure import Failure, FailureKind
from idplane.model.keys import SigningKey
from idplane.ports.store import Change, Store
from idplane.ports.world import Clock, KeyCustody

__all__ = ["InstallationAuthority"]

_REMEMBERED: Final = 4096
_ATTEMPTS: Final = 50
"""Turns at the start until an authority does: servers that start at once, each with names of its own, take one another's turns."""


class InstallationAuthority:
    """Follows an authority's line through the store. Subscribed to the feed from `follow` to `close`.

    The invariants: at most one issuer signs; each was in `trust_pem` before it signed, and stays there until its last certificate
    has ended, unless it is tainted; what a tainted one issued is vouched for by nobody from the next `refresh` on.
    """

    def __init__(self, *, line: Line, store: Store, custody: KeyCustody, clock: Clock) -> None:
        self._store = store
        self._vouched: OrderedDict[bytes, str] = OrderedDict()
        moves = Moves(line=line, custody=custody)
        self._line: Succession[Issuer] = Succession(
            moves=moves, prepare=lambda key: issuer_of(key, custody), store=store, clock=clock
        )
        self._unsubscribe: Callable[[], None] | None = None

    async def follow(self) -> None:
        """Subscribe to the feed, read the line, and make its first authority, or another where none can do the work.

        Raises `Failure(INTERNAL)` if a stored key is not intact, `Failure(UNAVAILABLE)` if the line keeps changing.
        """
        self._unsubscribe = self._store.subscribe(self.apply)
        try:
            for _ in range(_ATTEMPTS):
                await self._line.turn()
                if self._line.serves:
                    break
            else:
                raise Failure(FailureKind.UNAVAILABLE, "an authority keeps changing")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop following the feed."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None

    # Using the authority: synchronous, from memory.

    @property
    def issuer(self) -> Issuer:
        """Who signs; raises `Failure(UNAVAILABLE)` while nobody can."""
        active = self._line.reading.active
        if active is None:
            raise Failure(FailureKind.UNAVAILABLE, "no authority can sign")
        return active

    @property
    def trust_pem(self) -> bytes:
        """What others are to trust: every anchor that counts, the signing one first. Never empty while one signs."""
        active = self._line.active_id
        ordered = sorted(self._line.reading.material.items(), key=lambda one: one[0] != active)
        return b"".join(issuer.pem for _, issuer in ordered)

    @property
    def keys(self) -> tuple[SigningKey, ...]:
        """Every authority with its state, oldest first, tainted ones included."""
        return self._line.reading.keys

    def vouches_for(self, certificate_der: bytes) -> bool:
        """Whether an authority that counts has issued this certificate. Its dates are for others to judge."""
        digest = hashlib.sha256(certificate_der).digest()
        known = self._vouched.get(digest)
        if known is None:
            known = self._signer(certificate_der)
            if known is None:
                return False
            self._vouched[digest] = known
            while len(self._vouched) > _REMEMBERED:
                self._vouched.popitem(last=False)
        return known in self._line.reading.material

    async def vouched(self, certificate_der: bytes) -> bool:
        """`vouches_for`, by what the feed has told until now."""
        await self.refresh()
        return self.vouches_for(certificate_der)

    def is_current(self, certificate_der: bytes) -> bool:
        """Whether the authority that signs now has issued this certificate: if not, it is time for a new one."""
        return (
            self.vouches_for(certificate_der)
            and self._vouched[hashlib.sha256(certificate_der).digest()] == self._line.active_id
        )

    def _signer(self, certificate_der: bytes) -> str | None:
        try:
            certificate = x509.load_der_x509_certificate(certificate_der)
        except (ValueError, x509.InvalidVersion):
            return None
        return next((kid for kid, one in self._line.reading.material.items() if _issued(one, certificate)), None)

    # Following the store, and moving the line.

    def apply(self, changes: Sequence[Change]) -> None:
        """Hear of commits; fits `Store.subscribe`."""
        self._line.apply(changes)

    async def refresh(self) -> None:
        """Read the line again if the feed said that it changed; costs nothing otherwise."""
        await self._line.refresh()

    async def turn(self) -> datetime:
        """Take the steps that are due; when the next is."""
        return await self._line.turn()

    async def rotate(self) -> str:
        """Let another authority sign from now on; what earlier ones issued stays good. The id of its key."""
        return await self._line.rotate()

    async def taint(self, kid: str) -> None:
        """Let an authority count for nothing, with all that it issued; raises `Failure(INVALID_PARAMETER)` for an unknown one."""
        await self._line.taint(kid)


def _issued(issuer: Issuer, certificate: x509.Certificate) -> bool:
    if certificate == issuer.certificate:
        return False  # an authority is nobody's client, not even its own
    try:
        certificate.verify_directly_issued_by(issuer.certificate)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
