"""What failures are called by Cloud Shell's token endpoint (MIE section 5). Total over the failure kinds."""

from __future__ import annotations

from datetime import datetime

import msgspec

from idplane.agent.refusals import explicable
from idplane.agent.replies import Reply, reply
from idplane.agent.statuses import headers_of, status_of
from idplane.model.failure import Category, Failure, FailureKind

__all__ = ["render"]

_KINDS = {
    FailureKind.AUDIENCE_UNKNOWN: ("AudienceNotSupported", ""),
    FailureKind.METADATA_HEADER_MISSING: ("InvalidRequest", "Required metadata header not specified"),
    FailureKind.RESOURCE_PARAMETER_MISSING: ("InvalidRequest", "Required parameter 'resource' is missing"),
    FailureKind.IDENTITY_NOT_FOUND: ("IdentityNotFound", "Identity not found"),
    FailureKind.RESOURCE_NOT_FOUND: ("IdentityNotFound", "Identity not found"),
    FailureKind.NOT_ENTITLED: ("IdentityNotFound", "Identity not found"),
    FailureKind.INTERNAL: ("InternalError", "An internal error occurred"),
}
_CODES = {
    Category.BAD_REQUEST: "InvalidRequest",
    Category.UNAUTHENTICATED: "InvalidRequest",
    Category.FORBIDDEN: "Forbidden",
    Category.NOT_FOUND: "NotFound",
    Category.METHOD: "MethodNotAllowed",
    Category.CONFLICT: "InvalidRequest",
    Category.PRECONDITION: "InvalidRequest",
    Category.TOO_LARGE: "RequestTooLarge",
    Category.MEDIA_TYPE: "InvalidRequest",
    Category.THROTTLED: "TooManyRequests",
    Category.INTERNAL: "InternalError",
    Category.UNAVAILABLE: "ServiceUnavailable",
}


def render(failure: Failure, request_id: str, now: datetime) -> Reply:
    """The failure as `{"error": {"code", "message"}}`, whose members MSAL reads."""
    status = status_of(failure.kind)
    code, text = _KINDS.get(failure.kind, (_CODES[failure.kind.category], ""))
    words = explicable(text or failure.detail or "The request was refused", failure, request_id)
    error = {"code": code, "message": words}
    headers = (*headers_of(failure, status, allow="GET, POST"), ("x-ms-request-id", request_id))
    return reply(status, msgspec.json.encode({"error": error}), now=now, headers=headers)
