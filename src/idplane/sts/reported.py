"""What a host's agent refused before it asked for any token, as its own records of the sign-in log.

The agent says so itself (`POST /agent/v1/refusals`), since nothing else hears of such a request. A record names the host and the
process, and no identity: which one was meant had not been settled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from idplane.model.calls import Call, Workload
from idplane.model.directory import PrincipalType
from idplane.model.events import EndpointRefusal, SignIn
from idplane.model.failure import FailureKind
from idplane.model.ids import ResourceId
from idplane.model.scale_sets import host_on, identity_host_key
from idplane.ports.collections import RESOURCES, SIGN_INS, SUBSCRIPTIONS
from idplane.ports.store import Append, Batch, Store
from idplane.ports.world import Clock, Entropy
from idplane.sts.refusals import refusal_of

__all__ = ["RefusalLog", "ReportedRefusal"]

_MAX_TEXT: Final = 1024
_MAX_WORD: Final = 64
_OLDEST: Final = timedelta(days=1)
_KINDS: Final = {kind.name: kind for kind in FailureKind}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedRefusal:
    """One refusal, or several alike, as an agent tells of it."""

    host: ResourceId
    at: datetime
    """Of the first of them."""
    reason: str
    """Name of a failure kind; an agent may be newer than this server."""
    detail: str
    dialect: str
    resource: str | None = None
    """The audience that was asked for, if the request was read as far."""
    count: int = 1
    workload: Workload | None = None


class RefusalLog:
    """Writes reported refusals. Who may report on which host is settled before (`directory.hosts`)."""

    def __init__(self, *, store: Store, clock: Clock, entropy: Entropy) -> None:
        self._store = store
        self._clock = clock
        self._entropy = entropy

    async def record(self, reports: Sequence[ReportedRefusal], call: Call) -> None:
        """Append one record for each report, all together. A host that has gone meanwhile has no log to be in."""
        events = [await self._event(report, call) for report in reports]
        batch = Batch.of(*(Append(log=SIGN_INS, event=event) for event in events if event is not None))
        if batch:
            await self._store.commit(batch)

    async def _event(self, report: ReportedRefusal, call: Call) -> SignIn | None:
        subscription = await self._store.get(SUBSCRIPTIONS, report.host.subscription or "")
        bearer = await self._store.get(RESOURCES, identity_host_key(report.host.key))
        host = host_on(bearer.value, report.host) if bearer else None
        if subscription is None or host is None:
            return None
        now = self._clock.now()
        return SignIn(
            id=self._entropy.guid(),
            # An agent's clock may be wrong, and the log is read by time.
            at=min(max(report.at, now - _OLDEST), now).astimezone(UTC),
            tenant_id=subscription.value.tenant_id,
            client_id="",
            principal_id=None,
            principal_name="",
            principal_type=PrincipalType.MANAGED_IDENTITY.value,
            resource=_plain(report.resource or "", _MAX_TEXT),
            resource_name="",
            error_code=refusal_of(_KINDS.get(report.reason, FailureKind.FORBIDDEN)).code,
            failure_reason=_words(report),
            correlation_id=call.correlation_id,
            token_id=None,
            credential_kind="",
            host=str(host),
            client_address=call.client_address,
            user_agent=call.user_agent,
            workload=report.workload,
            endpoint=EndpointRefusal(
                dialect=_plain(report.dialect, _MAX_WORD), reason=_plain(report.reason, _MAX_WORD), count=report.count
            ),
        )


def _words(report: ReportedRefusal) -> str:
    detail = _plain(report.detail, _MAX_TEXT).rstrip(".") or "the request was refused"
    times = f" ({report.count} times)" if report.count > 1 else ""
    return f"{detail[0].upper()}{detail[1:]}{times}."


def _plain(text: str, limit: int) -> str:
    """Bounded, and without what a terminal or a log would act on."""
    return "".join(one if one.isprintable() else " " for one in text[:limit]).strip()
