"""App Service's token endpoint, version 2019-08-01 (MIE section 2): the one redirect that all SDK languages honour.

`IDENTITY_ENDPOINT` is `http://{address}` + `APP_SERVICE_PATH`, `IDENTITY_HEADER` the listener's secret. Order of checks: method →
forwarded → host → secret → path → query → identity.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import msgspec

from idplane.agent import appservice_errors
from idplane.agent.endpoint import Endpoint, examine, same_secret
from idplane.agent.identities import NoSelector
from idplane.agent.imds import capabilities_of, refresh_of
from idplane.agent.protocol import Request
from idplane.agent.query import Target, parse_selector, parse_target
from idplane.agent.replies import Reply, reply
from idplane.agent.source import TokenAsk
from idplane.agent.tokens import Token
from idplane.model.failure import Failure, FailureKind

__all__ = ["APP_SERVICE_PATH", "AppServiceEndpoint"]

APP_SERVICE_PATH = "/msi/token"
_VERSIONS = frozenset({"2019-08-01"})


class AppServiceEndpoint(Endpoint):
    """App Service's dialect at one listener."""

    def _answer(self, request: Request) -> Reply | Coroutine[Any, Any, Reply]:
        seen = examine(request.headers, b"x-identity-header")
        self._admit(request, seen)
        if not same_secret(seen.wanted, self._listener.secret):
            raise Failure(FailureKind.ENDPOINT_SECRET, "The X-IDENTITY-HEADER header is missing or wrong")
        target = parse_target(request.target)
        self._admit_authority(target.authority)
        ask = self._ask(target)
        token = self._source.cached(ask, self._clock.now().timestamp())
        return self._token_reply(token) if token is not None else self._fetched(ask)

    def _render(self, failure: Failure, request_id: str) -> Reply:
        return appservice_errors.render(failure, request_id, self._clock.now())

    async def _fetched(self, ask: TokenAsk) -> Reply:
        return self._token_reply(await self._source.token(ask))

    def _ask(self, target: Target) -> TokenAsk:
        if target.path != APP_SERVICE_PATH:
            raise Failure(FailureKind.PATH_NOT_FOUND, "There is nothing at this path")
        parameters = target.parameters
        if parameters.get("api-version") not in _VERSIONS:
            raise Failure(FailureKind.INVALID_API_VERSION, "The api-version is missing or not one of: 2019-08-01")
        resource = parameters.get("resource")
        if not resource:
            raise Failure(FailureKind.RESOURCE_PARAMETER_MISSING, "The parameter 'resource' is missing")
        return TokenAsk(
            host=self._listener.host,
            selector=parse_selector(parameters),
            default=NoSelector.SYSTEM,
            resource=resource,
            capabilities=capabilities_of(parameters),
            refresh=refresh_of(parameters),
            workload=self._listener.workload,
        )

    def _token_reply(self, token: Token) -> Reply:
        """Times as digits, which old and new clients alike can read; no `expires_in`, as on the real one."""
        body = {
            "access_token": token.access_token,
            "client_id": token.client_id,
            "expires_on": str(token.expires_on),
            "not_before": str(token.not_before),
            "resource": token.resource,
            "token_type": "Bearer",
        }
        return reply(200, msgspec.json.encode(body), now=self._clock.now())
