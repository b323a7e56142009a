"""Records of the activity log that a person may see, in words, and those that belong to a sign-in.

Who may read what is decided as for Resource Manager's own log (`providers.insights`): whoever may read a subscription's reads all of it,
and others read what happened to what they may read.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from idplane.model.events import ActivityEvent, EventStatus, SignIn
from idplane.model.failure import Failure
from idplane.model.ids import ROOT, ResourceId
from idplane.ports.collections import ACTIVITY
from idplane.web.portal.log_search import Found, LogSearch, Sifting
from idplane.web.portal.sight import parts_of
from idplane.web.portal.spans import Span
from idplane.web.portal.view import Visit

__all__ = ["ACTIVITY_READ", "NARROWEST", "ActivityRow", "ActivitySight", "calls_with_token", "same_correlation", "scope_of"]

ACTIVITY_READ: Final = "Microsoft.Insights/eventtypes/values/read"
NARROWEST: Final = ("correlation_id", "resource_key", "caller_id", "group_key", "subscription_id")
"""The columns that have an index, the narrowest first."""
_CORRELATED: Final = Sifting(limit=20, looks=500)
_CLOCKS_APART: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class ActivityRow:
    """A record in words."""

    position: int
    event: ActivityEvent

    @property
    def good(self) -> bool:
        """Whether it was done, or is being done."""
        return self.event.status is not EventStatus.FAILED

    @property
    def state(self) -> tuple[str, str]:
        """A word, and the kind of badge for it."""
        words = (
            f"{self.event.status}: {self.event.sub_status}"
            if not self.good and self.event.sub_status
            else str(self.event.status)
        )
        return words, "good" if self.event.status is EventStatus.SUCCEEDED else "info" if self.good else "bad"

    @property
    def caller(self) -> str:
        """Who did it."""
        return self.event.caller_name or self.event.caller or self.event.caller_id

    @property
    def resource(self) -> ResourceId | None:
        """What it was done to, if that is a resource that has a page."""
        scope = scope_of(self.event)
        return scope if scope.subscription is not None else None


@dataclass(slots=True)
class ActivitySight:
    """Which records the person may see."""

    visit: Visit
    _known: dict[str, bool] = field(default_factory=dict)
    _held: tuple[str, ...] | None = None

    async def sees(self, event: ActivityEvent) -> bool:
        """Whether a record may be shown."""
        if event.tenant_id != self.visit.desk.tenant.id:
            return False
        scope = scope_of(event)
        whole = ResourceId(("subscriptions", scope.subscription)) if scope.subscription else ROOT
        if await self._may(whole):
            return True
        # Below no role of the person's nothing is allowed: most of what others did is passed over without a decision.
        key = scope.key
        return any(key == one or key.startswith(f"{one}/") for one in await self._scopes()) and await self._may(scope)

    async def only_group(self) -> str | None:
        """The resource group that all of what the person may see lies in, if it is one."""
        scopes = await self._scopes()
        if len(scopes) != 1 or await self._may(ROOT):
            return None
        found = ResourceId.parse(scopes[0])
        alone = found.resource_group is not None and not await self._may(ResourceId(found.segments[:2]))
        return ResourceId(found.segments[:4]).key if alone else None

    async def _scopes(self) -> tuple[str, ...]:
        """What lies in subscriptions below the person's roles."""
        if self._held is None:
            parts = await parts_of(self.visit, {})
            self._held = tuple(one.under[1] if one.under else f"/subscriptions/{one.where['subscription_id']}" for one in parts)
        return self._held

    async def _may(self, scope: ResourceId) -> bool:
        if scope.key not in self._known:
            self._known[scope.key] = await self.visit.desk.may(ACTIVITY_READ, scope)
        return self._known[scope.key]


def scope_of(event: ActivityEvent) -> ResourceId:
    """An event's resource; what is no id of today is the whole tenant's."""
    try:
        return ResourceId.parse(event.resource_id)
    except Failure:
        return ROOT


async def calls_with_token(visit: Visit, sign_in: SignIn) -> list[ActivityRow]:
    """What was done with the token that a sign-in gave, as far as the person may see it: the newest, of a bounded number of calls."""
    if sign_in.token_id is None or sign_in.principal_id is None:
        return []
    until = sign_in.expires_at + _CLOCKS_APART if sign_in.expires_at else None
    search = _search(visit, Span(name="own", since=sign_in.at - _CLOCKS_APART, until=until), caller_id=sign_in.principal_id)
    return _rows(await replace(search, tests=(lambda it: it.claims.get("uti") == sign_in.token_id,)).run(None, _CORRELATED))


async def same_correlation(visit: Visit, correlation_id: str, position: int | None = None) -> list[ActivityRow]:
    """What else has a correlation id, without the record at a position."""
    if not correlation_id:
        return []
    search = _search(visit, Span(name="all", since=None, until=None), correlation_id=correlation_id)
    return [row for row in _rows(await search.run(None, _CORRELATED)) if row.position != position]


def _search(visit: Visit, span: Span, **columns: str) -> LogSearch[ActivityEvent]:
    return LogSearch(
        store=visit.desk.store, log=ACTIVITY, span=span, narrowest=NARROWEST, columns=columns, keep=ActivitySight(visit).sees
    )


def _rows(found: Found[ActivityEvent]) -> list[ActivityRow]:
    return [ActivityRow(one.position, one.event) for one in found.rows]
