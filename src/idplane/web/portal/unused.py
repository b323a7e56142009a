"""Role assignments that nobody seems to use, or that give far more than was used: found in the logs, and taken back from here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from idplane.explain.commands import az
from idplane.graph.permissions import Area, may
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ROOT, ResourceId
from idplane.model.roles import RoleAssignment, RoleDefinition
from idplane.model.values import JsonObject
from idplane.ports.collections import ACTIVITY, ROLE_ASSIGNMENTS
from idplane.ports.store import Order
from idplane.rbac.conditions import CONDITION_VERSION
from idplane.web.portal.access_paths import PathFinder
from idplane.web.portal.grant_use import Trail, Use, Verdict, judged, trail_of
from idplane.web.portal.grants import assignment_path
from idplane.web.portal.iam_frame import DELETE, VERSION, WRITE
from idplane.web.portal.lists import PAGE
from idplane.web.portal.offers import Offer, offer
from idplane.web.portal.places import Place, parsed_scope, place_of
from idplane.web.portal.principals import Eyes, Shown
from idplane.web.portal.routes import Route
from idplane.web.portal.sign_in import local_target
from idplane.web.portal.view import Html, Page, Redirect, Visit

__all__ = ["ROUTES"]

_AT: Final = "/portal/access/unused"
_ACTIVITY_READ: Final = "Microsoft.Insights/eventtypes/values/read"
_DAYS: Final = {"7": "Last 7 days", "30": "Last 30 days", "90": "Last 90 days"}
_SHOWN: Final = {
    "unused": "Not used",
    "broad": "Broader than what was used",
    "perhaps": "Perhaps used",
    "all": "Everything",
}
_GROUP: Final = "Group"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A role assignment and what the logs say of it."""

    assignment: RoleAssignment
    who: Shown
    role: RoleDefinition | None
    place: Place
    use: Use
    removal: Offer
    granting: Offer

    @property
    def role_name(self) -> str:
        """What the role is called."""
        return self.assignment.role_id if self.role is None else self.role.name

    @property
    def mark(self) -> tuple[str, str]:
        """The verdict in a word, and its colour."""
        if self.use.lesser is not None:
            return "Too broad", "warn"
        return {
            Verdict.USED: ("Used", "good"),
            Verdict.PERHAPS: ("Perhaps", "info"),
            Verdict.NEW: ("New", ""),
            Verdict.UNUSED: ("Not used", "bad"),
        }[self.use.verdict]

    @property
    def commands(self) -> str:
        """What takes it back, or makes less of it."""
        path = assignment_path(self.place.id, self.assignment.id)
        removal = az("role", "assignment", "delete", "--ids", path)
        if self.use.lesser is None:
            return removal
        kind = self.assignment.principal_type
        words = ["--assignee-object-id", self.assignment.principal_id, "--assignee-principal-type", kind]
        if self.assignment.condition is not None:
            words += ["--condition", self.assignment.condition, "--condition-version", CONDITION_VERSION]
        return f"{az('role', 'assignment', 'create', *words, '--role', self.use.lesser.name, '--scope', str(self.place.id))}\n{removal}"


async def _unused(visit: Visit) -> Page:
    eyes = Eyes(visit)
    days = visit.query("days") if visit.query("days") in _DAYS else "30"
    shown = visit.query("show") if visit.query("show") in _SHOWN else "unused"
    scope = parsed_scope(visit.query("scope")) or ROOT
    since = visit.desk.now - timedelta(days=int(days))
    page = await visit.desk.store.page(
        ROLE_ASSIGNMENTS,
        under=("scope_key", scope.key) if scope.segments else None,
        after=visit.query("after") or None,
        limit=PAGE,
    )
    own = [one.value for one in page.items if one.value.tenant_id == visit.desk.tenant.id]
    looker = _Looker(visit, eyes, since, sign_ins=await _reads_sign_ins(visit))
    findings = [one for one in await looker.findings(own) if _is_shown(one.use, shown)]
    return Html(
        template="access-unused.html",
        values={
            "title": "Unused grants",
            "tab": "unused",
            "findings": findings,
            "looked": looker.looked,
            "hidden": looker.hidden,
            "after": page.after,
            "since": since,
            "oldest": await _oldest(visit),
            "days": list(_DAYS.items()),
            "day": days,
            "shows": list(_SHOWN.items()),
            "show": shown,
            "place": await place_of(visit, scope),
            "signs": looker.sign_ins,
        },
    )


async def _reads_sign_ins(visit: Visit) -> bool:
    return await may(visit.person.caller, visit.desk.access, Area.SIGN_INS, writes=False)


async def _oldest(visit: Visit) -> datetime | None:
    """When the activity log begins."""
    where = {"tenant_id": visit.desk.tenant.id}
    first = await visit.desk.store.read_log(ACTIVITY, where=where, order=Order.OLDEST_FIRST, limit=1)
    return first[0].event.at if first else None


def _is_shown(use: Use, shown: str) -> bool:
    match shown:
        case "unused":
            return use.verdict is Verdict.UNUSED
        case "broad":
            return use.lesser is not None
        case "perhaps":
            return use.verdict is Verdict.PERHAPS
        case _:
            return True


class _Looker:
    """Looks at role assignments of one page; each principal's trail is read once."""

    def __init__(self, visit: Visit, eyes: Eyes, since: datetime, *, sign_ins: bool) -> None:
        self._visit = visit
        self._eyes = eyes
        self._since = since
        self._finder = PathFinder(visit, eyes)
        self._trails: dict[str, Trail] = {}
        self._offers: dict[tuple[str, str], Offer] = {}
        self.sign_ins = sign_ins
        self.looked = 0
        self.hidden = 0
        """Those whose assignment or whose log the person may not read."""

    async def findings(self, assignments: Sequence[RoleAssignment]) -> list[Finding]:
        found: list[Finding] = []
        for one in assignments:
            scope = ResourceId.parse(one.scope)
            if await self._eyes.sight.of_assignment(one) and await self._eyes.sight.may(_ACTIVITY_READ, scope):
                self.looked += 1
                found.append(await self._finding(one, scope))
            else:
                self.hidden += 1
        return found

    async def _finding(self, one: RoleAssignment, scope: ResourceId) -> Finding:
        role = await self._visit.desk.access.definition(one.tenant_id, one.role_id)
        trails = [await self._trail(each) for each in await self._holders(one)]
        return Finding(
            assignment=one,
            who=await self._eyes.shown(one.principal_id),
            role=role,
            place=await place_of(self._visit, scope),
            use=judged(one, role, trails, self._since),
            removal=await self._offer(DELETE, scope),
            granting=await self._offer(WRITE, scope),
        )

    async def _holders(self, one: RoleAssignment) -> Sequence[str]:
        if one.principal_type != _GROUP:
            return (one.principal_id,)
        members, more = await self._finder.members(one.principal_id)
        # Of a large group some are looked at: what the others did may rest on it, too.
        return (*members, "") if more or not members else members

    async def _trail(self, principal_id: str) -> Trail:
        if not principal_id:
            return Trail(complete=False)
        if principal_id not in self._trails:
            desk = self._visit.desk
            self._trails[principal_id] = await trail_of(
                desk.store, desk.tenant.id, principal_id, self._since, sign_ins=self.sign_ins
            )
        return self._trails[principal_id]

    async def _offer(self, action: str, scope: ResourceId) -> Offer:
        key = (action, scope.key)
        if key not in self._offers:
            self._offers[key] = await offer(self._visit, action, scope)
        return self._offers[key]


async def _apply(visit: Visit) -> Page:
    """Give the lesser role, if one is named, and then take the assignment away: in that order, so that nothing is ever without either."""
    found = await visit.desk.store.get(ROLE_ASSIGNMENTS, visit.form("assignment").lower())
    if found is None or found.value.tenant_id != visit.desk.tenant.id:
        raise Failure(FailureKind.RESOURCE_NOT_FOUND, "the role assignment is not there any more")
    one, scope = found.value, ResourceId.parse(found.value.scope)
    if visit.form("role"):
        body: JsonObject = {
            "properties": {
                "roleDefinitionId": f"/providers/Microsoft.Authorization/roleDefinitions/{visit.form('role')}",
                "principalId": one.principal_id,
                "principalType": one.principal_type,
                **({"description": one.description} if one.description else {}),
                **({"condition": one.condition, "conditionVersion": CONDITION_VERSION} if one.condition else {}),
            }
        }
        await visit.desk.write("PUT", assignment_path(scope, visit.request.call.request_id), body, version=VERSION)
    await visit.desk.write("DELETE", assignment_path(scope, one.id), version=VERSION)
    said = "The lesser role is given, and the broader one removed." if visit.form("role") else "The role assignment is removed."
    return Redirect(to=local_target(visit.query("back")), said=said)


ROUTES: Final = (
    Route(method="GET", pattern=_AT, handler=_unused),
    Route(method="POST", pattern=_AT, handler=_apply),
)
