"""What failures are called by Machine Learning's token endpoint (MIE section 5: in App Service's style). Total over the failure kinds."""

from __future__ import annotations

from datetime import datetime

from idplane.agent.appservice_errors import worded
from idplane.agent.replies import Reply
from idplane.model.failure import Failure, FailureKind

__all__ = ["render"]

_NO_IDENTITY = "No managed identity found for the specified client id."
_TEXTS = {
    FailureKind.IDENTITY_NOT_FOUND: _NO_IDENTITY,
    FailureKind.RESOURCE_NOT_FOUND: _NO_IDENTITY,
    FailureKind.NOT_ENTITLED: _NO_IDENTITY,
    FailureKind.AGENT_UNKNOWN: "The identity service cannot be reached.",
    FailureKind.INTERNAL: "An unexpected error occurred while the token was fetched.",
}


def render(failure: Failure, request_id: str, now: datetime) -> Reply:
    """The failure as clients look for it: JavaScript's shows `message` (MIE section 8.3)."""
    return worded(failure, request_id, now, texts=_TEXTS, members=("statusCode", "message", "correlationId"))
