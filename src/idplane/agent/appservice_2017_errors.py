"""What failures are called by App Service's token endpoint of 2017-09-01 (MIE section 2). Total over the failure kinds."""

from __future__ import annotations

from datetime import datetime

from idplane.agent.appservice_errors import worded
from idplane.agent.replies import Reply
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
    return worded(failure, request_id, now, texts=_TEXTS, members=("StatusCode", "Message", "CorrelationId"))
