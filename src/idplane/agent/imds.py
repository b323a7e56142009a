"""The instance metadata service of a virtual machine: tokens, and what else clients ask at 169.254.169.254 (MIE section 1).

Routes, matched without case:

    /metadata/identity/oauth2/token                 a token
    /metadata/identity/info                         the tenant
    /metadata/identity/idplane/certificate          our own: a certificate for a key of the workload's, to bind tokens to (RFC 8705)
    /metadata/instance[/sub/path]                   the machine
    /metadata/versions                              api-versions of the above
    /metadata/identity/getplatformmetadata          404 at once, header or not: how clients learn that there is no "IMDSv2"
    /metadata/identity/issuecredential              the same

Order of checks: absent services → method → forwarded → host → `Metadata: true` → path → query → identity.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Coroutine, Mapping
from datetime import datetime
from functools import partial
from typing import Any

import msgspec

from idplane.agent import imds_errors
from idplane.agent.endpoint import Endpoint, examine
from idplane.agent.identities import NoSelector, Selector
from idplane.agent.instance import VERSIONS, instance_document, part, rendered
from idplane.agent.plans import Service, TokenPlan, Wish
from idplane.agent.protocol import Peer, Request
from idplane.agent.query import Target, parse_selector
from idplane.agent.replies import JSON, Reply, reply
from idplane.agent.source import Refresh, TokenAsk
from idplane.agent.token_body import machine_token
from idplane.agent.tokens import Token
from idplane.jose import b64url_decode
from idplane.model.failure import Failure, FailureKind

__all__ = ["IMDS_NAMES", "ImdsEndpoint", "capabilities_of", "refresh_of"]

IMDS_NAMES = (b"169.254.169.254", b"169.254.169.254:80")
_TOKEN_PATH = "/metadata/identity/oauth2/token"
_CERTIFICATE_PATH = "/metadata/identity/idplane/certificate"
_INSTANCE_PATH = "/metadata/instance"
_ABSENT = frozenset({"/metadata/identity/getplatformmetadata", "/metadata/identity/issuecredential"})
_OLDEST_TOKEN_VERSION = "2018-02-01"
_VERSION = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])(-preview)?")
_CAPABILITIES = re.compile(r"[A-Za-z0-9_]{1,32}(,[A-Za-z0-9_]{1,32}){0,7}")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


class ImdsEndpoint(Endpoint):
    """IMDS at one listener."""

    def _answer(self, request: Request) -> Reply | Coroutine[Any, Any, Reply]:
        plan = self._plans.of(request.target)
        if plan.meaning is _absent:
            return _absent(request.peer)
        seen = examine(request.headers, b"metadata")
        self._admit(request, seen)
        self._admit_authority(plan.authority)
        if self._listener.require_metadata and (seen.wanted is None or seen.wanted.lower() != b"true"):
            raise Failure(FailureKind.METADATA_HEADER_MISSING)
        gate = self._listener.gate
        if gate is None or not (isinstance(plan.meaning, TokenPlan) or plan.meaning == self.info):
            return self._serve(plan.asked(), request.peer)
        gate.admit()
        answer = self._serve(plan.asked(), request.peer)
        return answer if isinstance(answer, Reply) else gate.during(answer)

    def _render(self, failure: Failure, request_id: str) -> Reply:
        return imds_errors.render(failure, request_id, self._clock.now())

    def _read(self, target: Target, form: bytes) -> Wish | Service:  # noqa: ARG002 - there are no forms here
        path, parameters = target.path, target.parameters
        if path == _TOKEN_PATH:
            return Wish(self._ask(parameters), _words)
        if path in _ABSENT:
            return _absent
        if path == "/metadata/versions":
            return self.versions
        if path == "/metadata/identity/info":
            _check_token_version(parameters)
            return self.info
        if path == _CERTIFICATE_PATH:
            _check_token_version(parameters)
            return partial(self.certificate, parse_selector(parameters), _request_of(parameters))
        if path == _INSTANCE_PATH or path.startswith(_INSTANCE_PATH + "/"):
            if parameters.get("api-version") not in VERSIONS:
                raise Failure(FailureKind.INVALID_API_VERSION)
            steps = tuple(path.removeprefix(_INSTANCE_PATH).split("/")[1:])
            return partial(self.instance, steps, parameters.get("format"))
        raise Failure(FailureKind.PATH_NOT_FOUND, "There is nothing at this path")

    def _ask(self, parameters: Mapping[str, str]) -> TokenAsk:
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

    async def certificate(self, selector: Selector | None, csr: bytes, peer: Peer | None) -> Reply:
        """`/metadata/identity/idplane/certificate?csr=<PKCS#10 DER, base64url>`: proves the identity at the token endpoint, by mutual TLS."""
        host, identity, issued = await self._source.certificate(self._listener.host, selector, csr, self._caller(peer))
        answer = {
            "certificate": base64.b64encode(issued.certificate).decode(),
            "client_id": identity.client_id,
            "tenant_id": host.tenant_id,
            "not_before": str(int(issued.not_before.timestamp())),
            "not_after": str(int(issued.not_after.timestamp())),
        }
        return self._ok(msgspec.json.encode(answer))

    async def versions(self, _: Peer | None) -> Reply:
        """`/metadata/versions`."""
        return self._ok(msgspec.json.encode({"apiVersions": VERSIONS}))

    async def instance(self, path: tuple[str, ...], wish: str | None, _: Peer | None) -> Reply:
        """`/metadata/instance` or a part of it; no identity is in it, so that everyone may read it."""
        host = await self._source.host(self._listener.host)
        body, media_type = rendered(part(instance_document(host), path), wish)
        return self._ok(body, media_type)


def _request_of(parameters: Mapping[str, str]) -> bytes:
    """The certificate request; raises `Failure(CSR_INVALID)`."""
    text = parameters.get("csr", "")
    try:
        return b64url_decode(text)
    except Failure as failure:
        raise Failure(FailureKind.CSR_INVALID, "Query variable 'csr' is not a certificate request in base64url") from failure


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


async def _absent(_: Peer | None) -> Reply:
    """Before every check, so that clients learn it with or without the header."""
    raise Failure(FailureKind.PATH_NOT_FOUND, "There is no such service")


def _words(token: Token, now: datetime) -> Reply:
    return machine_token(token, now, server=imds_errors.SERVER)


def _check_token_version(parameters: Mapping[str, str]) -> None:
    """Any well-formed version since the first will do: clients differ, and the answer does not (MIE section 1.1)."""
    version = parameters.get("api-version")
    if version is None:
        raise Failure(FailureKind.MISSING_API_VERSION)
    if _VERSION.fullmatch(version) is None or version < _OLDEST_TOKEN_VERSION:
        raise Failure(FailureKind.INVALID_API_VERSION)
