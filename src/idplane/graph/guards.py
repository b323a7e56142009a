"""What even those who may write to the directory may not do: take over an administrator, change what is changed elsewhere.

That nobody is locked out is for every commit to see to (`service`).
"""

from __future__ import annotations

from idplane.directory.first_party import FIRST_PARTY
from idplane.graph.declare import Context
from idplane.graph.permissions import administers, is_administrator
from idplane.model.directory import Application, Principal, PrincipalType
from idplane.model.failure import Failure, FailureKind
from idplane.ports.collections import MEMBERSHIPS, PRINCIPALS
from idplane.rbac import groups_above

__all__ = ["require_changeable", "require_may_act_for", "require_may_fill"]


def require_changeable(principal: Principal) -> None:
    """Managed identities are changed through their resources, and Azure's own applications by nobody (control-plane.md section 8)."""
    if principal.type is PrincipalType.MANAGED_IDENTITY:
        raise _denied("the service principal of a managed identity cannot be updated or deleted through Microsoft Graph")
    if principal.client_id in FIRST_PARTY:
        raise _denied("the service principal of one of Azure's own applications cannot be changed")


async def require_may_act_for(context: Context, owner: Application | Principal) -> None:
    """Whoever can sign in as an administrator is one: only administrators give out credentials of one. Raises `Failure(FORBIDDEN)`."""
    principals = [owner] if isinstance(owner, Principal) else await _principals(context, owner)
    for one in principals:
        require_changeable(one)
    if not any([await administers(context.access, one.id) for one in principals]):
        return
    if not await is_administrator(context.caller, context.access):
        raise _denied("credentials of an administrator of the directory can be changed by administrators only")


async def require_may_fill(context: Context, group_id: str) -> None:
    """Whoever is put into a group that administers the directory is an administrator: only they do it. Raises `Failure(FORBIDDEN)`."""
    store = context.store

    async def direct(member: str) -> list[str]:
        return [row.value.group_id for row in await store.all(MEMBERSHIPS, where={"member_id": member})]

    groups = (group_id, *await groups_above(group_id, direct))
    if await administers(context.access, *groups) and not await is_administrator(context.caller, context.access):
        raise _denied("members of a group that administers the directory can be added by administrators only")


async def _principals(context: Context, application: Application) -> list[Principal]:
    rows = await context.store.all(PRINCIPALS, where={"client_id": application.client_id})
    return [row.value for row in rows]


def _denied(words: str) -> Failure:
    return Failure(FailureKind.FORBIDDEN, words, words=words)
