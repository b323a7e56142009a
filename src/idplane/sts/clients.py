"""Client authentication: which service principal is asking, and what proves it.

The proof is a secret, an assertion by the key of a certificate, or a token of an issuer that a federated credential trusts
(`federation`).

One row of the table below for each way; a request uses exactly one. Whether the client is entitled to anything is decided
later (`entitlement`), after it has proved who it is.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from idplane.jose import PublicKey, UnverifiedToken, parse, public_key_of
from idplane.model.calls import Workload
from idplane.model.directory import Credential, CredentialKind, Principal, Tenant
from idplane.model.failure import Failure, FailureKind
from idplane.model.federation import FederatedCredential
from idplane.model.values import JsonObject
from idplane.ports.collections import CREDENTIALS, PRINCIPALS
from idplane.ports.store import Versioned
from idplane.sts.assertions import (
    accepted_audiences,
    certificate_sha1,
    check_claims,
    check_signature,
    key_thumbprints,
    workload_of,
)
from idplane.sts.bounded import Bounded
from idplane.sts.federation import Federated, Federation, is_foreign
from idplane.sts.recent import Records
from idplane.sts.requests import JWT_BEARER, TokenRequest

__all__ = ["AuthenticatedClient", "ClientAuthentication", "still_proves"]

_REMEMBERED = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticatedClient:
    """A client that proved itself, with the records that the proof rests on at the versions they were read."""

    principal: Versioned[Principal]
    credential: Versioned[Credential] | Versioned[FederatedCredential]
    workload: Workload | None = None
    """What the agent said about the asking process; only for identity certificates."""
    claims: JsonObject | None = field(default=None, repr=False)
    """Of the assertion, if the client made one itself; its signature holds."""
    federated: Federated | None = None
    """How another issuer's token proved it; then `credential` is the one that says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signed:
    """The claims of an assertion that the key of the certificate with this thumbprint signed."""

    thumbprint: str | None
    claims: JsonObject


class ClientAuthentication:
    """Authenticates clients against the records that it is given.

    Keeps parsed public keys, and which key signed which assertion: msal4j and the agents send one assertion many times (`spent`: where it may). Neither
    can become untrue. That the certificate is still registered, and every claim, is checked each time.
    """

    def __init__(self, *, federation: Federation) -> None:
        self._federation = federation
        self._keys: Bounded[str, PublicKey] = Bounded(_REMEMBERED)
        self._signed: Bounded[bytes, _Signed] = Bounded(_REMEMBERED)

    async def principal(self, records: Records, request: TokenRequest, tenant: Tenant) -> Versioned[Principal]:
        """The service principal that the request claims to come from, not yet proved.

        Raises `Failure(MISSING_PARAMETER)` or `Failure(CLIENT_UNKNOWN)`.
        """
        if request.client_id is None:
            raise Failure(FailureKind.MISSING_PARAMETER, "the request names no client", parameter="client_id")
        where = {"tenant_id": tenant.id, "client_id": request.client_id.lower()}
        page = await records.page(PRINCIPALS, where=where, limit=1)
        if page.items and page.items[0].value.type.is_client:
            return page.items[0]
        shown = request.client_id[:200]
        raise Failure(
            FailureKind.CLIENT_UNKNOWN,
            f"there is no client '{shown}' in the tenant",
            client_id=shown,
            tenant=tenant.display_name,
        )

    async def authenticate(
        self, records: Records, request: TokenRequest, tenant: Tenant, principal: Versioned[Principal], now: datetime
    ) -> AuthenticatedClient:
        """Prove that the request comes from `principal`.

        Raises `Failure`: CLIENT_CREDENTIAL_MISSING, CLIENT_SECRET_INVALID, CLIENT_SECRET_EXPIRED, ASSERTION_INVALID,
        ASSERTION_TIME, ASSERTION_AUDIENCE, FEDERATION_*, ISSUER_UNREACHABLE, or INVALID_PARAMETER for several credentials at once or an unknown assertion type.
        """
        match request.client_secret, request.client_assertion:
            case None, None if request.client_certificate is not None:
                return AuthenticatedClient(
                    principal=principal, credential=await _by_connection(records, principal, request.client_certificate, now)
                )
            case None, None:
                raise Failure(FailureKind.CLIENT_CREDENTIAL_MISSING, "the request holds no client credential")
            case str(secret), None:
                return AuthenticatedClient(principal=principal, credential=await _by_secret(records, principal, secret, now))
            case None, str(assertion):
                if request.client_assertion_type != JWT_BEARER:
                    raise Failure(
                        FailureKind.INVALID_PARAMETER,
                        f"the parameter 'client_assertion_type' is not '{JWT_BEARER}'",
                        parameter="client_assertion_type",
                    )
                parsed = _parsed(assertion)
                if is_foreign(parsed):
                    return await self._by_foreign_token(records, principal, parsed, tenant, now)
                audiences = accepted_audiences(tenant, request.authority)
                return await self._by_assertion(records, principal, parsed, audiences, now)
            case _:
                raise Failure(FailureKind.INVALID_PARAMETER, "the request holds more than one client credential")

    async def _by_foreign_token(
        self, records: Records, principal: Versioned[Principal], token: UnverifiedToken, tenant: Tenant, now: datetime
    ) -> AuthenticatedClient:
        proof = await self._federation.authenticate(records, token, principal.value, tenant, now)
        return AuthenticatedClient(principal=principal, credential=proof.credential, federated=proof)

    async def _by_assertion(
        self,
        records: Records,
        principal: Versioned[Principal],
        assertion: UnverifiedToken,
        audiences: frozenset[str],
        now: datetime,
    ) -> AuthenticatedClient:
        digest = hashlib.sha256(b"%b.%b" % (assertion.signing_input, assertion.signature)).digest()
        signed = self._signed.get(digest)
        if signed is None:
            row = await _named_certificate(records, principal, *key_thumbprints(assertion.header))
            check_signature(assertion, self._key(row.value))
            signed = _Signed(thumbprint=row.value.thumbprint, claims=assertion.claims)
            self._signed.put(digest, signed)
        else:
            row = await _named_certificate(records, principal, signed.thumbprint, None)
        check_claims(signed.claims, client_id=principal.value.client_id, audiences=audiences, now=now)
        if not _is_valid(row.value, now):
            raise Failure(FailureKind.ASSERTION_INVALID, "the certificate that the client assertion names is not valid now")
        by_agent = row.value.kind is CredentialKind.IDENTITY_CERTIFICATE
        return AuthenticatedClient(
            principal=principal,
            credential=row,
            workload=workload_of(signed.claims) if by_agent else None,
            claims=signed.claims,
        )

    def _key(self, credential: Credential) -> PublicKey:
        if credential.certificate is None or credential.thumbprint is None:
            raise Failure(FailureKind.INTERNAL, "a certificate credential has no certificate")
        known = self._keys.get(credential.thumbprint)
        if known is None:
            known = public_key_of(credential.certificate)
            self._keys.put(credential.thumbprint, known)
        return known


async def _by_secret(records: Records, principal: Versioned[Principal], secret: str, now: datetime) -> Versioned[Credential]:
    client_id = principal.value.client_id
    rows = await _of(records, principal, kind=CredentialKind.SECRET)
    shown = _matching(rows, hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest())
    if not shown:
        raise Failure(FailureKind.CLIENT_SECRET_INVALID, "the client secret is not right", client_id=client_id)
    for row in shown:
        if row.value.not_before <= now < row.value.not_after:
            return row
    last = max((row.value for row in shown), key=lambda it: it.not_after)
    raise Failure(
        FailureKind.CLIENT_SECRET_EXPIRED,
        "the client secret has expired",
        client_id=client_id,
        credential=last.id,
        not_before=last.not_before.isoformat(),
        not_after=last.not_after.isoformat(),
    )


async def _by_connection(
    records: Records, principal: Versioned[Principal], certificate: bytes, now: datetime
) -> Versioned[Credential]:
    """Mutual TLS (RFC 8705 section 2): the connection proved the key. Only workloads' certificates do; an agent's says nothing of an identity."""
    rows = await _of(records, principal, thumbprint=hashlib.sha256(certificate).hexdigest())
    if not rows or rows[0].value.kind is not CredentialKind.WORKLOAD_CERTIFICATE:
        raise Failure(FailureKind.CLIENT_CREDENTIAL_MISSING, "the request holds no client credential")
    if not _is_valid(rows[0].value, now):
        raise Failure(FailureKind.ASSERTION_INVALID, "the certificate of the connection is not valid now")
    return rows[0]


async def _named_certificate(
    records: Records, principal: Versioned[Principal], sha256: str | None, sha1: str | None
) -> Versioned[Credential]:
    if sha256 is not None:
        rows = await _of(records, principal, thumbprint=sha256)
    else:
        # Only certificates that clients bring are named by SHA-1; our own agents never are.
        rows = [
            row
            for row in await _of(records, principal, kind=CredentialKind.CERTIFICATE)
            if row.value.certificate is not None and certificate_sha1(row.value.certificate) == sha1
        ]
    if rows and rows[0].value.certificate is not None:
        return rows[0]
    raise Failure(
        FailureKind.ASSERTION_INVALID,
        f"the certificate with thumbprint {sha256 or sha1} is not registered for application '{principal.value.client_id}'",
    )


async def _of(records: Records, principal: Versioned[Principal], **where: str) -> Sequence[Versioned[Credential]]:
    """The principal's own, and those of its application."""
    rows = await records.all(CREDENTIALS, where={"client_id": principal.value.client_id, **where})
    return [row for row in rows if row.value.principal_id in ("", principal.value.id)]


def still_proves(client: AuthenticatedClient, request: TokenRequest, tenant: Tenant, now: datetime) -> bool:
    """Whether a request with the assertion that proved `client` proves it again, as far as request and time decide.

    What the records of the proof decide is for the store to say.
    """
    if client.claims is None or request.client_secret is not None or request.client_assertion_type != JWT_BEARER:
        return False
    client_id = client.principal.value.client_id
    if request.client_id is None or request.client_id.lower() != client_id:
        return False
    try:
        check_claims(client.claims, client_id=client_id, audiences=accepted_audiences(tenant, request.authority), now=now)
    except Failure:
        return False
    credential = client.credential.value
    return isinstance(credential, Credential) and _is_valid(credential, now)


def _is_valid(credential: Credential, now: datetime) -> bool:
    return credential.not_before <= now < credential.not_after


def _parsed(assertion: str) -> UnverifiedToken:
    try:
        return parse(assertion)
    except Failure as failure:
        raise Failure(FailureKind.ASSERTION_INVALID, f"the client assertion is malformed: {failure.detail}") from failure


def _matching(rows: Sequence[Versioned[Credential]], digest: bytes) -> list[Versioned[Credential]]:
    # Every secret is compared, in constant time: the answer's timing tells neither how many there are nor which one was close.
    verdicts = [hmac.compare_digest(row.value.secret_hash or b"", digest) for row in rows]
    return [row for row, same in zip(rows, verdicts, strict=True) if same]
