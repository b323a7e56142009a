"""Who reaches what, followed from either end: the picture around an identity, a scope, a role, or a resource that bears identities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from idplane.explain.sight import READ_DENIES
from idplane.model.directory import PrincipalType
from idplane.model.failure import Failure, FailureKind
from idplane.ports.collections import BINDINGS, IDENTITY_ASSIGNMENTS, PRINCIPALS, RESOURCES, ROLE_ASSIGNMENTS
from idplane.ports.sorting import Sort
from idplane.providers.workload_bindings import BINDINGS_TYPE
from idplane.web.portal.access_paths import Holders, Path, PathFinder, Selection, assignments_in
from idplane.web.portal.access_picture import picture_of
from idplane.web.portal.iam_frame import frame_of
from idplane.web.portal.iam_rows import denies_of
from idplane.web.portal.lists import PAGE, Question
from idplane.web.portal.places import Place, iam
from idplane.web.portal.principals import Eyes, Shown
from idplane.web.portal.role_table import role_named
from idplane.web.portal.routes import Route
from idplane.web.portal.sight import may_see, parts_of, visible
from idplane.web.portal.types import read_action
from idplane.web.portal.view import Html, Page, Visit

__all__ = ["ROUTES"]

_MOST_COUNTED: Final = 10_000
_FIRST: Final = 60
_OF_EACH: Final = 4
_FOUND: Final = 10
_MOST_HOSTS: Final = 50
_READ_BINDINGS: Final = f"{BINDINGS_TYPE}/read"


# Start -------------------------------------------------------------------------------------------------------------------


async def _start(visit: Visit) -> Page:
    eyes = Eyes(visit)
    finder = PathFinder(visit, eyes)
    text = visit.query("q").strip()
    return Html(
        template="access.html",
        values={
            "title": "Access",
            "tab": "graph",
            "people": await eyes.find(text, limit=_FOUND) if text else (),
            "places": await _places_like(visit, text) if text else (),
            "picture": None if text else picture_of(await _sample(visit, eyes, finder)),
            "identities": await visit.desk.store.count(
                PRINCIPALS,
                where={"tenant_id": visit.desk.tenant.id, "type": PrincipalType.MANAGED_IDENTITY.value},
                limit=_MOST_COUNTED,
            )
            if await eyes.sight.administers()
            else 0,
        },
    )


async def _sample(visit: Visit, eyes: Eyes, finder: PathFinder) -> list[Path]:
    """Of the first identities that resources use, the first roles."""
    page = await visit.desk.store.page(IDENTITY_ASSIGNMENTS, limit=_FIRST)
    paths: list[Path] = []
    for principal_id in dict.fromkeys(one.value.principal_id for one in page.items):
        who = await eyes.shown(principal_id)
        if who.known:
            holders = await _holders(visit, [who])
            held, _ = await assignments_in(visit, [{"principal_id": one} for one in holders], None, _OF_EACH)
            paths += await finder.paths(held, holders)
    return paths


async def _places_like(visit: Visit, text: str) -> list[Place]:
    question = Question(
        store=visit.desk.store,
        parts=await parts_of(visit, {}),
        order=Sort("name"),
        containing=("name", text.lower()),
        limit=_FOUND,
    )
    page = await question.page(RESOURCES, None, lambda it: visible(visit, it))
    return [Place(id=one.value.id, name=one.value.id.name) for one in page.items]


# Around something ---------------------------------------------------------------------------------------------------------


async def _holders(visit: Visit, people: Sequence[Shown]) -> dict[str, list[Shown]]:
    """Each of them under itself, and under every group that it is in; themselves first."""
    found = {one.id: [one] for one in people}
    for one in people:
        for group in sorted(await visit.desk.access.principal_ids(one.id) - {one.id}):
            found.setdefault(group, []).append(one)
    return found


async def _identity(visit: Visit) -> Page:
    eyes = Eyes(visit)
    who = await _known(eyes, visit.params["id"])
    finder = PathFinder(visit, eyes)
    is_group = who.principal is not None and who.principal.type is PrincipalType.GROUP
    members, more = await finder.members(who.id) if is_group else ((), 0)
    return await _around(
        visit,
        finder,
        holders=await _holders(visit, [who]),
        current=f"principal {who.id}",
        values={
            "title": f"What {who.name} can reach",
            "subtitle": f"{who.kind} · {who.sign_in_name}",
            "symbol": who.symbol,
            "who": who,
            "hosts": await _hosts(visit, who.id),
            "members": [await eyes.shown(one) for one in members],
            "more_members": more,
            "links": [("Ask what if", f"/portal/explain/ask?as={who.id}", "explain")],
        },
    )


async def _known(eyes: Eyes, principal_id: str) -> Shown:
    who = await eyes.shown(principal_id.lower())
    if not who.known:
        raise Failure(FailureKind.RESOURCE_NOT_FOUND, "there is no such principal that you may see", name=principal_id[:100])
    return who


async def _hosts(visit: Visit, principal_id: str) -> list[tuple[Place, int | None]]:
    """The resources that may use an identity, each with its workload bindings if the person may read them."""
    page = await visit.desk.store.page(IDENTITY_ASSIGNMENTS, where={"principal_id": principal_id}, limit=_MOST_HOSTS)
    found: list[tuple[Place, int | None]] = []
    for one in page.items:
        host = one.value.host
        if await may_see(visit, host):
            told = await visit.desk.may(_READ_BINDINGS, host)
            bindings = (
                await visit.desk.store.count(BINDINGS, where={"host_key": host.key}, limit=_MOST_COUNTED) if told else None
            )
            found.append((Place(id=host, name=host.name), bindings))
    return found


async def _target(visit: Visit) -> Page:
    frame = await frame_of(visit, "")
    eyes = Eyes(visit)
    told = await visit.desk.may(READ_DENIES, frame.scope)
    denies = [one for one in await denies_of(visit, frame, eyes) if one.counts] if told else []
    return await _around(
        visit,
        PathFinder(visit, eyes),
        selection=[{"scope_key": one} for one in frame.keys],
        current=f"scope {frame.scope.key}",
        values={
            "title": f"Who can reach {frame.place.name}",
            "subtitle": f"{frame.place.kind} · {frame.scope}",
            "symbol": frame.place.symbol,
            "denies": len(denies),
            "denies_at": iam(frame.scope, "denies"),
            "links": [
                ("Access control (IAM)", frame.place.iam, "access"),
                ("Unused grants", f"/portal/access/unused?scope={frame.scope}", "clock"),
            ],
        },
    )


async def _role(visit: Visit) -> Page:
    wanted = visit.params["role"].lower()
    role = await role_named(visit, wanted)
    return await _around(
        visit,
        PathFinder(visit, Eyes(visit)),
        selection=[{"role_id": wanted}],
        current=f"role {wanted}",
        values={
            "title": f"Who has the role {role.name}",
            "subtitle": role.description,
            "symbol": "role",
            "links": [("What it allows", f"/portal/iam/role/{wanted}", "role")],
        },
    )


async def _source(visit: Visit) -> Page:
    host = visit.resource()
    await visit.desk.require(read_action(host), host)
    eyes = Eyes(visit)
    page = await visit.desk.store.page(IDENTITY_ASSIGNMENTS, where={"host_key": host.key}, limit=_MOST_HOSTS)
    found = [await eyes.shown(one.value.principal_id) for one in page.items]
    borne = [one for one in found if one.known]
    return await _around(
        visit,
        PathFinder(visit, eyes),
        holders=await _holders(visit, borne),
        current=f"source {host.key}",
        values={
            "title": f"What {host.name} can reach",
            "subtitle": str(host),
            "symbol": "machine",
            "borne": borne,
            "links": [("Open the resource", f"/portal/resource{host}", "resource")],
        },
    )


async def _around(
    visit: Visit,
    finder: PathFinder,
    *,
    current: str,
    values: dict[str, Any],
    selection: Selection = (),
    holders: Holders | None = None,
) -> Page:
    """The picture and the table of a page of role assignments: those selected, or those of the holders."""
    if holders is not None:
        selection = [{"principal_id": one} for one in holders]
    found, after = await assignments_in(visit, selection, visit.query("after") or None, PAGE) if selection else ([], None)
    paths = await finder.paths(found, holders)
    picture = picture_of(paths, current)
    return Html(
        template="access-around.html",
        values={
            "who": None,
            "hosts": (),
            "members": (),
            "more_members": 0,
            "borne": (),
            "denies": 0,
            "denies_at": "",
            "paths": paths,
            "picture": picture,
            "rest": await _count(visit, selection) - picture.drawn if after else len(paths) - picture.drawn,
            "after": after,
            "hidden": finder.hidden,
            **values,
        },
    )


async def _count(visit: Visit, selection: Selection) -> int:
    total = 0
    for where in selection:
        total += await visit.desk.store.count(ROLE_ASSIGNMENTS, where=where, limit=_MOST_COUNTED)
    return total


ROUTES: Final = (
    Route(method="GET", pattern="/portal/access", handler=_start),
    Route(method="GET", pattern="/portal/access/identity/{id}", handler=_identity),
    Route(method="GET", pattern="/portal/access/role/{role}", handler=_role),
    Route(method="GET", pattern="/portal/access/source/{id:path}", handler=_source),
    Route(method="GET", pattern="/portal/access/target", handler=_target),
    Route(method="GET", pattern="/portal/access/target/{scope:path}", handler=_target),
)
