"""Secrets and certificates of applications and service principals: `passwordCredentials`, `keyCredentials` and their actions.

Writers below one owner follow one another: each raises the owner's version. Who may administer the directory by such a
credential is nobody's to make but an administrator's (`guards`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from idplane.directory.clients import certificate_credential, new_secret
from idplane.graph.declare import Action, Context, Planned, Task
from idplane.graph.guards import require_may_act_for
from idplane.graph.proofs import require_proof
from idplane.graph.times import shown_time
from idplane.model.directory import Application, Credential, CredentialKind, Principal
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import is_guid
from idplane.model.values import JsonObject
from idplane.ports.collections import APPLICATIONS, CREDENTIALS, PRINCIPALS
from idplane.ports.store import ABSENT, Batch, Delete, Put, Versioned
from idplane.providers.fields import Fields

__all__ = ["CREDENTIAL_ACTIONS", "credential_members", "credentials_of", "key_changes", "owner_put"]

_DEFAULT_LIFETIME: Final = timedelta(days=730)
_LAST: Final = datetime(2299, 12, 31, tzinfo=UTC)
_MOST: Final = 200
_MAX_NAME: Final = 120
_MAX_CERTIFICATE: Final = 64 * 1024
_CERTIFICATES: Final = (CredentialKind.CERTIFICATE, CredentialKind.IDENTITY_CERTIFICATE)


async def credentials_of(context: Context, owner: Application | Principal) -> tuple[Versioned[Credential], ...]:
    """The owner's own credentials."""
    column = "application_id" if isinstance(owner, Application) else "principal_id"
    return await context.store.all(CREDENTIALS, where={column: owner.id})


def credential_members(rows: Sequence[Versioned[Credential]], *, with_keys: bool = False) -> JsonObject:
    """Both arrays; certificates in full only `with_keys`, as Graph does when they are asked for by name."""
    return {
        "passwordCredentials": [_password(row.value) for row in rows if row.value.kind is CredentialKind.SECRET],
        "keyCredentials": [_key(row.value, with_keys=with_keys) for row in rows if row.value.kind in _CERTIFICATES],
    }


def _password(one: Credential, secret: str | None = None) -> dict[str, object]:
    return {
        "customKeyIdentifier": None,
        "displayName": one.display_name or None,
        "endDateTime": shown_time(one.not_after),
        "hint": one.hint or None,
        "keyId": one.id,
        "secretText": secret,
        "startDateTime": shown_time(one.not_before),
    }


def _key(one: Credential, *, with_keys: bool) -> dict[str, object]:
    certificate = one.certificate or b""
    thumbprint = hashlib.sha1(certificate, usedforsecurity=False).digest()
    return {
        "customKeyIdentifier": base64.b64encode(thumbprint).decode(),
        "displayName": one.display_name or None,
        "endDateTime": shown_time(one.not_after),
        "key": base64.b64encode(certificate).decode() if with_keys else None,
        "keyId": one.id,
        "startDateTime": shown_time(one.not_before),
        "type": "AsymmetricX509Cert",
        "usage": "Verify",
    }


# Changing ---------------------------------------------------------------------------------------------------------------


def owner_put(row: Versioned[Application] | Versioned[Principal]) -> Batch:
    """The owner as it is, at its next version."""
    if isinstance(row.value, Application):
        return Batch.of(Put(collection=APPLICATIONS, value=row.value, expect=row.version))
    return Batch.of(Put(collection=PRINCIPALS, value=row.value, expect=row.version))


async def _add_password(task: Task) -> Planned:
    row = task.target.row
    await require_may_act_for(task.context, row.value)
    held = await credentials_of(task.context, row.value)
    _require_room(len(held) + 1)
    given = Fields(task.body).inner("passwordCredential")
    start = _time(given, "startDateTime") or task.context.now
    end = _time(given, "endDateTime") or start + _DEFAULT_LIFETIME
    _require_times(given, start, end, task.context.now)
    made = new_secret(
        row.value,
        entropy=task.context.entropy,
        now=start,
        lifetime=end - start,
        display_name=given.text("displayName", limit=_MAX_NAME) or "",
    )
    return Planned(
        status=200,
        body=_password(made.credential, made.secret),
        batch=owner_put(row) + Batch.of(Put(collection=CREDENTIALS, value=made.credential, expect=ABSENT)),
        name=row.value.display_name,
        context="microsoft.graph.passwordCredential",
    )


async def _remove_password(task: Task) -> Planned:
    row = task.target.row
    await require_may_act_for(task.context, row.value)
    found = _by_id(await credentials_of(task.context, row.value), task.body, CredentialKind.SECRET)
    return Planned(status=204, batch=owner_put(row) + Batch.of(_deletion(found)), name=row.value.display_name)


async def _add_key(task: Task) -> Planned:
    row = task.target.row
    await require_may_act_for(task.context, row.value)
    held = await credentials_of(task.context, row.value)
    require_proof(Fields(task.body).required_text("proof", limit=16_384), row.value.client_id, held, task.context.now)
    _require_room(len(held) + 1)
    made = _new_key(task.context, row.value, Fields(task.body).inner("keyCredential"))
    return Planned(
        status=200,
        body=_key(made, with_keys=False),
        batch=owner_put(row) + Batch.of(Put(collection=CREDENTIALS, value=made, expect=ABSENT)),
        name=row.value.display_name,
        context="microsoft.graph.keyCredential",
    )


async def _remove_key(task: Task) -> Planned:
    row = task.target.row
    await require_may_act_for(task.context, row.value)
    held = await credentials_of(task.context, row.value)
    require_proof(Fields(task.body).required_text("proof", limit=16_384), row.value.client_id, held, task.context.now)
    found = _by_id(held, task.body, CredentialKind.CERTIFICATE)
    return Planned(status=204, batch=owner_put(row) + Batch.of(_deletion(found)), name=row.value.display_name)


async def key_changes(context: Context, owner: Application | Principal, body: Fields) -> Batch:
    """What a body's `keyCredentials` and `passwordCredentials` mean for the credentials of an owner: they are the whole lists.

    Entries that name a `keyId` stay as they are; others are new certificates; what is not listed is deleted. New secrets come
    from `addPassword` only, as they do with Graph.
    """
    batch = Batch()
    for member, kind in (("keyCredentials", CredentialKind.CERTIFICATE), ("passwordCredentials", CredentialKind.SECRET)):
        if not body.has(member):
            continue
        await require_may_act_for(context, owner)
        held = {row.value.id: row for row in await credentials_of(context, owner) if row.value.kind is kind}
        given = body.inners(member, limit=_MOST)
        kept = {identifier for one in given if (identifier := (one.text("keyId") or "").lower()) in held}
        batch += Batch.of(*(_deletion(row) for identifier, row in held.items() if identifier not in kept))
        fresh = [one for one in given if (one.text("keyId") or "").lower() not in held]
        if fresh and kind is CredentialKind.SECRET:
            raise fresh[0].refuse("secretText", "cannot be set; use the action addPassword")
        made = [_new_key(context, owner, one) for one in fresh]
        batch += Batch.of(*(Put(collection=CREDENTIALS, value=one, expect=ABSENT) for one in made))
    return batch


def _new_key(context: Context, owner: Application | Principal, given: Fields) -> Credential:
    if (given.text("type") or "AsymmetricX509Cert") != "AsymmetricX509Cert":
        raise given.refuse("type", "must be AsymmetricX509Cert")
    if (given.text("usage") or "Verify") != "Verify":
        raise given.refuse("usage", "must be Verify")
    text = given.required_text("key", limit=_MAX_CERTIFICATE)
    made = certificate_credential(
        owner,
        certificate=_certificate(given, text),
        entropy=context.entropy,
        display_name=given.text("displayName", limit=_MAX_NAME) or "",
    )
    start = max(made.not_before, _time(given, "startDateTime") or made.not_before)
    end = min(made.not_after, _time(given, "endDateTime") or made.not_after)
    if not start < end:
        raise given.refuse("endDateTime", "must be later than the start, within the certificate's own lifetime")
    return replace(made, not_before=start, not_after=end)


def _certificate(given: Fields, text: str) -> bytes:
    """DER; clients send base64 of it, and some base64 of base64 (the text of a PEM file without its first and last line)."""
    for _ in range(2):
        try:
            found = base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise given.refuse("key", "is not a certificate in base64") from error
        if found[:1] == b"\x30":
            return found
        text = found.decode("ascii", "replace")
    raise given.refuse("key", "is not a certificate in base64")


def _by_id(rows: Sequence[Versioned[Credential]], body: Mapping[str, object], kind: CredentialKind) -> Versioned[Credential]:
    key_id = Fields(body).required_text("keyId")
    for row in rows:
        if is_guid(key_id) and row.value.id == key_id.lower() and row.value.kind is kind:
            return row
    words = f"No credentials found to be removed: there is none with the key id '{key_id[:100]}'"
    raise Failure(FailureKind.INVALID_PARAMETER, words, code="Request_BadRequest")


def _deletion(row: Versioned[Credential]) -> Delete[Credential]:
    return Delete(collection=CREDENTIALS, key=row.value.id, expect=row.version, subject=row.value.owner)


def _require_room(count: int) -> None:
    if count > _MOST:
        raise Failure(FailureKind.LIMIT_EXCEEDED, f"an application or service principal can have at most {_MOST} credentials")


def _time(given: Fields, name: str) -> datetime | None:
    text = given.text(name, limit=100)
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise given.refuse(name, "is not an instant such as 2026-01-31T12:00:00Z") from error


def _require_times(given: Fields, start: datetime, end: datetime, now: datetime) -> None:
    if not start < end <= _LAST:
        raise given.refuse("endDateTime", "must be later than the start, and not beyond the year 2299")
    if end <= now:
        raise given.refuse("endDateTime", "must lie in the future")


CREDENTIAL_ACTIONS: Final = (
    Action(name="addPassword", handle=_add_password),
    Action(name="removePassword", handle=_remove_password),
    Action(name="addKey", handle=_add_key),
    Action(name="removeKey", handle=_remove_key),
)
"""Of applications and of service principals."""
