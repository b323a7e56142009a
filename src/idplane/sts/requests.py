"""What goes into the token service and what comes out of it."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

__all__ = ["DEVICE_CODE_GRANT", "JWT_BEARER", "REFRESH_GRANT", "Endpoint", "IssuedToken", "TokenRequest", "UserReply"]

JWT_BEARER: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
"""The `client_assertion_type` of RFC 7523 section 2.2."""


DEVICE_CODE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
"""The `grant_type` of RFC 8628 section 3.4."""
REFRESH_GRANT: Final = "refresh_token"


class Endpoint(enum.Enum):
    """Which token endpoint was asked: each names the audience by a parameter of its own, and neither decides the token's form."""

    V1 = "resource"
    V2 = "scope"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """One token request as it was sent, read once at the edge; empty values count as absent there."""

    tenant: str
    """From the path: a GUID or a domain, in any case."""
    authority: str
    """The base URL that the client sees this server under; client assertions name it as their audience."""
    endpoint: Endpoint
    grant_type: str | None = None
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    client_assertion: str | None = field(default=None, repr=False)
    client_assertion_type: str | None = None
    audience: str | None = None
    """The value of the endpoint's audience parameter, not yet read: a resource, or a scope."""
    claims: str | None = None
    """JSON of the claims that the client asks for: its capabilities, or the answer to a claims challenge."""
    device_code: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    client_certificate: bytes | None = field(default=None, repr=False)
    """DER of the certificate that the client proved on its connection."""
    client_info: bool = False
    """Whether the answer shall name the user beside the tokens, as MSAL's caches want it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserReply:
    """The further members of the answer to a grant of a user's (control-plane.md section 3); what is None is left out."""

    scope: str
    refresh_token: str | None = field(default=None, repr=False)
    id_token: str | None = field(default=None, repr=False)
    client_info: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedToken:
    """An access token whose sign-in record is durable."""

    access_token: str = field(repr=False)
    token_id: str
    """Its `uti`."""
    resource: str
    """The audience as asked, which is what clients compare."""
    not_before: datetime
    expires_at: datetime
    expires_in: int
    """Seconds from the issue, one less than the lifetime: what is left when the answer arrives (MIE section 9.4)."""
    user: UserReply | None = None
    """What goes with the access token when it speaks for a user."""
