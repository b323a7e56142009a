"""How a host proves what it is, on the host's side: one module for each method.

    attestor_of("token:/run/join-token")                          the words of `idplane agent --join`
    POST /agent/v1/challenges {method, **challenge_body()}   →    Challenge
    evidence(challenge)                                      →    `evidence` of POST /agent/v1/enrollments

Owns what is read and signed on the host. Sends nothing, keeps nothing, and decides nothing: that is the server's part
(`directory.attestation`).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Protocol

from idplane.model.enrollments import JoinMethod
from idplane.model.values import JsonObject

__all__ = ["Attestor", "Challenge", "attestor_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """What the server asked, and the request for the certificate that the proof shall be good for."""

    challenge: str = field(repr=False)
    """Sealed by the server; sent back as it is."""
    nonce: bytes
    csr: bytes = field(repr=False)
    """DER of the very request that will be sent with the evidence: what a host signs covers it."""
    credential_blob: bytes | None = field(default=None, repr=False)
    """Of a TPM's challenge."""
    secret: bytes | None = field(default=None, repr=False)
    """Of a TPM's challenge."""


class Attestor(Protocol):
    """One way to prove what this host is."""

    @property
    def method(self) -> str:
        """Its name in the API."""
        ...

    async def challenge_body(self) -> JsonObject:
        """Members of the request for a challenge, beside `method`; raises `Failure(UNAVAILABLE)` for what can't be read here."""
        ...

    async def evidence(self, challenge: Challenge, /) -> JsonObject:
        """The proof; raises `Failure(UNAVAILABLE)` for what can't be read or signed here."""
        ...


_MODULES: Final[Mapping[str, str]] = MappingProxyType({one.value: one.value for one in JoinMethod})


def attestor_of(text: str) -> Attestor:
    """The attestor that `METHOD[:ARGUMENT]` names; raises `ValueError` with one sentence.

    What the argument names is read when it is needed, so that a token that is renewed meanwhile is the one that is shown.
    """
    method, _, argument = text.partition(":")
    module = _MODULES.get(method)
    if module is None:
        raise ValueError(f"'{method}' is no way to join; there are: {', '.join(_MODULES)}")
    made: Attestor = importlib.import_module(f"idplane.agent.attestors.{module}").attestor(argument)
    return made
