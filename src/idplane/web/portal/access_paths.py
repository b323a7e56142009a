"""Who reaches what: role assignments as paths from the resources that bear an identity to the scopes where its roles stand.

Only what the person may read becomes a path; rules that are passed over are counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from idplane.graph.permissions import Area, may
from idplane.model.directory import PrincipalType
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.roles import RoleAssignment, RoleDefinition
from idplane.ports.collections import IDENTITY_ASSIGNMENTS, MEMBERSHIPS, ROLE_ASSIGNMENTS
from idplane.ports.store import ColumnValue
from idplane.web.portal.places import Place, place_of
from idplane.web.portal.principals import Eyes, Shown
from idplane.web.portal.sight import may_see
from idplane.web.portal.view import Visit

__all__ = ["Holders", "Path", "PathFinder", "Selection", "assignments_in"]

_MOST_SOURCES: Final = 5
_MOST_MEMBERS: Final = 10
_MOST_COUNTED: Final = 10_000
_GROUP: Final = PrincipalType.GROUP.value

Selection: TypeAlias = Sequence[Mapping[str, ColumnValue]]
"""Which role assignments, in the order in which they matter: those of the first selection come first."""
Holders: TypeAlias = Mapping[str, Sequence[Shown]]
"""Whom a principal's role assignments are shown as: itself, or whoever has them through it as a group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """One way for one identity to reach one scope."""

    who: Shown
    through: Shown | None
    """The group that holds the role, if it is one."""
    role: RoleDefinition | None
    place: Place
    assignment: RoleAssignment
    sources: tuple[Place, ...]
    """Resources that may use the identity, as far as the person may see them."""
    more_sources: int
    more_members: int = 0
    """Of the group, how many others it gives the same to."""

    @property
    def role_name(self) -> str:
        """What the role is called."""
        return self.assignment.role_id if self.role is None else self.role.name


async def assignments_in(
    visit: Visit, selection: Selection, after: str | None, limit: int
) -> tuple[list[RoleAssignment], str | None]:
    """A page of role assignments, and where the next one starts. Raises `Failure(INVALID_PARAMETER)` for what is no such place."""
    stage, _, place = (after or "0~").partition("~")
    if not stage.isdecimal() or not stage.isascii() or int(stage[:6]) >= max(1, len(selection)):
        raise Failure(FailureKind.INVALID_PARAMETER, "no page starts there: go back to the first one")
    found: list[RoleAssignment] = []
    for number in range(int(stage[:6]), len(selection)):
        page = await visit.desk.store.page(
            ROLE_ASSIGNMENTS, where=selection[number], after=place or None, limit=limit - len(found)
        )
        found += [one.value for one in page.items if one.value.tenant_id == visit.desk.tenant.id]
        place = page.after or ""
        if place or len(found) >= limit:
            return found, f"{number}~{place}" if place else f"{number + 1}~" if number + 1 < len(selection) else None
    return found, None


class PathFinder:
    """Makes paths of role assignments; what was looked up once is kept for the page."""

    def __init__(self, visit: Visit, eyes: Eyes) -> None:
        self._visit = visit
        self._eyes = eyes
        self._places: dict[str, Place] = {}
        self._sources: dict[str, tuple[tuple[Place, ...], int]] = {}
        self._members: dict[str, tuple[tuple[str, ...], int]] = {}
        self.hidden = 0
        """Role assignments that the person may not read."""

    async def paths(self, assignments: Iterable[RoleAssignment], holders: Holders | None = None) -> list[Path]:
        """The paths of assignments: those of `holders` by what each holds, or of whomever each names."""
        found: list[Path] = []
        for one in assignments:
            if not await self._eyes.sight.of_assignment(one):
                self.hidden += 1
            elif holders is None:
                found += await self._of_anybody(one)
            else:
                found += [await self._of(one, who) for who in holders.get(one.principal_id, ())]
        return found

    async def _of(self, one: RoleAssignment, who: Shown) -> Path:
        through = None if one.principal_id == who.id else await self._eyes.shown(one.principal_id)
        return await self._path(one, who, through, 0)

    async def _of_anybody(self, one: RoleAssignment) -> list[Path]:
        who = await self._eyes.shown(one.principal_id)
        members, more = await self.members(one.principal_id) if one.principal_type == _GROUP else ((), 0)
        if not members:
            return [await self._path(one, who, None, 0)]
        return [await self._path(one, await self._eyes.shown(each), who, more) for each in members]

    async def _path(self, one: RoleAssignment, who: Shown, through: Shown | None, more: int) -> Path:
        sources, further = await self.sources(who.id)
        return Path(
            who=who,
            through=through,
            role=await self._visit.desk.access.definition(one.tenant_id, one.role_id),
            place=await self._place(one.scope),
            assignment=one,
            sources=sources,
            more_sources=further,
            more_members=more,
        )

    async def members(self, group_id: str) -> tuple[tuple[str, ...], int]:
        """The first of a group's members, and how many others it has; none for who may not read members."""
        if group_id not in self._members:
            self._members[group_id] = await self._read_members(group_id)
        return self._members[group_id]

    async def _read_members(self, group_id: str) -> tuple[tuple[str, ...], int]:
        desk = self._visit.desk
        if not await may(self._visit.person.caller, desk.access, Area.MEMBERS, writes=False):
            return (), 0
        where = {"group_id": group_id}
        page = await desk.store.page(MEMBERSHIPS, where=where, limit=_MOST_MEMBERS)
        total = await desk.store.count(MEMBERSHIPS, where=where, limit=_MOST_COUNTED)
        return tuple(one.value.member_id for one in page.items), total - len(page.items)

    async def sources(self, principal_id: str) -> tuple[tuple[Place, ...], int]:
        """The first resources that may use an identity, and how many others there are that the person may see."""
        if principal_id not in self._sources:
            where = {"principal_id": principal_id}
            page = await self._visit.desk.store.page(IDENTITY_ASSIGNMENTS, where=where, limit=_MOST_SOURCES + 1)
            hosts = [one.value.host for one in page.items if await may_see(self._visit, one.value.host)]
            more = 0
            # Only who may see everything is told how much more there is than was looked at.
            if page.after is not None and await self._eyes.sight.administers():
                more = await self._visit.desk.store.count(IDENTITY_ASSIGNMENTS, where=where, limit=_MOST_COUNTED) - len(
                    page.items
                )
            shown = tuple([Place(id=one, name=one.name) for one in hosts[:_MOST_SOURCES]])
            self._sources[principal_id] = (shown, more + len(hosts) - len(shown))
        return self._sources[principal_id]

    async def _place(self, scope: str) -> Place:
        if scope not in self._places:
            self._places[scope] = await place_of(self._visit, ResourceId.parse(scope))
        return self._places[scope]
