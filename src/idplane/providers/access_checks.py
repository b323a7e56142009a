"""What a principal may do at a scope: the caller's permissions, and `checkAccess` for named actions (control-plane.md section 7.3).

Everybody may ask about himself. To ask about another principal takes the right to read role assignments at the scope: whoever may
read all of them could work the answer out. Whether the scope exists is not told. Groups are those of the directory, whatever a request
says of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from idplane.arm.context import Context
from idplane.arm.declare import ANY_SCOPE, Action, Invocation, Listed, Listing, Outcome, Own, ResourceType, Visibility
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import is_guid
from idplane.model.roles import Decision, Reason
from idplane.model.values import JsonObject
from idplane.ports.collections import DENY_ASSIGNMENTS, PRINCIPALS, ROLE_ASSIGNMENTS
from idplane.providers.fields import Fields
from idplane.providers.role_actions import render_permission
from idplane.providers.scopes import require_scope
from idplane.rbac.conditions import CONDITION_VERSION

__all__ = ["CHECK_ACCESS", "PERMISSIONS_TYPE"]

_READ_ASSIGNMENTS = "Microsoft.Authorization/roleAssignments/read"
_CONDITIONAL_SINCE = "2022-05-01"
"""The first api-version whose permissions can say under which condition they are held."""
_ACTIONS_LIMIT = 500
_DEPTH = 4
_LIVES_MS = 1000
"""How long an answer may be kept: as long as a revocation may take to be heard of everywhere."""


# Permissions ---------------------------------------------------------------------------------------------------------


async def _list_permissions(listing: Listing) -> Listed:
    """What the caller's roles give at the scope; deny assignments are not taken off, as in Azure."""
    context = listing.context
    await require_scope(context, listing.scope)
    blocks = await context.access.permissions(context.caller.principal_ids, listing.scope)
    if context.api_version < _CONDITIONAL_SINCE:
        # Without its condition a block would say more than is held.
        return Listed(items=tuple(render_permission(one) for one in blocks if one.condition is None))
    versions = (CONDITION_VERSION if one.condition is not None else None for one in blocks)
    return Listed(
        items=tuple(
            {**render_permission(one), "condition": one.condition, "conditionVersion": version}
            for one, version in zip(blocks, versions, strict=True)
        )
    )


# checkAccess ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Question:
    action: str
    data: bool


async def _check_access(invocation: Invocation) -> Outcome:
    context, scope = invocation.context, invocation.id
    fields = Fields(_folded(invocation.body, _DEPTH))
    subject = await _subject(context, fields)
    questions = [_question(one) for one in fields.inners("actions", limit=_ACTIONS_LIMIT)]
    if not questions:
        raise fields.refuse("actions", "must hold at least one action")
    if subject == context.caller.principal_id:
        ids = context.caller.principal_ids
    else:
        await context.require(_READ_ASSIGNMENTS, scope)
        ids = await context.access.principal_ids(subject)
    answers = [await context.access.check(ids, one.action, scope, data=one.data) for one in questions]
    return Outcome(body=[await _answer(context, one, answer) for one, answer in zip(questions, answers, strict=True)])


def _folded(value: JsonObject, depth: int) -> dict[str, object]:
    """The same with the first letter of every member in lower case: clients write `Subject` and `subject`."""

    def inner(one: object) -> object:
        if depth and isinstance(one, Mapping):
            return _folded(one, depth - 1)
        return [inner(each) for each in one] if depth and isinstance(one, list) else one

    return {name[:1].lower() + name[1:]: inner(one) for name, one in value.items()}


async def _subject(context: Context, fields: Fields) -> str:
    """Who is asked about: a principal of the tenant, the caller unless the body names another."""
    stated = fields.inner("subject").inner("attributes").text("objectId")
    if stated is None:
        return context.caller.principal_id
    principal_id = stated.lower()
    found = await context.store.get(PRINCIPALS, principal_id) if is_guid(principal_id) else None
    if found is None or found.value.tenant_id != context.tenant.id:
        shown, tenant = stated[:100].replace("-", ""), context.tenant.id
        raise Failure(
            FailureKind.PRINCIPAL_NOT_FOUND,
            f"Principal {shown} does not exist in the directory {tenant}. Check that you have the correct principal ID.",
            principal=stated[:100],
            tenant=tenant,
        )
    return principal_id


def _question(fields: Fields) -> _Question:
    return _Question(fields.required_text("id", limit=512), fields.flag("isDataAction") or False)


async def _answer(context: Context, question: _Question, decision: Decision) -> JsonObject:
    word = "Allowed" if decision.allowed else "Denied" if decision.reason is Reason.DENY_ASSIGNMENT else "NotAllowed"
    return {
        "actionId": question.action,
        "isDataAction": question.data,
        "accessDecision": word,
        "roleAssignment": await _role(context, decision) if decision.allowed else None,
        "denyAssignment": await _deny(context, decision) if word == "Denied" else None,
        "timeToLiveInMs": _LIVES_MS,
    }


async def _role(context: Context, decision: Decision) -> JsonObject | None:
    found = await context.store.get(ROLE_ASSIGNMENTS, decision.because or "")
    if found is None:
        return None
    one = found.value
    return {
        "id": one.id,
        "roleDefinitionId": one.role_id,
        "principalId": one.principal_id,
        "principalType": one.principal_type,
        "scope": one.scope,
        "condition": one.condition,
        "conditionVersion": one.condition_version,
    }


async def _deny(context: Context, decision: Decision) -> JsonObject | None:
    found = await context.store.get(DENY_ASSIGNMENTS, decision.because or "")
    return None if found is None else {"id": found.value.id, "name": found.value.name, "scope": found.value.scope}


# Declarations --------------------------------------------------------------------------------------------------------

CHECK_ACCESS = Action(run=_check_access, visibility=Visibility.OPEN, api_versions=("2018-09-01-preview",))

PERMISSIONS_TYPE = ResourceType(
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
