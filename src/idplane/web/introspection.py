"""The introspection endpoint: POST /{tenant}/oauth2/v2.0/introspect (RFC 7662).

Askers prove themselves as clients at the token endpoint do, or by a bearer token for Resource Manager or for the authority's own address:
a managed identity has no other credential to show.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from idplane.directory.audiences import AUDIENCE_URIS, RESOURCE_MANAGER
from idplane.model.calls import Call
from idplane.model.values import JsonObject
from idplane.sts.introspection import Inspection
from idplane.web.http import HttpRequest, HttpResponse, Origin
from idplane.web.oauth_errors import NO_STORE
from idplane.web.token_form import inspected

__all__ = ["TokenInspector", "introspection", "own_audiences"]


class TokenInspector(Protocol):
    """What the endpoint needs; `sts.introspection.Introspection` is one."""

    async def inspect(self, question: Inspection, call: Call) -> JsonObject:
        """The answer's members."""
        ...


async def introspection(inspector: TokenInspector, tenant: str, request: HttpRequest) -> HttpResponse:
    """One question and its answer; raises `Failure`."""
    token, hint, client = inspected(tenant, request)
    bearer = (request.header("authorization") or "").partition(" ")[2].strip() if client is None else None
    question = Inspection(token=token, hint=hint, client=client, bearer=bearer, audiences=own_audiences(request.origin))
    answer = await inspector.inspect(question, request.call)
    return HttpResponse(status=200, body=msgspec.json.encode(dict(answer)), headers=NO_STORE)


def own_audiences(origin: Origin) -> frozenset[str]:
    """What tokens for the authority's own endpoints may be for."""
    own = (origin.authority, origin.management)
    return frozenset((*AUDIENCE_URIS[RESOURCE_MANAGER.client_id], *own, *(f"{one}/" for one in own)))
