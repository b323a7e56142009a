"""How a machine becomes an agent, and stays one.

    POST /agent/v1/challenges    {method, ...}                                   → {challenge, nonce, expiresAt, ...}
    POST /agent/v1/enrollments   {method, challenge?, evidence, csr, host?}      → {agentId, certificate, chain, ...}
    POST /agent/v1/renewals      {csr}                                           → {certificate, chain, ...}

The first two are for strangers: nothing proves who asks, so that what they cost is bounded, and counted. A renewal is for an agent whose
present certificate the connection proves.
"""

from __future__ import annotations

import base64
import binascii
from typing import Protocol, TypeVar

import msgspec
from cryptography import x509

from idplane.directory.agents import AgentDirectory
from idplane.directory.attestation import Attestation, Wanted
from idplane.directory.evidence import MAX_EVIDENCE
from idplane.model.directory import Agent
from idplane.model.enrollments import JoinMethod
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject
from idplane.ports.world import Clock
from idplane.web.http import HttpRequest, HttpResponse

__all__ = ["PROTOCOL", "ChainSource", "EnrollmentApi", "decoded_csr", "read_body"]

PROTOCOL = 1
"""Of this API. A server takes requests of earlier ones; an agent ignores members of answers that it does not know."""
_MAX_CHALLENGE = 16 * 1024
_MAX_RENEWAL = 16 * 1024
_AUDIENCE = "idplane-agent"

T = TypeVar("T")


class _ChallengeRequest(msgspec.Struct):
    method: str


class _EnrollmentRequest(msgspec.Struct, rename="camel"):
    method: str
    csr: str
    evidence: dict[str, object] = {}
    challenge: str | None = None
    host: str | None = None
    protocol: int = PROTOCOL


class _RenewalRequest(msgspec.Struct, rename="camel"):
    csr: str


class ChainSource(Protocol):
    """What has signed the certificates that go out."""

    @property
    def certificate_pem(self) -> bytes:
        """The authority's certificate."""
        ...


class EnrollmentApi:
    """The three endpoints."""

    def __init__(self, *, attestation: Attestation, agents: AgentDirectory, chain: ChainSource, clock: Clock) -> None:
        self._attestation = attestation
        self._agents = agents
        self._chain = chain
        self._clock = clock

    async def challenge(self, request: HttpRequest) -> HttpResponse:
        """A challenge for a method."""
        asked = read_body(request, _ChallengeRequest, "a request for a challenge", limit=_MAX_CHALLENGE)
        members = read_body(request, dict[str, object], "a request for a challenge", limit=_MAX_CHALLENGE)
        offered = await self._attestation.challenge(_method(asked.method), members, request.call)
        return _json(
            {
                "challenge": offered.challenge.text,
                "nonce": base64.b64encode(offered.challenge.nonce).decode(),
                "expiresAt": offered.challenge.expires_at,
                **offered.told,
            }
        )

    async def enroll(self, request: HttpRequest) -> HttpResponse:
        """An agent's id and certificate for evidence."""
        asked = read_body(request, _EnrollmentRequest, "a request to enroll", limit=MAX_EVIDENCE)
        wanted = Wanted(
            method=_method(asked.method),
            evidence=asked.evidence,
            csr=decoded_csr(asked.csr),
            challenge=asked.challenge,
            host=ResourceId.parse(asked.host) if asked.host is not None else None,
            audience=f"{_AUDIENCE}:{request.origin.authority}",
        )
        agent = await self._attestation.enroll(wanted, request.call)
        return _json(
            {
                "agentId": agent.id,
                **self._certified(agent),
                "tenantId": agent.tenant_id,
                "serverTime": self._clock.now(),
                "protocol": PROTOCOL,
            }
        )

    async def renew(self, agent: Agent, request: HttpRequest) -> HttpResponse:
        """A new certificate for an agent."""
        asked = read_body(request, _RenewalRequest, "a request for a renewal", limit=_MAX_RENEWAL)
        return _json(self._certified(await self._agents.renew(agent, decoded_csr(asked.csr), request.call)))

    def _certified(self, agent: Agent) -> JsonObject:
        certificate = x509.load_der_x509_certificate(agent.certificate)
        return {
            "certificate": base64.b64encode(agent.certificate).decode(),
            "chain": self._chain.certificate_pem.decode(),
            "notBefore": certificate.not_valid_before_utc,
            "notAfter": certificate.not_valid_after_utc,
            "hosts": list(agent.hosts),
        }


def read_body(request: HttpRequest, shape: type[T], meant: str, *, limit: int) -> T:
    """A bounded body of a shape; raises `Failure(UNSUPPORTED_MEDIA_TYPE | BODY_TOO_LARGE | MALFORMED_BODY)`."""
    if (request.header("content-type") or "").partition(";")[0].strip().lower() != "application/json":
        raise Failure(FailureKind.UNSUPPORTED_MEDIA_TYPE, "the body must be application/json")
    if len(request.body) > limit:
        raise Failure(FailureKind.BODY_TOO_LARGE, f"the body is larger than {limit} bytes")
    try:
        return msgspec.json.decode(request.body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failure(FailureKind.MALFORMED_BODY, f"the body is not {meant}") from error


def _method(text: str) -> JoinMethod:
    try:
        return JoinMethod(text)
    except ValueError as error:
        raise Failure(FailureKind.INVALID_PARAMETER, f"the method is none of {', '.join(JoinMethod)}") from error


def decoded_csr(text: str) -> bytes:
    """A certificate request's DER; raises `Failure(CSR_INVALID)` for what is not base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Failure(FailureKind.CSR_INVALID, "the certificate request is not base64") from error


def _json(body: JsonObject) -> HttpResponse:
    return HttpResponse(status=200, body=msgspec.json.encode(body))
