"""App Service's token endpoint, versions 2019-08-01 and 2025-03-30 (MIE section 2): the one redirect that all SDK languages honour.

`IDENTITY_ENDPOINT` is `http://{address}` + `APP_SERVICE_PATH`, `IDENTITY_HEADER` the listener's secret. Order of checks: method →
forwarded → host → secret → path → query → identity. The versions differ in what they promise: the newer one hears `xms_cc` and
`token_sha256_to_refresh`, which clients send to the older one, too, and which are heard there as well (MIE section 1.9).

`SecretEndpoint` is what this dialect has in common with the two of 2017 (`appservice_2017`, `machinelearning`).
"""

from __future__ import annotations

import abc
from collections.abc import Coroutine, Mapping
from typing import Any, ClassVar

import msgspec

from idplane.agent import appservice_errors
from idplane.agent.endpoint import Endpoint, examine, same_secret
from idplane.agent.identities import NoSelector, Selector
from idplane.agent.imds import capabilities_of, refresh_of
from idplane.agent.protocol import Request
from idplane.agent.query import Target, parse_selector, parse_target
from idplane.agent.replies import Reply, reply
from idplane.agent.source import TokenAsk
from idplane.agent.tokens import Token
from idplane.model.failure import Failure, FailureKind

__all__ = ["APP_SERVICE_PATH", "AppServiceEndpoint", "SecretEndpoint"]

APP_SERVICE_PATH = "/msi/token"


class SecretEndpoint(Endpoint):
    """A GET with a secret in a header, answered with the times as digits."""

    _SECRET_HEADER: ClassVar[bytes]
    """Lower case."""
    _SECRET_TEXT: ClassVar[str]
    _VERSIONS: ClassVar[tuple[str, ...]]
    _NO_SELECTOR: ClassVar = NoSelector.SYSTEM

    def _answer(self, request: Request) -> Reply | Coroutine[Any, Any, Reply]:
        seen = examine(request.headers, self._SECRET_HEADER)
        self._admit(request, seen)
        if not same_secret(seen.wanted, self._listener.secret):
            raise Failure(FailureKind.ENDPOINT_SECRET, f"The {self._SECRET_TEXT} header is missing or wrong")
        target = parse_target(request.target)
        self._admit_authority(target.authority)
        return self._serve(self._ask(target), request.peer, self._token_reply)

    @abc.abstractmethod
    def _selector(self, parameters: Mapping[str, str]) -> Selector | None:
        """Which identity is asked for, as far as the dialect lets one be named."""

    def _ask(self, target: Target) -> TokenAsk:
        if target.path != APP_SERVICE_PATH:
            raise Failure(FailureKind.PATH_NOT_FOUND, "There is nothing at this path")
        parameters = target.parameters
        if parameters.get("api-version") not in self._VERSIONS:
            known = ", ".join(self._VERSIONS)
            raise Failure(FailureKind.INVALID_API_VERSION, f"The api-version is missing or not one of: {known}")
        resource = parameters.get("resource")
        if not resource:
            raise Failure(FailureKind.RESOURCE_PARAMETER_MISSING, "The parameter 'resource' is missing")
        return TokenAsk(
            host=self._listener.host,
            selector=self._selector(parameters),
            default=self._NO_SELECTOR,
            resource=resource,
            capabilities=capabilities_of(parameters),
            refresh=refresh_of(parameters),
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


class AppServiceEndpoint(SecretEndpoint):
    """App Service's dialect at one listener."""

    _SECRET_HEADER = b"x-identity-header"
    _SECRET_TEXT = "X-IDENTITY-HEADER"
    _VERSIONS = ("2019-08-01", "2025-03-30")

    def _selector(self, parameters: Mapping[str, str]) -> Selector | None:
        return parse_selector(parameters)

    def _render(self, failure: Failure, request_id: str) -> Reply:
        return appservice_errors.render(failure, request_id, self._clock.now())
