"""Microsoft.Authorization/denyAssignments: refusals that win over every role (control-plane.md sections 7.3 and 9).

They are written in one api-version only, under the rules that Azure has for those that users make: control actions that are no reads,
for one principal that is no group, or for everyone but some. What the platform protects (`isSystemProtected`) nobody changes here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from idplane.arm.context import Context
from idplane.arm.declare import ANY_SCOPE, Deleted, Item, Listed, Listing, Lookup, Own, OwnWrite, ResourceType, StoredItem
from idplane.arm.envelope import timestamp
from idplane.model.directory import PrincipalType
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ROOT, ResourceId, is_guid
from idplane.model.roles import DenyAssignment, Permission
from idplane.model.values import JsonObject
from idplane.ports.collections import DENY_ASSIGNMENTS, PRINCIPALS
from idplane.ports.store import ABSENT, Batch, Delete, Put, Versioned
from idplane.providers.fields import Fields
from idplane.providers.filters import Comparison, FunctionCall, invalid_filter, parse_filter
from idplane.providers.role_actions import read_permission, render_permission
from idplane.providers.scopes import ScopedQuery, require_scope, scoped_page
from idplane.rbac.decision import EVERYONE

__all__ = ["DENY_ASSIGNMENTS_TYPE"]

_TYPE = "Microsoft.Authorization/denyAssignments"
_WRITABLE = "2024-07-01-preview"
"""The only api-version that creates and deletes."""
_NAME_LIMIT = 512
_DESCRIPTION_LIMIT = 2048
_BLOCKS_LIMIT = 64
_EXCLUDED_LIMIT = 250


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


# Reading -------------------------------------------------------------------------------------------------------------


async def _find(context: Context, identifier: ResourceId) -> Versioned[DenyAssignment] | None:
    """The one with that name, if it stands at exactly that scope in the caller's tenant."""
    found = await context.store.get(DENY_ASSIGNMENTS, identifier.name.lower())
    if found is None or found.value.tenant_id != context.tenant.id or found.value.scope_key != identifier.scope.key:
        return None
    return found


async def _get(lookup: Lookup) -> Item | None:
    found = await _find(lookup.context, lookup.id)
    return None if found is None else Item(body=await _render(found.value, lookup.context))


async def _list(listing: Listing) -> Listed:
    context = listing.context
    wanted = _filter(context.query.get("$filter"))
    await require_scope(context, listing.scope)
    query = ScopedQuery(
        collection=DENY_ASSIGNMENTS,
        scope=listing.scope,
        below=wanted.below,
        keep=lambda one: one.tenant_id == context.tenant.id and wanted.admits(one),
    )
    found, after = await scoped_page(context, query, after=listing.after, top=listing.top)
    if wanted.mentioned_id is not None:
        return Listed(items=tuple(_exported(one) for one in found), after=after)
    return Listed(items=tuple([await _render(one, context) for one in found]), after=after)


def _filter(text: str | None) -> _Filter:
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


# Writing -------------------------------------------------------------------------------------------------------------


async def _put(write: OwnWrite) -> StoredItem:
    context, scope, name = write.context, write.id.scope, write.id.name.lower()
    _require_writable(context, "PUT")
    if not is_guid(name):
        raise _refused(
            f"The deny assignment ID '{name[:100]}' is not valid. The deny assignment ID must be a GUID.",
            "InvalidDenyAssignmentId",
        )
    proof = await require_scope(context, scope)
    old = await context.store.get(DENY_ASSIGNMENTS, name)
    if old is not None:
        _require_changeable(old.value, scope, context)
    fields = Fields(write.body).inner("properties")
    _refuse_protection(fields)
    who = await _who(fields, context)
    value = DenyAssignment(
        id=name,
        tenant_id=context.tenant.id,
        name=fields.required_text("denyAssignmentName", limit=_NAME_LIMIT),
        description=fields.text("description", limit=_DESCRIPTION_LIMIT) or "",
        scope=old.value.scope if old is not None else str(scope),
        permissions=_permissions(fields),
        principals=who.named,
        exclude_principals=who.spared,
        do_not_apply_to_child_scopes=fields.flag("doNotApplyToChildScopes") or False,
        created_at=old.value.created_at if old is not None else context.now,
        created_by=old.value.created_by if old is not None else context.caller.principal_id,
        changed_at=context.now,
        changed_by=context.caller.principal_id,
        anchor=proof.value.id.key if proof is not None else None,
    )
    batch = Batch.of(Put(collection=DENY_ASSIGNMENTS, value=value, expect=ABSENT if old is None else old.version))
    return StoredItem(body=await _render(value, context), created=old is None, batch=batch)


async def _delete(lookup: Lookup) -> Deleted | None:
    context = lookup.context
    _require_writable(context, "DELETE")
    old = await _find(context, lookup.id)
    if old is None:
        return None
    _require_changeable(old.value, lookup.id.scope, context)
    subject = old.value.scope_key
    batch = Batch.of(Delete(collection=DENY_ASSIGNMENTS, key=old.value.id, expect=old.version, subject=subject))
    return Deleted(batch=batch, body=await _render(old.value, context))


def _require_writable(context: Context, method: str) -> None:
    if context.api_version != _WRITABLE:
        words = f"deny assignments are written with api-version {_WRITABLE}"
        raise Failure(FailureKind.METHOD_NOT_ALLOWED, words, method=method)


def _require_changeable(old: DenyAssignment, scope: ResourceId, context: Context) -> None:
    if old.tenant_id != context.tenant.id:
        raise Failure(FailureKind.CONFLICT, f"The deny assignment ID '{old.id}' is not available.")
    if old.scope_key != scope.key:
        raise _refused(
            "Tenant ID and scope of a deny assignment are not allowed to be updated.", "DenyAssignmentUpdateNotPermitted"
        )
    if old.system_protected:
        raise Failure(
            FailureKind.CONFLICT,
            f"The deny assignment '{old.name}' is system protected. It cannot be changed or deleted.",
            code="DenyAssignmentSystemProtected",
        )


# The body ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Who:
    named: tuple[str, ...]
    spared: tuple[str, ...]


def _refuse_protection(fields: Fields) -> None:
    if fields.flag("isSystemProtected"):
        raise fields.refuse("isSystemProtected", "cannot be set: only the platform protects deny assignments")
    if fields.has("condition"):
        raise fields.refuse("condition", "is not supported on deny assignments")


def _permissions(fields: Fields) -> tuple[Permission, ...]:
    found = tuple(read_permission(block) for block in fields.inners("permissions", limit=_BLOCKS_LIMIT))
    if not any(one.actions for one in found):
        raise fields.refuse("permissions", "must hold at least one action")
    for one in found:
        if one.data_actions or one.not_data_actions:
            raise _refused("DataActions and NotDataActions are not supported on deny assignments.", "DenyAssignmentDataActions")
        for action in one.actions:
            if action.lower().endswith("/read"):
                raise _refused(
                    f"Read actions are not permitted on deny assignments: '{action}'. Only write, delete, and action operations "
                    "can be denied.",
                    "DenyAssignmentReadAction",
                )
    return found


async def _who(fields: Fields, context: Context) -> _Who:
    named = await _principals(fields, "principals", context, limit=1)
    spared = await _principals(fields, "excludePrincipals", context, limit=_EXCLUDED_LIMIT)
    if not named:
        raise fields.refuse("principals", "must hold one principal")
    if EVERYONE in spared:
        raise fields.refuse("excludePrincipals", "cannot hold everyone")
    if EVERYONE in named and not spared:
        raise _refused(
            "Deny assignments for everyone require at least one excluded principal.", "DenyAssignmentExcludedPrincipalRequired"
        )
    return _Who(named, spared)


async def _principals(fields: Fields, name: str, context: Context, *, limit: int) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for one in fields.inners(name, limit=limit):
        principal_id = one.required_text("id").lower()
        if not is_guid(principal_id):
            raise one.refuse("id", "must be a principal's object id")
        if principal_id == EVERYONE:
            if (one.text("type") or "").lower() != "systemdefined":
                raise one.refuse("type", "must be 'SystemDefined' for everyone")
        else:
            await _require_principal(principal_id, context, groups=name == "excludePrincipals")
        found[principal_id] = None
    return tuple(found)


async def _require_principal(principal_id: str, context: Context, *, groups: bool) -> None:
    """A principal of the tenant; what the body calls its type does not matter, what it is does."""
    found = await context.store.get(PRINCIPALS, principal_id)
    if found is None or found.value.tenant_id != context.tenant.id:
        shown, tenant = principal_id.replace("-", ""), context.tenant.id
        raise Failure(
            FailureKind.PRINCIPAL_NOT_FOUND,
            f"Principal {shown} does not exist in the directory {tenant}. Check that you have the correct principal ID.",
            principal=principal_id,
            tenant=tenant,
        )
    if found.value.type is PrincipalType.GROUP and not groups:
        raise _refused(
            "Group principals are not permitted on deny assignments. Use a user or a service principal instead.",
            "DenyAssignmentPrincipalType",
        )


# Words ---------------------------------------------------------------------------------------------------------------


def _refused(detail: str, code: str) -> Failure:
    return Failure(FailureKind.INVALID_PARAMETER, detail, code=code)


async def _render(deny: DenyAssignment, context: Context) -> JsonObject:
    properties: dict[str, object] = {
        "denyAssignmentName": deny.name,
        "description": deny.description,
        "permissions": [render_permission(one) for one in deny.permissions],
        "scope": deny.scope,
        "doNotApplyToChildScopes": deny.do_not_apply_to_child_scopes,
        "principals": [await _principal(one, context) for one in deny.principals],
        "excludePrincipals": [await _principal(one, context) for one in deny.exclude_principals],
        "isSystemProtected": deny.system_protected,
    }
    if context.api_version == _WRITABLE:
        properties |= {
            "denyAssignmentEffect": "enforced",
            "createdOn": timestamp(deny.created_at) if deny.created_at else None,
            "updatedOn": timestamp(deny.changed_at) if deny.changed_at else None,
            "createdBy": deny.created_by or None,
            "updatedBy": deny.changed_by or None,
        }
    return {**_envelope(deny), "properties": properties}


def _exported(deny: DenyAssignment) -> JsonObject:
    """What is shown to whoever exports what is known of a principal."""
    return {**_envelope(deny), "properties": {"denyAssignmentName": deny.name, "description": deny.description}}


def _envelope(deny: DenyAssignment) -> dict[str, object]:
    scope = ResourceId.parse(deny.scope)
    prefix = "" if scope == ROOT else str(scope)
    return {"id": f"{prefix}/providers/{_TYPE}/{deny.id}", "type": _TYPE, "name": deny.id}


async def _principal(principal_id: str, context: Context) -> JsonObject:
    if principal_id == EVERYONE:
        return {"id": principal_id, "type": "SystemDefined"}
    found = await context.store.get(PRINCIPALS, principal_id)
    return {"id": principal_id, "type": found.value.type.rbac_type if found is not None else "Unknown"}


DENY_ASSIGNMENTS_TYPE = ResourceType(
    name=_TYPE,
    api_versions=(_WRITABLE, "2022-04-01", "2019-03-01-preview", "2018-07-01-preview"),
    placements=ANY_SCOPE,
    own=Own(get=_get, list=_list, put=_put, delete=_delete),
    located=False,
    taggable=False,
    system_data=False,
    patchable=False,
)
