"""What failures are called by Machine Learning's token endpoint (MIE section 5: in App Service's style). Total over the failure kinds."""

from __future__ import annotations

from datetime import datetime

import msgspec

from idplane.agent.replies import Reply, reply
from idplane.agent.statuses import headers_of, status_of
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
    status = status_of(failure.kind)
    message = _TEXTS.get(failure.kind) or failure.detail or _TEXTS[FailureKind.INTERNAL]
    body = {"statusCode": status, "message": message, "correlationId": request_id}
    headers = (*headers_of(status), ("x-ms-request-id", request_id))
    return reply(status, msgspec.json.encode(body), now=now, headers=headers)
