"""What an analysis comes to, and what each is given."""

from __future__ import annotations

from dataclasses import dataclass

from idplane.explain.model import Fact, Fix, Step
from idplane.explain.sight import Sight
from idplane.model.profile import Profile
from idplane.model.refusals import Refusal
from idplane.ports.store import Reads
from idplane.ports.world import Clock
from idplane.rbac import AccessControl

__all__ = ["Case", "Findings", "Tools"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What explaining rests on."""

    store: Reads
    access: AccessControl
    clock: Clock
    profile: Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One refusal that is being explained to one viewer."""

    refusal: Refusal
    sight: Sight
    tools: Tools

    def fact(self, name: str) -> str:
        """A fact that the refusal carries; empty if it does not."""
        return self.refusal.facts.get(name, "")

    @property
    def who(self) -> str:
        """The one who asked, for sentences."""
        one = self.refusal
        return one.caller_name or one.client_id or one.principal_id or "The caller"


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Why, and what would help; reduced to what the viewer may know."""

    summary: str
    decided: Step
    considered: tuple[Step, ...] = ()
    nearest: Step | None = None
    fixes: tuple[Fix, ...] = ()
    together: bool = False
    now: str | None = None
    allowed: bool = False
    what: tuple[Fact, ...] = ()
    """What has to be said of the request beside what every refusal says."""
