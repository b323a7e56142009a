"""Failures in Microsoft Graph's words: an error envelope with a code, a sentence and the request's ids (control-plane.md section 5.6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from idplane.directory.audiences import GRAPH
from idplane.model.failure import Category, Failure, FailureKind
from idplane.web.challenges import bearer_error
from idplane.web.http import HttpRequest, HttpResponse

__all__ = ["describe", "graph_error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    code: str
    message: str | None = None
    """The failure's own detail when None."""


_BY_KIND: Final[Mapping[FailureKind, _Row]] = {
    FailureKind.TOKEN_MISSING: _Row(code="InvalidAuthenticationToken", message="Access token is empty."),
    FailureKind.TOKEN_EXPIRED: _Row(
        code="InvalidAuthenticationToken", message="Lifetime validation failed, the token is expired."
    ),
    FailureKind.TOKEN_AUDIENCE: _Row(
        code="InvalidAuthenticationToken", message="Access token validation failure. Invalid audience."
    ),
    FailureKind.FORBIDDEN: _Row(
        code="Authorization_RequestDenied", message="Insufficient privileges to complete the operation."
    ),
    FailureKind.INVALID_FILTER: _Row(code="Request_UnsupportedQuery"),
    FailureKind.INVALID_PARAMETER: _Row(code="Request_BadRequest"),
    FailureKind.INVALID_NAME: _Row(code="Request_BadRequest"),
    FailureKind.LIMIT_EXCEEDED: _Row(code="Directory_QuotaExceeded"),
    FailureKind.PRINCIPAL_NOT_FOUND: _Row(code="Request_BadRequest"),
}
_BY_CATEGORY: Final[Mapping[Category, _Row]] = {
    Category.BAD_REQUEST: _Row(code="BadRequest"),
    Category.UNAUTHENTICATED: _Row(code="InvalidAuthenticationToken"),
    Category.FORBIDDEN: _Row(code="Authorization_RequestDenied"),
    Category.NOT_FOUND: _Row(code="Request_ResourceNotFound"),
    Category.METHOD: _Row(code="Request_BadRequest"),
    Category.CONFLICT: _Row(code="Request_MultipleObjectsWithSameKeyValue"),
    Category.PRECONDITION: _Row(code="preconditionFailed"),
    Category.TOO_LARGE: _Row(code="BadRequest"),
    Category.MEDIA_TYPE: _Row(code="BadRequest"),
    Category.THROTTLED: _Row(code="TooManyRequests"),
    Category.INTERNAL: _Row(code="generalException", message="An internal error occurred."),
    Category.UNAVAILABLE: _Row(code="serviceNotAvailable"),
}
_RETRY_SECONDS: Final = "5"


def describe(failure: Failure) -> tuple[int, str]:
    """Status and code, as the activity log records them."""
    return failure.kind.category.value, failure.data.get("code") or _row(failure.kind).code


def graph_error(failure: Failure, request: HttpRequest) -> HttpResponse:
    """The error answer; total."""
    row = _row(failure.kind)
    detail = failure.detail or "The request was refused"
    call = request.call
    body = {
        "error": {
            "code": failure.data.get("code") or row.code,
            "message": failure.data.get("words") or row.message or f"{detail[0].upper()}{detail[1:].removesuffix('.')}.",
            "innerError": {
                "date": call.received_at.strftime("%Y-%m-%dT%H:%M:%S"),
                "request-id": call.request_id,
                "client-request-id": call.correlation_id,
            },
        }
    }
    return HttpResponse(status=failure.kind.category.value, body=msgspec.json.encode(body), headers=_hints(failure, request))


def _row(kind: FailureKind) -> _Row:
    return _BY_KIND.get(kind) or _BY_CATEGORY[kind.category]


def _hints(failure: Failure, request: HttpRequest) -> tuple[tuple[str, str], ...]:
    match failure.kind.category:
        case Category.UNAUTHENTICATED:
            challenge = (
                f'Bearer realm="", authorization_uri="{request.origin.authority}/common/oauth2/authorize", '
                f'client_id="{GRAPH.client_id}"'
            )
            error = bearer_error(failure, request.call.received_at)
            return (("WWW-Authenticate", f"{challenge}, {error}" if error else challenge),)
        case Category.METHOD if "allowed" in failure.data:
            return (("Allow", failure.data["allowed"]),)
        case Category.THROTTLED | Category.UNAVAILABLE:
            return (("Retry-After", failure.data.get("retry_after", _RETRY_SECONDS)),)
        case _:
            return ()
