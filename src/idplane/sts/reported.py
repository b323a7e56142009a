"""What a host's agent refused before it asked for any token: kept under the id that the workload was shown, and in the sign-in log.

The agent says so itself (`POST /agent/v1/refusals`), since nothing else hears of such a request. A record names the host and the
process, and no identity: which one was meant had not been settled. The log has what was refused for safety's sake; what was merely asked wrongly
is kept alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from idplane.model.calls import Call, Workload
from idplane.model.directory import PrincipalType
from idplane.model.events import EndpointRefusal, SignIn
from idplane.model.failure import Category, FailureKind
from idplane.model.ids import ResourceId, is_guid
from idplane.model.redaction import plain
from idplane.model.refusals import Refusal, RefusalSurface
from idplane.model.scale_sets import host_on, identity_host_key
from idplane.ports.collections import RESOURCES, SIGN_INS, SUBSCRIPTIONS
from idplane.ports.store import Append, Batch, Store
from idplane.ports.world import Clock, Entropy
from idplane.sts.refusals import refusal_of

__all__ = ["RefusalLog", "ReportedRefusal", "is_logged"]

_MAX_TEXT: Final = 1024
_MAX_WORD: Final = 64
_MAX_FACTS: Final = 8
_OLDEST: Final = timedelta(days=1)
_KINDS: Final = {kind.name: kind for kind in FailureKind}
_MISTAKES: Final = frozenset({Category.BAD_REQUEST, Category.NOT_FOUND, Category.METHOD, Category.TOO_LARGE})
_LOGGED: Final = frozenset(
    {
        FailureKind.FOREIGN_HOST,
        FailureKind.FORWARDED,
        FailureKind.METADATA_HEADER_MISSING,
        FailureKind.MALFORMED_BODY,
    }
)
"""Of mistakes, those that somebody who is up to something makes."""


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
    id: str = ""
    """What the workload was shown; agents that are older than ids have none."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """How an identity was named, and the like."""


class Kept(Protocol):
    """Where refusals are kept; `directory.RefusalKeeper` is one."""

    async def again(self, refusal: Refusal) -> None:
        """Keep one, or count it to an earlier one of the same id."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Placed:
    """A report on a host that is there."""

    report: ReportedRefusal
    tenant_id: str
    host: str
    at: datetime
    sign_in: SignIn | None


class RefusalLog:
    """Writes reported refusals. Who may report on which host is settled before (`directory.hosts`)."""

    def __init__(self, *, store: Store, clock: Clock, entropy: Entropy, kept: Kept) -> None:
        self._store = store
        self._clock = clock
        self._entropy = entropy
        self._kept = kept

    async def record(self, reports: Sequence[ReportedRefusal], call: Call) -> None:
        """Append what belongs into the log, all together, and keep each. A host that has gone meanwhile has no log to be in."""
        placed = [one for one in [await self._placed(report, call) for report in reports] if one is not None]
        batch = Batch.of(*(Append(log=SIGN_INS, event=one.sign_in) for one in placed if one.sign_in is not None))
        if batch:
            await self._store.commit(batch)
        for one in placed:
            await self._kept.again(self._refusal(one, call))

    async def _placed(self, report: ReportedRefusal, call: Call) -> _Placed | None:
        subscription = await self._store.get(SUBSCRIPTIONS, report.host.subscription or "")
        bearer = await self._store.get(RESOURCES, identity_host_key(report.host.key))
        host = host_on(bearer.value, report.host) if bearer else None
        if subscription is None or host is None:
            return None
        now = self._clock.now()
        # An agent's clock may be wrong, and the log is read by time.
        at = min(max(report.at, now - _OLDEST), now).astimezone(UTC)
        placed = _Placed(report=report, tenant_id=subscription.value.tenant_id, host=str(host), at=at, sign_in=None)
        return replace(placed, sign_in=self._event(placed, call)) if is_logged(report.reason) else placed

    def _refusal(self, placed: _Placed, call: Call) -> Refusal:
        report = placed.report
        return Refusal(
            id=report.id.lower() if is_guid(report.id) else self._entropy.guid(),
            at=placed.at,
            surface=RefusalSurface.ENDPOINT.value,
            kind=plain(report.reason, _MAX_WORD),
            detail=plain(report.detail, _MAX_TEXT),
            facts={plain(name, _MAX_WORD): plain(value, _MAX_TEXT) for name, value in [*report.facts.items()][:_MAX_FACTS]},
            client_address=call.client_address,
            user_agent=call.user_agent,
            correlation_id=call.correlation_id,
            dialect=plain(report.dialect, _MAX_WORD),
            resource=plain(report.resource, _MAX_TEXT) if report.resource else None,
            count=report.count,
            proved=True,
            tenant_id=placed.tenant_id,
            host=placed.host,
            workload=report.workload,
            scope=placed.host,
            sign_in_id=placed.sign_in.id if placed.sign_in else None,
        )

    def _event(self, placed: _Placed, call: Call) -> SignIn:
        report = placed.report
        return SignIn(
            id=self._entropy.guid(),
            at=placed.at,
            tenant_id=placed.tenant_id,
            client_id="",
            principal_id=None,
            principal_name="",
            principal_type=PrincipalType.MANAGED_IDENTITY.value,
            resource=plain(report.resource or "", _MAX_TEXT),
            resource_name="",
            error_code=refusal_of(_KINDS.get(report.reason, FailureKind.FORBIDDEN)).code,
            failure_reason=_words(report),
            correlation_id=call.correlation_id,
            token_id=None,
            credential_kind="",
            host=placed.host,
            client_address=call.client_address,
            user_agent=call.user_agent,
            workload=report.workload,
            endpoint=EndpointRefusal(
                dialect=plain(report.dialect, _MAX_WORD), reason=plain(report.reason, _MAX_WORD), count=report.count
            ),
        )


def is_logged(reason: str) -> bool:
    """What a newer agent may refuse for is logged rather than not."""
    kind = _KINDS.get(reason)
    return kind is None or kind in _LOGGED or kind.category not in _MISTAKES


def _words(report: ReportedRefusal) -> str:
    detail = plain(report.detail, _MAX_TEXT).rstrip(".") or "the request was refused"
    times = f" ({report.count} times)" if report.count > 1 else ""
    return f"{detail[0].upper()}{detail[1:]}{times}."
