"""What the logs say of a role assignment's use: whether it was used, by which operations, and which lesser role would have done.

The activity log names the assignment that allowed an operation; reads are in no log. So an identity that got tokens for what a role is about
may have used it without a trace: that is said as it is, and never counted as unused.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from idplane.directory.audiences import RESOURCE_MANAGER
from idplane.explain.roles import breadth, holders, rules_of
from idplane.model.events import ActivityEvent, EventStatus, SignIn
from idplane.model.roles import RoleAssignment, RoleDefinition
from idplane.ports.collections import ACTIVITY, SIGN_INS, microseconds
from idplane.ports.store import Reads

__all__ = ["Trail", "Use", "Verdict", "judged", "least_role", "trail_of"]

_MOST_EVENTS: Final = 100
_MOST_SIGN_INS: Final = 30
_READ: Final = "/read"
_ACTION: Final = "/action"


class Verdict(enum.Enum):
    """What use was made of an assignment."""

    USED = "used"
    PERHAPS = "perhaps"
    NEW = "new"
    """It has not stood for as long as was asked about."""
    UNUSED = "unused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """What one principal left in the logs since an instant."""

    operations: Mapping[str, Sequence[ActivityEvent]] = field(default_factory=dict)
    """By the assignment that allowed them, newest first."""
    complete: bool = True
    """Whether all of its operations were looked at."""
    audiences: Mapping[str, SignIn] = field(default_factory=dict)
    """Client id of what it got tokens for, with the last time that it did."""
    signed: bool = True
    """Whether its sign-ins were looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What is to be said of one assignment."""

    verdict: Verdict
    why: str
    last: datetime | None = None
    operations: tuple[str, ...] = ()
    lesser: RoleDefinition | None = None
    """A built-in role that holds all that was used, and much less beside."""


async def trail_of(store: Reads, tenant_id: str, principal_id: str, since: datetime, *, sign_ins: bool) -> Trail:
    """What a principal did since an instant, as far as one page looks; its sign-ins only for who may read them."""
    start = microseconds(since)
    logged = await store.read_log(ACTIVITY, where={"caller_id": principal_id}, since=start, limit=_MOST_EVENTS)
    operations: dict[str, list[ActivityEvent]] = {}
    for one in logged:
        event = one.event
        if event.because is not None and event.status is not EventStatus.FAILED and event.tenant_id == tenant_id:
            operations.setdefault(event.because, []).append(event)
    audiences: dict[str, SignIn] = {}
    if sign_ins:
        for signed in await store.read_log(SIGN_INS, where={"principal_id": principal_id}, since=start, limit=_MOST_SIGN_INS):
            if signed.event.error_code == 0:
                audiences.setdefault(signed.event.resource_client_id or signed.event.resource, signed.event)
    complete = len(logged) < _MOST_EVENTS
    return Trail(operations=operations, complete=complete, audiences=audiences, signed=sign_ins)


def judged(one: RoleAssignment, role: RoleDefinition | None, trails: Sequence[Trail], since: datetime) -> Use:
    """What the trails of those who hold an assignment say of it."""
    events = [event for trail in trails for event in trail.operations.get(one.id, ())]
    if events:
        operations = tuple(sorted({event.operation for event in events}))
        last = max(event.at for event in events)
        lesser = least_role(operations, role)
        return Use(verdict=Verdict.USED, why="Operations rest on it.", last=last, operations=operations, lesser=lesser)
    token = _relevant(role, trails)
    if token is not None:
        words = f"It got tokens for {token.resource_name or token.resource}; reads are in no log."
        return Use(verdict=Verdict.PERHAPS, why=words, last=token.at)
    if not all(trail.complete for trail in trails):
        return Use(
            verdict=Verdict.PERHAPS, why="It did more than is looked through here; the newest of it rests on other roles."
        )
    if not all(trail.signed for trail in trails):
        return Use(verdict=Verdict.PERHAPS, why="No operation rests on it; its sign-ins are not yours to read.")
    if max(one.created_at, one.changed_at) >= since:
        return Use(verdict=Verdict.NEW, why="No trace of use yet.")
    return Use(verdict=Verdict.UNUSED, why="No operation rests on it, and no token was got for what it is about.")


def least_role(operations: Iterable[str], held: RoleDefinition | None) -> RoleDefinition | None:
    """The least built-in role that holds operations, and reading what they were done to; None if the one that is held is no broader."""
    needed = sorted({*operations, *(_reading(one) for one in operations)})
    if held is None or not needed:
        return None
    found = [
        one
        for one in holders(needed[0], data=False)
        if all(rules_of(one.permissions).hold(each, data=False) for each in needed)
    ]
    return found[0] if found and breadth(found[0]) < breadth(held) else None


def _reading(operation: str) -> str:
    resource = operation.removesuffix(_ACTION).rpartition("/")[0]
    return f"{resource}{_READ}"


def _relevant(role: RoleDefinition | None, trails: Sequence[Trail]) -> SignIn | None:
    """A token with which the role may have been used to read: through Resource Manager, or at what data actions are about."""
    blocks = role.permissions if role is not None else ()
    control = any(block.actions for block in blocks)
    data = any(block.data_actions for block in blocks)
    return next(
        (
            signed
            for trail in trails
            for audience, signed in trail.audiences.items()
            if (control if audience == RESOURCE_MANAGER.client_id else data)
        ),
        None,
    )
