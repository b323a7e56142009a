"""Principals as the person may see them: what each is called, and how one is found among ten thousand.

What somebody may know of a principal is decided where explanations decide it (`explain.sight`), so that no page tells what another hides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from idplane.explain.sight import Sight
from idplane.model.directory import Principal, PrincipalType
from idplane.model.ids import is_guid
from idplane.ports.collections import PRINCIPALS
from idplane.ports.sorting import Sort
from idplane.ports.store import ColumnValue
from idplane.web.portal.lists import Part, Question
from idplane.web.portal.view import Visit

__all__ = ["KINDS", "Eyes", "Shown"]

KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        PrincipalType.MANAGED_IDENTITY.value: "Managed identity",
        PrincipalType.APPLICATION.value: "Application",
        PrincipalType.USER.value: "User",
        PrincipalType.GROUP.value: "Group",
    }
)
"""Kinds of principals as people call them, in the order in which they are offered."""
_SYMBOLS: Final = {
    PrincipalType.MANAGED_IDENTITY.value: "identity",
    PrincipalType.APPLICATION.value: "application",
    PrincipalType.USER.value: "user",
    PrincipalType.GROUP.value: "identities",
}
_NAMED: Final = 20
"""How many a search shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A principal on a page. One that the person may not know of is its object id, and nothing else."""

    id: str
    principal: Principal | None = None

    @property
    def known(self) -> bool:
        """Whether the person may know what it is."""
        return self.principal is not None

    @property
    def name(self) -> str:
        """What it is called."""
        return self.id if self.principal is None else self.principal.display_name

    @property
    def sign_in_name(self) -> str:
        """What tells it from others of its name: a user's sign-in name, an identity's resource."""
        if self.principal is None:
            return ""
        if self.principal.user is not None:
            return self.principal.user.user_principal_name
        return self.principal.resource_id or self.principal.client_id

    @property
    def kind(self) -> str:
        """What it is."""
        if self.principal is None:
            return "Principal"
        if self.principal.type is PrincipalType.MANAGED_IDENTITY:
            return "System-assigned identity" if self.principal.system_assigned else "User-assigned identity"
        return KINDS[self.principal.type.value]

    @property
    def symbol(self) -> str:
        """Its symbol."""
        return "identity" if self.principal is None else _SYMBOLS[self.principal.type.value]

    @property
    def page(self) -> str:
        """The page that shows what it can reach."""
        return f"/portal/access/identity/{self.id}"


class Eyes:
    """What one person may see of principals and rules, for one page."""

    def __init__(self, visit: Visit) -> None:
        desk = visit.desk
        self._store = desk.store
        self._tenant = desk.tenant.id
        self.sight: Final = Sight(viewer=visit.person.caller, access=desk.access, store=desk.store)
        self._seen: dict[str, Shown] = {}

    async def shown(self, principal_id: str) -> Shown:
        """A principal by its object id."""
        if principal_id not in self._seen:
            found = await self._store.get(PRINCIPALS, principal_id.lower())
            known = found is not None and await self.sight.of_principal(found.value)
            self._seen[principal_id] = Shown(id=principal_id, principal=found.value if found is not None and known else None)
        return self._seen[principal_id]

    async def find(self, text: str, *, kind: str = "", limit: int = _NAMED) -> tuple[Shown, ...]:
        """Those whose name, sign-in name or id is or holds a text, by name; all that may be seen for none, at most `limit`.

        An object id that the person may not look up is given back as it is: to use one takes no right to read it.
        """
        wanted = text.strip().lower()
        if is_guid(wanted):
            return await self._by_id(wanted)
        where: dict[str, ColumnValue] = {"tenant_id": self._tenant, **({"type": kind} if kind in KINDS else {})}
        found = {one.id: one for one in await self._named(where, "display_name", wanted, limit)}
        if wanted and kind in {"", PrincipalType.USER.value}:
            users: dict[str, ColumnValue] = {**where, "type": PrincipalType.USER.value}
            found |= {one.id: one for one in await self._named(users, "user_principal_name", wanted, limit)}
        return tuple(sorted(found.values(), key=lambda it: (it.name.lower(), it.id)))[:limit]

    async def _by_id(self, wanted: str) -> tuple[Shown, ...]:
        client = await self._store.page(PRINCIPALS, where={"tenant_id": self._tenant, "client_id": wanted}, limit=1)
        for one in client.items:
            if one.value.id != wanted and await self.sight.of_principal(one.value):
                return (await self.shown(one.value.id),)
        return (await self.shown(wanted),)

    async def _named(self, where: dict[str, ColumnValue], column: str, text: str, limit: int) -> list[Shown]:
        question = Question(
            store=self._store,
            parts=[Part(where=where)],
            order=Sort("display_name"),
            containing=(column, text) if text else None,
            limit=limit,
        )
        page = await question.page(PRINCIPALS, None, self.sight.of_principal)
        shown = [Shown(id=one.value.id, principal=one.value) for one in page.items]
        self._seen |= {one.id: one for one in shown}
        return shown
