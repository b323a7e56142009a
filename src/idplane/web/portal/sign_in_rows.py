"""The last sign-ins of one identity, for its own pages; the whole log has a page of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from idplane.graph.permissions import Area, may
from idplane.model.events import SignIn
from idplane.model.failure import Failure
from idplane.model.ids import ResourceId
from idplane.ports.collections import SIGN_INS
from idplane.web.portal.view import Visit

__all__ = ["SignInRow", "sign_in_rows"]

_SHOWN: Final = 50


@dataclass(frozen=True, slots=True)
class SignInRow:
    """A sign-in in words."""

    event: SignIn

    @property
    def good(self) -> bool:
        """Whether it got a token."""
        return self.event.error_code == 0

    @property
    def host(self) -> ResourceId | None:
        """The host that asked."""
        try:
            return ResourceId.parse(self.event.host) if self.event.host else None
        except Failure:
            return None

    @property
    def process(self) -> str:
        """The process that asked, as far as it was proved."""
        workload = self.event.workload
        if workload is None:
            return ""
        return (
            workload.container
            or workload.systemd_unit
            or workload.executable
            or (f"pid {workload.pid}" if workload.pid else "")
        )


async def sign_in_rows(visit: Visit, principal_id: str) -> list[SignInRow] | None:
    """The last sign-ins of a principal, newest first; None where the person may not read the log."""
    desk = visit.desk
    if not await may(visit.person.caller, desk.access, Area.SIGN_INS, writes=False):
        return None
    where = {"principal_id": principal_id, "tenant_id": desk.tenant.id}
    return [SignInRow(one.event) for one in await desk.store.read_log(SIGN_INS, where=where, limit=_SHOWN)]
