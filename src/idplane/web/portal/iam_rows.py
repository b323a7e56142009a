"""Role assignments and deny assignments as rows of a page. Whether the person may see a scope's was settled by `iam_frame`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from idplane.model.roles import DenyAssignment, RoleAssignment, RoleDefinition
from idplane.ports.collections import DENY_ASSIGNMENTS, ROLE_ASSIGNMENTS
from idplane.rbac import EVERYONE
from idplane.web.portal.iam_frame import DELETE, IamFrame
from idplane.web.portal.offers import Offer, offer
from idplane.web.portal.places import Place
from idplane.web.portal.principals import Eyes, Shown
from idplane.web.portal.view import Visit

__all__ = ["DenyRow", "Row", "RowMaker", "by_role", "denies_of", "held_here"]

_MOST_DENIES: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A role assignment in words."""

    assignment: RoleAssignment
    who: Shown
    role: RoleDefinition | None
    place: Place
    inherited: bool
    remove: Offer
    through: Shown | None = None
    """The group that holds it, where somebody has it through one."""

    @property
    def role_name(self) -> str:
        """What the role is called; its id once it is gone."""
        return self.assignment.role_id if self.role is None else self.role.name

    @property
    def how(self) -> str:
        """How it comes to count here."""
        return "Inherited" if self.inherited else "This scope"


class RowMaker:
    """Makes rows of one scope's assignments; what was looked up once is kept for the page."""

    def __init__(self, visit: Visit, frame: IamFrame, eyes: Eyes) -> None:
        self._visit = visit
        self._frame = frame
        self._eyes = eyes
        self._offers: dict[str, Offer] = {}

    async def row(self, one: RoleAssignment, *, through: Shown | None = None) -> Row:
        """One assignment at the scope or above it."""
        place = self._frame.place_at(one.scope_key)
        if one.scope_key not in self._offers:
            self._offers[one.scope_key] = await offer(self._visit, DELETE, place.id)
        return Row(
            assignment=one,
            who=await self._eyes.shown(one.principal_id),
            role=await self._visit.desk.access.definition(one.tenant_id, one.role_id),
            place=place,
            inherited=one.scope_key != self._frame.scope.key,
            remove=self._offers[one.scope_key],
            through=through,
        )


def by_role(rows: Iterable[Row]) -> list[tuple[str, Sequence[Row]]]:
    """Rows under their roles' names, in the names' order."""
    ordered = sorted(rows, key=lambda it: (it.role_name.lower(), it.assignment.role_id, it.who.name.lower(), it.assignment.id))
    return [(name, tuple(found)) for name, found in groupby(ordered, key=lambda it: it.role_name)]


async def held_here(visit: Visit, frame: IamFrame, eyes: Eyes, principal_id: str) -> list[Row]:
    """What a principal holds at the scope: directly, from above, and through its groups."""
    maker = RowMaker(visit, frame, eyes)
    ids = await visit.desk.access.principal_ids(principal_id)
    rows: list[Row] = []
    for each in sorted(ids, key=lambda it: (it != principal_id, it)):
        through = None if each == principal_id else await eyes.shown(each)
        found = await visit.desk.store.all(ROLE_ASSIGNMENTS, where={"principal_id": each})
        here = [one.value for one in found if one.value.scope_key in frame.keys and one.value.tenant_id == visit.desk.tenant.id]
        rows += [await maker.row(one, through=through) for one in sorted(here, key=lambda it: frame.keys.index(it.scope_key))]
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class DenyRow:
    """A deny assignment in words."""

    deny: DenyAssignment
    place: Place
    inherited: bool
    principals: tuple[Shown, ...]
    excluded: tuple[Shown, ...]

    @property
    def everyone(self) -> bool:
        """Whether it is for all principals, but for those excluded."""
        return EVERYONE in self.deny.principals

    @property
    def counts(self) -> bool:
        """Whether it reaches the scope that is looked at."""
        return not (self.inherited and self.deny.do_not_apply_to_child_scopes)

    def concerns(self, ids: frozenset[str]) -> bool:
        """Whether it is meant for somebody who is these."""
        named = self.everyone or not ids.isdisjoint(self.deny.principals)
        return self.counts and named and ids.isdisjoint(self.deny.exclude_principals)


async def denies_of(visit: Visit, frame: IamFrame, eyes: Eyes) -> list[DenyRow]:
    """The deny assignments at the scope and above it, nearest first."""
    rows: list[DenyRow] = []
    for key in frame.keys:
        page = await visit.desk.store.page(DENY_ASSIGNMENTS, where={"scope_key": key}, limit=_MOST_DENIES)
        own = [one.value for one in page.items if one.value.tenant_id == visit.desk.tenant.id]
        rows += [await _deny(one, frame, eyes) for one in own]
    return rows


async def _deny(deny: DenyAssignment, frame: IamFrame, eyes: Eyes) -> DenyRow:
    return DenyRow(
        deny=deny,
        place=frame.place_at(deny.scope_key),
        inherited=deny.scope_key != frame.scope.key,
        principals=tuple([await eyes.shown(one) for one in deny.principals if one != EVERYONE]),
        excluded=tuple([await eyes.shown(one) for one in deny.exclude_principals]),
    )
