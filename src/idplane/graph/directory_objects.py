"""`directoryObjects`: users, groups and service principals by their ids alone."""

from __future__ import annotations

from typing import Final

from idplane.graph.declare import Action, Context, Entity, EntitySet, Planned, Task
from idplane.graph.memberships import MEMBER_ACTIONS, MEMBER_OF
from idplane.graph.object_documents import DIRECTORY_OBJECT, entity_of, type_name
from idplane.graph.permissions import Area
from idplane.model.directory import Principal
from idplane.ports.store import Versioned
from idplane.providers.fields import Fields

__all__ = ["DIRECTORY_OBJECTS"]

_MOST_IDS: Final = 1000
_MOST_TYPES: Final = 20


async def _find(context: Context, _parent: Entity | None, key: str) -> Entity | None:
    return await entity_of(context, key)


async def _by_ids(task: Task) -> Planned:
    """What is there of these objects, each once; ids that are nobody's are left out."""
    fields = Fields(task.body)
    if "ids" not in fields.values:
        raise fields.refuse("ids", "is required")
    ids = fields.texts("ids", limit=_MOST_IDS, length=100)
    types = {one.lower() for one in fields.texts("types", limit=_MOST_TYPES, length=100)} - {"directoryobject"}
    found: list[Entity] = []
    for one in dict.fromkeys(one.lower() for one in ids):
        entity = await entity_of(task.context, one)
        if entity is not None and (not types or _type_of(entity) in types):
            found.append(entity)
    return Planned(status=200, body={"value": [one.document for one in found]}, context="directoryObjects")


def _type_of(entity: Entity) -> str:
    row: Versioned[Principal] = entity.row
    return type_name(row.value).lower()


DIRECTORY_OBJECTS: Final = EntitySet(
    name="directoryObjects",
    entity=DIRECTORY_OBJECT,
    area=Area.DIRECTORY,
    find=_find,
    children=MEMBER_OF,
    actions=(Action(name="getByIds", handle=_by_ids, bound=False, reads=True), *MEMBER_ACTIONS),
    owned=True,
)
