"""Principals as rows of entity sets: one reading for users, groups and service principals alike."""

from __future__ import annotations

from collections.abc import Callable, Collection

from idplane.graph.declare import Context, Entity, RowQuery, Rows
from idplane.model.directory import Principal, PrincipalType
from idplane.model.ids import is_guid
from idplane.model.values import JsonObject
from idplane.ports.collections import PRINCIPALS
from idplane.ports.store import ColumnValue, Versioned

__all__ = ["Render", "find_by_column", "find_principal", "principal_entity", "principal_rows"]

Render = Callable[[Context, Principal], JsonObject]
"""A principal as its entity set shows it."""


def principal_entity(context: Context, row: Versioned[Principal], render: Render) -> Entity:
    """The entity of a principal; its `row` is the record."""
    return Entity(id=row.value.id, document=render(context, row.value), row=row)


async def principal_rows(query: RowQuery, types: Collection[PrincipalType], render: Render, **where: ColumnValue) -> Rows:
    """The tenant's principals of these types in the order of their ids.

    `where` are columns of PRINCIPALS that the set knows from the filter; one on `id`, `displayName` or `appId` is found here.
    """
    context = query.context
    identifier = query.equal("id")
    if identifier is not None:
        found = await find_principal(context, identifier, types, render)
        return Rows(items=(found,) if found is not None and query.after is None else ())
    columns: dict[str, ColumnValue] = {"tenant_id": context.tenant_id, **where}
    name, client = query.equal("displayName"), query.equal("appId")
    if name is not None:
        columns["display_name"] = name.lower()
    if client is not None:
        columns["client_id"] = client.lower()
    if len(types) == 1:
        columns["type"] = next(iter(types)).value
    page = await context.store.page(PRINCIPALS, where=columns, after=query.after, limit=query.limit)
    items = tuple(principal_entity(context, row, render) for row in page.items if row.value.type in types)
    return Rows(items=items, after=page.after)


async def find_principal(context: Context, key: str, types: Collection[PrincipalType], render: Render) -> Entity | None:
    """The tenant's principal with that object id, if it is of one of these types."""
    row = await context.store.get(PRINCIPALS, key.lower()) if is_guid(key) else None
    if row is None or row.value.tenant_id != context.tenant_id or row.value.type not in types:
        return None
    return principal_entity(context, row, render)


async def find_by_column(
    context: Context, column: str, value: str, types: Collection[PrincipalType], render: Render
) -> Entity | None:
    """The tenant's only principal whose column has that value, in lower case, if it is of one of these types."""
    page = await context.store.page(PRINCIPALS, where={"tenant_id": context.tenant_id, column: value.lower()}, limit=2)
    row = page.items[0] if len(page.items) == 1 else None
    return principal_entity(context, row, render) if row is not None and row.value.type in types else None
