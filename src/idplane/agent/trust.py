"""Which authorities vouch for servers: the file that the agent was given, and what the servers have said since.

The servers publish the successor of an authority long before it signs, so that an agent has it in time. What they say replaces what they
said before, and counts beside the file, but for what was said to be tainted: that counts never again, wherever it stands. Nobody's word
for the end of an authority is taken over a connection that this very authority may have vouched for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

__all__ = ["NO_TRUST", "Anchors", "Trust", "TrustProblem"]

_MOST_ANCHORS: Final = 64
_MOST_TAINTED: Final = 256


class TrustProblem(ValueError):  # noqa: N818 - it is what the person at the terminal reads
    """Why what a server said of authorities is not followed; its text is one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What the servers have said."""

    version: str = ""
    """By which a server tells whether it would say the same again; empty before any has said something."""
    anchors: bytes = b""
    """PEM."""
    tainted: tuple[str, ...] = ()
    """SHA-256, in hex, of certificates that count for nothing."""

    @property
    def counts(self) -> tuple[int, int]:
        """How many count, and how many are tainted."""
        return len(_certificates(self.anchors)), len(self.tainted)

    def followed_by(self, said: Trust) -> Trust:
        """What counts after `said`: no server can take back that an authority is tainted."""
        tainted = tuple(dict.fromkeys((*said.tainted, *self.tainted)))[:_MOST_TAINTED]
        return Trust(version=said.version, anchors=said.anchors, tainted=tainted)


NO_TRUST: Final = Trust()


class Anchors:
    """The authorities that count now."""

    def __init__(self, path: Path | None) -> None:
        """`path` is the file that the agent was given, read each time, so that what is put there counts at once."""
        self._path = path
        self._made: tuple[bytes, Trust, bytes] | None = None
        self.given = b""
        """What the file held when it was last read; without a file, what the agent joined with."""
        self.trust = NO_TRUST

    def read(self) -> bytes:
        """PEM. Raises `OSError` when there is a file that was never read and no server has said anything."""
        self._read_file()
        if self._made is None or self._made[:2] != (self.given, self.trust):
            counting = self._counting()
            self._made = (self.given, self.trust, _pem(counting.values()) if counting else self.given)
        return self._made[2]

    def common(self, said: Trust) -> bytes:
        """PEM of those that count now and would go on counting; raises `TrustProblem` when there are none."""
        self._read_file()
        left = _said(said)
        shared = [one for digest, one in self._counting().items() if digest in left and digest not in said.tainted]
        if not shared:
            raise TrustProblem(
                "the servers' authorities have all been replaced since this agent heard of them: give it the new ones with --ca"
            )
        return _pem(shared)

    def all_stay(self, said: Trust) -> bool:
        """Whether everything that counts now would go on counting: then whichever of it vouched for a connection, its word is good."""
        left = _certificates(said.anchors).keys() - set(said.tainted)
        return self._counting().keys() <= left

    def beyond_file(self) -> bool:
        """Whether others count than the file holds."""
        self._read_file()
        return self._counting().keys() != _certificates(self.given).keys()

    def _read_file(self) -> None:
        if self._path is not None:
            try:
                self.given = self._path.read_bytes()
            except OSError:
                if not self.given and not self.trust.anchors:
                    raise

    def _counting(self) -> Mapping[str, x509.Certificate]:
        known = {**_certificates(self.given), **_certificates(self.trust.anchors)}
        return {digest: one for digest, one in known.items() if digest not in self.trust.tainted}


def _said(trust: Trust) -> dict[str, x509.Certificate]:
    """What a server said, by digest; raises `TrustProblem` for what can't be read, or is too much."""
    found = _certificates(trust.anchors)
    if not found:
        raise TrustProblem("what the server said of its authorities holds no certificates that can be read")
    if len(found) > _MOST_ANCHORS:
        raise TrustProblem("the servers' authorities are too many")
    return found


def _certificates(pem: bytes) -> dict[str, x509.Certificate]:
    """By digest, as many as an operator's file may hold; none where the text holds none."""
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError:
        return {}
    return {hashlib.sha256(one.public_bytes(Encoding.DER)).hexdigest(): one for one in found}


def _pem(certificates: Iterable[x509.Certificate]) -> bytes:
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)
