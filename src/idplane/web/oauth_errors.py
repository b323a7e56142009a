"""Failures in the authority's words: RFC 6749 section 5.2 with Entra's additions (managed-identity-endpoints.md section 7.4).

Number, error word and sentence come from the token service's own table, `sts.refusals`, so that the sign-in log and the wire
always agree. Here are only the statuses and the shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec

from idplane.model.failure import Category, Failure, FailureKind
from idplane.sts.refusals import refusal_of, sentence
from idplane.web.http import HttpRequest, HttpResponse

__all__ = ["NO_STORE", "oauth_error", "oauth_status"]

NO_STORE: Final = (("Cache-Control", "no-store, no-cache"), ("Pragma", "no-cache"), ("Expires", "-1"))
"""What Entra sends with every answer of its token endpoint."""

# Entra answers 400 where HTTP has a status of its own; clients tell the cases apart by the number (section 7.4).
_STATUS: Final[Mapping[Category, int]] = {
    Category.METHOD: Category.BAD_REQUEST.value,
    Category.MEDIA_TYPE: Category.BAD_REQUEST.value,
    Category.FORBIDDEN: Category.BAD_REQUEST.value,
}
_RETRY_SECONDS: Final = "5"


def oauth_status(kind: FailureKind) -> int:
    """The HTTP status for a kind; total."""
    return _STATUS.get(kind.category, kind.category.value)


def oauth_error(failure: Failure, request: HttpRequest) -> HttpResponse:
    """The error answer. `trace_id` is the request id, which is also the id of the sign-in record."""
    code = refusal_of(failure.kind).code
    at = _timestamp(request.call.received_at)
    trace, correlation = request.call.request_id, request.call.correlation_id
    body = {
        "error": refusal_of(failure.kind).error,
        "error_description": (
            f"AADSTS{code}: {sentence(failure)}\r\nTrace ID: {trace}\r\nCorrelation ID: {correlation}\r\nTimestamp: {at}"
        ),
        "error_codes": [code],
        "timestamp": at,
        "trace_id": trace,
        "correlation_id": correlation,
        "error_uri": f"{request.origin.authority}/error?code={code}",
    }
    return HttpResponse(
        status=oauth_status(failure.kind), body=msgspec.json.encode(body), headers=(*NO_STORE, *_hints(failure, request))
    )


def _hints(failure: Failure, request: HttpRequest) -> tuple[tuple[str, str], ...]:
    match failure.kind.category:
        case Category.METHOD if "allowed" in failure.data:
            return (("Allow", failure.data["allowed"]),)
        case Category.UNAUTHENTICATED if "authorization" in request.headers:
            # RFC 6749 section 5.2: a client that used the Authorization header is told its scheme.
            return (("WWW-Authenticate", f'Basic realm="{request.origin.authority}"'),)
        case Category.THROTTLED | Category.UNAVAILABLE:
            return (("Retry-After", failure.data.get("retry_after", _RETRY_SECONDS)),)
        case _:
            return ()


def _timestamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%SZ")
