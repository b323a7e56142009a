"""What failures are called by App Service's token endpoint of 2017-09-01 (MIE section 2). Total over the failure kinds."""

from __future__ import annotations

from datetime import datetime

import msgspec

from idplane.agent.replies import Reply, reply
from idplane.agent.statuses import headers_of, status_of
from idplane.model.failure import Failure, FailureKind

__all__ = ["render"]

_NO_IDENTITY = "No MSI found for specified ClientId/ResourceId."
_TEXTS = {
    FailureKind.IDENTITY_NOT_FOUND: _NO_IDENTITY,
    FailureKind.RESOURCE_NOT_FOUND: _NO_IDENTITY,
    FailureKind.NOT_ENTITLED: _NO_IDENTITY,
    FailureKind.AGENT_UNKNOWN: "The identity service cannot be reached.",
    FailureKind.INTERNAL: "An unexpected error occured while fetching the AAD Token.",  # the wire's own spelling
}


def render(failure: Failure, request_id: str, now: datetime) -> Reply:
    """The failure with the capital names of that time."""
    status = status_of(failure.kind)
    message = _TEXTS.get(failure.kind) or failure.detail or _TEXTS[FailureKind.INTERNAL]
    body = {"StatusCode": status, "Message": message, "CorrelationId": request_id}
    headers = (*headers_of(status), ("x-ms-request-id", request_id))
    return reply(status, msgspec.json.encode(body), now=now, headers=headers)
