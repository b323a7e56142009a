"""Records about users, groups and sign-ins for the store conformance suite."""

from __future__ import annotations

from datetime import UTC, datetime

from idplane.model.directory import Membership, Principal, PrincipalType, UserDetails
from idplane.model.portal import PortalLink, PortalSession
from idplane.model.user_sessions import DeviceCode, RefreshToken, Session
from idplane.ports.collections import (
    DEVICE_CODES,
    MEMBERSHIPS,
    PORTAL_LINKS,
    PORTAL_SESSIONS,
    PRINCIPALS,
    REFRESH_TOKENS,
    SESSIONS,
)
from idplane.ports.store import Batch
from idplane.testing.store_refusals import Refusal, create, missing, needed, unique

__all__ = ["IN_THE_PORTAL", "PEOPLE", "PEOPLE_REFUSALS"]

_NOW = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
_TENANT = "00000000-0000-0000-0000-00000000000a"


def _user(name: str, sign_in_name: str = "Ada@Home.example") -> Principal:
    details = UserDetails(user_principal_name=sign_in_name, further={"jobTitle": "Buyer"})
    return Principal(
        id=name,
        tenant_id=_TENANT,
        client_id=name,
        display_name=name.title(),
        type=PrincipalType.USER,
        created_at=_NOW,
        user=details,
    )


def _device_code(identifier: str = "device", principal_id: str | None = None) -> DeviceCode:
    return DeviceCode(
        id=identifier,
        user_code="user-code",
        client_id="client-cli",
        client_name="CLI",
        scope="openid",
        tenant_id=None,
        created_at=_NOW,
        expires_at=_NOW,
        principal_id=principal_id,
    )


_SESSION = Session(
    id="session",
    tenant_id=_TENANT,
    principal_id="ada",
    client_id="client-cli",
    client_name="CLI",
    created_at=_NOW,
    expires_at=_NOW,
    approved_by="operator",
)
_TOKEN = RefreshToken(
    id="refresh", session_id="session", principal_id="ada", scope="openid", issued_at=_NOW, expires_at=_NOW, used_at=_NOW
)
_LINK = PortalLink(id="link", tenant_id=_TENANT, principal_id="ada", created_at=_NOW, expires_at=_NOW, made_by="operator")
_BROWSER = PortalSession(
    id="browser",
    sid="sid",
    tenant_id=_TENANT,
    principal_id="ada",
    principal_mark="",
    tenant_mark="",
    created_at=_NOW,
    seen_at=_NOW,
    expires_at=_NOW,
    made_by="operator",
)
_MEMBERSHIP = Membership(group_id="staff", member_id="ada")
_ADA = Batch.of(create(PRINCIPALS, _user("ada")))
_STAFF = Batch.of(create(PRINCIPALS, _user("staff", "staff@home.example")))
IN_THE_PORTAL = _ADA + Batch.of(create(PORTAL_LINKS, _LINK), create(PORTAL_SESSIONS, _BROWSER))
"""A user, `ada`, with a link and a session."""
_SIGNED_IN = _ADA + Batch.of(create(SESSIONS, _SESSION))

PEOPLE = (
    _SIGNED_IN
    + _STAFF
    + Batch.of(
        create(MEMBERSHIPS, _MEMBERSHIP),
        create(DEVICE_CODES, _device_code(principal_id="ada")),
        create(REFRESH_TOKENS, _TOKEN),
        create(PORTAL_LINKS, _LINK),
        create(PORTAL_SESSIONS, _BROWSER),
    )
)
"""One record in each collection, each after what it refers to."""

PEOPLE_REFUSALS: tuple[Refusal, ...] = (
    unique("name to sign in under, whatever its case", PRINCIPALS, _user("ada"), _user("eve", "ADA@home.EXAMPLE")),
    unique("code that a person is shown", DEVICE_CODES, _device_code("one"), _device_code("two")),
    missing("group of a membership", MEMBERSHIPS, _MEMBERSHIP, _ADA),
    missing("member of a membership", MEMBERSHIPS, _MEMBERSHIP, _STAFF),
    missing("user of an approved code", DEVICE_CODES, _device_code(principal_id="ada")),
    missing("user of a session", SESSIONS, _SESSION),
    missing("user of a portal link", PORTAL_LINKS, _LINK),
    missing("user of a portal session", PORTAL_SESSIONS, _BROWSER),
    missing("session of a refresh token", REFRESH_TOKENS, _TOKEN, _ADA),
    needed("session with a refresh token", SESSIONS, "session", _SIGNED_IN + Batch.of(create(REFRESH_TOKENS, _TOKEN))),
    needed("user with a session", PRINCIPALS, "ada", _SIGNED_IN),
    needed("member of a group", PRINCIPALS, "ada", _ADA + _STAFF + Batch.of(create(MEMBERSHIPS, _MEMBERSHIP))),
    needed("group with a member", PRINCIPALS, "staff", _ADA + _STAFF + Batch.of(create(MEMBERSHIPS, _MEMBERSHIP))),
)
