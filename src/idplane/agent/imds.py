"""The instance metadata service of a virtual machine: tokens, and what else clients ask at 169.254.169.254 (MIE section 1).

Routes, matched without case:

    /metadata/identity/oauth2/token                 a token
    /metadata/identity/info                         the tenant
    /metadata/instance[/sub/path]                   the machine
    /metadata/versions                              api-versions of the above
    /metadata/identity/getplatformmetadata          404 at once, header or not: how clients learn that there is no "IMDSv2"
    /metadata/identity/issuecredential              the same

Order of checks: absent services → method → forwarded → host → `Metadata: true` → path → query → identity.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import msgspec

from idplane.agent import imds_errors
from idplane.agent.endpoint import Endpoint, Listener, World, examine
from idplane.agent.identities import NoSelector
from idplane.agent.instance import VERSIONS, instance_document, part, rendered
from idplane.agent.protocol import Peer, Request
from idplane.agent.query import Target, parse_selector, parse_target
from idplane.agent.replies import JSON, Reply, reply
from idplane.agent.source import Refresh, TokenAsk
from idplane.agent.token_body import machine_token
from idplane.agent.tokens import Token
from idplane.model.failure import Failure, FailureKind
from idplane.ports.world import Clock

__all__ = ["IMDS_NAMES", "ImdsEndpoint", "capabilities_of", "refresh_of"]

IMDS_NAMES = (b"169.254.169.254", b"169.254.169.254:80")
_TOKEN_PATH = "/metadata/identity/oauth2/token"
_INSTANCE_PATH = "/metadata/instance"
_ABSENT = frozenset({"/metadata/identity/getplatformmetadata", "/metadata/identity/issuecredential"})
_OLDEST_TOKEN_VERSION = "2018-02-01"
_VERSION = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])(-preview)?")
_CAPABILITIES = re.compile(r"[A-Za-z0-9_]{1,32}(,[A-Za-z0-9_]{1,32}){0,7}")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_MAX_PLANS = 512
_MAX_REMEMBERED_TARGET = 1024


class _Absent(enum.Enum):
    SERVICE = "a service that does not exist here"


class _Plan:
    """What a target asks for, worked out once. Remembers the last answer for as long as it is true: one second, one token."""

    __slots__ = ("ask", "authority", "clock", "other", "reply", "second", "token")

    def __init__(
        self, clock: Clock, authority: bytes | None, ask: TokenAsk | None, other: _Other | _Absent | Failure | None
    ) -> None:
        self.clock = clock
        self.authority = authority
        self.ask = ask
        self.other = other
        self.token: Token | None = None
        self.second = -1
        self.reply: Reply | None = None

    def worded(self, token: Token) -> Reply:
        """The answer is remembered by its token, so that whoever may not have this token never meets this answer."""
        now = self.clock.now()
        second = int(now.timestamp())
        if token is not self.token or second != self.second or self.reply is None:
            self.token, self.second, self.reply = token, second, machine_token(token, now, server=imds_errors.SERVER)
        return self.reply


_Other = Callable[["ImdsEndpoint", Peer | None], Coroutine[Any, Any, Reply]]


class ImdsEndpoint(Endpoint):
    """IMDS at one listener."""

    def __init__(self, listener: Listener, world: World) -> None:
        super().__init__(listener, world)
        self._plans: dict[bytes, _Plan] = {}

    def _answer(self, request: Request) -> Reply | Coroutine[Any, Any, Reply]:
        plan = self._plans.get(request.target) or self._planned(request.target)
        if plan.other is _Absent.SERVICE:
            raise Failure(FailureKind.PATH_NOT_FOUND, "There is no such service")
        seen = examine(request.headers, b"metadata")
        self._admit(request, seen)
        self._admit_authority(plan.authority)
        if self._listener.require_metadata and (seen.wanted is None or seen.wanted.lower() != b"true"):
            raise Failure(FailureKind.METADATA_HEADER_MISSING)
        if plan.ask is not None:
            return self._serve(plan.ask, request.peer, plan.worded)
        if isinstance(plan.other, Failure):
            raise Failure(plan.other.kind, plan.other.detail)
        assert callable(plan.other)
        return plan.other(self, request.peer)

    def _render(self, failure: Failure, request_id: str) -> Reply:
        return imds_errors.render(failure, request_id, self._clock.now())

    def _planned(self, target: bytes) -> _Plan:
        plan = self._plan(target)
        if len(target) <= _MAX_REMEMBERED_TARGET:
            if len(self._plans) >= _MAX_PLANS:
                self._plans.clear()
            self._plans[target] = plan
        return plan

    def _plan(self, raw: bytes) -> _Plan:
        """Failures are part of a plan: they are told only after the checks that come before them."""
        try:
            target = parse_target(raw)
        except Failure as failure:
            return _Plan(self._clock, None, None, failure)
        try:
            if target.path == _TOKEN_PATH:
                return _Plan(self._clock, target.authority, self._ask(target), None)
            return _Plan(self._clock, target.authority, None, _other(target))
        except Failure as failure:
            return _Plan(self._clock, target.authority, None, failure)

    def _ask(self, target: Target) -> TokenAsk:
        parameters = target.parameters
        _check_token_version(parameters)
        resource = parameters.get("resource")
        if not resource:
            raise Failure(FailureKind.RESOURCE_PARAMETER_MISSING)
        return TokenAsk(
            host=self._listener.host,
            selector=parse_selector(parameters),
            default=NoSelector.SYSTEM_OR_ONLY,
            resource=resource,
            capabilities=capabilities_of(parameters),
            refresh=refresh_of(parameters),
        )

    def _ok(self, body: bytes, media_type: str = JSON) -> Reply:
        return reply(200, body, now=self._clock.now(), server=imds_errors.SERVER, media_type=media_type)

    async def info(self, peer: Peer | None) -> Reply:
        """`/metadata/identity/info`, which is about the identities and for those who may use some."""
        host = await self._source.host_for(self._listener.host, self._caller(peer))
        return self._ok(msgspec.json.encode({"tenantId": host.tenant_id}))

    async def versions(self, _: Peer | None) -> Reply:
        """`/metadata/versions`."""
        return self._ok(msgspec.json.encode({"apiVersions": VERSIONS}))

    async def instance(self, path: tuple[str, ...], wish: str | None) -> Reply:
        """`/metadata/instance` or a part of it; no identity is in it, so that everyone may read it."""
        host = await self._source.host(self._listener.host)
        body, media_type = rendered(part(instance_document(host), path), wish)
        return self._ok(body, media_type)


def capabilities_of(parameters: Mapping[str, str]) -> tuple[str, ...]:
    """The client's declared capabilities (MIE section 1.9); raises `Failure(INVALID_PARAMETER)`."""
    text = parameters.get("xms_cc")
    if not text:
        return ()
    if _CAPABILITIES.fullmatch(text) is None:
        raise Failure(FailureKind.INVALID_PARAMETER, "Query variable 'xms_cc' is not a list of capabilities")
    return tuple(text.split(","))


def refresh_of(parameters: Mapping[str, str]) -> Refresh | None:
    """Which cached token is not wanted (MIE section 1.9); raises `Failure(INVALID_PARAMETER)`."""
    bypass = parameters.get("bypass_cache", "false").lower()
    bad = parameters.get("token_sha256_to_refresh")
    if bypass not in {"true", "false"}:
        raise Failure(FailureKind.INVALID_PARAMETER, "Query variable 'bypass_cache' is neither true nor false")
    if bad is not None and _SHA256.fullmatch(bad) is None:
        raise Failure(FailureKind.INVALID_PARAMETER, "Query variable 'token_sha256_to_refresh' is not a SHA-256")
    if bypass == "false" and bad is None:
        return None
    return Refresh(bypass=bypass == "true", bad_token=bad.lower() if bad else None)


def _other(target: Target) -> _Other | _Absent:
    path, parameters = target.path, target.parameters
    if path in _ABSENT:
        return _Absent.SERVICE
    if path == "/metadata/versions":
        return ImdsEndpoint.versions
    if path == "/metadata/identity/info":
        _check_token_version(parameters)
        return ImdsEndpoint.info
    if path == _INSTANCE_PATH or path.startswith(_INSTANCE_PATH + "/"):
        if parameters.get("api-version") not in VERSIONS:
            raise Failure(FailureKind.INVALID_API_VERSION)
        steps = tuple(path.removeprefix(_INSTANCE_PATH).split("/")[1:])
        wish = parameters.get("format")
        return lambda endpoint, _: endpoint.instance(steps, wish)
    raise Failure(FailureKind.PATH_NOT_FOUND, "There is nothing at this path")


def _check_token_version(parameters: Mapping[str, str]) -> None:
    """Any well-formed version since the first will do: clients differ, and the answer does not (MIE section 1.1)."""
    version = parameters.get("api-version")
    if version is None:
        raise Failure(FailureKind.MISSING_API_VERSION)
    if _VERSION.fullmatch(version) is None or version < _OLDEST_TOKEN_VERSION:
        raise Failure(FailureKind.INVALID_API_VERSION)
