"""Requests that a request makes: each is authorized, checked, committed and logged like one that the same caller sent.

Also the work that goes on after an answer: long-running operations. It belongs to the resource manager that began it, and ends with it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from idplane.model.failure import Failure
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject
from idplane.ports.store import Batch, Reads
from idplane.ports.world import Clock

__all__ = ["Background", "InnerAnswer", "InnerRequest", "Manager", "Rehearsal"]

_log = logging.getLogger("idplane.arm")


@dataclass(frozen=True, slots=True, kw_only=True)
class InnerRequest:
    """A request in the name of the caller whose request is being served. `path` is a resource id or one with a word behind it."""

    method: str
    path: str
    api_version: str
    body: JsonObject | None = field(default=None, repr=False)
    attachment: object = field(default=None, repr=False)
    """What one provider function hands to another beside the body: `Context.attachment` there. Never stored or logged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InnerAnswer:
    """The answer to an inner request that was served."""

    status: int
    body: object = None


class Manager(Protocol):
    """The resource manager, as a provider function of one request sees it."""

    @property
    def clock(self) -> Clock:
        """Time, for work that outlives its request."""
        ...

    async def perform(self, inner: InnerRequest) -> InnerAnswer:
        """Serve a request of the same caller, under the same correlation id; raises `Failure` as it would be told to the caller."""
        ...

    async def forbids(self, inner: InnerRequest) -> Failure | None:
        """Why the caller may not make this request, or why it is of no known type and version; None when it may. Nothing is logged."""
        ...

    def explain(self, failure: Failure) -> JsonObject:
        """The error object that a caller would read."""
        ...

    def versions(self, type_name: str) -> tuple[str, ...]:
        """The api-versions of a type, newest first; none for a type that is not declared."""
        ...

    async def record(self, batch: Batch) -> bool:
        """Commit the progress of work that an earlier request began; False when a record was not as expected."""
        ...

    def ending(self, action: str, target: ResourceId, error: JsonObject | None) -> Batch:
        """What tells the activity log that work which outlived its request has ended, and with which error; to commit with its end."""
        ...

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Let work go on after the answer. For use in `Outcome.then` and `StoredItem.then`: it begins once its request is committed."""
        ...

    async def finished(self, name: str) -> None:
        """Wait for work begun under this name, if it goes on in this process."""
        ...

    def running(self, name: str) -> bool:
        """Whether work of this name goes on in this process."""
        ...

    def rehearse(self) -> Rehearsal:
        """A manager for the same caller whose commits last as long as it does and are seen by nobody else."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """A manager over a scratch copy of the store, and the random values that it gave out: a real run would give others."""

    manager: Manager
    store: Reads
    """Reads of the scratch copy."""
    generated: set[str]
    close: Callable[[], Coroutine[Any, Any, None]]


class Background:
    """Named work of one resource manager. `close` ends it all."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Begin; work under the same name that still goes on is left to itself."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks[name] = task
        task.add_done_callback(lambda done: self._ended(name, done))

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(name) is task:
            del self._tasks[name]
        if not task.cancelled() and task.exception() is not None:
            _log.error("work in the background failed: %s", name, exc_info=task.exception())

    async def finished(self, name: str) -> None:
        """Wait for the end of named work, however it ends."""
        task = self._tasks.get(name)
        if task is not None:
            await asyncio.wait([task])

    def running(self, name: str) -> bool:
        """Whether named work goes on."""
        return name in self._tasks

    async def settle(self, seconds: float) -> None:
        """Wait so long at most for all that goes on now."""
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=seconds)

    async def close(self) -> None:
        """Cancel what still goes on, and wait until it has ended."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
