"""`users` and `me`: people, without passwords (control-plane.md section 8).

Clients that make users send a `passwordProfile`; it is read by nobody and stored nowhere, since nobody signs in by a password here.
Disabling a user ends its sign-ins at once.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from idplane.directory.identities import removal_of
from idplane.directory.people import new_user, sign_out
from idplane.directory.revocation import revoke_principal
from idplane.graph.app_role_assignments import ASSIGNMENTS_SET
from idplane.graph.declare import Action, Context, Entity, EntitySet, Planned, RowQuery, Rows, Task
from idplane.graph.memberships import MEMBER_ACTIONS, MEMBER_OF, OWNED
from idplane.graph.object_documents import FURTHER_TEXTS, render_user
from idplane.graph.permissions import Area
from idplane.graph.principals import find_by_column, find_principal, principal_rows
from idplane.graph.shapes import BOOL, TEXT, TEXTS, TIME, EntityType
from idplane.model.directory import Principal, PrincipalType, UserDetails
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import is_guid
from idplane.model.values import JsonObject
from idplane.ports.collections import PRINCIPALS
from idplane.ports.store import ABSENT, Batch, Put, Versioned
from idplane.providers.fields import Fields

__all__ = ["ME", "USERS"]

_TYPES: Final = frozenset({PrincipalType.USER})
_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.\-]{0,47}[A-Za-z0-9])?")
_SET_ELSEWHERE: Final = frozenset({"passwordProfile", "passwordPolicies", "userType", "onPremisesImmutableId"})
"""Accepted, and without a meaning here."""
_LONGEST: Final = 256

_USER: Final = EntityType(
    name="user",
    properties={
        **dict.fromkeys(("id", "displayName", "userPrincipalName", "mail", "mailNickname", "givenName", "surname"), TEXT),
        **dict.fromkeys((*FURTHER_TEXTS, "userType", "onPremisesImmutableId"), TEXT),
        "accountEnabled": BOOL,
        "businessPhones": TEXTS,
        "createdDateTime": TIME,
    },
)


# Reading ------------------------------------------------------------------------------------------------------------


async def _rows(query: RowQuery) -> Rows:
    name = query.equal("userPrincipalName")
    where = {} if name is None else {"user_principal_name": name.lower()}
    return await principal_rows(query, _TYPES, render_user, **where)


async def _find(context: Context, _parent: Entity | None, key: str) -> Entity | None:
    """By object id or by user principal name, as everywhere in Graph."""
    if is_guid(key):
        return await find_principal(context, key, _TYPES, render_user)
    return await find_by_column(context, "user_principal_name", key, _TYPES, render_user)


async def _me(context: Context, _parent: Entity | None, _key: str) -> Entity | None:
    found = await find_principal(context, context.caller.principal_id, _TYPES, render_user)
    if found is None:
        words = "/me request is only valid with delegated authentication flow"
        raise Failure(FailureKind.INVALID_PARAMETER, words, code="BadRequest")
    return found


# Changing -----------------------------------------------------------------------------------------------------------


async def _create(task: Task) -> Planned:
    context, fields = task.context, _fields(task.body)
    enabled = fields.flag("accountEnabled")
    if enabled is None:
        raise fields.refuse("accountEnabled", "is required")
    details = _details(fields, UserDetails(user_principal_name=_required_name(fields)))
    if details.mail_nickname is None:
        raise fields.refuse("mailNickname", "is required")
    made = new_user(
        tenant_id=context.tenant_id,
        display_name=fields.required_text("displayName", limit=_LONGEST),
        details=details,
        entropy=context.entropy,
        now=context.now,
        enabled=enabled,
    )
    await _require_free(context, details.user_principal_name, made.id)
    batch = Batch.of(Put(collection=PRINCIPALS, value=made, expect=ABSENT))
    return Planned(status=201, body=render_user(context, made), batch=batch, target=made.id, name=made.display_name)


async def _update(task: Task) -> Planned:
    context, fields = task.context, _fields(task.body)
    row: Versioned[Principal] = task.target.row
    old = row.value
    details = old.user or UserDetails(user_principal_name="")
    if fields.has("userPrincipalName"):
        details = replace(details, user_principal_name=_required_name(fields))
        await _require_free(context, details.user_principal_name, old.id)
    enabled = fields.flag("accountEnabled")
    changed = replace(
        old,
        display_name=fields.required_text("displayName", limit=_LONGEST) if fields.has("displayName") else old.display_name,
        enabled=old.enabled if enabled is None else enabled,
        user=_details(fields, details),
    )
    batch = Batch.of(Put(collection=PRINCIPALS, value=changed, expect=row.version))
    if not changed.enabled:
        batch = await sign_out(context.store, old.id) + batch
    return Planned(status=204, batch=batch, name=changed.display_name)


async def _delete(task: Task) -> Planned:
    row: Versioned[Principal] = task.target.row
    return Planned(status=204, batch=await removal_of(task.context.store, row.value.id), name=row.value.display_name)


async def _revoke(task: Task) -> Planned:
    row: Versioned[Principal] = task.target.row
    batch = await revoke_principal(task.context.store, row, entropy=task.context.entropy, now=task.context.now)
    return Planned(status=200, body={"value": True}, batch=batch, name=row.value.display_name, context="Edm.Boolean")


def _fields(body: JsonObject) -> Fields:
    known = (
        "accountEnabled",
        "businessPhones",
        "displayName",
        "givenName",
        "mail",
        "mailNickname",
        "surname",
        "userPrincipalName",
    )
    fields = Fields(body)
    for name in body:
        if name not in (*known, *FURTHER_TEXTS, *_SET_ELSEWHERE) and not name.startswith("@odata."):
            raise fields.refuse(name[:100], "is not one that can be set here")
    return fields


def _details(fields: Fields, old: UserDetails) -> UserDetails:
    """What the body says, over what was there; null takes a text away."""

    def told(name: str, before: str | None) -> str | None:
        return fields.text(name, limit=_LONGEST) if name in fields.values else before

    further = {name: told(name, old.further.get(name)) for name in FURTHER_TEXTS}
    return replace(
        old,
        mail=told("mail", old.mail),
        mail_nickname=told("mailNickname", old.mail_nickname),
        given_name=told("givenName", old.given_name),
        surname=told("surname", old.surname),
        further={name: text for name, text in further.items() if text},
    )


def _required_name(fields: Fields) -> str:
    name = fields.required_text("userPrincipalName", limit=_LONGEST)
    if _NAME.fullmatch(name) is None:
        raise fields.refuse("userPrincipalName", "is not a name followed by @ and a domain")
    return name


async def _require_free(context: Context, name: str, mine: str) -> None:
    where = {"tenant_id": context.tenant_id, "user_principal_name": name.lower()}
    for one in (await context.store.page(PRINCIPALS, where=where, limit=1)).items:
        if one.value.id != mine:
            words = "Another object with the same value for property userPrincipalName already exists."
            raise Failure(FailureKind.INVALID_PARAMETER, words, code="Request_BadRequest")


USERS: Final = EntitySet(
    name="users",
    entity=_USER,
    area=Area.USERS,
    rows=_rows,
    find=_find,
    create=_create,
    update=_update,
    delete=_delete,
    children=(*MEMBER_OF, OWNED, ASSIGNMENTS_SET),
    actions=(*MEMBER_ACTIONS, Action(name="revokeSignInSessions", handle=_revoke)),
    owned=True,
)
ME: Final = EntitySet(
    name="me",
    entity=_USER,
    area=Area.USERS,
    find=_me,
    children=(*MEMBER_OF, OWNED),
    actions=MEMBER_ACTIONS,
    single=True,
    owned=True,
)
"""The user that the token speaks for."""
