"""Service Fabric's token endpoint (MIE section 4), over TLS with a certificate that clients know by its thumbprint.

`IDENTITY_ENDPOINT`, `IDENTITY_HEADER` (sent back in the header `Secret`) and `IDENTITY_SERVER_THUMBPRINT`. Which identity an
application has is in its manifest, so none can be named, but for `principalId`, which .NET sends. Order of checks: method →
forwarded → host → secret → path → query → identity.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import msgspec

from idplane.agent import servicefabric_errors
from idplane.agent.endpoint import Endpoint, examine, same_secret
from idplane.agent.identities import NoSelector, Selector, SelectorKind
from idplane.agent.imds import capabilities_of, refresh_of
from idplane.agent.protocol import Request
from idplane.agent.query import Target, parse_target, refuse_selectors
from idplane.agent.replies import Reply, reply
from idplane.agent.source import TokenAsk
from idplane.agent.tokens import Token
from idplane.model.failure import Failure, FailureKind

__all__ = ["SERVICE_FABRIC_PATH", "ServiceFabricEndpoint"]

SERVICE_FABRIC_PATH = "/metadata/identity/oauth2/token"
_VERSIONS = ("2019-07-01-preview", "2020-05-01")
_PRINCIPAL = "principalid"


class ServiceFabricEndpoint(Endpoint):
    """Service Fabric's dialect at one listener."""

    def _answer(self, request: Request) -> Reply | Coroutine[Any, Any, Reply]:
        seen = examine(request.headers, b"secret")
        self._admit(request, seen)
        if not same_secret(seen.wanted, self._listener.secret):
            missing = not any(name.lower() == b"secret" for name, _ in request.headers)
            raise Failure(FailureKind.ENDPOINT_SECRET, secret="missing" if missing else "wrong")
        target = parse_target(request.target)
        self._admit_authority(target.authority)
        return self._serve(self._ask(target), request.peer, self._token_reply)

    def _render(self, failure: Failure, request_id: str) -> Reply:
        return servicefabric_errors.render(failure, request_id, self._clock.now())

    def _ask(self, target: Target) -> TokenAsk:
        if target.path != SERVICE_FABRIC_PATH:
            raise Failure(FailureKind.PATH_NOT_FOUND, "There is nothing at this path")
        parameters = target.parameters
        version = parameters.get("api-version", "")
        if version not in _VERSIONS:
            known = ", ".join(_VERSIONS)
            text = f"The api-version '{version[:32]}' is not supported. Supported versions are: {known}"
            raise Failure(FailureKind.INVALID_API_VERSION, text)
        resource = parameters.get("resource")
        if not resource:
            raise Failure(FailureKind.RESOURCE_PARAMETER_MISSING)
        refuse_selectors(parameters, "the application's manifest names its identity", allowed=frozenset({_PRINCIPAL}))
        principal = parameters.get(_PRINCIPAL)
        return TokenAsk(
            host=self._listener.host,
            selector=Selector(SelectorKind.OBJECT_ID, principal) if principal is not None else None,
            default=NoSelector.SYSTEM_OR_ONLY,
            resource=resource,
            capabilities=capabilities_of(parameters),
            refresh=refresh_of(parameters),
        )

    def _token_reply(self, token: Token) -> Reply:
        """The four members of the real one, the time as a number."""
        body = {
            "token_type": "Bearer",
            "access_token": token.access_token,
            "expires_on": token.expires_on,
            "resource": token.resource,
        }
        return reply(200, msgspec.json.encode(body), now=self._clock.now())
