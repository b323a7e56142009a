"""What failures are called by Service Fabric's token endpoint (MIE section 4). Total over the failure kinds."""

from __future__ import annotations

from datetime import datetime

import msgspec

from idplane.agent.refusals import explicable
from idplane.agent.replies import Reply, reply
from idplane.agent.statuses import headers_of, status_of
from idplane.model.failure import Category, Failure, FailureKind

__all__ = ["render"]

_NOT_FOUND = (404, "ManagedIdentityNotFound", "Managed identity not found for the specified application host.")
_DOWN = (503, "InternalServerError", "The identity service cannot be reached.")
_KINDS: dict[FailureKind, tuple[int, str, str]] = {
    FailureKind.IDENTITY_NOT_FOUND: _NOT_FOUND,
    FailureKind.RESOURCE_NOT_FOUND: _NOT_FOUND,
    FailureKind.NOT_ENTITLED: _NOT_FOUND,
    # The secret says which application asks: one that is not known belongs to none.
    FailureKind.ENDPOINT_SECRET: _NOT_FOUND,
    FailureKind.RESOURCE_PARAMETER_MISSING: (
        400,
        "ArgumentNullOrEmpty",
        "The parameter 'resource' should not be null or empty string.",
    ),
    FailureKind.INVALID_API_VERSION: (400, "InvalidApiVersion", ""),
    FailureKind.AGENT_UNKNOWN: _DOWN,
    FailureKind.INTERNAL: (500, "InternalServerError", "An internal error occurred."),
}
_NO_SECRET = (400, "SecretHeaderNotFound", "Secret was not found in the request headers.")
_CODES = {
    Category.BAD_REQUEST: "InvalidArgument",
    Category.UNAUTHENTICATED: "InvalidArgument",
    Category.FORBIDDEN: "Forbidden",
    Category.NOT_FOUND: "NotFound",
    Category.METHOD: "MethodNotAllowed",
    Category.CONFLICT: "InvalidArgument",
    Category.PRECONDITION: "InvalidArgument",
    Category.TOO_LARGE: "RequestTooLarge",
    Category.MEDIA_TYPE: "InvalidArgument",
    Category.THROTTLED: "TooManyRequests",
    Category.INTERNAL: "InternalServerError",
    Category.UNAVAILABLE: "InternalServerError",
}


def render(failure: Failure, request_id: str, now: datetime) -> Reply:
    """The failure as Service Fabric says it; a code where the documents name none is of our making."""
    status, code, text = _words(failure)
    words = explicable(text or failure.detail or "The request was refused.", failure, request_id)
    error = {"correlationId": request_id, "code": code, "message": words}
    headers = (*headers_of(failure, status), ("x-ms-request-id", request_id))
    return reply(status, msgspec.json.encode({"error": error}), now=now, headers=headers)


def _words(failure: Failure) -> tuple[int, str, str]:
    if failure.data.get("secret") == "missing":
        return _NO_SECRET
    known = _KINDS.get(failure.kind)
    return known or (status_of(failure.kind), _CODES[failure.kind.category], "")
