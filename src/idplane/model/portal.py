"""How people sign in to the portal: links that count once, and the sessions that come of them. Secrets are kept as hashes only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

__all__ = ["PortalLink", "PortalSession"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PortalLink:
    """A link that signs a user in, until it is used or has expired."""

    id: str
    """Fingerprint of its code."""
    tenant_id: str
    principal_id: str
    created_at: datetime
    expires_at: datetime
    made_by: str
    """Principal id of who asked for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortalSession:
    """A browser that a person is signed in with. While it is there it counts, if nothing that it rests on has ended."""

    id: str
    """Fingerprint of what the browser holds."""
    sid: str
    """What logs call it."""
    tenant_id: str
    principal_id: str
    principal_mark: str
    """The user's `tokens_mark` when it began: another one now means that the user's tokens were revoked."""
    tenant_mark: str
    created_at: datetime
    seen_at: datetime
    """When it was used last, give or take a minute."""
    expires_at: datetime
    made_by: str
    """Principal id of who made the link, or the issuer that vouched for the person."""
    client_address: str | None = None
    user_agent: str = ""
