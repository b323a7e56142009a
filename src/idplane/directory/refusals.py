"""Refusals are kept here, so that each can be explained by the id that its caller was shown.

Noting one costs its request nothing: what is noted is written in the background, together with what else came meanwhile, and is there for whoever
asks this process at once. Anybody can be refused, so what is kept is bounded three times: how fast one source may fill the table (a proved principal,
a host, or else an address), how fast all strangers may, and how many rows there are of those who proved themselves and of those who did not. One
that came too fast is not kept, only counted.

Not kept at all: servers that cannot serve just now, polls that are told to go on, the first step of a challenge, questions about refusals that are
not there, and addresses that are served nowhere when nobody knows who asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from idplane.arm.buckets import Buckets, Claim, Shortage
from idplane.model.calls import Call, network_of
from idplane.model.failure import Category, Failure, FailureKind
from idplane.model.rates import Rate
from idplane.model.redaction import plain
from idplane.model.refusals import Evidence, Refusal, RefusalSurface, attributes_document, refusal_key
from idplane.ports.collections import REFUSALS
from idplane.ports.store import ANY, Batch, Change, CommitRefused, Delete, Put, Store, Versioned
from idplane.ports.telemetry import NO_TELEMETRY, REFUSALS_NOT_KEPT, Telemetry
from idplane.ports.world import Clock

__all__ = ["KEPT", "RefusalKeeper", "Room"]

KEPT: Final = timedelta(days=30)
_OF_PROVED: Final = Rate(100, 0.1)
"""Of one principal or host and one class of refusal."""
_OF_ADDRESS: Final = Rate(30, 0.05)
_OF_STRANGERS: Final = Rate(300, 1.0)
"""All that proved nothing, together."""
_MOST_WAITING: Final = 1000
_AT_ONCE: Final = 200
_PAGE: Final = 500
_EVERY: Final = timedelta(minutes=10)
_MAX_TEXT: Final = 1024
_MAX_FACTS: Final = 32
_MAX_NAMES: Final = 200
_LATER: Final = 0.4
"""Seconds after which a refusal that another server has just shown is in the database."""

_NEVER: Final = frozenset(
    {
        FailureKind.UNAVAILABLE,
        FailureKind.STORAGE_FULL,
        FailureKind.DEVICE_CODE_PENDING,
        FailureKind.DEVICE_CODE_SLOW_DOWN,
        FailureKind.REFUSAL_NOT_FOUND,
    }
)
_NOISE: Final = frozenset({FailureKind.PATH_NOT_FOUND, FailureKind.METHOD_NOT_ALLOWED})
"""Of strangers: whoever scans addresses is refused nothing."""

_log = logging.getLogger("idplane.refusals")


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How many rows there may be, so that strangers displace strangers only."""

    proved: int = 50_000
    strangers: int = 10_000


class RefusalKeeper:
    """One process' part. Needs a running event loop; lives until `close`."""

    def __init__(self, *, store: Store, clock: Clock, telemetry: Telemetry = NO_TELEMETRY, room: Room = Room()) -> None:
        self._room = room
        self._store = store
        self._clock = clock
        self._telemetry = telemetry
        self._waiting: deque[Refusal] = deque()
        self._buckets = Buckets()
        self._writing: asyncio.Task[None] | None = None
        self._position: int | None = None
        self._unsubscribe = store.subscribe(self._hear)

    # What was refused -------------------------------------------------------------------------------------------------

    def note(self, failure: Failure, call: Call, *, surface: str, status: int) -> None:
        """A request was refused, and its caller is being told its id. Quick, and never raises."""
        evidence = failure.evidence or Evidence()
        if not _is_kept(failure, evidence, surface):
            return
        self.add(
            Refusal(
                id=call.request_id,
                at=call.received_at,
                surface=surface,
                kind=failure.kind.name,
                detail=plain(failure.detail, _MAX_TEXT),
                facts={name: plain(value, _MAX_TEXT) for name, value in [*failure.data.items()][:_MAX_FACTS] if value},
                status=status,
                method=call.method[:20],
                url=plain(call.url, 2048),
                client_address=call.client_address,
                user_agent=plain(call.user_agent, 512),
                correlation_id=call.correlation_id,
                position=self._position,
                resource=plain(evidence.resource, _MAX_TEXT) if evidence.resource else None,
                proved=evidence.proved,
                tenant_id=evidence.tenant_id,
                principal_id=evidence.principal_id,
                client_id=plain(evidence.client_id, _MAX_TEXT),
                caller_name=plain(evidence.caller_name, _MAX_TEXT),
                token_id=evidence.token_id,
                groups=evidence.groups[:_MAX_NAMES],
                host=evidence.host,
                workload=evidence.workload,
                action=evidence.action,
                scope=evidence.scope,
                data=evidence.data,
                attributes=attributes_document(evidence.attributes),
                reason=evidence.reason,
                because=evidence.because,
                considered=evidence.considered[:_MAX_NAMES],
                sign_in_id=evidence.sign_in_id,
            )
        )

    def add(self, refusal: Refusal) -> None:
        """Keep a record, if there is room for one of its source. Quick, and never raises."""
        if isinstance(self._buckets.take(_claims(refusal), self._clock.now().timestamp()), Shortage):
            self._telemetry.count(REFUSALS_NOT_KEPT, why="rate")
            return
        if len(self._waiting) >= _MOST_WAITING:
            self._telemetry.count(REFUSALS_NOT_KEPT, why="room")
            return
        self._waiting.append(refusal)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._write_all())

    async def again(self, refusal: Refusal) -> None:
        """Requests like an earlier one at the same host's endpoint, whose callers were told the earlier one's id."""
        row = await self._row(refusal.id)
        if row is None:
            self.add(refusal)
            return
        if (row.value.surface, row.value.host) != (refusal.surface, refusal.host):
            return  # an agent that gives out another's id
        counted = replace(row.value, count=row.value.count + refusal.count)
        with contextlib.suppress(CommitRefused):  # somebody counts as well: how many there were is a hint
            await self._store.commit(Batch.of(Put(collection=REFUSALS, value=counted, expect=row.version)))

    # What was kept ----------------------------------------------------------------------------------------------------

    async def find(self, refusal_id: str) -> Refusal | None:
        """The refusal whose caller was shown this id, as far as this process and the database know."""
        row = await self._row(refusal_id)
        return None if row is None else row.value

    async def settled(self) -> None:
        """Wait until what any server has just refused is in the database."""
        await self._clock.sleep(_LATER)

    async def flush(self) -> None:
        """Until everything that was noted is in the database."""
        while self._writing is not None and not self._writing.done():
            await asyncio.shield(self._writing)

    async def close(self) -> None:
        """Write what waits, and stop."""
        await self.flush()
        self._unsubscribe()

    async def turn(self) -> datetime:
        """Remove what is too old or too much; when to come again."""
        now = self._clock.now()
        await self._remove_behind(refusal_key(now - KEPT), None)
        for proved, most in ((1, self._room.proved), (0, self._room.strangers)):
            where = {"proved": proved}
            if await self._store.count(REFUSALS, where=where, limit=most + 1) > most:
                last = await self._place(where, most)
                if last is not None:
                    await self._remove_behind(last, where)
        return now + _EVERY

    async def _row(self, refusal_id: str) -> Versioned[Refusal] | None:
        await self.flush()
        page = await self._store.page(REFUSALS, where={"refusal_id": refusal_id.lower()}, limit=1)
        return page.items[0] if page.items else None

    async def _write_all(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _AT_ONCE))]
            try:
                await self._store.commit(Batch.of(*(Put(collection=REFUSALS, value=one, expect=ANY) for one in batch)))
            except Failure as failure:
                self._telemetry.count(REFUSALS_NOT_KEPT, why="store")
                _log.warning("%d refusals could not be kept: %s", len(batch), failure.detail)

    async def _place(self, where: Mapping[str, int], rows: int) -> str | None:
        """The key of the row that so many newer ones stand before."""
        after: str | None = None
        while rows > 0:
            page = await self._store.page(REFUSALS, where=where, after=after, limit=min(rows, _PAGE))
            rows -= len(page.items)
            after = page.after
            if after is None:
                return None
        return after

    async def _remove_behind(self, key: str, where: Mapping[str, int] | None) -> None:
        """Remove the rows that stand behind a key: those that are older."""
        while True:
            page = await self._store.page(REFUSALS, where=where, after=key, limit=_PAGE)
            if not page.items:
                return
            await self._store.commit(Batch.of(*(Delete(collection=REFUSALS, key=one.value.key) for one in page.items)))

    def _hear(self, changes: Sequence[Change]) -> None:
        if changes:
            self._position = changes[-1].position


def _is_kept(failure: Failure, evidence: Evidence, surface: str) -> bool:
    if failure.kind in _NEVER or (failure.kind in _NOISE and not evidence.proved):
        return False
    # Clients of vaults ask without a token first, to be told where to get one.
    return not (surface == RefusalSurface.VAULT and failure.kind is FailureKind.TOKEN_MISSING)


def _claims(refusal: Refusal) -> tuple[Claim, ...]:
    source = (refusal.principal_id or refusal.host or refusal.caller_name) if refusal.proved else ""
    if source:
        # Whoever looks whether things are there is told so many times, which must not displace what was forbidden.
        return (Claim(("proved", source, _class(refusal.kind)), _OF_PROVED),)
    return (Claim(("address", network_of(refusal.client_address)), _OF_ADDRESS), Claim(("strangers",), _OF_STRANGERS))


def _class(kind: str) -> str:
    category = FailureKind[kind].category if kind in FailureKind.__members__ else Category.FORBIDDEN
    return "forbidden" if category in (Category.FORBIDDEN, Category.UNAUTHENTICATED) else category.name
