"""Key Vault's bodies: what clients send is read strictly into values, and values are written as the service writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from urllib.parse import quote, urlencode

import msgspec

from idplane.model.failure import Failure, FailureKind
from idplane.model.vault import SecretVersion
from idplane.vault import Secret, SecretChanges, SecretDraft, SecretPage, Vault

__all__ = ["VaultWriter", "read_changes", "read_draft"]

B = TypeVar("B", bound=msgspec.Struct)

# The bounds of .NET's and Python's calendars; what lies outside cannot be shown by any client.
_LAST_SECOND = 253_402_300_799
_FULL_RETENTION_DAYS = 90


class _Attributes(msgspec.Struct, frozen=True):
    enabled: bool | None = None
    nbf: int | None = None
    exp: int | None = None


class _SetBody(msgspec.Struct, frozen=True, rename="camel"):
    value: str
    content_type: str | None = None
    tags: dict[str, str] | None = None
    attributes: _Attributes | None = None

    def __repr__(self) -> str:
        return "_SetBody(...)"


class _UpdateBody(msgspec.Struct, frozen=True, rename="camel"):
    content_type: str | None = None
    tags: dict[str, str] | None = None
    attributes: _Attributes | None = None


def read_draft(body: bytes) -> SecretDraft:
    """The body of a set; raises `Failure(MALFORMED_BODY)` or `Failure(INVALID_PARAMETER)`. Members that we do not know are ignored."""
    read = _decoded(body, _SetBody)
    attributes = read.attributes or _Attributes()
    return SecretDraft(
        value=read.value,
        content_type=read.content_type,
        tags=read.tags or {},
        enabled=attributes.enabled is not False,
        not_before=_instant("nbf", attributes.nbf),
        expires=_instant("exp", attributes.exp),
    )


def read_changes(body: bytes) -> SecretChanges:
    """The body of an update, under the same rules; null and absent both mean unchanged."""
    read = _decoded(body, _UpdateBody)
    attributes = read.attributes or _Attributes()
    return SecretChanges(
        content_type=read.content_type,
        tags=read.tags,
        enabled=attributes.enabled,
        not_before=_instant("nbf", attributes.nbf),
        expires=_instant("exp", attributes.exp),
    )


def _decoded(body: bytes, shape: type[B]) -> B:
    # The cause is left out on purpose: its text may quote the body, and the body holds the secret.
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError:
        refused = Failure(
            FailureKind.INVALID_PARAMETER, "a member of the body is missing or has the wrong type", parameter="body"
        )
    except (msgspec.MsgspecError, ValueError, RecursionError):
        refused = Failure(FailureKind.MALFORMED_BODY, "the body is not a JSON object")
    raise refused


def _instant(name: str, seconds: int | None) -> datetime | None:
    if seconds is None:
        return None
    if not 0 <= seconds <= _LAST_SECOND:
        raise Failure(FailureKind.INVALID_PARAMETER, f"attributes.{name} is out of range", parameter=name)
    return datetime.fromtimestamp(seconds, UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultWriter:
    """Writes values as one vault shows them under one host name."""

    vault: Vault
    base: str
    """`https://{vault host}`, no final slash."""
    retention: timedelta
    api_version: str

    def secret(self, secret: Secret) -> bytes:
        """A bundle with its value."""
        return _encoded({"value": secret.value, **self._bundle(secret.version)})

    def properties(self, version: SecretVersion) -> bytes:
        """A bundle without its value."""
        return _encoded(self._bundle(version))

    def deleted(self, version: SecretVersion) -> bytes:
        """A deleted bundle."""
        return _encoded({**self._deletion(version), **self._bundle(version)})

    def secrets(self, page: SecretPage, limit: int) -> bytes:
        """A page of secrets; their ids name no version."""
        return self._page([self._item(one) for one in page.items], page.after, "/secrets", limit)

    def versions(self, name: str, page: SecretPage, limit: int) -> bytes:
        """A page of one secret's versions."""
        return self._page([self._bundle(one) for one in page.items], page.after, f"/secrets/{name}/versions", limit)

    def deleted_secrets(self, page: SecretPage, limit: int) -> bytes:
        """A page of deleted secrets."""
        items = [{**self._deletion(one), **self._item(one)} for one in page.items]
        return self._page(items, page.after, "/deletedsecrets", limit)

    def _page(self, items: list[dict[str, object]], after: str | None, path: str, limit: int) -> bytes:
        return _encoded({"value": items, "nextLink": None if after is None else self._next(path, after, limit)})

    def _next(self, path: str, after: str, limit: int) -> str:
        # A dollar sign goes unescaped, as in the service's own links.
        query = urlencode(
            {"api-version": self.api_version, "$skiptoken": after, "maxresults": limit}, safe="$", quote_via=quote
        )
        return f"{self.base}{path}?{query}"

    def _bundle(self, version: SecretVersion) -> dict[str, object]:
        return self._shown(version, f"{self.base}/secrets/{version.name}/{version.version}")

    def _item(self, version: SecretVersion) -> dict[str, object]:
        return self._shown(version, f"{self.base}/secrets/{version.name}")

    def _shown(self, version: SecretVersion, identifier: str) -> dict[str, object]:
        shown: dict[str, object] = {} if version.content_type is None else {"contentType": version.content_type}
        shown["id"] = identifier
        shown["attributes"] = self._attributes(version)
        if version.tags:
            shown["tags"] = dict(version.tags)
        return shown

    def _attributes(self, version: SecretVersion) -> Mapping[str, object]:
        attributes: dict[str, object] = {"enabled": version.enabled}
        if version.not_before is not None:
            attributes["nbf"] = _seconds(version.not_before)
        if version.expires is not None:
            attributes["exp"] = _seconds(version.expires)
        attributes["created"] = _seconds(version.created_at)
        attributes["updated"] = _seconds(version.updated_at)
        attributes["recoveryLevel"] = self._recovery_level()
        attributes["recoverableDays"] = self.retention.days
        return attributes

    def _recovery_level(self) -> str:
        level = "Recoverable" if self.retention.days == _FULL_RETENTION_DAYS else "CustomizedRecoverable"
        return level if self.vault.purge_protection else f"{level}+Purgeable"

    def _deletion(self, version: SecretVersion) -> dict[str, object]:
        shown: dict[str, object] = {"recoveryId": f"{self.base}/deletedsecrets/{version.name}"}
        if version.deleted_at is not None and version.purge_at is not None:
            shown["deletedDate"] = _seconds(version.deleted_at)
            shown["scheduledPurgeDate"] = _seconds(version.purge_at)
        return shown


def _seconds(at: datetime) -> int:
    return int(at.timestamp())


def _encoded(shown: Mapping[str, object]) -> bytes:
    return msgspec.json.encode(shown)
