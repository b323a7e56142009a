"""`groups`: made and filled through Graph; what roles are given to a group, its members have, those of nested groups included.

Membership counts at once: the token authenticator hears of it by the change feed. Groups that contain one another do no harm.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from idplane.directory.identities import removal_of
from idplane.directory.people import new_group
from idplane.graph.app_role_assignments import ASSIGNMENTS_SET
from idplane.graph.declare import Context, Entity, EntitySet, Planned, RowQuery, Rows, Task, missing
from idplane.graph.guards import require_may_fill
from idplane.graph.memberships import MEMBER_ACTIONS, MEMBER_OF, casts
from idplane.graph.object_documents import DIRECTORY_OBJECT, entity_of, render_group
from idplane.graph.permissions import Area
from idplane.graph.principals import find_principal, principal_rows
from idplane.graph.shapes import BOOL, TEXT, TEXTS, TIME, EntityType
from idplane.model.directory import GroupDetails, Membership, Principal, PrincipalType
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import is_guid
from idplane.model.values import JsonObject
from idplane.ports.collections import MEMBERSHIPS, PRINCIPALS
from idplane.ports.store import ABSENT, Batch, Delete, Put, Reads, Require, Versioned
from idplane.providers.fields import Fields

__all__ = ["GROUPS"]

_TYPES: Final = frozenset({PrincipalType.GROUP})
_LONGEST: Final = 256
_DESCRIPTION: Final = 1024
_MOST_BOUND: Final = 20
"""Members that one request may bind."""
_REFERENCE: Final = re.compile(
    r"(?:https?://[^/]+/(?:v1\.0|beta))?/?(?:directoryObjects|users|groups|servicePrincipals)[/(]'?([0-9a-fA-F-]{36})'?\)?/?",
    re.IGNORECASE,
)
_SETTABLE: Final = ("description", "displayName", "groupTypes", "mailEnabled", "mailNickname", "securityEnabled")
_SET_ELSEWHERE: Final = frozenset({"visibility", "isAssignableToRole", "owners@odata.bind"})
"""Accepted, and without a meaning here."""
_MEMBERS: Final = "members@odata.bind"

_GROUP: Final = EntityType(
    name="group",
    properties={
        **dict.fromkeys(("id", "description", "displayName", "mail", "mailNickname", "membershipRule", "visibility"), TEXT),
        **dict.fromkeys(("mailEnabled", "securityEnabled", "isAssignableToRole", "onPremisesSyncEnabled"), BOOL),
        **dict.fromkeys(("groupTypes", "proxyAddresses"), TEXTS),
        **dict.fromkeys(("createdDateTime", "deletedDateTime", "renewedDateTime"), TIME),
    },
)


async def _rows(query: RowQuery) -> Rows:
    return await principal_rows(query, _TYPES, render_group)


async def _find(context: Context, _parent: Entity | None, key: str) -> Entity | None:
    return await find_principal(context, key, _TYPES, render_group)


# Changing -----------------------------------------------------------------------------------------------------------


async def _create(task: Task) -> Planned:
    context, fields = task.context, _fields(task.body)
    for name in ("mailEnabled", "securityEnabled"):
        if fields.flag(name) is None:
            raise fields.refuse(name, "is required")
    fields.required_text("mailNickname", limit=64)
    made = new_group(
        tenant_id=context.tenant_id,
        display_name=fields.required_text("displayName", limit=_LONGEST),
        details=_details(fields, GroupDetails()),
        entropy=context.entropy,
        now=context.now,
    )
    batch = Batch.of(Put(collection=PRINCIPALS, value=made, expect=ABSENT)) + await _bound(task, fields, made.id)
    return Planned(status=201, body=render_group(context, made), batch=batch, target=made.id, name=made.display_name)


async def _update(task: Task) -> Planned:
    fields = _fields(task.body)
    row: Versioned[Principal] = task.target.row
    old = row.value
    name = fields.required_text("displayName", limit=_LONGEST) if fields.has("displayName") else old.display_name
    changed = replace(old, display_name=name, group=_details(fields, old.group or GroupDetails()))
    batch = Batch.of(Put(collection=PRINCIPALS, value=changed, expect=row.version)) + await _bound(task, fields, old.id)
    return Planned(status=204, batch=batch, name=changed.display_name)


async def _delete(task: Task) -> Planned:
    row: Versioned[Principal] = task.target.row
    return Planned(status=204, batch=await removal_of(task.context.store, row.value.id), name=row.value.display_name)


def _fields(body: JsonObject) -> Fields:
    fields = Fields(body)
    for name in body:
        if name not in (*_SETTABLE, *_SET_ELSEWHERE, _MEMBERS) and not name.startswith("@odata."):
            raise fields.refuse(name[:100], "is not one that can be set here")
    return fields


def _details(fields: Fields, old: GroupDetails) -> GroupDetails:
    kinds = fields.texts("groupTypes", limit=2, length=64) if fields.has("groupTypes") else old.kinds
    if any(kind.lower() == "dynamicmembership" for kind in kinds):
        raise fields.refuse("groupTypes", "must not name DynamicMembership: members are added here, never computed")
    mail, security = fields.flag("mailEnabled"), fields.flag("securityEnabled")
    return GroupDetails(
        mail_nickname=fields.text("mailNickname", limit=64) or old.mail_nickname,
        description=fields.text("description", limit=_DESCRIPTION) if "description" in fields.values else old.description,
        security_enabled=old.security_enabled if security is None else security,
        mail_enabled=old.mail_enabled if mail is None else mail,
        kinds=kinds,
    )


# Members ------------------------------------------------------------------------------------------------------------


async def _bound(task: Task, fields: Fields, group_id: str) -> Batch:
    batch = Batch()
    for reference in dict.fromkeys(fields.texts(_MEMBERS, limit=_MOST_BOUND)):
        batch += await _added(task.context, group_id, reference)
    return batch


async def _add(task: Task) -> Planned:
    reference = Fields(task.body).required_text("@odata.id")
    row: Versioned[Principal] = task.owner.row
    return Planned(status=204, batch=await _added(task.context, row.value.id, reference), name=row.value.display_name)


async def _added(context: Context, group_id: str, reference: str) -> Batch:
    named = _REFERENCE.fullmatch(reference)
    if named is None or not is_guid(named[1]):
        raise Failure(
            FailureKind.INVALID_PARAMETER, "The reference is not one to a directory object.", code="Request_BadRequest"
        )
    await require_may_fill(context, group_id)
    member = await entity_of(context, named[1])
    if member is None:
        raise missing(named[1])
    if member.id == group_id:
        raise Failure(FailureKind.INVALID_PARAMETER, "A group cannot be a member of itself.", code="Request_BadRequest")
    made = Membership(group_id=group_id, member_id=member.id)
    if await context.store.get(MEMBERSHIPS, made.key) is not None:
        words = "One or more added object references already exist for the following modified properties: 'members'."
        raise Failure(FailureKind.INVALID_PARAMETER, words, code="Request_BadRequest")
    row: Versioned[Principal] = member.row
    return Batch.of(
        Require(collection=PRINCIPALS, key=member.id, expect=row.version),
        Put(collection=MEMBERSHIPS, value=made, expect=ABSENT),
    )


async def _remove(task: Task) -> Planned:
    row: Versioned[Principal] = task.owner.row
    key = Membership(group_id=task.owner.id, member_id=task.target.id).key
    found = await task.context.store.get(MEMBERSHIPS, key)
    if found is None:
        raise missing(task.target.id)
    gone = Delete(collection=MEMBERSHIPS, key=key, expect=found.version, subject=task.target.id)
    return Planned(status=204, batch=Batch.of(gone), name=row.value.display_name)


async def _member_rows(query: RowQuery) -> Rows:
    assert query.parent is not None  # declared below groups only
    page = await query.context.store.page(
        MEMBERSHIPS, where={"group_id": query.parent.id}, after=query.after, limit=query.limit
    )
    found = [(one.value, await entity_of(query.context, one.value.member_id)) for one in page.items]
    items = tuple(replace(entity, cursor=membership.key) for membership, entity in found if entity is not None)
    return Rows(items=items, after=page.after)


async def _find_member(context: Context, parent: Entity | None, key: str) -> Entity | None:
    assert parent is not None  # as above
    membership = Membership(group_id=parent.id, member_id=key.lower())
    return await entity_of(context, key) if await context.store.get(MEMBERSHIPS, membership.key) else None


async def _transitive_rows(query: RowQuery) -> Rows:
    assert query.parent is not None  # as above
    members = sorted(await _members_below(query.context.store, query.parent.id))
    left = [one for one in members if query.after is None or one > query.after]
    found = [await entity_of(query.context, one) for one in left[: query.limit]]
    after = left[query.limit - 1] if len(left) > query.limit else None
    return Rows(items=tuple(one for one in found if one is not None), after=after)


async def _members_below(store: Reads, group_id: str) -> frozenset[str]:
    """The ids of all members, those of member groups included."""
    found: set[str] = set()
    waiting = [group_id]
    while waiting:
        for row in await store.all(MEMBERSHIPS, where={"group_id": waiting.pop()}):
            member = row.value.member_id
            if member not in found and member != group_id:
                found.add(member)
                waiting.append(member)
    return frozenset(found)


async def _nobody(_query: RowQuery) -> Rows:
    return Rows(items=())


_MEMBER_TYPES: Final = {
    "user": frozenset({PrincipalType.USER}),
    "group": _TYPES,
    "servicePrincipal": frozenset({PrincipalType.APPLICATION, PrincipalType.MANAGED_IDENTITY}),
}
_MEMBERS_SET: Final = EntitySet(
    name="members",
    entity=DIRECTORY_OBJECT,
    area=Area.MEMBERS,
    rows=_member_rows,
    find=_find_member,
    add_reference=_add,
    remove_reference=_remove,
)
_TRANSITIVE: Final = EntitySet(name="transitiveMembers", entity=DIRECTORY_OBJECT, area=Area.MEMBERS, rows=_transitive_rows)
_OWNERS: Final = EntitySet(name="owners", entity=DIRECTORY_OBJECT, area=Area.GROUPS, rows=_nobody)
"""Ownership is not kept."""

GROUPS: Final = EntitySet(
    name="groups",
    entity=_GROUP,
    area=Area.GROUPS,
    rows=_rows,
    find=_find,
    create=_create,
    update=_update,
    delete=_delete,
    children=(*casts(_MEMBERS_SET, _MEMBER_TYPES), *casts(_TRANSITIVE, _MEMBER_TYPES), _OWNERS, ASSIGNMENTS_SET, *MEMBER_OF),
    actions=MEMBER_ACTIONS,
)
