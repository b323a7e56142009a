"""The server, as the agent sees it: the things that are asked of it, and the proof of who asks.

Wire: `/agent/v1/*` with a signed JWT for each request (`directory.hosts` verifies it), and the ordinary token endpoint with a
client assertion. Answers are checked for shape here, so that nothing below meets JSON.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec

from idplane.agent.answers import FROM_SERVER, THROTTLED, refusal, token_refusal
from idplane.agent.binding_wire import BindingShape, bindings_from
from idplane.agent.identities import HostDescription, HostedIdentity
from idplane.agent.lanes import Lanes
from idplane.agent.patience import Patience
from idplane.agent.trust import Trust
from idplane.agent.upstream import AGAIN, BUSY, RETRY_AFTER, TROUBLE, AgentIdentity, Upstream, UpstreamResponse
from idplane.agent.workload_identity import ProjectedToken, Projection, TrustingClient
from idplane.jose import Algorithm, Signer, b64url, b64url_decode, certificate_thumbprint, numeric_date
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.scale_sets import identity_host
from idplane.model.values import JsonObject
from idplane.ports.store import Change
from idplane.ports.world import Clock, Entropy

__all__ = [
    "AGENT_AUDIENCE",
    "CLIENT_ASSERTION_TYPE",
    "IssuedCertificate",
    "News",
    "Plane",
    "RenewedCertificate",
    "UpstreamToken",
]

AGENT_AUDIENCE = "idplane-agent"
"""`aud` of the tokens that an agent signs for the agent API."""
CLIENT_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_PROOF_SECONDS = 60
_ATTEMPTS = 3
"""Once more for a connection that was lost, and for a clock that was wrong."""
_CORRECTION_SECONDS = 2.0
_PATIENCE_SECONDS = 15.0
"""How long a question may wait for its turn, and be asked again, while servers have too much to do: less than workloads are made to wait."""
_BOUNDED = "/agent/v1/workload-certificates"
_OK = 200

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedCertificate:
    """An identity's certificate for the key that was sent."""

    credential_id: str
    certificate: bytes = field(repr=False)
    """DER."""
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewedCertificate:
    """This agent's own successor certificate."""

    certificate: bytes = field(repr=False)
    """DER."""
    chain: bytes = field(repr=False)
    """PEM, from the certificate's issuer on."""
    not_before: datetime
    not_after: datetime
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What changed at the server."""

    position: int
    changes: tuple[Change, ...]
    reset: bool = False
    """Whether something may be missing: everything that is remembered is in doubt."""
    trust: Trust | None = None
    """What the servers say of their authorities, where that is something else than was known."""
    renew_within: int | None = None
    """Seconds within which this agent is asked to replace its own certificate; None where it need not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamToken:
    """An access token with its times in seconds since the epoch."""

    access_token: str = field(repr=False)
    not_before: int
    expires_on: int


class _Identity(msgspec.Struct, rename="camel"):
    principal_id: str
    client_id: str
    system_assigned: bool
    resource_id: str | None = None


class _Host(msgspec.Struct, rename="camel"):
    id: str
    type: str
    tenant_id: str
    token_endpoint: str
    identities: tuple[_Identity, ...]
    location: str | None = None
    compute: dict[str, object] = {}
    bindings: tuple[BindingShape, ...] = ()


class _Certificate(msgspec.Struct, rename="camel"):
    certificate: str
    not_before: datetime
    not_after: datetime
    credential_id: str


class _Change(msgspec.Struct):
    position: int
    collection: str
    key: str
    deleted: bool
    subject: str | None = None


class _Changes(msgspec.Struct, rename="camel"):
    position: int
    changes: tuple[_Change, ...] = ()
    reset: bool = False
    trust: _Trust | None = None
    renew_within: int | None = None


class _Trust(msgspec.Struct):
    version: str
    anchors: str
    tainted: tuple[str, ...] = ()


class _Renewed(msgspec.Struct, rename="camel"):
    certificate: str
    chain: str
    not_before: datetime
    not_after: datetime
    hosts: tuple[str, ...] = ()


class _Trusting(msgspec.Struct, rename="camel"):
    client_id: str
    name: str
    managed: bool


class _Projected(msgspec.Struct, rename="camel"):
    token: str
    issuer: str
    subject: str
    tenant_id: str
    issued_at: datetime
    expires_at: datetime
    trusted_by: tuple[_Trusting, ...] = ()


class _Token(msgspec.Struct):
    access_token: str
    expires_in: int | str = 0
    expires_on: int | str = 0
    not_before: int | str = 0


class _Times(msgspec.Struct):
    """The claims of an access token that an agent reads."""

    exp: int | float
    nbf: int | float = 0


class Plane:
    """Asks the server on behalf of one enrolled agent."""

    def __init__(self, *, upstream: Upstream, identity: AgentIdentity, clock: Clock, entropy: Entropy) -> None:
        self._upstream = upstream
        self._clock = clock
        self._entropy = entropy
        self._lanes = Lanes(clock)
        self._patience = Patience(clock=clock, entropy=entropy)
        self._identify(identity)
        self.answered = asyncio.Event()
        """Set whenever a server answers anything but a question for changes."""

    @asynccontextmanager
    async def becoming(self, identity: AgentIdentity) -> AsyncIterator[None]:
        """Sign as somebody else from here on; the block runs while no request is under way."""
        async with self._lanes.quiet():
            yield
            self._identify(identity)

    async def describe(self, host: ResourceId) -> HostDescription:
        """What a resource is and which identities it has; raises RESOURCE_NOT_FOUND, HOST_NOT_BOUND, AGENT_UNKNOWN, UNAVAILABLE."""
        answer = _decoded(await self._ask("GET", "/agent/v1/host?" + urlencode({"id": str(host)})), _Host)
        identities = tuple(
            HostedIdentity(
                principal_id=it.principal_id,
                client_id=it.client_id,
                resource_id=it.resource_id,
                system_assigned=it.system_assigned,
            )
            for it in answer.identities
        )
        return HostDescription(
            id=identity_host(host),
            type=answer.type,
            tenant_id=answer.tenant_id,
            token_endpoint=answer.token_endpoint,
            location=answer.location or "",
            identities=identities,
            bindings=bindings_from(answer.bindings, identity_host(host), self._clock.now()),
            compute=answer.compute,
        )

    async def vouch(self, host: ResourceId, principal_id: str, csr: bytes) -> IssuedCertificate:
        """A certificate for a key that a workload holds itself; raises as `certify` does, THROTTLED and CSR_INVALID."""
        return await self.certify(host, principal_id, csr, path=_BOUNDED)

    async def certify(
        self, host: ResourceId, principal_id: str, csr: bytes, *, path: str = "/agent/v1/certificates"
    ) -> IssuedCertificate:
        """A certificate for an identity's new key; raises NOT_ENTITLED, HOST_NOT_BOUND, AGENT_UNKNOWN, UNAVAILABLE."""
        body = {"host": str(host), "principalId": principal_id, "csr": base64.b64encode(csr).decode()}
        answer = _decoded(await self._ask("POST", path, msgspec.json.encode(body)), _Certificate)
        return IssuedCertificate(
            credential_id=answer.credential_id,
            certificate=b64url_decode(answer.certificate),
            not_before=_aware(answer.not_before),
            not_after=_aware(answer.not_after),
        )

    async def project(self, projection: Projection, /) -> ProjectedToken:
        """A token of a host's own issuer.

        Raises RESOURCE_NOT_FOUND, HOST_NOT_BOUND, INVALID_PARAMETER, AGENT_UNKNOWN, UNAVAILABLE.
        """
        asked = {"host": str(projection.host), "serviceAccount": projection.account, "runId": projection.run_id}
        body = msgspec.json.encode({name: value for name, value in asked.items() if value is not None})
        answer = _decoded(await self._ask("POST", "/agent/v1/projected-tokens", body), _Projected)
        return ProjectedToken(
            token=answer.token,
            issuer=answer.issuer,
            subject=answer.subject,
            tenant_id=answer.tenant_id,
            issued_at=_aware(answer.issued_at),
            expires_at=_aware(answer.expires_at),
            trusted_by=tuple(
                TrustingClient(client_id=it.client_id, name=it.name, managed=it.managed) for it in answer.trusted_by
            ),
        )

    async def report(self, refusals: Sequence[JsonObject]) -> None:
        """Tell the server what was refused here; raises what the server refuses, and UNAVAILABLE."""
        await self._ask("POST", "/agent/v1/refusals", msgspec.json.encode({"refusals": refusals}))

    async def changes(self, after: int | None, *, wait: int, trust: str = "") -> News:
        """What changed after a position, waiting up to `wait` seconds for something; None asks for the present position only.

        `trust` is the version of what is known of the servers' authorities.
        """
        query = {**({} if after is None else {"after": str(after)}), "wait": str(wait), "trust": trust}
        answer = _decoded(await self._ask("GET", "/agent/v1/changes?" + urlencode(query), poll=True), _Changes)
        changes = tuple(
            Change(position=it.position, collection=it.collection, key=it.key, subject=it.subject, deleted=it.deleted)
            for it in answer.changes
        )
        return News(
            position=answer.position,
            changes=changes,
            reset=answer.reset,
            trust=None if answer.trust is None else _trust(answer.trust),
            renew_within=answer.renew_within,
        )

    async def trust(self, through: Upstream | None = None) -> Trust:
        """What the servers say of their authorities, asked over another way than the usual one if need be; raises AGENT_UNKNOWN, UNAVAILABLE."""
        answer = _decoded(await self._ask("GET", "/agent/v1/trust", through=through), _Trust)
        return _trust(answer)

    async def renew(self, csr: bytes) -> RenewedCertificate:
        """A successor of this agent's own certificate, for a new key; raises AGENT_UNKNOWN and its like, CSR_INVALID, UNAVAILABLE."""
        body = msgspec.json.encode({"csr": base64.b64encode(csr).decode()})
        answer = _decoded(await self._ask("POST", "/agent/v1/renewals", body), _Renewed)
        return RenewedCertificate(
            certificate=b64url_decode(answer.certificate),
            chain=answer.chain.encode(),
            not_before=_aware(answer.not_before),
            not_after=_aware(answer.not_after),
            hosts=answer.hosts,
        )

    async def token(
        self, endpoint: str, *, client_id: str, resource: str, assertion: str, capabilities: tuple[str, ...]
    ) -> UpstreamToken:
        """A token from the token service.

        Raises UNAVAILABLE, THROTTLED, NOT_ENTITLED, ASSERTION_INVALID when the credential is refused, or another kind with the service's own
        words under `ANSWER`.
        """
        form = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "resource": resource,
            "client_assertion_type": CLIENT_ASSERTION_TYPE,
            "client_assertion": assertion,
        }
        if capabilities:
            claims = {"access_token": {"xms_cc": {"values": capabilities}}}
            form["claims"] = msgspec.json.encode(claims).decode()
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        send = partial(self._sent_form, urlsplit(endpoint).path, headers, urlencode(form).encode())
        response = await self._patiently(send)
        if response.status != _OK:
            raise token_refusal(response)
        return self._token(_decoded(response, _Token))

    def _token(self, answer: _Token) -> UpstreamToken:
        """Times as the token itself has them (MIE section 1.3); an opaque token's from the answer around it."""
        now = int(self._clock.now().timestamp())
        try:
            times = _times(answer.access_token)
            expires_on = int(numeric_date(times.exp).timestamp())
            not_before = int(numeric_date(times.nbf).timestamp())
        except Failure:
            expires_on = _number(answer.expires_on) or now + _number(answer.expires_in)
            not_before = _number(answer.not_before)
        return UpstreamToken(access_token=answer.access_token, expires_on=expires_on, not_before=not_before or now)

    async def _ask(
        self, method: str, path: str, body: bytes = b"", *, poll: bool = False, through: Upstream | None = None
    ) -> UpstreamResponse:
        """One request; raises what was refused."""
        ask = partial(self._proved, method, path, body, poll=poll, through=through)
        if poll:
            response = await self._noted(ask)
        else:
            response = await (ask() if through else self._patiently(ask, bounded=path == _BOUNDED))
        if response.status != _OK:
            raise refusal(response)
        return response

    async def _patiently(self, ask: Callable[[], Awaitable[UpstreamResponse]], *, bounded: bool = False) -> UpstreamResponse:
        """Ask when the servers may be asked, and again while they have too much to do and a workload still waits.

        What is `bounded` may be refused for whom it is asked for, which is no reason for others to wait.
        """
        deadline = self._clock.monotonic() + _PATIENCE_SECONDS
        while True:
            async with self._patience.turn(deadline) as began:
                try:
                    response = await ask()
                except Failure as failure:
                    if TROUBLE not in failure.data:
                        raise
                    self._heed(failure)
                    continue
                if bounded or response.status != THROTTLED or response.retry_after is None:
                    self._patience.well(began)
                    return response
                self._patience.told(_busy(), named=response.retry_after)

    async def _noted(self, ask: Callable[[], Awaitable[UpstreamResponse]]) -> UpstreamResponse:
        """A question for changes waits for nobody, but what becomes of it tells how the servers are; a busy one's failure says when to ask again."""
        began = self._clock.monotonic()
        try:
            response = await ask()
        except Failure as failure:
            if failure.data.get(TROUBLE) != BUSY:
                raise
            self._heed(failure)
            raise self._patience.refusal() from failure
        self._patience.well(began)
        return response

    def _heed(self, failure: Failure) -> None:
        named = failure.data.get(RETRY_AFTER)
        self._patience.told(failure, named=None if named is None else float(named), waits=failure.data[TROUBLE] == BUSY)

    async def _proved(self, method: str, path: str, body: bytes, *, poll: bool, through: Upstream | None) -> UpstreamResponse:
        """Under a proof of its own; asked again when its connection was lost, or when the clock it was signed by was wrong."""
        for last in range(_ATTEMPTS - 1, -1, -1):
            async with self._lanes.request(poll=poll):
                started, elapsed = self._clock.now(), self._clock.monotonic()
                headers = {"Authorization": f"Bearer {self._proof()}", "Accept": "application/json"}
                if body:
                    headers["Content-Type"] = "application/json"
                try:
                    response = await (through or self._upstream).send(method, path, headers, body)
                except Failure as failure:
                    if last and _is_lost(failure, first=last == _ATTEMPTS - 1):
                        continue
                    raise
            if not poll:
                self.answered.set()
            if response.status == _OK or not last or refusal(response).kind is not FailureKind.AGENT_UNKNOWN:
                return response
            moved = (self._clock.now() - started).total_seconds() - (self._clock.monotonic() - elapsed)
            if abs(moved) < _CORRECTION_SECONDS:
                return response
        raise AssertionError("the last attempt returns or raises")

    async def _sent_form(self, path: str, headers: Mapping[str, str], body: bytes) -> UpstreamResponse:
        """To the token service, once more when the connection was lost: an assertion may be shown again."""
        for last in (False, True):
            try:
                async with self._lanes.request(poll=False):
                    response = await self._upstream.send("POST", path, headers, body)
            except Failure as failure:
                if last or not _is_lost(failure, first=True):
                    raise
            else:
                self.answered.set()
                return response
        raise AssertionError("the last attempt returns or raises")

    def _identify(self, identity: AgentIdentity) -> None:
        self._agent_id = identity.agent_id
        thumbprint = b64url(bytes.fromhex(certificate_thumbprint(identity.certificate)))
        self._signer = Signer(identity.private_key, Algorithm.ES256, {"x5t#S256": thumbprint})

    def _proof(self) -> str:
        """Signed anew for each request: the server accepts each only once."""
        now = int(self._clock.now().timestamp())
        claims: Mapping[str, object] = {
            "iss": self._agent_id,
            "sub": self._agent_id,
            "aud": AGENT_AUDIENCE,
            "iat": now,
            "exp": now + _PROOF_SECONDS,
            "jti": self._entropy.guid(),
        }
        return self._signer.sign(claims)


def _is_lost(failure: Failure, *, first: bool) -> bool:
    """Whether another connection may do: for what was lost, and the first time for a server that has too much to do, too."""
    return AGAIN in failure.data and (first or TROUBLE not in failure.data)


def _busy() -> Failure:
    return Failure(FailureKind.THROTTLED, "the server asks for fewer requests", **{FROM_SERVER: "yes"})


def _trust(told: _Trust) -> Trust:
    return Trust(version=told.version, anchors=told.anchors.encode(), tainted=told.tainted)


def _times(token: str) -> _Times:
    """The token is its resource's to read and verify; `jose.parse` would cost a sixth of the signature here (40 us against 6)."""
    try:
        return msgspec.json.decode(b64url_decode(token.split(".")[1]), type=_Times)
    except (msgspec.DecodeError, UnicodeDecodeError, IndexError) as error:
        raise Failure(FailureKind.TOKEN_INVALID, "the token does not tell its times") from error


def _decoded(response: UpstreamResponse, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(response.body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Failure(FailureKind.UNAVAILABLE, "the server's answer could not be read") from error


def _number(value: int | str) -> int:
    """Entra writes these as numbers or as text, depending on the endpoint."""
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() else 0


def _aware(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=UTC)
