"""A store that tells how long its commits take and what they hand out or take away; its reads are the other store's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from idplane.model.directory import CredentialKind
from idplane.ports.collections import AGENTS, CREDENTIALS, IDENTITY_ASSIGNMENTS, PRINCIPALS, ROLE_ASSIGNMENTS
from idplane.ports.store import ABSENT, Batch, Change, CommitRefused, Delete, Listener, Operation, Put, Store
from idplane.ports.telemetry import CERTIFICATES_ISSUED, REVOCATIONS, STORE_COMMIT, STORE_COMMITS, Telemetry
from idplane.ports.tree import LogSealer, LogTree
from idplane.ports.world import Clock

__all__ = ["ObservedStore"]

_TAKEN_AWAY: Final = {
    PRINCIPALS.name: "principal",
    IDENTITY_ASSIGNMENTS.name: "assignment",
    ROLE_ASSIGNMENTS.name: "assignment",
    CREDENTIALS.name: "credential",
}


class ObservedStore:
    """A `ports.store.Store` around another one."""

    def __init__(self, inner: Store, *, telemetry: Telemetry, clock: Clock) -> None:
        self._inner = inner
        self._telemetry = telemetry
        self._clock = clock
        # The other store's own methods: a token reads several times, and a layer of coroutines would cost each of them.
        self.get = inner.get
        self.page = inner.page
        self.all = inner.all
        self.count = inner.count
        self.read_log = inner.read_log
        self.tally = inner.tally
        self.freshness = inner.freshness

    def seal_logs(self, sealer: LogSealer, /) -> None:
        """As the port."""
        self._inner.seal_logs(sealer)

    @property
    def tree(self) -> LogTree:
        """The tree over the logs."""
        return self._inner.tree

    async def commit(self, batch: Batch, /) -> int:
        """As the port; what was applied is counted after it is durable."""
        started = self._clock.monotonic()
        outcome = "failed"
        with self._telemetry.span(STORE_COMMIT, operations=len(batch.operations)) as span:
            try:
                position = await self._inner.commit(batch)
                outcome = "applied"
            except CommitRefused:
                outcome = "refused"
                raise
            finally:
                span.set(outcome=outcome)
                self._telemetry.observe(STORE_COMMITS, self._clock.monotonic() - started, outcome=outcome)
        for operation in batch.operations:
            self._tell(operation)
        return position

    async def changes(self, after: int, /, *, limit: int = 1000) -> tuple[Change, ...]:
        """The feed after a position."""
        return await self._inner.changes(after, limit=limit)

    async def position(self) -> int:
        """The feed's current end."""
        return await self._inner.position()

    def subscribe(self, listener: Listener, /) -> Callable[[], None]:
        """As the port."""
        return self._inner.subscribe(listener)

    async def close(self) -> None:
        """Close the other store."""
        await self._inner.close()

    def _tell(self, operation: Operation) -> None:
        if isinstance(operation, Put):
            kind = _handed_out(operation)
            if kind is not None:
                self._telemetry.count(CERTIFICATES_ISSUED, kind=kind)
        elif isinstance(operation, Delete):
            kind = _TAKEN_AWAY.get(operation.collection.name)
            if kind is not None:
                self._telemetry.count(REVOCATIONS, kind=kind)


def _handed_out(operation: Put[object]) -> str | None:
    """Which certificate became valid with a record, if one did."""
    name = operation.collection.name
    if name == CREDENTIALS.name:
        kind = getattr(operation.value, "kind", None)
        return "identity" if kind is CredentialKind.IDENTITY_CERTIFICATE and operation.expect is ABSENT else None
    return "agent" if name == AGENTS.name and operation.expect is ABSENT else None
