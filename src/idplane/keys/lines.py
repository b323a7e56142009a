"""The lines of keys that move by themselves and by hand, by what they are for: one table."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Final

from idplane.jose import Algorithm
from idplane.keys.credentials import credential_line
from idplane.keys.log_keys import log_line
from idplane.keys.material import token_line
from idplane.keys.moves import Line
from idplane.keys.tls import tls_line
from idplane.model.keys import KeyPurpose
from idplane.model.profile import Profile
from idplane.ports.world import Entropy, KeyCustody

__all__ = ["line_of"]

_LISTENERS_FOLLOW: Final = timedelta(minutes=1)
"""Listeners let in what a new authority issued within half of that: what is issued first must not meet one that has not."""


def line_of(
    purpose: KeyPurpose, profile: Profile, custody: KeyCustody, entropy: Entropy, algorithm: str = Algorithm.RS256.value
) -> Line:
    """The line of a purpose; new token-signing keys are for `algorithm`. The log's moves with its checkpoints."""
    match purpose:
        case KeyPurpose.TOKEN:
            return token_line(profile, Algorithm(algorithm), custody, entropy)
        case KeyPurpose.CREDENTIAL_AUTHORITY:
            return _noticed(credential_line(custody, entropy), _LISTENERS_FOLLOW)
        case KeyPurpose.TLS_AUTHORITY:
            return _noticed(tls_line(custody, entropy), profile.tls_authority_notice)
        case KeyPurpose.LOG:
            return log_line(custody, entropy)


def _noticed(line: Line, notice: timedelta) -> Line:
    return replace(line, pace=replace(line.pace, notice=notice))
