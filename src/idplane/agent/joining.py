"""Joining: this host proves what it is, by one method, and becomes an agent.

    POST /agent/v1/challenges  → what to answer       (methods that need none are given one all the same)
    POST /agent/v1/enrollments → who this agent is, and its certificate

The key is made here for each attempt and leaves in a certificate request only. The servers prove themselves by their certificate; this
host has none to show yet.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from idplane.agent.attestors import Attestor, Challenge
from idplane.agent.state import AgentState
from idplane.agent.upstream import Upstream, UpstreamResponse
from idplane.jose import b64url_decode, make_csr, new_ec_key
from idplane.model.failure import Failure, FailureKind
from idplane.model.values import JsonObject

__all__ = ["SINGLE_USE", "join"]

SINGLE_USE = frozenset({"token"})
"""Methods whose proof is spent when it was accepted: they can't be used to join again."""
_PROTOCOL = 1
_OK = 200
_SERVER_ERROR = 500
_KINDS = {kind.name: kind for kind in FailureKind}
_HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}

T = TypeVar("T")


class _Challenge(msgspec.Struct, rename="camel"):
    challenge: str
    nonce: str
    credential_blob: str | None = None
    secret: str | None = None


class _Enrolled(msgspec.Struct, rename="camel"):
    agent_id: str
    certificate: str
    chain: str
    not_before: datetime
    not_after: datetime
    hosts: tuple[str, ...]
    tenant_id: str


class _ErrorDetail(msgspec.Struct):
    code: str
    message: str = ""


class _Error(msgspec.Struct):
    error: _ErrorDetail


async def join(upstream: Upstream, attestor: Attestor, *, host: str | None, authority: bytes) -> AgentState:
    """Who this host is from now on. `host` is the resource that it should be, where its proof leaves a choice.

    Raises `Failure`: UNAVAILABLE when it is worth trying again, what the server refuses, and what the attestor can't do.
    """
    asked: JsonObject = {"method": attestor.method, **await attestor.challenge_body()}
    given = _decoded(await _posted(upstream, "/agent/v1/challenges", asked), _Challenge)
    key = new_ec_key()
    csr = make_csr(key, "agent")
    challenge = Challenge(
        csr=csr,
        challenge=given.challenge,
        nonce=b64url_decode(given.nonce),
        credential_blob=b64url_decode(given.credential_blob) if given.credential_blob else None,
        secret=b64url_decode(given.secret) if given.secret else None,
    )
    body = {
        "method": attestor.method,
        "challenge": given.challenge,
        "evidence": await attestor.evidence(challenge),
        "csr": base64.b64encode(csr).decode(),
        "protocol": _PROTOCOL,
        **({"host": host} if host is not None else {}),
    }
    made = _decoded(await _posted(upstream, "/agent/v1/enrollments", body), _Enrolled)
    return AgentState(
        agent_id=made.agent_id,
        tenant_id=made.tenant_id,
        hosts=made.hosts,
        method=attestor.method,
        private_key=key,
        certificate=b64url_decode(made.certificate),
        chain=made.chain.encode(),
        authority=authority,
        not_before=_aware(made.not_before),
        not_after=_aware(made.not_after),
    )


async def _posted(upstream: Upstream, path: str, body: JsonObject) -> UpstreamResponse:
    response = await upstream.send("POST", path, _HEADERS, msgspec.json.encode(body))
    if response.status == _OK:
        return response
    try:
        error = msgspec.json.decode(response.body, type=_Error).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Failure(FailureKind.UNAVAILABLE, f"the server answered with status {response.status}") from None
    kind = FailureKind.UNAVAILABLE if response.status >= _SERVER_ERROR else _KINDS.get(error.code, FailureKind.FORBIDDEN)
    raise Failure(kind, error.message or error.code)


def _decoded(response: UpstreamResponse, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(response.body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Failure(FailureKind.UNAVAILABLE, "the server's answer could not be read") from error


def _aware(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=UTC)
