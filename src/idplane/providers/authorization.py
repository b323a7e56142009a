"""The Microsoft.Authorization provider: role definitions, role assignments, deny assignments and the caller's own permissions.

Deny assignments are read-only here; nothing creates them over this API.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from idplane.arm.context import Context
from idplane.arm.declare import ANY_SCOPE, Item, Listed, Listing, Lookup, OperationInfo, Own, Provider, ResourceType
from idplane.model.ids import ROOT, ResourceId
from idplane.model.roles import DenyAssignment
from idplane.model.values import JsonObject
from idplane.ports.collections import DENY_ASSIGNMENTS, PRINCIPALS
from idplane.providers.filters import Comparison, FunctionCall, invalid_filter, parse_filter
from idplane.providers.locks import LOCKS_TYPE
from idplane.providers.role_assignments import ROLE_ASSIGNMENTS_TYPE
from idplane.providers.role_definitions import ROLE_DEFINITIONS_TYPE, render_permission
from idplane.providers.scopes import ScopedQuery, require_scope, scoped_page
from idplane.rbac.decision import EVERYONE

__all__ = ["AUTHORIZATION"]

_DENY_TYPE = "Microsoft.Authorization/denyAssignments"


@dataclass(frozen=True, slots=True)
class _Filter:
    name: str | None = None
    principal_id: str | None = None
    mentioned_id: str | None = None
    """A principal that is named or excluded."""
    below: bool = True

    def admits(self, deny: DenyAssignment) -> bool:
        if self.name is not None and deny.name.lower() != self.name:
            return False
        if self.principal_id is not None and self.principal_id not in deny.principals:
            return False
        return self.mentioned_id is None or self.mentioned_id in {*deny.principals, *deny.exclude_principals}


# Deny assignments ----------------------------------------------------------------------------------------------------


async def _get_deny(lookup: Lookup) -> Item | None:
    found = await lookup.context.store.get(DENY_ASSIGNMENTS, lookup.id.name.lower())
    if found is None or found.value.tenant_id != lookup.context.tenant.id or found.value.scope_key != lookup.id.scope.key:
        return None
    return Item(body=await _render_deny(found.value, lookup.context))


async def _list_denies(listing: Listing) -> Listed:
    context = listing.context
    wanted = _deny_filter(context.query.get("$filter"))
    await require_scope(context, listing.scope)
    query = ScopedQuery(
        collection=DENY_ASSIGNMENTS,
        scope=listing.scope,
        below=wanted.below,
        where={},
        keep=lambda one: one.tenant_id == context.tenant.id and wanted.admits(one),
    )
    found, after = await scoped_page(context, query, after=listing.after, top=listing.top)
    return Listed(items=tuple([await _render_deny(one, context) for one in found]), after=after)


def _deny_filter(text: str | None) -> _Filter:
    wanted = _Filter()
    for condition in parse_filter(text):
        match condition:
            case FunctionCall("atscope", None):
                wanted = replace(wanted, below=False)
            case Comparison("denyassignmentname", "eq", value):
                wanted = replace(wanted, name=value.lower())
            case Comparison("principalid", "eq", value):
                wanted = replace(wanted, principal_id=value.lower())
            case Comparison("gdprexportprincipalid", "eq", value):
                wanted = replace(wanted, mentioned_id=value.lower())
            case _:
                raise invalid_filter(text or "")
    return wanted


async def _render_deny(deny: DenyAssignment, context: Context) -> JsonObject:
    scope = ResourceId.parse(deny.scope)
    prefix = "" if scope == ROOT else str(scope)
    return {
        "id": f"{prefix}/providers/{_DENY_TYPE}/{deny.id}",
        "type": _DENY_TYPE,
        "name": deny.id,
        "properties": {
            "denyAssignmentName": deny.name,
            "description": deny.description,
            "permissions": [render_permission(one) for one in deny.permissions],
            "scope": deny.scope,
            "doNotApplyToChildScopes": deny.do_not_apply_to_child_scopes,
            "principals": [await _principal(one, context) for one in deny.principals],
            "excludePrincipals": [await _principal(one, context) for one in deny.exclude_principals],
            "isSystemProtected": deny.system_protected,
        },
    }


async def _principal(principal_id: str, context: Context) -> JsonObject:
    if principal_id == EVERYONE:
        return {"id": principal_id, "type": "SystemDefined"}
    found = await context.store.get(PRINCIPALS, principal_id)
    return {"id": principal_id, "type": found.value.type.rbac_type if found is not None else "Unknown"}


# Permissions ---------------------------------------------------------------------------------------------------------


async def _list_permissions(listing: Listing) -> Listed:
    """What the caller's roles give at the scope; deny assignments are not taken off, as in Azure."""
    context = listing.context
    await require_scope(context, listing.scope)
    blocks = await context.access.permissions(context.caller.principal_ids, listing.scope)
    return Listed(items=tuple(render_permission(one) for one in blocks))


# Declarations --------------------------------------------------------------------------------------------------------

_DENY_ASSIGNMENTS_TYPE = ResourceType(
    name=_DENY_TYPE,
    api_versions=("2024-07-01-preview", "2022-04-01", "2019-03-01-preview", "2018-07-01-preview"),
    placements=ANY_SCOPE,
    own=Own(get=_get_deny, list=_list_denies),
    located=False,
    taggable=False,
    system_data=False,
)

_PERMISSIONS_TYPE = ResourceType(
    name="Microsoft.Authorization/permissions",
    api_versions=(
        "2022-05-01-preview",
        "2022-04-01",
        "2018-07-01",
        "2018-01-01-preview",
        "2016-07-01",
        "2015-07-01",
        "2015-06-01",
    ),
    placements=ANY_SCOPE,
    own=Own(list=_list_permissions),
    located=False,
    taggable=False,
    system_data=False,
)


def _operations() -> tuple[OperationInfo, ...]:
    verbs = {
        "roleAssignments": ("Role assignment", ("read", "write", "delete")),
        "roleDefinitions": ("Role definition", ("read", "write", "delete")),
        "denyAssignments": ("Deny assignment", ("read",)),
        "permissions": ("Permission", ("read",)),
        "locks": ("Management lock", ("read", "write", "delete")),
    }
    return tuple(
        OperationInfo(
            name=f"Microsoft.Authorization/{kind}/{verb}",
            operation=f"{verb.capitalize()} {words.lower()}",
            resource=words,
            provider="Microsoft Authorization",
        )
        for kind, (words, allowed) in verbs.items()
        for verb in allowed
    )


AUTHORIZATION = Provider(
    namespace="Microsoft.Authorization",
    types=(ROLE_ASSIGNMENTS_TYPE, ROLE_DEFINITIONS_TYPE, _DENY_ASSIGNMENTS_TYPE, _PERMISSIONS_TYPE, LOCKS_TYPE),
    operations=_operations(),
    operations_versions=("2022-04-01", "2018-07-01", "2015-07-01"),
)
