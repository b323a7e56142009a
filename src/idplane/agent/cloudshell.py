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
from idplane.agent.plans import Wish
from idplane.agent.protocol import Request
from idplane.agent.query import Target, parse_form, refuse_selectors
from idplane.agent.replies import Reply
from idplane.agent.source import TokenAsk
from idplane.agent.token_body import machine_token
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
        plan = self._plans.of(request.target, request.body if request.method == b"POST" else b"")
        self._admit_authority(plan.authority)
        return self._serve(plan.asked(), request.peer)

    def _render(self, failure: Failure, request_id: str) -> Reply:
        return cloudshell_errors.render(failure, request_id, self._clock.now())

    def _read(self, target: Target, form: bytes) -> Wish:
        if target.path != CLOUD_SHELL_PATH:
            raise Failure(FailureKind.PATH_NOT_FOUND, "There is nothing at this path")
        parameters = _joined(target.parameters, parse_form(form))
        resource = parameters.get("resource")
        if not resource:
            raise Failure(FailureKind.RESOURCE_PARAMETER_MISSING)
        refuse_selectors(parameters, "a shell has one identity")
        ask = TokenAsk(
            host=self._listener.host,
            selector=None,
            default=NoSelector.SYSTEM_OR_ONLY,
            resource=resource,
        )
        return Wish(ask, machine_token)


def _joined(query: Mapping[str, str], form: Mapping[str, str]) -> Mapping[str, str]:
    """Query and form as one; what is in both could mean either, and is refused."""
    both = sorted(query.keys() & form.keys())
    if both:
        raise Failure(FailureKind.INVALID_PARAMETER, f"The parameter '{both[0][:64]}' is repeated")
    return {**query, **form}
