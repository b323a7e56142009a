"""The lines of keys that move by themselves and by hand, by what they are for: one table."""

from __future__ import annotations

from idplane.jose import Algorithm
from idplane.keys.credentials import credential_line
from idplane.keys.material import token_line
from idplane.keys.moves import Line
from idplane.keys.tls import tls_line
from idplane.model.keys import KeyPurpose
from idplane.model.profile import Profile
from idplane.ports.world import Entropy, KeyCustody

__all__ = ["line_of"]


def line_of(
    purpose: KeyPurpose, profile: Profile, custody: KeyCustody, entropy: Entropy, algorithm: str = Algorithm.RS256.value
) -> Line | None:
    """The line of a purpose; new token-signing keys are for `algorithm`. None for the log's, which moves with its checkpoints."""
    match purpose:
        case KeyPurpose.TOKEN:
            return token_line(profile, Algorithm(algorithm), custody, entropy)
        case KeyPurpose.CREDENTIAL_AUTHORITY:
            return credential_line(custody, entropy)
        case KeyPurpose.TLS_AUTHORITY:
            return tls_line(custody, entropy)
        case KeyPurpose.LOG:
            return None
