"""A refusal of which no more can be said than what the caller was told."""

from __future__ import annotations

from idplane.explain.findings import Case, Findings
from idplane.explain.model import Fix, Step, StepKind, Verdict
from idplane.model.failure import Category, FailureKind

__all__ = ["as_told", "told"]

_WHAT_TO_DO = {
    Category.BAD_REQUEST: "Change the request as it says",
    Category.NOT_FOUND: "Name something that is there, or make it first",
    Category.METHOD: "Use another method",
    Category.CONFLICT: "Look at what is there now, then try again",
    Category.PRECONDITION: "Read it again, and send the change with the version that is there now",
    Category.TOO_LARGE: "Send less at once",
    Category.MEDIA_TYPE: "Send it as JSON",
    Category.THROTTLED: "Ask less often: wait as long as the answer's Retry-After says",
    Category.UNAUTHENTICATED: "Get a new token, and send it with the request",
    Category.INTERNAL: "Nothing is wrong with the request: tell the operator the id",
    Category.UNAVAILABLE: "Try again in a moment: nothing is wrong with the request",
}


def as_told(case: Case) -> Findings:
    """What the caller was told, and what that asks of it."""
    return told(case, StepKind.REQUEST, "the request", case.refusal.detail.rstrip("."))


def told(case: Case, kind: StepKind, name: str, why: str, *fixes: Fix) -> Findings:
    """Findings of one step."""
    decided = Step(kind=kind, verdict=Verdict.REFUSES, name=name, why=why)
    return Findings(
        summary=f"The request was refused: {why}.",
        decided=decided,
        considered=(decided,),
        fixes=fixes or _general(case),
    )


def _general(case: Case) -> tuple[Fix, ...]:
    found = next((one for one in FailureKind if one.name == case.refusal.kind), None)
    text = None if found is None else _WHAT_TO_DO.get(found.category)
    return () if text is None else (Fix(text=text),)
