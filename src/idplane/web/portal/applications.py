"""Enterprise applications: every service principal of the tenant, managed identities among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from idplane.graph.permissions import Area, may
from idplane.model.directory import AppRole, AppRoleAssignment, Principal, PrincipalType
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ROOT, ResourceId
from idplane.ports.collections import APP_ROLE_ASSIGNMENTS, APPLICATIONS, CREDENTIALS, PRINCIPALS
from idplane.ports.store import Page as Records
from idplane.web.portal.credential_rows import credential_rows
from idplane.web.portal.grants import grants_of
from idplane.web.portal.lists import Part, Question, sort_of
from idplane.web.portal.offers import offer
from idplane.web.portal.routes import Route
from idplane.web.portal.sight import may_see_principal
from idplane.web.portal.sign_in_rows import sign_in_rows
from idplane.web.portal.types import label_of
from idplane.web.portal.view import Html, Page, Visit

__all__ = ["ROUTES"]

_LIST: Final = "/portal/applications"
_ADMINISTRATION: Final = "Microsoft.Authorization/roleAssignments/write"
"""What whoever has it at the tenant may read the directory by; see `graph.permissions`."""
_COLUMNS: Final = {"name": "display_name", "type": "type", "resource": "resource_key"}
_KINDS: Final = (
    ("managed", "Managed Identities", (PrincipalType.MANAGED_IDENTITY,)),
    ("enterprise", "Enterprise applications", (PrincipalType.APPLICATION,)),
    ("all", "All applications", (PrincipalType.MANAGED_IDENTITY, PrincipalType.APPLICATION)),
)
_MOST: Final = 500
_GUID: Final = 36
_NOBODY: Final[Records[Principal]] = Records((), None)


@dataclass(frozen=True, slots=True)
class _Line:
    """A service principal in words."""

    principal: Principal

    @property
    def kind(self) -> str:
        if self.principal.type is PrincipalType.MANAGED_IDENTITY:
            return "System-assigned identity" if self.principal.system_assigned else "User-assigned identity"
        return "Application"

    @property
    def symbol(self) -> str:
        return "identity" if self.principal.type is PrincipalType.MANAGED_IDENTITY else "application"

    @property
    def owner(self) -> ResourceId | None:
        """The resource whose identity it is."""
        named = self.principal.resource_id
        return ResourceId.parse(named) if named else None


# The list -----------------------------------------------------------------------------------------------------------


async def _applications(visit: Visit) -> Page:
    asked = visit.query("type", "managed")
    chosen = next((types for key, _, types in _KINDS if key == asked), _KINDS[0][2])
    readable = await may(visit.person.caller, visit.desk.access, Area.APPLICATIONS, writes=False)
    page = await _found(visit, chosen) if readable else _NOBODY
    return Html(
        template="applications.html",
        values={
            "title": "Enterprise applications",
            "kinds": [(key, label) for key, label, _ in _KINDS],
            "kind": asked if any(key == asked for key, _, _ in _KINDS) else "managed",
            "lines": [_Line(one.value) for one in page.items],
            "after": page.after,
            "readable": readable,
            "reading": await offer(visit, _ADMINISTRATION, ROOT),
            "resource_label": label_of,
        },
    )


async def _found(visit: Visit, types: tuple[PrincipalType, ...]) -> Records[Principal]:
    """A page of the list; an id finds the one that has it, as object id or client id."""
    store, tenant_id, text = visit.desk.store, visit.desk.tenant.id, visit.query("q").lower()
    if len(text) == _GUID and text.count("-") == 4:  # noqa: PLR2004 - a GUID's hyphens
        found = await store.get(PRINCIPALS, text)
        by_client = await store.page(PRINCIPALS, where={"tenant_id": tenant_id, "client_id": text}, limit=1)
        items = [one for one in (found, *by_client.items) if one is not None]
        return Records(tuple(one for one in items[:1] if one.value.tenant_id == tenant_id and one.value.type in types), None)
    question = Question(
        store=store,
        parts=[Part(where={"tenant_id": tenant_id, "type": one.value}) for one in types],
        order=sort_of(visit, _COLUMNS, "name"),
        containing=("display_name", text) if text else None,
    )
    return await question.page(PRINCIPALS, visit.query("after") or None)


# One of them --------------------------------------------------------------------------------------------------------


async def _principal(visit: Visit) -> Principal:
    """The service principal that the address names; raises `Failure(RESOURCE_NOT_FOUND)` for one that the person may not see."""
    found = await visit.desk.store.get(PRINCIPALS, visit.params["id"].lower())
    if found is None or not await may_see_principal(visit, found.value):
        raise Failure(FailureKind.RESOURCE_NOT_FOUND, "there is no such application", name=visit.params["id"][:100])
    return found.value


def _page(principal: Principal, tab: str, template: str, values: Mapping[str, object]) -> Html:
    tabs = [
        ("overview", "Overview", ""),
        ("roles", "Azure role assignments", "/roles"),
        ("app-roles", "App roles", "/app-roles"),
        ("credentials", "Credentials", "/credentials"),
        ("sign-ins", "Sign-ins", "/sign-ins"),
    ]
    shown = next(label for key, label, _ in tabs if key == tab)
    return Html(
        template=template,
        values={
            "title": principal.display_name if tab == "overview" else f"{principal.display_name}: {shown.lower()}",
            "principal": principal,
            "line": _Line(principal),
            "tabs": [(label, f"{_LIST}/{principal.id}{end}", key == tab) for key, label, end in tabs],
            **values,
        },
    )


async def _overview(visit: Visit) -> Page:
    principal = await _principal(visit)
    return _page(principal, "overview", "application.html", {"owner_label": label_of})


async def _roles(visit: Visit) -> Page:
    principal = await _principal(visit)
    values = {"grants": await grants_of(visit, principal.id), "back": f"{_LIST}/{principal.id}/roles"}
    return _page(principal, "roles", "application-roles.html", values)


@dataclass(frozen=True, slots=True, kw_only=True)
class _HeldRole:
    """An app role that a principal holds."""

    assignment: AppRoleAssignment
    resource: Principal | None
    role: AppRole | None


async def _app_roles(visit: Visit) -> Page:
    principal, store = await _principal(visit), visit.desk.store
    page = await store.page(APP_ROLE_ASSIGNMENTS, where={"principal_id": principal.id}, limit=_MOST)
    held: list[_HeldRole] = []
    for one in page.items:
        resource = await store.get(PRINCIPALS, one.value.resource_id)
        offered = await _offered(visit, resource.value) if resource else ()
        role = next((it for it in offered if it.id == one.value.role_id), None)
        held.append(_HeldRole(assignment=one.value, resource=resource.value if resource else None, role=role))
    return _page(
        principal, "app-roles", "application-app-roles.html", {"held": held, "offered": await _offered(visit, principal)}
    )


async def _offered(visit: Visit, resource: Principal) -> tuple[AppRole, ...]:
    page = await visit.desk.store.page(APPLICATIONS, where={"client_id": resource.client_id}, limit=1)
    return page.items[0].value.app_roles if page.items else ()


async def _credentials(visit: Visit) -> Page:
    principal, store = await _principal(visit), visit.desk.store
    own = await store.page(CREDENTIALS, where={"principal_id": principal.id}, limit=_MOST)
    application = await store.page(APPLICATIONS, where={"client_id": principal.client_id}, limit=1)
    shared = (
        await store.page(CREDENTIALS, where={"application_id": application.items[0].value.id}, limit=_MOST)
        if application.items and application.items[0].value.tenant_id == visit.desk.tenant.id
        else None
    )
    found = [one.value for one in (*own.items, *(shared.items if shared else ()))]
    return _page(principal, "credentials", "application-credentials.html", {"rows": credential_rows(found, visit.desk.now)})


async def _sign_ins(visit: Visit) -> Page:
    principal = await _principal(visit)
    values = {"sign_ins": await sign_in_rows(visit, principal.id), "reading": await offer(visit, _ADMINISTRATION, ROOT)}
    return _page(principal, "sign-ins", "application-sign-ins.html", values)


ROUTES: Final = (
    Route(method="GET", pattern=_LIST, handler=_applications),
    Route(method="GET", pattern=f"{_LIST}/{{id}}", handler=_overview),
    Route(method="GET", pattern=f"{_LIST}/{{id}}/roles", handler=_roles),
    Route(method="GET", pattern=f"{_LIST}/{{id}}/app-roles", handler=_app_roles),
    Route(method="GET", pattern=f"{_LIST}/{{id}}/credentials", handler=_credentials),
    Route(method="GET", pattern=f"{_LIST}/{{id}}/sign-ins", handler=_sign_ins),
)
