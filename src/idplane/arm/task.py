"""One authorized request on its way through the kernel, and what it amounts to before it is committed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from idplane.arm.context import Context
from idplane.arm.declare import NOTHING
from idplane.arm.paging import Paging, next_link
from idplane.arm.preconditions import Preconditions
from idplane.arm.registry import Registry, Verb
from idplane.model.values import JsonObject
from idplane.ports.store import Batch

__all__ = ["Plan", "Task", "etag_header"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What the storage shapes need of a request."""

    verb: Verb
    context: Context
    registry: Registry
    body: JsonObject
    preconditions: Preconditions
    path: str
    query: tuple[tuple[str, str], ...]

    @property
    def paging(self) -> Paging:
        """`$top` and `$skiptoken`; raises `Failure(INVALID_PARAMETER)`."""
        return Paging.of(self.context.query.get("$top"), self.context.query.get("$skiptoken"))

    def page(self, items: list[JsonObject], after: str | None, extra: Mapping[str, object] | None = None) -> Plan:
        """The answer of a list."""
        body: dict[str, object] = {**(extra or {}), "value": items}
        if after is not None:
            body["nextLink"] = next_link(self.context.addresses.management, self.path, self.query, after)
        return Plan(status=200, body=body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """An answer, and the operations that must be durable before it is given."""

    status: int
    body: object = None
    """A JSON object or array; None for an empty answer."""
    batch: Batch = NOTHING
    headers: tuple[tuple[str, str], ...] = ()
    then: Callable[[], None] | None = None
    """Called once the operations are committed."""


def etag_header(etag: str | None) -> tuple[tuple[str, str], ...]:
    """The ETag header for an opaque tag."""
    return () if etag is None else (("ETag", f'"{etag}"'),)
