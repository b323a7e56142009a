"""Role assignments of one identity: where it may do what, giving it another role, and taking one away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ROOT, ResourceId
from idplane.model.roles import RoleAssignment
from idplane.ports.collections import PRINCIPALS, RESOURCES, ROLE_ASSIGNMENTS, ROLE_DEFINITIONS
from idplane.ports.sorting import Sort
from idplane.rbac import BUILT_IN_ROLES
from idplane.web.portal.lists import Question
from idplane.web.portal.offers import Offer, offer
from idplane.web.portal.routes import Route
from idplane.web.portal.sight import (
    groups_of,
    may_see_principal,
    parts_of,
    subscription_scope,
    subscriptions_of,
    visible,
)
from idplane.web.portal.sign_in import local_target
from idplane.web.portal.types import GROUP, label_of
from idplane.web.portal.view import Html, Page, Redirect, Visit

__all__ = ["ROUTES", "Grant", "assignment_path", "grants_of", "remove_grant"]

_READ: Final = "Microsoft.Authorization/roleAssignments/read"
_WRITE: Final = "Microsoft.Authorization/roleAssignments/write"
_DELETE: Final = "Microsoft.Authorization/roleAssignments/delete"
_VERSION: Final = "2022-04-01"
_MOST_SHOWN: Final = 500
_MOST_TARGETS: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A role assignment in words."""

    assignment: RoleAssignment
    role: str
    scope: ResourceId
    remove: Offer

    @property
    def kind(self) -> str:
        """What the scope is."""
        if not self.scope.segments:
            return "Tenant"
        if self.scope.is_management_group:
            return "Management group"
        return label_of(self.scope.type) if self.scope.namespace else label_of(_WORDS.get(self.scope.type, self.scope.type))

    @property
    def name(self) -> str:
        """What the scope is called."""
        return self.scope.name or "/"

    @property
    def leads(self) -> bool:
        """Whether the scope has a page."""
        return bool(self.scope.segments) and not self.scope.is_management_group


_WORDS: Final = {"Microsoft.Resources/resourceGroups": GROUP}


async def grants_of(visit: Visit, principal_id: str) -> list[Grant]:
    """What a principal holds itself, as far as the person may read it; at most five hundred."""
    desk = visit.desk
    page = await desk.store.page(ROLE_ASSIGNMENTS, where={"principal_id": principal_id}, limit=_MOST_SHOWN)
    found: list[Grant] = []
    for one in page.items:
        scope = ResourceId.parse(one.value.scope)
        if one.value.tenant_id == desk.tenant.id and await desk.may(_READ, scope):
            role = await desk.access.definition(desk.tenant.id, one.value.role_id)
            removal = await offer(visit, _DELETE, scope)
            found.append(
                Grant(assignment=one.value, role=role.name if role else one.value.role_id, scope=scope, remove=removal)
            )
    return sorted(found, key=lambda it: (it.scope.key, it.role))


async def _form(visit: Visit) -> Page:
    return await _page(visit, {"scope": visit.query("scope"), "role": visit.query("role")})


async def _page(visit: Visit, typed: Mapping[str, str], problem: Failure | None = None) -> Page:
    principal = await _principal_name(visit)
    return Html(
        template="grant-new.html",
        values={
            "title": f"Add a role assignment for {principal}",
            "principal": principal,
            "back": local_target(visit.query("back")),
            "scopes": await _scopes(visit),
            "roles": await _roles(visit),
            "typed": {"scope": "", "role": "", "other": "", "description": "", **typed},
        },
        status=problem.kind.category.value if problem else 200,
        problem=problem,
    )


async def _principal_name(visit: Visit) -> str:
    """What the principal is called; raises `Failure(RESOURCE_NOT_FOUND)` for one that the person may not see."""
    found = await visit.desk.store.get(PRINCIPALS, visit.params["principal"].lower())
    if found is None or not await may_see_principal(visit, found.value):
        raise Failure(FailureKind.RESOURCE_NOT_FOUND, "there is no such identity", name=visit.params["principal"][:100])
    return found.value.display_name


async def _scopes(visit: Visit) -> list[tuple[str, str]]:
    """Where the person may give roles: subscriptions, groups, and resources that identities are used on."""
    desk = visit.desk
    parts = await parts_of(visit, {})
    question = Question(store=desk.store, parts=parts, order=Sort("name"), limit=_MOST_TARGETS)
    page = await question.page(RESOURCES, None, lambda it: visible(visit, it))
    candidates = [
        *((subscription_scope(one), f"Subscription: {one.display_name}") for one in await subscriptions_of(visit)),
        *((one.id, f"Resource group: {one.id.name}") for one in await groups_of(visit)),
        *(
            (one.value.id, f"{label_of(one.value.type)}: {one.value.id.name} ({one.value.id.resource_group})")
            for one in page.items
            if one.value.type != GROUP
        ),
    ]
    return [(str(scope), words) for scope, words in candidates if await desk.may(_WRITE, scope)]


async def _roles(visit: Visit) -> list[tuple[str, str]]:
    custom = await visit.desk.store.all(ROLE_DEFINITIONS, where={"tenant_id": visit.desk.tenant.id})
    names = [(one.id, one.name) for one in BUILT_IN_ROLES.values()]
    return sorted([*names, *((one.value.id, f"{one.value.name} (custom)") for one in custom)], key=lambda it: it[1].lower())


async def _add(visit: Visit) -> Page:
    principal = await _principal_name(visit)
    try:
        scope = ResourceId.parse(visit.form("other") or visit.form("scope"))
        role = visit.form("role")
        if not role:
            raise Failure(FailureKind.INVALID_PARAMETER, "no role is selected", parameter="role")
        # The request's own id is new and unguessable: what an assignment's name must be.
        name = visit.request.call.request_id
        await visit.desk.write(
            "PUT", assignment_path(scope, name), {"properties": _properties(visit, scope, role)}, version=_VERSION
        )
    except Failure as failure:
        return await _page(visit, dict(visit.fields), failure)
    role_name = await visit.desk.access.definition(visit.desk.tenant.id, role)
    said = f"{principal} has the role {role_name.name if role_name else role} at {scope.name or 'the tenant'}."
    return Redirect(to=local_target(visit.query("back")), said=said)


def _properties(visit: Visit, scope: ResourceId, role: str) -> dict[str, object]:
    definition = f"{ResourceId(scope.segments[:2]) if scope.subscription else ''}/providers/Microsoft.Authorization/roleDefinitions/{role}"
    said = visit.form("description")
    return {
        "roleDefinitionId": definition,
        "principalId": visit.params["principal"],
        "principalType": "ServicePrincipal",
        **({"description": said} if said else {}),
    }


def assignment_path(scope: ResourceId, name: str) -> str:
    """The resource id of a role assignment at a scope."""
    return f"{'' if scope == ROOT else scope}/providers/Microsoft.Authorization/roleAssignments/{name}"


async def remove_grant(visit: Visit) -> Page:
    """Take a role assignment away, and go back to where it was shown."""
    found = await visit.desk.store.get(ROLE_ASSIGNMENTS, visit.form("assignment").lower())
    if found is not None and found.value.tenant_id == visit.desk.tenant.id:
        scope = ResourceId.parse(found.value.scope)
        await visit.desk.write("DELETE", assignment_path(scope, found.value.id), version=_VERSION)
    return Redirect(to=local_target(visit.query("back")), said="The role assignment is removed.")


ROUTES: Final = (
    Route(method="GET", pattern="/portal/identity/grants/{principal}/add", handler=_form),
    Route(method="POST", pattern="/portal/identity/grants/{principal}/add", handler=_add),
    Route(method="POST", pattern="/portal/identity/grants/{principal}/remove", handler=remove_grant),
)
