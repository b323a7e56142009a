"""The change feed does not grow for ever: its oldest rows go, far behind whoever follows it."""

from __future__ import annotations

from idplane.ports.store import Batch, Store, TrimChanges

__all__ = ["FEED_ROWS", "FeedUpkeep"]

FEED_ROWS = 1_000_000
"""Days of a busy installation; a follower that is further behind starts anew."""
_AT_ONCE = 50_000


class FeedUpkeep:
    """A duty; removing what another server removes as well does no harm."""

    def __init__(self, *, store: Store, keep: int = FEED_ROWS) -> None:
        self._store = store
        self._keep = keep

    async def turn(self) -> None:
        """Remove some of what is too old, if anything is."""
        await self._store.commit(Batch.of(TrimChanges(keep=self._keep, limit=_AT_ONCE)))
