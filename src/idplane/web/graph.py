"""Microsoft Graph's wire: HTTP on one side, `graph.service` on the other. Nothing is decided here."""

from __future__ import annotations

from typing import Final

import msgspec

from idplane.graph.service import DirectoryService, GraphRequest
from idplane.model.failure import Failure
from idplane.web.graph_errors import graph_error
from idplane.web.http import HttpRequest, HttpResponse

__all__ = ["GraphSurface"]

_MEDIA_TYPE: Final = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"


class GraphSurface:
    """The surface below `/v1.0` and `/beta`."""

    def __init__(self, *, service: DirectoryService) -> None:
        self._service = service

    async def handle(self, request: HttpRequest, /) -> HttpResponse:
        """Serve one request; authenticates before it says whether a path exists."""
        version, _, path = request.path.strip("/").partition("/")
        answer = await self._service.handle(
            GraphRequest(
                method=request.method,
                version=version.lower(),
                path=path,
                query=request.query,
                body=request.body,
                base=request.origin.graph,
                call=request.call,
                authorization=request.header("authorization"),
            )
        )
        match answer.body:
            case None:
                return HttpResponse(status=answer.status)
            case int(number):
                return HttpResponse(status=answer.status, body=str(number).encode(), media_type="text/plain")
            case document:
                return HttpResponse(status=answer.status, body=msgspec.json.encode(document), media_type=_MEDIA_TYPE)

    def refuse(self, failure: Failure, request: HttpRequest, /) -> HttpResponse:
        """Any failure, in Graph's envelope."""
        return graph_error(failure, request)
