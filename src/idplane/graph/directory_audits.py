"""`auditLogs/directoryAudits`: what the activity log holds of changes that came through Graph."""

from __future__ import annotations

from typing import Final

from idplane.graph.declare import Context, Entity, EntitySet, RowQuery, Rows
from idplane.graph.logs import order_of, position_of, time_bounds
from idplane.graph.permissions import Area
from idplane.graph.shapes import OBJECT, OBJECTS, TEXT, TIME, EntityType
from idplane.graph.times import shown_time
from idplane.model.events import ActivityEvent, EventStatus
from idplane.model.values import JsonObject
from idplane.ports.collections import ACTIVITY, PRINCIPALS

__all__ = ["DIRECTORY_AUDIT_SET"]

_PREFIX: Final = "Microsoft.Graph/"
_TYPE: Final = EntityType(
    name="directoryAudit",
    properties={
        **dict.fromkeys(
            (
                "id",
                "activityDisplayName",
                "category",
                "correlationId",
                "loggedByService",
                "operationType",
                "result",
                "resultReason",
            ),
            TEXT,
        ),
        "activityDateTime": TIME,
        "additionalDetails": OBJECTS,
        "initiatedBy": OBJECT,
        "targetResources": OBJECTS,
    },
)
_CATEGORIES: Final = {"users": "UserManagement", "groups": "GroupManagement"}
_TYPES: Final = {"users": "User", "groups": "Group", "applications": "Application", "servicePrincipals": "ServicePrincipal"}
_VERBS: Final = {"create": "Add", "update": "Update", "delete": "Delete", "add": "Assign", "remove": "Unassign"}


async def _rows(query: RowQuery) -> Rows:
    since, until = time_bounds(query, "activityDateTime")
    rows = await query.context.store.read_log(
        ACTIVITY,
        where={"tenant_id": query.context.tenant_id, "subscription_id": None},
        since=since,
        until=until,
        position=position_of(query),
        order=order_of(query),
        limit=query.limit,
    )
    ours = [row for row in rows if row.event.operation.startswith(_PREFIX)]
    names = {one: await _name(query.context, one) for one in {row.event.caller_id for row in ours}}
    items = tuple(
        Entity(
            id=row.event.id,
            document=_document(row.event, names[row.event.caller_id]),
            cursor=str(row.position),
            row=row,
        )
        for row in ours
    )
    return Rows(items=items, after=str(rows[-1].position) if len(rows) == query.limit else None)


async def _name(context: Context, principal_id: str) -> str | None:
    """What the caller is called today, if it is still there."""
    found = await context.store.get(PRINCIPALS, principal_id)
    return found.value.display_name if found else None


def _initiator(event: ActivityEvent, name: str | None) -> JsonObject:
    if event.claims.get("idtyp") == "user":
        return {"app": None, "user": {"id": event.caller_id, "displayName": name, "userPrincipalName": event.caller}}
    app = {
        "appId": event.claims.get("appid") or event.claims.get("azp"),
        "displayName": name,
        "servicePrincipalId": event.caller_id,
        "servicePrincipalName": None,
    }
    return {"app": app, "user": None}


def _document(event: ActivityEvent, caller: str | None) -> JsonObject:
    names = event.operation.removeprefix(_PREFIX).split("/")
    failed = event.status is EventStatus.FAILED
    return {
        "id": event.id,
        "activityDateTime": shown_time(event.at),
        "activityDisplayName": event.operation,
        "additionalDetails": [],
        "category": _CATEGORIES.get(names[0], "ApplicationManagement"),
        "correlationId": event.correlation_id,
        "initiatedBy": _initiator(event, caller),
        "loggedByService": "Core Directory",
        "operationType": _VERBS.get(names[-1], "Update"),
        "result": "failure" if failed else "success",
        "resultReason": event.sub_status if failed else "",
        "targetResources": [
            {
                "id": event.resource_id.rpartition("/")[2],
                "displayName": event.properties.get("displayName"),
                "type": _TYPES.get(names[0], "Other"),
                "userPrincipalName": None,
                "groupType": None,
                "modifiedProperties": [],
            }
        ],
    }


DIRECTORY_AUDIT_SET: Final = EntitySet(
    name="auditLogs/directoryAudits",
    entity=_TYPE,
    area=Area.DIRECTORY_AUDITS,
    rows=_rows,
    sorted_by=frozenset({"activityDateTime"}),
)
