"""Who is in which group: the sets and actions below whatever can be a member."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final

from idplane.graph.declare import Action, Context, Entity, EntitySet, Finder, Planned, RowQuery, Rows, Task
from idplane.graph.object_documents import DIRECTORY_OBJECT, entity_of
from idplane.graph.permissions import Area
from idplane.model.directory import Principal, PrincipalType
from idplane.ports.collections import MEMBERSHIPS, PRINCIPALS
from idplane.ports.store import Reads, Versioned
from idplane.providers.fields import Fields
from idplane.rbac import groups_above

__all__ = ["MEMBER_ACTIONS", "MEMBER_OF", "OWNED", "casts"]

_MOST_IDS: Final = 20


async def _direct(store: Reads, member_id: str) -> tuple[str, ...]:
    return tuple(one.value.group_id for one in await store.all(MEMBERSHIPS, where={"member_id": member_id}))


async def _transitive(store: Reads, member_id: str) -> tuple[str, ...]:
    async def direct(one: str) -> Sequence[str]:
        return await _direct(store, one)

    return await groups_above(member_id, direct)


# Sets below a member ------------------------------------------------------------------------------------------------


async def _entities(context: Context, ids: Sequence[str], after: str | None, limit: int) -> Rows:
    """These objects in the order of their ids, from behind a cursor."""
    left = sorted(one for one in ids if after is None or one > after)
    found: list[Entity] = []
    for one in left[:limit]:
        entity = await entity_of(context, one)
        if entity is not None:
            found.append(entity)
    return Rows(items=tuple(found), after=left[limit - 1] if len(left) > limit else None)


async def _member_of(query: RowQuery) -> Rows:
    assert query.parent is not None  # declared below an entity only
    groups = await _direct(query.context.store, query.parent.id)
    return await _entities(query.context, groups, query.after, query.limit)


async def _transitive_member_of(query: RowQuery) -> Rows:
    assert query.parent is not None  # as above
    groups = await _transitive(query.context.store, query.parent.id)
    return await _entities(query.context, groups, query.after, query.limit)


async def _find_member_of(context: Context, parent: Entity | None, key: str) -> Entity | None:
    assert parent is not None  # as above
    return await entity_of(context, key) if key.lower() in await _direct(context.store, parent.id) else None


async def _find_transitive(context: Context, parent: Entity | None, key: str) -> Entity | None:
    assert parent is not None  # as above
    return await entity_of(context, key) if key.lower() in await _transitive(context.store, parent.id) else None


async def _nothing(_query: RowQuery) -> Rows:
    return Rows(items=())


def casts(found: EntitySet, types: Mapping[str, Collection[PrincipalType]]) -> tuple[EntitySet, ...]:
    """A set, and ahead of it what of it is of one type: `members/microsoft.graph.user`. `types` are under Graph's names."""
    return (*(_cast(found, name, kinds) for name, kinds in types.items()), found)


def _cast(found: EntitySet, name: str, kinds: Collection[PrincipalType]) -> EntitySet:
    async def rows(query: RowQuery) -> Rows:
        assert found.rows is not None  # only sets that can be listed are cast
        all_of_them = await found.rows(query)
        return Rows(items=tuple(one for one in all_of_them.items if _is(one, kinds)), after=all_of_them.after)

    return EntitySet(name=f"{found.name}/microsoft.graph.{name}", entity=DIRECTORY_OBJECT, area=found.area, rows=rows)


def _is(entity: Entity, kinds: Collection[PrincipalType]) -> bool:
    row: Versioned[Principal] = entity.row
    return row.value.type in kinds


def _set(name: str, rows: Callable[[RowQuery], Awaitable[Rows]], find: Finder) -> EntitySet:
    return EntitySet(name=name, entity=DIRECTORY_OBJECT, area=Area.MEMBERS, rows=rows, find=find)


_GROUPS: Final = {"group": frozenset({PrincipalType.GROUP})}
MEMBER_OF: Final[tuple[EntitySet, ...]] = (
    *casts(_set("memberOf", _member_of, _find_member_of), _GROUPS),
    *casts(_set("transitiveMemberOf", _transitive_member_of, _find_transitive), _GROUPS),
)
"""The groups that an object is in: directly, and through others."""
OWNED: Final = EntitySet(name="ownedObjects", entity=DIRECTORY_OBJECT, area=Area.MEMBERS, rows=_nothing)
"""Ownership is not kept: who may change an object is for permissions to say."""


# Actions on a member ------------------------------------------------------------------------------------------------


async def _get(task: Task) -> Planned:
    only_security = Fields(task.body).flag("securityEnabledOnly") or False
    found = [one for one in await _groups(task) if not only_security or (one.group and one.group.security_enabled)]
    return _ids([one.id for one in found])


async def _check_groups(task: Task) -> Planned:
    return await _checked(task, "groupIds")


async def _check_objects(task: Task) -> Planned:
    return await _checked(task, "ids")


async def _checked(task: Task, name: str) -> Planned:
    asked = [one.lower() for one in Fields(task.body).texts(name, limit=_MOST_IDS, length=100)]
    mine = await _transitive(task.context.store, task.target.id)
    return _ids([one for one in dict.fromkeys(asked) if one in mine])


async def _groups(task: Task) -> list[Principal]:
    found = [await task.context.store.get(PRINCIPALS, one) for one in await _transitive(task.context.store, task.target.id)]
    return [one.value for one in found if one is not None]


def _ids(ids: Sequence[str]) -> Planned:
    return Planned(status=200, body={"value": list(ids)}, context="Collection(Edm.String)")


MEMBER_ACTIONS: Final[tuple[Action, ...]] = (
    Action(name="getMemberGroups", handle=_get, reads=True, area=Area.MEMBERS),
    Action(name="getMemberObjects", handle=_get, reads=True, area=Area.MEMBERS),
    Action(name="checkMemberGroups", handle=_check_groups, reads=True, area=Area.MEMBERS),
    Action(name="checkMemberObjects", handle=_check_objects, reads=True, area=Area.MEMBERS),
)
"""Questions about the groups that an object is in, through others too."""
