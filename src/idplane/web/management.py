"""The Resource Manager surface: HTTP to `ManagementRequest` and back, and the public `/metadata/endpoints`."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from idplane.arm.context import Addresses
from idplane.arm.kernel import ResourceManager
from idplane.arm.requests import ManagementRequest
from idplane.model.failure import Category, Failure, FailureKind
from idplane.web.arm_errors import challenge, envelope, error_of, unwrapped
from idplane.web.http import HttpRequest, HttpResponse, Origin
from idplane.web.metadata import cloud_metadata

__all__ = ["ManagementSurface"]

_XML = "application/xml; charset=utf-8"


class ManagementSurface:
    """Speaks Resource Manager's dialect for one `ResourceManager`; `home_tenant` is what challenges name."""

    def __init__(self, *, manager: ResourceManager, home_tenant: str) -> None:
        self._manager = manager
        self._home_tenant = home_tenant

    async def handle(self, request: HttpRequest, /) -> HttpResponse:
        """Serve one request; raises `Failure`."""
        if [part for part in request.path.lower().split("/") if part] == ["metadata", "endpoints"]:
            return _metadata(request)
        response = await self._manager.handle(
            ManagementRequest(
                method=request.method,
                path=request.path,
                query=request.query,
                body=request.body,
                call=request.call,
                addresses=addresses_of(request.origin),
                authorization=request.header("authorization"),
                content_type=request.header("content-type"),
                if_match=request.header("if-match"),
                if_none_match=request.header("if-none-match"),
            )
        )
        if isinstance(response.body, bytes):
            return HttpResponse(status=response.status, body=response.body, headers=response.headers, media_type=_XML)
        body = b"" if response.body is None or request.method == "HEAD" else encode(response.body)
        return HttpResponse(status=response.status, body=body, headers=response.headers)

    def refuse(self, failure: Failure, request: HttpRequest, /) -> HttpResponse:
        """The error envelope of control-plane.md section 4, with a challenge when authentication is what is missing."""
        error = error_of(failure, request_id=request.call.request_id)
        headers: tuple[tuple[str, str], ...] = (("x-ms-failure-cause", "gateway"),)
        if failure.kind.category is Category.THROTTLED:
            headers += (("Retry-After", failure.data.get("retry_after", "1")),)
        if failure.kind.category is Category.UNAUTHENTICATED:
            value = challenge(
                failure,
                authority=request.origin.authority,
                tenant_id=self._home_tenant,
                now=request.call.received_at,
            )
            headers += (("WWW-Authenticate", value),)
        content = unwrapped(error) if _of_insights(failure, request) else envelope(error)
        body = b"" if request.method == "HEAD" else encode(content)
        return HttpResponse(status=error.status, body=body, headers=headers)


def _of_insights(failure: Failure, request: HttpRequest) -> bool:
    """Whether the activity log refuses its own query: then the error is told without an envelope (control-plane.md section 7.5)."""
    if failure.kind not in (FailureKind.INVALID_FILTER, FailureKind.INVALID_PARAMETER):
        return False
    return "/providers/microsoft.insights/event" in request.path.lower()


def addresses_of(origin: Origin) -> Addresses:
    """The part of an origin that providers write into their answers."""
    return Addresses(
        authority=origin.authority,
        management=origin.management,
        graph=origin.graph,
        portal=origin.portal,
        vault_domain=origin.vault_domain,
    )


def encode(body: object) -> bytes:
    """JSON of a decoded body; read-only mappings count as objects."""
    return msgspec.json.encode(body, enc_hook=_plain)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _metadata(request: HttpRequest) -> HttpResponse:
    """Public by design: clients read it before they know where to sign in (control-plane.md section 2)."""
    if request.method not in ("GET", "HEAD"):
        raise Failure(FailureKind.METHOD_NOT_ALLOWED, f"{request.method[:20]} is not supported", method=request.method[:20])
    version = request.parameter("api-version") or ""
    described = cloud_metadata(request.origin)
    # `az cloud register` needs one object; ARM_CLOUD_METADATA_URL is read as a list and sends no version or an old one.
    body: object = described if version.lower() == "2022-09-01" else [described]
    return HttpResponse(status=200, body=b"" if request.method == "HEAD" else encode(body))
