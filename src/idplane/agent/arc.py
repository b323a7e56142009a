"""Azure Arc's token endpoint (MIE section 3): who can read a file on this machine may have its token.

    GET, Metadata: true                            → 401, WWW-Authenticate: Basic realm=/var/opt/azcmagent/tokens/<name>.key
    the same, Authorization: Basic <its content>   → 200

Order of checks: method → forwarded → host → `Metadata: true` → path → query → what was read → identity. Each file serves once and
for a short time (`arc_keys`); whatever is shown instead of its content is answered with another challenge.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Any

from idplane.agent import arc_errors
from idplane.agent.arc_keys import ArcKeys
from idplane.agent.endpoint import Endpoint, Listener, World, examine
from idplane.agent.identities import NoSelector, SelectorKind
from idplane.agent.imds import capabilities_of, refresh_of
from idplane.agent.protocol import Request
from idplane.agent.query import Target, parse_selector, parse_target
from idplane.agent.refusals import UNCHALLENGED
from idplane.agent.replies import Reply
from idplane.agent.source import TokenAsk
from idplane.agent.token_body import machine_token
from idplane.agent.tokens import Token
from idplane.model.failure import Failure, FailureKind

__all__ = ["ARC_PATH", "ArcEndpoint"]

ARC_PATH = "/metadata/identity/oauth2/token"
_VERSIONS = ("2019-11-01", "2020-06-01", "2021-02-01")
_ECHOED = ("client_id", "object_id", "principal_id", "msi_res_id", "mi_res_id")
"""Names of identities that clients look for in the answer: proof that nothing else was chosen."""
_SCHEME = b"basic "


class ArcEndpoint(Endpoint):
    """Arc's dialect at one listener."""

    def __init__(self, listener: Listener, world: World) -> None:
        super().__init__(listener, world)
        if listener.key_folder is None:
            raise ValueError("the Arc dialect needs a folder for its keys")
        self._keys = ArcKeys(folder=listener.key_folder, clock=world.clock, entropy=world.entropy)

    def tidy(self) -> None:
        """Remove the files that nobody read in time."""
        self._keys.expire()

    def close(self) -> None:
        """Remove the files of challenges that are still open."""
        self._keys.close()

    def _answer(self, request: Request) -> Reply | Coroutine[Any, Any, Reply]:
        seen = examine(request.headers, b"metadata")
        self._admit(request, seen)
        if seen.wanted is None or seen.wanted.lower() != b"true":
            raise Failure(FailureKind.METADATA_HEADER_MISSING)
        target = parse_target(request.target)
        self._admit_authority(target.authority)
        ask = self._ask(target)
        shown = examine(request.headers, b"authorization").wanted
        if shown is None or not self._keys.redeem(shown[len(_SCHEME) :].strip() if shown.lower().startswith(_SCHEME) else b""):
            first = {UNCHALLENGED: "yes"} if shown is None else {}
            text = "Show the content of the file that the challenge names"
            raise Failure(FailureKind.ENDPOINT_SECRET, text, **self._keys.challenge(), **first)
        echo = _echo(target.parameters, ask)
        return self._serve(ask, request.peer, partial(self._token_reply, echo))

    def _render(self, failure: Failure, request_id: str) -> Reply:
        return arc_errors.render(failure, request_id, self._clock.now())

    def _ask(self, target: Target) -> TokenAsk:
        if target.path != ARC_PATH:
            raise Failure(FailureKind.PATH_NOT_FOUND, "There is nothing at this path")
        parameters = target.parameters
        if parameters.get("api-version") not in _VERSIONS:
            known = ", ".join(_VERSIONS)
            raise Failure(FailureKind.INVALID_API_VERSION, f"The api-version is missing or not one of: {known}")
        resource = parameters.get("resource")
        if not resource:
            raise Failure(FailureKind.RESOURCE_PARAMETER_MISSING)
        return TokenAsk(
            host=self._listener.host,
            selector=parse_selector(parameters),
            default=NoSelector.SYSTEM,
            resource=resource,
            capabilities=capabilities_of(parameters),
            refresh=refresh_of(parameters),
        )

    def _token_reply(self, echo: Mapping[str, str], token: Token) -> Reply:
        return machine_token(token, self._clock.now(), echo=echo)


def _echo(parameters: Mapping[str, str], ask: TokenAsk) -> dict[str, str]:
    """The identity as the request named it. The client id is in every answer, and this one is the same in another case at most."""
    if ask.selector is None or ask.selector.kind is SelectorKind.CLIENT_ID:
        return {}
    return {name: parameters[name] for name in _ECHOED if name in parameters}
