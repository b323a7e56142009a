"""Idplane.Directory/deviceCodes: approving and denying the sign-ins that programs ask for (RFC 8628). A type of our own.

    POST /providers/Idplane.Directory/deviceCodes/{userCode}/show | approve | deny

Whoever approves makes a program speak for a user, an Owner perhaps. So beside the action each needs what giving any access at the
tenant's root needs: a Contributor there can't become more by approving. All three are POSTs, so that each try is in the activity log, and
a caller who guesses is stopped by what the log holds of its last tries.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Final

from idplane.arm.context import Context
from idplane.arm.declare import Action, Invocation, OperationInfo, Outcome, Own, Placement, ResourceType
from idplane.arm.envelope import timestamp
from idplane.model.directory import HOME_USER, Principal, PrincipalType
from idplane.model.events import EventStatus
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ROOT, is_guid
from idplane.model.user_sessions import DeviceCode, DeviceCodeState, user_code_key
from idplane.model.values import JsonObject
from idplane.ports.collections import ACTIVITY, DEVICE_CODES, PRINCIPALS, SETTINGS, microseconds
from idplane.ports.store import Batch, Put, Require, Versioned
from idplane.providers.fields import Fields

__all__ = [
    "DEVICE_CODES_OPERATIONS",
    "DEVICE_CODES_RESOURCE",
    "DEVICE_CODES_TYPE",
    "GIVE_ACCESS",
    "VERSIONS",
    "user_to_sign_in",
]

DEVICE_CODES_TYPE: Final = "Idplane.Directory/deviceCodes"
VERSIONS: Final = ("2026-11-01",)
GIVE_ACCESS: Final = "Microsoft.Authorization/roleAssignments/write"
"""What making anybody speak for a user needs beside its own action, at the tenant's root."""
_GUESSES: Final = 10
_WITHIN: Final = timedelta(minutes=1)
_LOOKED_AT: Final = 100


async def _show(invocation: Invocation) -> Outcome:
    code = await _asked_for(invocation)
    return Outcome(body=_render(invocation, code.value))


async def _approve(invocation: Invocation) -> Outcome:
    context, fields = invocation.context, Fields(invocation.body)
    code = await _asked_for(invocation)
    user = await user_to_sign_in(context, fields.text("user"))
    approved = replace(
        code.value,
        state=DeviceCodeState.APPROVED,
        tenant_id=context.tenant.id,
        principal_id=user.value.id,
        decided_by=context.caller.principal_id,
    )
    batch = Batch.of(
        Require(collection=PRINCIPALS, key=user.value.id, expect=user.version),
        Put(collection=DEVICE_CODES, value=approved, expect=code.version),
    )
    return Outcome(body=_render(invocation, approved, user.value), batch=batch)


async def _deny(invocation: Invocation) -> Outcome:
    context = invocation.context
    code = await _asked_for(invocation)
    denied = replace(
        code.value,
        state=DeviceCodeState.DENIED,
        tenant_id=context.tenant.id,
        decided_by=context.caller.principal_id,
    )
    batch = Batch.of(Put(collection=DEVICE_CODES, value=denied, expect=code.version))
    return Outcome(body=_render(invocation, denied), batch=batch)


async def _asked_for(invocation: Invocation) -> Versioned[DeviceCode]:
    """The request that still waits under this code; raises FORBIDDEN, THROTTLED, DEVICE_CODE_UNKNOWN."""
    context = invocation.context
    await context.require(GIVE_ACCESS, ROOT)
    await _require_no_guessing(context)
    page = await context.store.page(DEVICE_CODES, where={"user_code": user_code_key(invocation.id.name)}, limit=1)
    for found in page.items:
        waits = found.value.state is DeviceCodeState.PENDING and context.now < found.value.expires_at
        if waits and found.value.tenant_id in (None, context.tenant.id):
            return found
    words = "No sign-in waits under this code: it may be mistyped, expired, or decided already."
    raise Failure(FailureKind.DEVICE_CODE_UNKNOWN, words, code="DeviceCodeNotFound")


async def _require_no_guessing(context: Context) -> None:
    tries = await context.store.read_log(
        ACTIVITY,
        where={"caller_id": context.caller.principal_id},
        since=microseconds(context.now - _WITHIN),
        limit=_LOOKED_AT,
    )
    kind = f"{DEVICE_CODES_TYPE}/".lower()
    wrong = [one for one in tries if one.event.operation.lower().startswith(kind) and one.event.status is EventStatus.FAILED]
    if len(wrong) >= _GUESSES:
        seconds = str(int(_WITHIN.total_seconds()))
        raise Failure(FailureKind.THROTTLED, "too many codes that nobody was given", retry_after=seconds)


async def user_to_sign_in(context: Context, named: str | None) -> Versioned[Principal]:
    """Whom to sign in: by object id or sign-in name; the tenant's first user unless one is named. Raises `Failure(INVALID_PARAMETER)`."""
    if named is None:
        home = await context.store.get(SETTINGS, HOME_USER)
        named = home.value.value if home else ""
    if is_guid(named):
        found = await context.store.get(PRINCIPALS, named.lower())
    else:
        where = {"tenant_id": context.tenant.id, "user_principal_name": named.lower()}
        found = next(iter((await context.store.page(PRINCIPALS, where=where, limit=1)).items), None)
    if found is None or found.value.tenant_id != context.tenant.id or found.value.type is not PrincipalType.USER:
        words = f"There is no user '{named[:200]}' in the tenant: name one by its user principal name or object id."
        raise Failure(FailureKind.INVALID_PARAMETER, words, code="UserNotFound")
    if not found.value.enabled:
        raise Failure(FailureKind.INVALID_PARAMETER, f"The user '{named[:200]}' is disabled.", code="UserDisabled")
    return found


def _render(invocation: Invocation, code: DeviceCode, user: Principal | None = None) -> JsonObject:
    whom = {"user": user.caller_name, "userId": user.id} if user else {}
    return {
        "id": f"/providers/{DEVICE_CODES_TYPE}/{invocation.id.name}",
        "name": invocation.id.name,
        "type": DEVICE_CODES_TYPE,
        "properties": {
            "clientId": code.client_id,
            "clientName": code.client_name,
            "scope": code.scope,
            "clientAddress": code.client_address,
            "userAgent": code.user_agent,
            "requestedAt": timestamp(code.created_at),
            "expiresAt": timestamp(code.expires_at),
            "state": code.state.value,
            **whom,
        },
    }


_WORDS: Final = {
    "show": "Tells which program asks to sign a user in",
    "approve": "Lets a program sign a user in",
    "deny": "Refuses a program's request to sign a user in",
}

DEVICE_CODES_RESOURCE: Final = ResourceType(
    name=DEVICE_CODES_TYPE,
    api_versions=VERSIONS,
    placements=frozenset({Placement.TENANT}),
    own=Own(),
    actions={"show": Action(run=_show), "approve": Action(run=_approve), "deny": Action(run=_deny)},
    located=False,
    taggable=False,
    system_data=False,
)
"""The type."""
DEVICE_CODES_OPERATIONS: Final = tuple(
    OperationInfo(
        name=f"{DEVICE_CODES_TYPE}/{word}/action",
        provider="idplane Directory",
        resource="Device codes",
        operation=f"{word.capitalize()} sign-in",
        description=words,
    )
    for word, words in _WORDS.items()
)
"""What may be done with one."""
