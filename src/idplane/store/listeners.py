"""Who hears of commits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from idplane.ports.store import Change, Listener

__all__ = ["Listeners"]


class Listeners:
    """The subscribers of one store, called on the event loop in the order of their subscription."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def add(self, listener: Listener) -> Callable[[], None]:
        """Subscribe; the answer ends the subscription and may be called again harmlessly."""
        # A wrapper of its own, so that one function subscribed twice is two subscriptions.
        entry: Listener = lambda changes: listener(changes)  # noqa: E731, PLW0108 - identity is the point

        def stop() -> None:
            if entry in self._listeners:
                self._listeners.remove(entry)

        self._listeners.append(entry)
        return stop

    def tell(self, changes: Sequence[Change]) -> None:
        """Call every listener; one that raises is reported to the loop and keeps nothing from the others."""
        if not changes:
            return
        for listener in tuple(self._listeners):
            try:
                listener(changes)
            except Exception as error:  # noqa: BLE001 - a broken listener must not lose an acknowledgement
                asyncio.get_running_loop().call_exception_handler({"message": "a store listener raised", "exception": error})
