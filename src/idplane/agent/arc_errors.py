"""What failures are called by Arc's token endpoint (MIE section 3: IMDS' members). Total over the failure kinds."""

from __future__ import annotations

from datetime import datetime

import msgspec

from idplane.agent.refusals import explicable
from idplane.agent.replies import Reply, reply
from idplane.agent.statuses import headers_of, status_of
from idplane.model.failure import Category, Failure, FailureKind

__all__ = ["render"]

_KINDS = {
    FailureKind.ENDPOINT_SECRET: ("unauthorized", ""),
    FailureKind.METADATA_HEADER_MISSING: ("invalid_request", "Required metadata header not specified"),
    FailureKind.RESOURCE_PARAMETER_MISSING: ("invalid_request", "Required query variable 'resource' is missing"),
    FailureKind.IDENTITY_NOT_FOUND: ("invalid_request", "Identity not found"),
    FailureKind.RESOURCE_NOT_FOUND: ("invalid_request", "Identity not found"),
    FailureKind.NOT_ENTITLED: ("invalid_request", "Identity not found"),
    FailureKind.AUDIENCE_UNKNOWN: ("invalid_resource", ""),
    FailureKind.AGENT_UNKNOWN: ("service_unavailable", "This machine is not known to the identity service"),
    FailureKind.INTERNAL: ("server_error", "An internal error occurred"),
}
_CODES = {
    Category.BAD_REQUEST: "invalid_request",
    Category.UNAUTHENTICATED: "invalid_request",
    Category.FORBIDDEN: "access_denied",
    Category.NOT_FOUND: "not_found",
    Category.METHOD: "method_not_allowed",
    Category.CONFLICT: "invalid_request",
    Category.PRECONDITION: "invalid_request",
    Category.TOO_LARGE: "invalid_request",
    Category.MEDIA_TYPE: "invalid_request",
    Category.THROTTLED: "too_many_requests",
    Category.INTERNAL: "server_error",
    Category.UNAVAILABLE: "service_unavailable",
}


def render(failure: Failure, request_id: str, now: datetime) -> Reply:
    """The failure as the Arc agent says it. The challenge has the one form that every client reads: no quotes, a single `=`."""
    status = status_of(failure.kind)
    error, text = _KINDS.get(failure.kind, (_CODES[failure.kind.category], ""))
    words = explicable(text or failure.detail or "The request was refused", failure, request_id)
    body = {"error": error, "error_description": words}
    challenge = (("WWW-Authenticate", f"Basic realm={failure.data['realm']}"),) if "realm" in failure.data else ()
    headers = (*challenge, *headers_of(failure, status), ("x-ms-request-id", request_id))
    return reply(status, msgspec.json.encode(body), now=now, headers=headers)
