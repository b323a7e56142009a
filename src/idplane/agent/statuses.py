"""Which HTTP status a failure has at the newer token endpoints, where the wire has no say of its own. Total over the categories."""

from __future__ import annotations

from idplane.agent.upstream import RETRY_AFTER
from idplane.model.failure import Category, Failure, FailureKind

__all__ = ["headers_of", "retry_after", "status_of"]

_CATEGORIES = {
    Category.BAD_REQUEST: 400,
    # What a workload presents is told apart by kind; any other credential that was refused is the agent's own.
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
_KINDS = {
    # Not 404, which clients try again for half a minute (MIE section 1.7).
    FailureKind.IDENTITY_NOT_FOUND: 400,
    FailureKind.RESOURCE_NOT_FOUND: 400,
    FailureKind.NOT_ENTITLED: 400,
    FailureKind.ENDPOINT_SECRET: 401,
    FailureKind.AGENT_UNKNOWN: 503,
    FailureKind.URI_TOO_LONG: 431,
}


def status_of(kind: FailureKind) -> int:
    """The status, 400 to 503."""
    return _KINDS.get(kind, _CATEGORIES[kind.category])


def retry_after(failure: Failure, usual: str = "1") -> tuple[tuple[str, str], ...]:
    """When it may be worth asking again: as somebody knew it who refused, or as usual (RFC 9110 section 10.2.3)."""
    return (("Retry-After", failure.data.get(RETRY_AFTER, usual)),)


def headers_of(failure: Failure, status: int, *, allow: str = "GET") -> tuple[tuple[str, str], ...]:
    """The headers that a status demands (RFC 9110 section 15.5.6, RFC 6585 section 4)."""
    match status:
        case 405:
            return (("Allow", allow),)
        case 429 | 503:
            return retry_after(failure)
        case _:
            return ()
