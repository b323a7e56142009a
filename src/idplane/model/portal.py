"""How people sign in to the portal: links that count once, and the sessions that come of them. Secrets are kept as hashes only."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from idplane.model.directory import Principal
from idplane.model.user_sessions import fingerprint

__all__ = ["CODE_BYTES", "LINK_LIFETIME", "PortalLink", "PortalSession", "new_link"]

CODE_BYTES: Final = 32
LINK_LIFETIME: Final = timedelta(minutes=15)


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


def new_link(user: Principal, secret: bytes, *, made_by: str, now: datetime) -> tuple[PortalLink, str]:
    """The record of a link for a user, and its code, which is kept nowhere. `secret` is `CODE_BYTES` of chance."""
    code = urlsafe_b64encode(secret).rstrip(b"=").decode()
    link = PortalLink(
        id=fingerprint(code),
        tenant_id=user.tenant_id,
        principal_id=user.id,
        created_at=now,
        expires_at=now + LINK_LIFETIME,
        made_by=made_by,
    )
    return link, code
