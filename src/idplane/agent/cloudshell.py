"""Cloud Shell's token endpoint (MIE section 5): a form, the header `Metadata`, and nothing to prove who asks.

Real shells speak for the person who is signed in; ours speaks for its resource. Most clients POST, older Java ones GET. Order of
checks: method → forwarded → host → `Metadata: true` → path → form or query → identity.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any

from idplane.agent import cloudshell_errors
from idplane.agent.endpoint import Endpoint, examine
from idplane.agent.identities import NoSelector
from idplane.agent.protocol import Request
from idplane.agent.query import parse_form, parse_target, refuse_selectors
from idplane.agent.replies import Reply
from idplane.agent.source import TokenAsk
from idplane.agent.token_body import machine_token
from idplane.agent.tokens import Token
from idplane.model.failure import Failure, FailureKind

__all__ = ["CLOUD_SHELL_PATH", "CloudShellEndpoint"]

CLOUD_SHELL_PATH = "/oauth2/token"


class CloudShellEndpoint(Endpoint):
    """Cloud Shell's dialect at one listener."""

    _METHODS = frozenset({b"GET", b"POST"})
    _METHODS_TEXT = "Only GET and POST are served here"

    def _answer(self, request: Request) -> Reply | Coroutine[Any, Any, Reply]:
        seen = examine(request.headers, b"metadata")
        self._admit(request, seen)
        if seen.wanted is None or seen.wanted.lower() != b"true":
            raise Failure(FailureKind.METADATA_HEADER_MISSING)
        target = parse_target(request.target)
        self._admit_authority(target.authority)
        if target.path != CLOUD_SHELL_PATH:
            raise Failure(FailureKind.PATH_NOT_FOUND, "There is nothing at this path")
        return self._serve(self._ask(_joined(target.parameters, request)), request.peer, self._token_reply)

    def _render(self, failure: Failure, request_id: str) -> Reply:
        return cloudshell_errors.render(failure, request_id, self._clock.now())

    def _ask(self, parameters: Mapping[str, str]) -> TokenAsk:
        resource = parameters.get("resource")
        if not resource:
            raise Failure(FailureKind.RESOURCE_PARAMETER_MISSING)
        refuse_selectors(parameters, "a shell has one identity")
        return TokenAsk(
            host=self._listener.host,
            selector=None,
            default=NoSelector.SYSTEM_OR_ONLY,
            resource=resource,
        )

    def _token_reply(self, token: Token) -> Reply:
        return machine_token(token, self._clock.now())


def _joined(query: Mapping[str, str], request: Request) -> Mapping[str, str]:
    """Query and form as one; what is in both could mean either, and is refused."""
    if request.method != b"POST":
        return query
    form = parse_form(request.body)
    both = sorted(query.keys() & form.keys())
    if both:
        raise Failure(FailureKind.INVALID_PARAMETER, f"The parameter '{both[0][:64]}' is repeated")
    return {**query, **form}
