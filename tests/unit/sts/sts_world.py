"""A token service in a test's hands: real store, real key ring, clients of every kind, and assertions bent in every way."""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from tests.first_party import graph_grants

from idplane.directory.audiences import Audiences
from idplane.directory.clients import certificate_credential, new_application_principal, new_secret
from idplane.directory.identities import new_system_identity, new_user_assigned
from idplane.jose import Algorithm, PrivateKey, Signer, b64url, certificate_thumbprint, new_ec_key, new_rsa_key, parse
from idplane.keys import KeyRing, PublicKeyInfo
from idplane.model.calls import Call
from idplane.model.directory import (
    Agent,
    Credential,
    CredentialKind,
    Principal,
    Subscription,
    Tenant,
)
from idplane.model.events import SignIn
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.profile import AZURE, Profile
from idplane.model.resources import IdentityAssignment, Resource
from idplane.model.values import JsonObject
from idplane.ports.collections import (
    AGENTS,
    CREDENTIALS,
    IDENTITY_ASSIGNMENTS,
    PRINCIPALS,
    RESOURCES,
    SIGN_INS,
    SUBSCRIPTIONS,
    TENANTS,
)
from idplane.ports.store import ABSENT, ANY, Batch, Collection, Order, Put, Store
from idplane.ports.world import Clock
from idplane.sts import DeviceCodes, TokenAuthenticator, TokenRequest, TokenService
from idplane.sts.requests import JWT_BEARER, Endpoint
from idplane.testing.worlds import FakeClock, MemoryCustody, SeededEntropy, memory_store

T = TypeVar("T")

AUTHORITY = "https://localhost:8443"
ARM = "https://management.azure.com/"
TENANT_ID = "11111111-1111-4111-8111-111111111111"
OTHER_TENANT_ID = "22222222-2222-4222-8222-222222222222"
SUBSCRIPTION_ID = "33333333-3333-4333-8333-333333333333"
GROUP_ID = f"/subscriptions/{SUBSCRIPTION_ID}/resourceGroups/Stock"
VM_ID = f"{GROUP_ID}/providers/Microsoft.Compute/virtualMachines/stock-vm"
UAMI_ID = f"{GROUP_ID}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/front-end"
AGENT_ID = "embedded"
_START = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
_WIRE = Path(__file__).parents[2] / "wire"


@dataclass(frozen=True, kw_only=True)
class KeyPair:
    """A private key and its self-signed certificate."""

    key: PrivateKey
    certificate: bytes

    @property
    def sha256(self) -> bytes:
        return hashlib.sha256(self.certificate).digest()

    @property
    def sha1(self) -> bytes:
        return hashlib.sha1(self.certificate, usedforsecurity=False).digest()


def key_pair(key: PrivateKey, *, starts: datetime = _START - timedelta(days=1), ends: datetime | None = None) -> KeyPair:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a client")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(starts)
        .not_valid_after(ends or starts + timedelta(days=365))
        .sign(key, hashes.SHA256())
    )
    return KeyPair(key=key, certificate=certificate.public_bytes(serialization.Encoding.DER))


@functools.cache
def rsa_pair() -> KeyPair:
    return key_pair(new_rsa_key())


@functools.cache
def foreign_rsa_pair() -> KeyPair:
    return key_pair(new_rsa_key())


class LoneRing(KeyRing):
    """A ring whose store is gone: no other replica can have made a key."""

    async def find(self, kid: str) -> PublicKeyInfo | None:
        return self.public_key(kid)

    def under(self, clock: Clock) -> LoneRing:
        """The same keys in a world with a clock of its own, by which its tokens are dated."""
        other = copy(self)
        other._clock, other._signed_until = clock, {}
        return other


@functools.cache
def shared_ring() -> LoneRing:
    """One ring for all tests: it signs and verifies from memory, whatever store the principals are in."""

    async def opened() -> LoneRing:
        clock = FakeClock(_START)
        store = await memory_store(clock)
        ring = await LoneRing.open(
            store=store, custody=MemoryCustody(), clock=clock, entropy=SeededEntropy("ring"), profile=AZURE
        )
        ring.close()
        await store.close()
        return ring

    with ThreadPoolExecutor(1) as other_thread:
        return other_thread.submit(asyncio.run, opened()).result()


class Published:
    """The documents of every outside issuer that a test has; what it has not cannot be reached."""

    def __init__(self) -> None:
        self.documents: dict[str, bytes] = {}
        self.asked: list[tuple[str, bool]] = []

    async def fetch(self, url: str, *, private: bool = False) -> bytes:
        self.asked.append((url, private))
        await asyncio.sleep(0)
        if url not in self.documents:
            raise Failure(FailureKind.ISSUER_UNREACHABLE, "there is no such document")
        return self.documents[url]


@dataclass(frozen=True, kw_only=True)
class StsWorld:
    """The service with one application and one machine that has both kinds of identity."""

    clock: FakeClock
    entropy: SeededEntropy
    store: Store
    ring: LoneRing
    service: TokenService
    devices: DeviceCodes
    authenticator: TokenAuthenticator
    published: Published
    tenant: Tenant
    app: Principal
    secret: str
    system: Principal
    user: Principal
    system_credential: Credential
    user_credential: Credential
    agent_pair: KeyPair

    @classmethod
    async def open(cls, *, profile: Profile = AZURE) -> StsWorld:
        clock, entropy = FakeClock(_START), SeededEntropy("sts")
        store = await memory_store(clock)
        tenant = _tenant(TENANT_ID, "contoso.onmicrosoft.com")
        vm, uami = resource(VM_ID), resource(UAMI_ID)
        app = new_application_principal(
            tenant_id=TENANT_ID,
            display_name="pipeline",
            entropy=entropy,
            now=_START,
            app_roles=graph_grants("AuditLog.Read.All"),
        )
        system = new_system_identity(vm, tenant_id=TENANT_ID, entropy=entropy, now=_START)
        user = new_user_assigned(uami.id, tenant_id=TENANT_ID, entropy=entropy, now=_START)
        agent_pair = key_pair(new_ec_key())
        secret = new_secret(app, entropy=entropy, now=_START, lifetime=timedelta(days=30))
        certificate = certificate_credential(app, certificate=rsa_pair().certificate, entropy=entropy)
        system_credential = identity_credential(system, agent_pair, entropy.guid())
        user_pair = KeyPair(
            key=agent_pair.key, certificate=key_pair(agent_pair.key, ends=_START + timedelta(days=2)).certificate
        )
        user_credential = identity_credential(user, user_pair, entropy.guid())
        await store.commit(
            Batch.of(
                Put(collection=TENANTS, value=tenant, expect=ABSENT),
                Put(collection=TENANTS, value=_tenant(OTHER_TENANT_ID, "fabrikam.onmicrosoft.com"), expect=ABSENT),
                Put(
                    collection=SUBSCRIPTIONS,
                    value=Subscription(id=SUBSCRIPTION_ID, tenant_id=TENANT_ID, display_name="Main"),
                    expect=ABSENT,
                ),
                Put(collection=RESOURCES, value=resource(GROUP_ID), expect=ABSENT),
                Put(collection=RESOURCES, value=vm, expect=ABSENT),
                Put(collection=RESOURCES, value=uami, expect=ABSENT),
                Put(collection=PRINCIPALS, value=app, expect=ABSENT),
                Put(collection=PRINCIPALS, value=system, expect=ABSENT),
                Put(collection=PRINCIPALS, value=user, expect=ABSENT),
                Put(collection=AGENTS, value=agent_of(agent_pair, "*"), expect=ABSENT),
                Put(collection=IDENTITY_ASSIGNMENTS, value=assignment(system, None), expect=ABSENT),
                Put(collection=IDENTITY_ASSIGNMENTS, value=assignment(user, uami.id), expect=ABSENT),
                Put(collection=CREDENTIALS, value=secret.credential, expect=ABSENT),
                Put(collection=CREDENTIALS, value=certificate, expect=ABSENT),
                Put(collection=CREDENTIALS, value=system_credential, expect=ABSENT),
                Put(collection=CREDENTIALS, value=user_credential, expect=ABSENT),
            )
        )
        ring = shared_ring().under(clock)
        authenticator = TokenAuthenticator(store=store, ring=ring, clock=clock)
        published = Published()
        service = TokenService(
            store=store,
            ring=ring,
            audiences=Audiences(store=store),
            clock=clock,
            entropy=entropy,
            profile=profile,
            authenticator=authenticator,
            documents=published,
        )
        return cls(
            clock=clock,
            entropy=entropy,
            store=store,
            ring=ring,
            service=service,
            devices=DeviceCodes(store=store, clock=clock, entropy=entropy),
            authenticator=authenticator,
            published=published,
            tenant=tenant,
            app=app,
            secret=secret.secret,
            system=system,
            user=user,
            system_credential=system_credential,
            user_credential=user_credential,
            agent_pair=agent_pair,
        )

    def call(self, request_id: str = "99999999-9999-4999-8999-999999999999", *, proved: bytes | None = None) -> Call:
        """A request over the agent's own connection, or one that proves another certificate."""
        return Call(
            request_id=request_id,
            correlation_id="88888888-8888-4888-8888-888888888888",
            received_at=self.clock.now(),
            client_address="192.0.2.7",
            user_agent="test/1",
            client_certificate=self.agent_pair.certificate if proved is None else proved or None,
        )

    def by_secret(self, **changes: str | None) -> TokenRequest:
        """A request of the application with its secret, with some of its fields changed."""
        fields: dict[str, str | None] = {"client_id": self.app.client_id, "client_secret": self.secret}
        return _request({**fields, **changes})

    def by_assertion(self, assertion: str, **changes: str | None) -> TokenRequest:
        """A request of the application with a client assertion."""
        fields: dict[str, str | None] = {
            "client_id": self.app.client_id,
            "client_assertion": assertion,
            "client_assertion_type": JWT_BEARER,
        }
        return _request({**fields, **changes})

    def by_agent(self, principal: Principal, **claims: object) -> TokenRequest:
        """The agent's request for one of the machine's identities."""
        credential = self.system_credential if principal.id == self.system.id else self.user_credential
        assert credential.certificate is not None
        assertion = self.assertion(
            KeyPair(key=self.agent_pair.key, certificate=credential.certificate),
            Algorithm.ES256,
            {"iss": principal.client_id, "sub": principal.client_id, **claims},
        )
        return self.by_assertion(assertion, client_id=principal.client_id)

    def assertion(
        self,
        pair: KeyPair,
        algorithm: Algorithm = Algorithm.RS256,
        claims: Mapping[str, object] | None = None,
        header: Mapping[str, object] | None = None,
    ) -> str:
        """A signed client assertion of the application; None as a claim leaves it out."""
        chosen = header if header is not None else {"x5t#S256": b64url(pair.sha256)}
        return Signer(pair.key, algorithm, chosen).sign(self.assertion_claims(claims or {}))

    def assertion_claims(self, changes: Mapping[str, object]) -> JsonObject:
        now = int(self.clock.now().timestamp())
        claims = {
            "aud": f"{AUTHORITY}/{TENANT_ID}/oauth2/v2.0/token",
            "iss": self.app.client_id,
            "sub": self.app.client_id,
            "jti": "one",
            "nbf": now,
            "iat": now,
            "exp": now + 600,
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    async def claims(self, request: TokenRequest) -> JsonObject:
        """The claims of the token that a request gets."""
        return parse((await self.service.issue(request, self.call())).access_token).claims

    async def sign_ins(self) -> tuple[SignIn, ...]:
        return tuple(row.event for row in await self.store.read_log(SIGN_INS, order=Order.OLDEST_FIRST))

    async def commit(self, *operations: object) -> None:
        await self.store.commit(Batch.of(*operations))


def _request(fields: Mapping[str, str | None]) -> TokenRequest:
    chosen: dict[str, str | None] = {
        "tenant": TENANT_ID,
        "grant_type": "client_credentials",
        "audience": ARM,
        "endpoint": "resource",
        **fields,
    }
    return TokenRequest(
        tenant=chosen["tenant"] or "",
        authority=AUTHORITY,
        endpoint=Endpoint(chosen["endpoint"]),
        grant_type=chosen["grant_type"],
        client_id=chosen.get("client_id"),
        client_secret=chosen.get("client_secret"),
        client_assertion=chosen.get("client_assertion"),
        client_assertion_type=chosen.get("client_assertion_type"),
        audience=chosen["audience"],
        claims=chosen.get("claims"),
    )


def replacing(collection: Collection[T], value: T) -> Put[T]:
    return Put(collection=collection, value=value, expect=ANY)


def identity_credential(principal: Principal, pair: KeyPair, credential_id: str) -> Credential:
    return Credential(
        id=credential_id,
        principal_id=principal.id,
        client_id=principal.client_id,
        kind=CredentialKind.IDENTITY_CERTIFICATE,
        not_before=_START - timedelta(hours=1),
        not_after=_START + timedelta(hours=23),
        certificate=pair.certificate,
        thumbprint=certificate_thumbprint(pair.certificate),
        host=VM_ID.lower(),
        agent_id=AGENT_ID,
    )


def assignment(principal: Principal, identity: ResourceId | None) -> IdentityAssignment:
    return IdentityAssignment(
        host=ResourceId.parse(VM_ID), principal_id=principal.id, client_id=principal.client_id, identity=identity
    )


def agent_of(pair: KeyPair, *hosts: str) -> Agent:
    return Agent(
        id=AGENT_ID,
        display_name="embedded",
        certificate=pair.certificate,
        thumbprint=certificate_thumbprint(pair.certificate),
        enrolled_at=_START,
        hosts=hosts,
    )


def resource(resource_id: str) -> Resource:
    parsed = ResourceId.parse(resource_id)
    return Resource(id=parsed, type=parsed.type, created_at=_START, changed_at=_START, location="westeurope")


def padded(segment: bytes) -> str:
    """base64url with the padding that RFC 7515 forbids and some clients send."""
    return base64.urlsafe_b64encode(segment).decode()


def assert_golden(name: str, document: object) -> None:
    """Compare with `tests/wire/{name}`, member order included."""
    assert json.dumps(document, indent=2) + "\n" == (_WIRE / name).read_text()


def _tenant(tenant_id: str, domain: str) -> Tenant:
    return Tenant(
        id=tenant_id,
        display_name=domain.partition(".")[0],
        domain=domain,
        issuer_v1=f"https://sts.windows.net/{tenant_id}/",
        issuer_v2=f"https://login.microsoftonline.com/{tenant_id}/v2.0",
        created_at=_START - timedelta(days=100),
    )
