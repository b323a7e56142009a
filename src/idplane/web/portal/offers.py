"""Commands that a page offers: to whoever may give them, and to anybody else with the right that is missing."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from idplane.model.ids import ResourceId
from idplane.web.portal.view import Visit

__all__ = ["Offer", "offer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Whether the person may do something."""

    action: str
    scope: ResourceId
    allowed: bool
    explanation: str
    """The address of a page that tells why, or who may."""
    why: str = ""
    """What keeps everybody from it, whatever their roles."""

    @property
    def open(self) -> bool:
        """Whether the command can be given."""
        return self.allowed and not self.why

    @property
    def reason(self) -> str:
        """Why it can't."""
        return self.why or f"It takes {self.action} on {self.scope.name or 'the tenant'}."


async def offer(visit: Visit, action: str, scope: ResourceId, *, why: str = "") -> Offer:
    """What to show of a command that needs `action` at `scope`, and that nobody can give if there is a `why`."""
    asked = urlencode({"as": visit.person.caller.principal_id, "action": action, "scope": str(scope)})
    return Offer(
        action=action,
        scope=scope,
        allowed=await visit.desk.may(action, scope),
        explanation=f"/portal/explain?{asked}",
        why=why,
    )
