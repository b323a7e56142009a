"""What goes into the token service and what comes out of it."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

__all__ = ["JWT_BEARER", "Endpoint", "IssuedToken", "TokenRequest"]

JWT_BEARER: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
"""The `client_assertion_type` of RFC 7523 section 2.2."""


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
