"""What failures are called by App Service's token endpoint, 2019-08-01 and later (MIE section 2). Total over the failure kinds."""

from __future__ import annotations

from datetime import datetime

import msgspec

from idplane.agent.replies import Reply, reply
from idplane.model.failure import Category, Failure, FailureKind

__all__ = ["render"]

_NO_IDENTITY = "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId."
_UNEXPECTED = "An unexpected error occured while fetching the AAD Token."  # the wire's own spelling
_DOWN = "The identity service cannot be reached."

_STATUSES = {
    Category.BAD_REQUEST: 400,
    # The caller's secret is told apart below; any other credential that was refused is the agent's own.
    Category.UNAUTHENTICATED: 400,
    Category.FORBIDDEN: 403,
    Category.NOT_FOUND: 404,
    Category.METHOD: 405,
    Category.CONFLICT: 400,
    Category.PRECONDITION: 400,
    Category.TOO_LARGE: 413,
    Category.MEDIA_TYPE: 400,
    Category.THROTTLED: 429,
    Category.INTERNAL: 500,
    Category.UNAVAILABLE: 503,
}
_KINDS: dict[FailureKind, tuple[int, str | None]] = {
    FailureKind.IDENTITY_NOT_FOUND: (400, _NO_IDENTITY),
    FailureKind.RESOURCE_NOT_FOUND: (400, _NO_IDENTITY),
    FailureKind.NOT_ENTITLED: (400, _NO_IDENTITY),
    FailureKind.ENDPOINT_SECRET: (401, None),
    FailureKind.AGENT_UNKNOWN: (503, _DOWN),
    FailureKind.INTERNAL: (500, _UNEXPECTED),
    FailureKind.URI_TOO_LONG: (431, None),
}
_HEADERS = {405: (("Allow", "GET"),), 429: (("Retry-After", "1"),), 503: (("Retry-After", "1"),)}


def render(failure: Failure, request_id: str, now: datetime) -> Reply:
    """The failure as App Service says it; clients show `message` (MIE section 8.3)."""
    status, text = _KINDS.get(failure.kind, (_STATUSES[failure.kind.category], None))
    body = {"statusCode": status, "message": text or failure.detail or _UNEXPECTED, "correlationId": request_id}
    headers = (*_HEADERS.get(status, ()), ("x-ms-request-id", request_id))
    return reply(status, msgspec.json.encode(body), now=now, headers=headers)
