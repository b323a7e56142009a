"""Around the question whether a caller may: what conditions of role assignments may look at, and what decided a refusal."""

from __future__ import annotations

from idplane.arm.declare import Question
from idplane.arm.registry import InstanceRoute
from idplane.arm.requests import Attempt, body_of
from idplane.model.attributes import Attributes
from idplane.model.failure import Failure, FailureKind
from idplane.model.roles import Decision, Reason
from idplane.ports.store import Reads

__all__ = ["attributes_of", "refusal_of"]


async def attributes_of(attempt: Attempt, store: Reads) -> Attributes | None:
    """The attributes that the target's type declares; None where it declares none."""
    route = attempt.route
    if not isinstance(route, InstanceRoute) or route.type.attributes is None:
        return None
    try:
        body = body_of(attempt)
    except Failure:
        # A caller who may not ask must not hear first that he asked badly; one who may will hear it later.
        body = {}
    question = Question(store=store, tenant_id=attempt.caller.tenant_id, id=route.id, verb=attempt.verb.word, body=body)
    return await route.type.attributes(question)


def refusal_of(failure: Failure) -> Decision | None:
    """The decision that a refusal tells of, for the activity log; None for what was refused for another reason."""
    if failure.kind is not FailureKind.FORBIDDEN or not failure.data.get("because"):
        return None
    return Decision(allowed=False, reason=Reason(failure.data["reason"]), because=failure.data["because"])
