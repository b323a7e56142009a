"""Federated credentials of a user-assigned identity: listed, added by scenario, changed and deleted."""

from __future__ import annotations

from typing import Final

from idplane.model.failure import Failure
from idplane.model.federation import FederatedCredential
from idplane.ports.collections import FEDERATED_CREDENTIALS
from idplane.web.portal.blade import Blade, identity_blade
from idplane.web.portal.offers import offer
from idplane.web.portal.routes import Route
from idplane.web.portal.trusts import ENTITIES, SCENARIOS, Typed, command_of, trust_of, typed_of
from idplane.web.portal.types import IDENTITY
from idplane.web.portal.view import Html, Page, Redirect, Visit

__all__ = ["ROUTES"]

_TYPE: Final = f"{IDENTITY}/federatedIdentityCredentials"
_VERSION: Final = "2024-11-30"
_EXPRESSIONS: Final = "2025-01-31-preview"
"""The version whose credentials may have an expression."""


async def _credentials(visit: Visit, blade: Blade) -> list[FederatedCredential]:
    principal = str(blade.resource.properties["principalId"])
    found = await visit.desk.store.all(FEDERATED_CREDENTIALS, where={"principal_id": principal})
    return sorted((one.value for one in found), key=lambda it: it.name.lower())


async def _list(visit: Visit) -> Page:
    blade = await identity_blade(visit, "federated")
    await visit.desk.require(f"{_TYPE}/read", blade.id)
    rows = [
        {
            "credential": one,
            "scenario": dict(SCENARIOS)[typed_of(one).scenario],
            "command": command_of(blade.id, one),
        }
        for one in await _credentials(visit, blade)
    ]
    return Html(
        template="identity-federated.html",
        values={
            "title": f"{blade.id.name}: federated credentials",
            "blade": blade,
            "rows": rows,
            "write": await offer(visit, f"{_TYPE}/write", blade.id),
            "delete": await offer(visit, f"{_TYPE}/delete", blade.id),
        },
    )


async def _form(visit: Visit) -> Page:
    blade = await identity_blade(visit, "federated")
    name = visit.query("name")
    if not name:
        return _form_page(visit, blade, typed_of(None, visit.query("scenario", "github")))
    await visit.desk.require(f"{_TYPE}/read", blade.id)
    found = next((one for one in await _credentials(visit, blade) if one.name.lower() == name.lower()), None)
    typed = typed_of(found)
    return _form_page(visit, blade, Typed(visit.query("scenario", typed.scenario), typed.fields))


def _form_page(visit: Visit, blade: Blade, typed: Typed, problem: Failure | None = None) -> Page:
    known = dict(SCENARIOS)
    scenario = typed.scenario if typed.scenario in known else "github"
    return Html(
        template="identity-federated-form.html",
        values={
            "title": "Federated credential",
            "blade": blade,
            "scenario": scenario,
            "scenarios": [(label, visit.here.url(scenario=key), key == scenario) for key, label in SCENARIOS],
            "entities": ENTITIES,
            "typed": {**typed_of(None).fields, **typed.fields},
            "editing": visit.query("name"),
        },
        status=problem.kind.category.value if problem else 200,
        problem=problem,
    )


async def _save(visit: Visit) -> Page:
    blade = await identity_blade(visit, "federated")
    scenario, fields = visit.form("scenario"), {name: value.strip() for name, value in visit.fields}
    name = visit.query("name") or visit.form("name")
    version = _EXPRESSIONS if scenario == "expression" else _VERSION
    try:
        path = str(blade.id.child("federatedIdentityCredentials", name))
        await visit.desk.write("PUT", path, {"properties": trust_of(scenario, fields)}, version=version)
    except Failure as failure:
        return _form_page(visit, blade, Typed(scenario, fields), failure)
    return Redirect(to=f"/portal/identity/federated{blade.id}", said=f"The federated credential {name} is saved.")


async def _delete(visit: Visit) -> Page:
    blade = await identity_blade(visit, "federated")
    path = blade.id.child("federatedIdentityCredentials", visit.form("name"))
    await visit.desk.write("DELETE", str(path), version=_VERSION)
    return Redirect(to=f"/portal/identity/federated{blade.id}", said=f"The federated credential {path.name} is deleted.")


ROUTES: Final = (
    Route(method="GET", pattern="/portal/identity/federated/{id:path}", handler=_list),
    Route(method="GET", pattern="/portal/identity/federated/edit/{id:path}", handler=_form),
    Route(method="POST", pattern="/portal/identity/federated/edit/{id:path}", handler=_save),
    Route(method="POST", pattern="/portal/identity/federated/delete/{id:path}", handler=_delete),
)
