"""Idplane.Security/keys: the installation's keys, and what is done to them by hand. A type of our own, at the tenant.

    GET  /providers/Idplane.Security/keys[/{id}]
    POST /providers/Idplane.Security/keys/{id}/rotate    another key of its purpose takes over; only the active key can be replaced.
                                                         {"now": true}: at once, also where people have to be given it first
    POST /providers/Idplane.Security/keys/{id}/taint     the key counts for nothing, with all that it signed
    POST /providers/Idplane.Security/keys/{id}/revoke    of a token-signing key: the same, and every token issued until now is dead

A key's private part is never shown. What seals it, the key-encryption key, is in the list; it is replaced by `idplane admin rewrap`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from idplane.arm.context import Context
from idplane.arm.declare import (
    Action,
    Invocation,
    Item,
    Listed,
    Listing,
    Lookup,
    OperationInfo,
    Outcome,
    Own,
    Placement,
    Provider,
    ResourceType,
)
from idplane.arm.envelope import timestamp
from idplane.keys.lines import line_of
from idplane.keys.moves import Line, Moves, Records, read_line
from idplane.keys.rotation import GRACE, known_until, summoned
from idplane.keys.sealing import check_mark
from idplane.model.directory import HOME_TENANT
from idplane.model.failure import Failure, FailureKind
from idplane.model.keys import KeyPurpose, KeyState, SigningKey
from idplane.model.values import JsonObject
from idplane.ports.collections import SETTINGS, SIGNING_KEYS, TENANTS
from idplane.ports.store import Batch, Versioned

__all__ = ["KEYS_TYPE", "SECURITY"]

KEYS_TYPE: Final = "Idplane.Security/keys"
_VERSIONS: Final = ("2026-11-01",)
_ENCRYPTION: Final = "key-encryption"


async def _is_home(context: Context) -> bool:
    """Whether the caller is of the tenant that the installation was made with: what signs for every tenant is that one's business."""
    home = await context.store.get(SETTINGS, HOME_TENANT)
    return home is not None and home.value.value == context.tenant.id


async def _get(lookup: Lookup) -> Item | None:
    if not await _is_home(lookup.context):
        return None
    if lookup.id.name == lookup.context.custody.key_id:
        return Item(body=_render_encryption(lookup.context))
    found = await lookup.context.store.get(SIGNING_KEYS, lookup.id.name)
    return Item(body=_render(found.value, lookup.context)) if found else None


async def _list(listing: Listing) -> Listed:
    context = listing.context
    if not await _is_home(context):
        return Listed(items=())
    found = [row.value for row in await context.store.all(SIGNING_KEYS)]
    found.sort(key=lambda key: (key.purpose, key.created_at, key.id))
    return Listed(items=(*(_render(key, context) for key in found), _render_encryption(context)))


async def _rotate(invocation: Invocation) -> Outcome:
    context = invocation.context
    key, line = await _named(invocation)
    if key.state is not KeyState.ACTIVE or key.tainted:
        raise _refused("KeyNotActive", f"The key '{key.id}' is not the one that signs: name that one.")
    moves, records = await _moves(context, line)
    intact = _intact(records, context)
    notice = timedelta() if _at_once(invocation.body) else line.pace.notice
    following = summoned([one.value for one in intact.values()])
    if notice and following is not None:
        at = _shown(following.activated_at)
        raise _refused("KeyWaits", f"The key '{following.id}' takes over at {at} already: it does so at once with now=true.")
    batch = await moves.rotate(intact, context.now, notice)
    return Outcome(body=_render(key, context), batch=await _vouched(context, line, batch))


def _at_once(body: JsonObject) -> bool:
    now = body.get("now", False)
    if not isinstance(now, bool) or body.keys() - {"now"}:
        raise _refused("InvalidRequestContent", "The body may say 'now', true or false, and nothing else.")
    return now


async def _taint(invocation: Invocation) -> Outcome:
    key, line = await _named(invocation)
    if key.tainted:
        raise _refused("KeyTainted", f"The key '{key.id}' is tainted already.")
    return Outcome(body=_render(key, invocation.context), batch=await _tainting(invocation.context, key, line))


async def _revoke(invocation: Invocation) -> Outcome:
    context = invocation.context
    key, line = await _named(invocation)
    if key.purpose is not KeyPurpose.TOKEN:
        raise _refused(
            "KeySignsNoTokens", f"The key '{key.id}' signs no tokens: taint it, and what it issued counts for nothing."
        )
    batch = Batch() if key.tainted else await _tainting(context, key, line)
    for tenant in await context.store.all(TENANTS):
        batch += context.identities.revoke_tenant(tenant)
    return Outcome(body=_render(key, context), batch=batch)


async def _tainting(context: Context, key: SigningKey, line: Line) -> Batch:
    moves, records = await _moves(context, line)
    # The key itself may have been changed behind the API's back: this is what puts an end to that.
    batch = await moves.taint({**_intact(records, context), key.id: records[key.id]}, key.id, context.now)
    return await _vouched(context, line, batch)


async def _vouched(context: Context, line: Line, batch: Batch) -> Batch:
    return await context.vouch(batch) if line.purpose is KeyPurpose.LOG else batch


async def _named(invocation: Invocation) -> tuple[SigningKey, Line]:
    """The key that the request is about, and its line; raises RESOURCE_NOT_FOUND, INVALID_PARAMETER."""
    context, name = invocation.context, invocation.id.name
    found = await context.store.get(SIGNING_KEYS, name) if await _is_home(context) else None
    if found is None and name == context.custody.key_id:
        raise _refused(
            "KeyEncryptionKey", "The key-encryption key is replaced by `idplane admin rewrap`, where the custody is."
        )
    if found is None:
        raise Failure(
            FailureKind.RESOURCE_NOT_FOUND, f"there is no key '{name[:100]}'", type=KEYS_TYPE, name=name[:100], group=""
        )
    line = line_of(found.value.purpose, context.profile, context.custody, context.entropy, found.value.algorithm)
    return found.value, line


async def _moves(context: Context, line: Line) -> tuple[Moves, Records]:
    return Moves(line=line, custody=context.custody), await read_line(context.store, line.purpose)


def _intact(records: Records, context: Context) -> Records:
    return {kid: row for kid, row in records.items() if _is_intact(row, context)}


def _is_intact(row: Versioned[SigningKey], context: Context) -> bool:
    """Whether the record says what some server wrote. One that does not is no key to go on with."""
    if row.value.tainted:
        return True
    try:
        check_mark(row.value, context.custody)
    except Failure as failure:
        if failure.kind is not FailureKind.INTERNAL:
            raise
        return False
    return True


def _render(key: SigningKey, context: Context) -> JsonObject:
    line = line_of(key.purpose, context.profile, context.custody, context.entropy, key.algorithm)
    last = known_until(key, line.pace)
    waits = key.state is KeyState.PREPARED
    signs = key.state is KeyState.ACTIVE and not key.tainted
    properties: dict[str, object] = {
        "purpose": key.purpose.value,
        "state": "tainted" if key.tainted else key.state.value,
        "signs": signs,
        "algorithm": key.algorithm,
        "since": timestamp(key.retired_at or (None if waits else key.activated_at) or key.created_at),
        "until": _shown(_until(key, line, last)),
        "createdAt": timestamp(key.created_at),
        "activatedAt": None if waits else _shown(key.activated_at),
        "retiredAt": _shown(key.retired_at),
        "lastSignedEnds": None if key.tainted else _shown(last),
    }
    return _body(key.id, properties)


def _until(key: SigningKey, line: Line, last: datetime | None) -> datetime | None:
    """When the key leaves its state, if all goes its usual way; None for one that never does."""
    if key.state is KeyState.RETIRED:
        return None if last is None else last + GRACE
    if key.state is KeyState.ACTIVE:
        return (key.activated_at or key.created_at) + line.pace.lifetime
    return key.activated_at or key.created_at + line.pace.lead


def _render_encryption(context: Context) -> JsonObject:
    return _body(context.custody.key_id, {"purpose": _ENCRYPTION, "state": "active", "signs": False, "algorithm": "A256GCM"})


def _body(name: str, properties: Mapping[str, object]) -> JsonObject:
    return {"id": f"/providers/{KEYS_TYPE}/{name}", "name": name, "type": KEYS_TYPE, "properties": dict(properties)}


def _shown(at: datetime | None) -> str | None:
    return None if at is None else timestamp(at)


def _refused(code: str, words: str) -> Failure:
    return Failure(FailureKind.INVALID_PARAMETER, words, code=code)


_WORDS: Final = {
    "rotate/action": "Lets another key of the same purpose take over",
    "taint/action": "Lets a key count for nothing, with all that it signed",
    "revoke/action": "Lets a token-signing key count for nothing, with every token issued until now",
    "read": "Shows the installation's keys, without their private parts",
}

SECURITY: Final = Provider(
    namespace="Idplane.Security",
    types=(
        ResourceType(
            name=KEYS_TYPE,
            api_versions=_VERSIONS,
            placements=frozenset({Placement.TENANT}),
            own=Own(get=_get, list=_list),
            actions={"rotate": Action(run=_rotate), "taint": Action(run=_taint), "revoke": Action(run=_revoke)},
            located=False,
            taggable=False,
            system_data=False,
        ),
    ),
    operations=tuple(
        OperationInfo(
            name=f"{KEYS_TYPE}/{word}",
            provider="idplane",
            resource="Keys",
            operation=words.split(maxsplit=1)[0],
            description=words,
        )
        for word, words in _WORDS.items()
    ),
    operations_versions=_VERSIONS,
)
"""The namespace."""
