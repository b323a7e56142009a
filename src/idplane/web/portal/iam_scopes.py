"""The scopes of a tenant as a tree: management groups, subscriptions and resource groups, each leading to its access control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from idplane.model.directory import Subscription
from idplane.model.ids import ROOT, ResourceId, management_group_id
from idplane.ports.collections import MANAGEMENT_GROUPS, RESOURCES
from idplane.ports.sorting import Sort
from idplane.web.portal.iam_frame import READ
from idplane.web.portal.lists import Question
from idplane.web.portal.places import Place
from idplane.web.portal.routes import Route
from idplane.web.portal.sight import parts_of, subscription_scope, subscriptions_of, visible
from idplane.web.portal.types import GROUP
from idplane.web.portal.view import Html, Page, Visit

__all__ = ["ROUTES"]

_READ_GROUP: Final = "Microsoft.Management/managementGroups/read"


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A scope of the tree."""

    place: Place
    level: int
    leads: bool
    """Whether the person may look at its access control."""
    opens: str = ""
    """Of a subscription: what shows its resource groups."""


async def _scopes(visit: Visit) -> Page:
    wanted = visit.query("subscription").lower()
    branches = await _tree(visit)
    groups, after = await _groups(visit, wanted) if wanted else ((), None)
    return Html(
        template="iam-scopes.html",
        values={
            "title": "Access control (IAM)",
            "branches": branches,
            "subscription": next((one.place.name for one in branches if one.place.id.subscription == wanted), ""),
            "groups": groups,
            "after": after,
        },
    )


async def _tree(visit: Visit) -> list[Branch]:
    tenant = visit.desk.tenant
    found = await visit.desk.store.all(MANAGEMENT_GROUPS, where={"tenant_id": tenant.id})
    names = {one.value.key: one.value.display_name for one in found}
    names.setdefault(tenant.id, "Tenant root group")
    above: dict[str, str | None] = {one.value.key: one.value.above for one in found} | {tenant.id: None}
    seen = {key for key in names if await visit.desk.may(_READ_GROUP, management_group_id(key))}
    root = Place(id=ROOT, name=tenant.display_name)
    branches = [Branch(place=root, level=0, leads=await visit.desk.may(READ, ROOT))]
    subscriptions = await subscriptions_of(visit)
    tree = _Tree(names=names, above=above, seen=seen, subscriptions=subscriptions, tenant_id=tenant.id)
    for scope, name, level in tree.rows():
        leads = await visit.desk.may(READ, scope)
        opens = f"/portal/iam?subscription={scope.subscription}" if scope.subscription else ""
        branches.append(Branch(place=Place(id=scope, name=name), level=level, leads=leads, opens=opens))
    return branches


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tree:
    names: Mapping[str, str]
    above: Mapping[str, str | None]
    seen: set[str]
    subscriptions: Sequence[Subscription]
    tenant_id: str

    def rows(self) -> list[tuple[ResourceId, str, int]]:
        """Every scope that may be seen below the tenant, each behind the one it lies in. What lies in an unseen one stands at the top."""
        return self._below(None, 1)

    def _below(self, key: str | None, level: int) -> list[tuple[ResourceId, str, int]]:
        rows: list[tuple[ResourceId, str, int]] = []
        groups = sorted(
            (one for one in self.seen if self._seen_above(self.above[one]) == key), key=lambda it: self.names[it].lower()
        )
        for group in groups:
            rows += [(management_group_id(group), self.names[group], level), *self._below(group, level + 1)]
        rows += [
            (subscription_scope(one), one.display_name, level)
            for one in self.subscriptions
            if self._seen_above(one.management_group or self.tenant_id) == key
        ]
        return rows

    def _seen_above(self, key: str | None) -> str | None:
        while key is not None and key not in self.seen:
            key = self.above.get(key)
        return key


async def _groups(visit: Visit, subscription_id: str) -> tuple[list[Branch], str | None]:
    parts = await parts_of(visit, {"type": GROUP.lower(), "subscription_id": subscription_id})
    text = visit.query("q").lower()
    question = Question(store=visit.desk.store, parts=parts, order=Sort("name"), containing=("name", text) if text else None)
    page = await question.page(RESOURCES, visit.query("after") or None, lambda it: visible(visit, it))
    ids = [one.value.id for one in page.items]
    return [
        Branch(place=Place(id=one, name=one.name), level=0, leads=await visit.desk.may(READ, one)) for one in ids
    ], page.after


ROUTES: Final = (Route(method="GET", pattern="/portal/iam", handler=_scopes),)
