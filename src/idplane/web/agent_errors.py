"""Failures in the words of the agent API: `{"error": {"code", "message", "requestId"}}`. Total over the failure kinds.

The code is the kind's own name, since agent and server are one program: the agent acts on the kinds it knows and takes any other for
an outage.
"""

from __future__ import annotations

import msgspec

from idplane.model.failure import Category, Failure
from idplane.web.http import HttpResponse

__all__ = ["agent_error"]

# What went wrong inside is nobody's business outside.
_FIXED = {
    Category.INTERNAL: "An internal error occurred",
    Category.UNAVAILABLE: "The server cannot serve this request now",
}
_HEADERS: dict[Category, tuple[tuple[str, str], ...]] = {
    Category.UNAUTHENTICATED: (("WWW-Authenticate", "Bearer"),),
    Category.THROTTLED: (("Retry-After", "1"),),
    Category.UNAVAILABLE: (("Retry-After", "1"),),
}


def agent_error(failure: Failure, request_id: str) -> HttpResponse:
    """The answer for a failure."""
    category = failure.kind.category
    message = _FIXED.get(category) or failure.detail or failure.kind.name.replace("_", " ").lower()
    error = {"code": failure.kind.name, "message": message, "requestId": request_id}
    headers = _HEADERS.get(category, ())
    if category is Category.THROTTLED and "retry_after" in failure.data:
        headers = (("Retry-After", failure.data["retry_after"]),)
    if category is Category.METHOD and "allowed" in failure.data:
        headers = (("Allow", failure.data["allowed"]),)
    return HttpResponse(status=category.value, body=msgspec.json.encode({"error": error}), headers=headers)
