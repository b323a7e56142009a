"""Keys that sign: token-signing keys and the authorities' keys, with the states they pass through."""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass, field
from datetime import datetime

__all__ = ["KeyPurpose", "KeyState", "SigningKey"]


class KeyPurpose(enum.StrEnum):
    """What a key may sign."""

    TOKEN = "token"
    CREDENTIAL_AUTHORITY = "credential-authority"
    """Identity and agent certificates."""
    TLS_AUTHORITY = "tls-authority"
    """The installation's name-constrained CA for its own listener."""
    LOG = "log"
    """Checkpoints of the tree over the logs."""


class KeyState(enum.StrEnum):
    """Prepared (published, not yet signing), active (signs), retired (verifies until its last token has died)."""

    PREPARED = "prepared"
    ACTIVE = "active"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """One key. The private part is sealed by the key custody and never leaves the process that unseals it."""

    id: str
    """The `kid`: base64url SHA-1 thumbprint of the certificate, as Entra's are."""
    purpose: KeyPurpose
    algorithm: str
    """JOSE name: RS256 or ES256; EdDSA for the log's."""
    state: KeyState
    certificate: bytes
    """DER, self-signed: `x5c` of the published key, or the CA's certificate."""
    sealed: bytes = field(repr=False)
    """PKCS#8 DER, or a reference to a key that the custody holds; sealed. Empty once the key is tainted: nobody needs it any more."""
    created_at: datetime
    activated_at: datetime | None = None
    """When it began to sign; of a prepared key, when it is to, where somebody has said so."""
    retired_at: datetime | None = None
    tainted: bool = False
    anchor: bytes | None = None
    """DER of the self-signed certificate above an authority's own, if there is one: what others are asked to trust."""
    mark: bytes = field(default=b"", repr=False)
    """Nothing, sealed for `described`: whoever has the database and not the custody can change no member without its showing."""

    @property
    def described(self) -> str:
        """Everything that is said of the key, in one text."""
        at = (None if one is None else one.isoformat() for one in (self.created_at, self.activated_at, self.retired_at))
        shown = (hashlib.sha256(one or b"").hexdigest() for one in (self.certificate, self.anchor))
        flag = "tainted" if self.tainted else "good"
        return "|".join(("signing-key-state", self.id, self.purpose, self.algorithm, self.state, flag, *map(str, at), *shown))
