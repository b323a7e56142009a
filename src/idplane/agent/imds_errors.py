"""What failures are called by the instance metadata service (MIE section 1.6). Total over the failure kinds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import msgspec

from idplane.agent.answers import ANSWER
from idplane.agent.refusals import explicable
from idplane.agent.replies import Reply, reply
from idplane.agent.statuses import retry_after
from idplane.model.failure import Category, Failure, FailureKind

__all__ = ["NEWEST_VERSIONS", "SERVER", "render"]

SERVER = "IMDS/150.870.65.528"
"""As recorded from a real machine (MIE section 1.3)."""
NEWEST_VERSIONS = ("2025-04-07", "2024-07-17", "2024-03-15")
_VERSION_TEXT = (
    "Bad request. api-version is invalid or was not specified in the request. For more information refer to aka.ms/azureimds"
)
_NOT_FOUND = "Identity not found"


@dataclass(frozen=True, slots=True)
class _Words:
    """Status, `error`, and `error_description` where the wire has a fixed one."""

    status: int
    error: str
    text: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    passing: bool = False
    """Whether it may be worth asking again."""


_OPAQUE = _Words(500, "server_error", "An internal error occurred")
# 503 rather than 502 or 504, which .NET and Java take for "there is no metadata service here" (MIE section 1.6).
_DOWN = _Words(503, "service_unavailable", passing=True)
_AGENT = _Words(503, "service_unavailable", "This machine is not known to the identity service", (("Retry-After", "5"),))
_MISSING_IDENTITY = _Words(400, "invalid_request", _NOT_FOUND)

_KINDS = {
    FailureKind.METADATA_HEADER_MISSING: _Words(400, "invalid_request", "Required metadata header not specified"),
    FailureKind.RESOURCE_PARAMETER_MISSING: _Words(400, "invalid_request", "Required query variable 'resource' is missing"),
    FailureKind.IDENTITY_NOT_FOUND: _MISSING_IDENTITY,
    FailureKind.RESOURCE_NOT_FOUND: _MISSING_IDENTITY,
    FailureKind.NOT_ENTITLED: _MISSING_IDENTITY,
    FailureKind.HOST_NOT_BOUND: _Words(403, "forbidden"),
    FailureKind.AGENT_UNKNOWN: _AGENT,
    FailureKind.AUDIENCE_UNKNOWN: _Words(400, "invalid_resource"),
    FailureKind.SCOPE_INVALID: _Words(400, "invalid_scope"),
    FailureKind.URI_TOO_LONG: _Words(431, "invalid_request"),
}
_CATEGORIES = {
    Category.BAD_REQUEST: _Words(400, "invalid_request"),
    # The workload presents no credential here: one that was refused is the agent's own.
    Category.UNAUTHENTICATED: _Words(400, "invalid_request"),
    Category.FORBIDDEN: _Words(403, "access_denied"),
    Category.NOT_FOUND: _Words(404, "not_found"),
    Category.METHOD: _Words(405, "method_not_allowed", None, (("Allow", "GET"),)),
    Category.CONFLICT: _Words(400, "invalid_request"),
    Category.PRECONDITION: _Words(400, "invalid_request"),
    Category.TOO_LARGE: _Words(413, "invalid_request"),
    Category.MEDIA_TYPE: _Words(400, "invalid_request"),
    Category.THROTTLED: _Words(429, "invalid_request", passing=True),
    Category.INTERNAL: _OPAQUE,
    Category.UNAVAILABLE: _DOWN,
}
_VERSION_KINDS = (FailureKind.MISSING_API_VERSION, FailureKind.INVALID_API_VERSION)


def render(failure: Failure, request_id: str, now: datetime) -> Reply:
    """The failure as IMDS says it. The token service's own answer is repeated as it is; only its status becomes 400."""
    words = _KINDS.get(failure.kind) or _CATEGORIES[failure.kind.category]
    return reply(
        words.status,
        _body(failure, words, request_id),
        now=now,
        server=SERVER,
        headers=(*words.headers, *(retry_after(failure) if words.passing else ()), ("x-ms-request-id", request_id)),
    )


def _body(failure: Failure, words: _Words, request_id: str) -> bytes:
    if failure.kind in _VERSION_KINDS:
        return msgspec.json.encode({"error": _VERSION_TEXT, "newest-versions": NEWEST_VERSIONS})
    if ANSWER in failure.data:
        return failure.data[ANSWER].encode()
    text = explicable(words.text or failure.detail, failure, request_id)
    return msgspec.json.encode({"error": words.error, "error_description": text})
