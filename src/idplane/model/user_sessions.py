"""How users sign in: requests that wait for approval, and the sessions that come of them. Every code and token is kept as a hash."""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass
from datetime import datetime

__all__ = ["DeviceCode", "DeviceCodeState", "RefreshToken", "Session", "fingerprint", "user_code_key"]


def fingerprint(secret: str) -> str:
    """SHA-256, hex: what is stored of device codes and refresh tokens, which have 256 bits of entropy."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def user_code_key(code: str) -> str:
    """What is stored of a user code, whatever its case and however it was grouped when it was typed."""
    return fingerprint("".join(one for one in code.upper() if one not in " -"))


class DeviceCodeState(enum.StrEnum):
    """What became of a request."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCode:
    """A program's request to sign a user in (RFC 8628), until it is redeemed or has expired."""

    id: str
    """Fingerprint of the device code."""
    user_code: str
    """`user_code_key` of the code that a person is shown."""
    client_id: str
    client_name: str
    scope: str
    """As asked."""
    tenant_id: str | None
    """None when any tenant will do: then it is the one of the user whom the request is approved for."""
    created_at: datetime
    expires_at: datetime
    client_address: str | None = None
    user_agent: str = ""
    state: DeviceCodeState = DeviceCodeState.PENDING
    principal_id: str | None = None
    """The user whom it was approved for."""
    decided_by: str | None = None
    """Principal id of who approved or denied it."""
    polled_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A user's sign-in with one client. While it is there its access tokens count; without it they and its refresh tokens are dead."""

    id: str
    """The `sid` of its tokens."""
    tenant_id: str
    principal_id: str
    client_id: str
    client_name: str
    created_at: datetime
    expires_at: datetime
    approved_by: str
    """Principal id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshToken:
    """One refresh token of a session. Used ones stay until they expire, so that using one again is noticed."""

    id: str
    """Fingerprint."""
    session_id: str
    principal_id: str
    scope: str
    """What the first access token was asked for: what is meant when a refresh names no scope."""
    issued_at: datetime
    expires_at: datetime
    used_at: datetime | None = None
