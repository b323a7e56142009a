"""The installation's keys: which sign, which follow, what happens by itself and when, and what can be done by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ROOT
from idplane.model.keys import KeyPurpose, KeyState, SigningKey
from idplane.model.values import JsonObject
from idplane.ports.collections import SIGNING_KEYS
from idplane.providers.security_keys import KEYS_TYPE
from idplane.web.portal.charts import Bar, Timeline
from idplane.web.portal.offers import Offer, offer
from idplane.web.portal.routes import Route
from idplane.web.portal.view import Html, Page, Redirect, Visit
from idplane.web.portal.words import instant

__all__ = ["ROUTES", "KeyRow", "key_rows", "keys_read"]

_LIST: Final = "/portal/keys"
_VERSION: Final = "2026-11-01"
_READ: Final = f"{KEYS_TYPE}/read"
_ENCRYPTION: Final = "key-encryption"
_PURPOSES: Final = {
    KeyPurpose.TOKEN.value: (
        "Token signing",
        "Signs every access token. Whoever checks tokens finds the published ones at the tenant's keys address.",
    ),
    KeyPurpose.CREDENTIAL_AUTHORITY.value: ("Credential authority", "Issues the certificates of identities and of agents."),
    KeyPurpose.TLS_AUTHORITY.value: (
        "Listener authority",
        "Issues the certificates that servers show. What clients trust is its ca.pem.",
    ),
    KeyPurpose.LOG.value: ("Log", "Signs the checkpoints by which nobody can change the logs unnoticed."),
}
"""By purpose: a name, and what the key is for."""
_BADGES: Final = {
    "prepared": ("Published", "info"),
    "active": ("Active", "good"),
    "retired": ("Retired", ""),
    "tainted": ("Tainted", "bad"),
}
_TAINTED: Final = {
    "token": "Every token that it signed is refused at once, and nothing brings the key back.",
    "credential-authority": "Every certificate that it issued is refused at once: agents that have not renewed since its successor signs must be enrolled again.",
    "tls-authority": "Listeners show certificates of its successor at once: whoever has not got the new ca.pem reaches no server.",
    "log": "No checkpoint that it signed proves anything any more: whoever verifies the log needs the new key, and only checkpoints kept elsewhere tell what the log was before.",
}
_ROTATED: Final = {
    "token": "The next key signs from now on. Tokens of this one stay good until they end.",
    "credential-authority": "The next key is published, and signs a minute later. Certificates of this one stay good until they end.",
    "tls-authority": "The next authority is published first, and signs when agents and ca.pem have had the time to follow. Nobody has to do anything if they come by within it.",
    "log": "The next key signs the log's checkpoints from now on. This one vouches for it, and what it signed stays proved.",
}
_REVOKED: Final = "The key counts for nothing, and every token issued until now is refused at once, by whichever key. Whoever is entitled gets new ones."
_DONE: Final = {
    "rotate": "Another key takes over.",
    "taint": "The key is tainted.",
    "revoke": "The key is revoked, and every token with it.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow:
    """A key in words."""

    id: str
    purpose: str
    state: str
    signs: bool
    algorithm: str
    created_at: datetime | None
    activated_at: datetime | None
    retired_at: datetime | None
    until: datetime | None
    last_signed_ends: datetime | None
    summoned: bool
    """Whether somebody has told it when to take over."""
    certificate: x509.Certificate | None

    @property
    def badge(self) -> tuple[str, str]:
        """A word, and the kind of badge for it."""
        return _BADGES.get(self.state, (self.state, ""))

    @property
    def thumbprint(self) -> str:
        """SHA-256 of its certificate."""
        return self.certificate.fingerprint(SHA256()).hex().upper() if self.certificate else ""

    @property
    def certificate_ends(self) -> datetime | None:
        """Of an authority: until when what it issues can count."""
        return self.certificate.not_valid_after_utc if self.certificate and self.noticed else None

    @property
    def next(self) -> str:
        """What it does next by itself."""
        match self.state:
            case "prepared":
                return "Begins to sign"
            case "active":
                return "Its successor takes over"
            case "retired":
                return "Is forgotten" if self.until else "Stays known for good"
            case _:
                return "Is forgotten" if self.until else ""

    @property
    def noticed(self) -> bool:
        """Whether its successor is published for a while before it signs."""
        return self.purpose in (KeyPurpose.CREDENTIAL_AUTHORITY, KeyPurpose.TLS_AUTHORITY)

    @property
    def can_taint(self) -> bool:
        """Whether it still counts for anything."""
        return self.state != "tainted"

    @property
    def can_revoke(self) -> bool:
        """Whether what it signs are tokens."""
        return self.purpose == KeyPurpose.TOKEN

    def says(self, action: str) -> str:
        """What follows from an action."""
        return {"rotate": _ROTATED, "taint": _TAINTED}.get(action, {}).get(self.purpose, _REVOKED)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLine:
    """The keys of one purpose."""

    purpose: str
    keys: tuple[KeyRow, ...]
    now: datetime

    @property
    def label(self) -> str:
        """What they are called."""
        return _PURPOSES[self.purpose][0]

    @property
    def words(self) -> str:
        """What they are for."""
        return _PURPOSES[self.purpose][1]

    @property
    def summoned(self) -> KeyRow | None:
        """The one that somebody has told already when to take over."""
        return next((one for one in self.keys if one.summoned), None)

    @property
    def rows(self) -> list[KeyRow]:
        """Its keys; one that signs does so until the one that was told takes over."""
        told = self.summoned
        if told is None or told.until is None:
            return list(self.keys)
        return [replace(one, until=told.until) if one.signs else one for one in self.keys]

    @property
    def timeline(self) -> Timeline:
        """Their lives beside one another."""
        return Timeline(bars=tuple(bar for one in self.rows if (bar := _bar(one, self.now))), now=self.now)


def _bar(key: KeyRow, now: datetime) -> Bar | None:
    """From when it was made, through when it signs, to when nobody needs it any more."""
    if key.created_at is None:
        return None
    ends = key.retired_at or (key.until if key.state == "active" else None)
    signs = (key.activated_at or key.until if key.state == "prepared" else key.activated_at, ends)
    return Bar(label=key.id, kind=key.state, start=key.created_at, signs=signs, end=key.until or ends or now)


async def keys_read(visit: Visit) -> Offer:
    """Whether the person may see them."""
    return await offer(visit, _READ, ROOT)


async def key_rows(visit: Visit) -> list[KeyRow]:
    """All keys, as Resource Manager lists them, with their certificates, which are public."""
    answer = await visit.desk.read(f"/providers/{KEYS_TYPE}", version=_VERSION)
    listed = answer.get("value")
    shown = [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, Sequence) else []
    stored = {one.value.id: one.value for one in await visit.desk.store.all(SIGNING_KEYS)} if shown else {}
    return [_row(one, stored.get(str(one.get("name")))) for one in shown]


def _row(shown: JsonObject, stored: SigningKey | None) -> KeyRow:
    found = shown.get("properties")
    told = found if isinstance(found, Mapping) else {}
    return KeyRow(
        id=str(shown.get("name")),
        purpose=str(told.get("purpose")),
        state=str(told.get("state")),
        signs=told.get("signs") is True,
        algorithm=str(told.get("algorithm")),
        created_at=instant(told.get("createdAt")),
        activated_at=instant(told.get("activatedAt")),
        retired_at=instant(told.get("retiredAt")),
        until=instant(told.get("until")),
        last_signed_ends=instant(told.get("lastSignedEnds")),
        summoned=stored is not None and stored.state is KeyState.PREPARED and stored.activated_at is not None,
        certificate=x509.load_der_x509_certificate(stored.certificate) if stored and stored.certificate else None,
    )


async def _keys(visit: Visit, problem: Failure | None = None) -> Page:
    reading = await keys_read(visit)
    rows = await key_rows(visit) if reading.open else []
    lines = [
        KeyLine(purpose=purpose, keys=tuple(one for one in rows if one.purpose == purpose), now=visit.desk.now)
        for purpose in _PURPOSES
    ]
    return Html(
        template="keys.html",
        values={
            "title": "Keys",
            "reading": reading,
            "lines": [one for one in lines if one.keys],
            "encryption": next((one for one in rows if one.purpose == _ENCRYPTION), None),
            "offers": {word: await offer(visit, f"{KEYS_TYPE}/{word}/action", ROOT) for word in _DONE},
        },
        status=problem.kind.category.value if problem else 200,
        problem=problem,
    )


async def _show(visit: Visit) -> Page:
    return await _keys(visit)


async def _act(visit: Visit) -> Page:
    action, name = visit.params["action"], visit.form("key")
    if action not in _DONE:
        raise Failure(FailureKind.PATH_NOT_FOUND, "there is no such page")
    body: JsonObject = {"now": True} if action == "rotate" and visit.form("now") else {}
    try:
        await visit.desk.write("POST", f"/providers/{KEYS_TYPE}/{quote(name, safe='')}/{action}", body, version=_VERSION)
    except Failure as failure:
        return await _keys(visit, failure)
    return Redirect(to=_LIST, said=_DONE[action])


ROUTES: Final = (
    Route(method="GET", pattern=_LIST, handler=_show),
    Route(method="POST", pattern=f"{_LIST}/act/{{action}}", handler=_act),
)
