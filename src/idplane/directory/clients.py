"""Applications, their service principals, and what they authenticate with: secrets, certificates, other issuers' tokens.

A secret is shown once, when it is made; only its hash is kept. Of a certificate only the public part ever arrives here.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from idplane.model.directory import Application, Credential, CredentialKind, GrantedRole, Principal, PrincipalType
from idplane.model.failure import Failure, FailureKind
from idplane.model.federation import NAME_RULE, FederatedCredential, Trust
from idplane.ports.world import Entropy

__all__ = [
    "NewSecret",
    "certificate_credential",
    "federated_credential",
    "new_application",
    "new_application_principal",
    "new_secret",
    "secret_hash",
]

# A prefix that secret scanners can look for, and that keeps a value from starting with "-" on a command line.
_SECRET_PREFIX = "idp_"
_SECRET_BYTES = 32
_LEAST_RSA_BITS = 2048
_HINT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSecret:
    """A client secret at the only moment when it can be read; `credential` is what is stored."""

    secret: str = field(repr=False)
    credential: Credential


def new_application(
    *,
    tenant_id: str,
    display_name: str,
    entropy: Entropy,
    now: datetime,
    identifier_uris: Sequence[str] = (),
    token_version: int = 1,
) -> Application:
    """An application object: something that tokens can be for, or that can sign in through its service principal."""
    return Application(
        id=entropy.guid(),
        client_id=entropy.guid(),
        tenant_id=tenant_id,
        display_name=display_name,
        created_at=now,
        identifier_uris=tuple(identifier_uris),
        token_version=token_version,
    )


def new_application_principal(
    *,
    tenant_id: str,
    display_name: str,
    entropy: Entropy,
    now: datetime,
    client_id: str | None = None,
    app_roles: Sequence[GrantedRole] = (),
) -> Principal:
    """The service principal of an application; of a new client id unless one is given (control-plane.md section 8)."""
    client_id = client_id or entropy.guid()
    return Principal(
        id=entropy.guid(),
        tenant_id=tenant_id,
        client_id=client_id,
        display_name=display_name,
        type=PrincipalType.APPLICATION,
        created_at=now,
        names=(client_id,),
        app_roles=tuple(app_roles),
    )


def secret_hash(secret: str) -> bytes:
    """SHA-256 of a client secret. Ours have 256 bits of entropy, so stretching would add nothing."""
    return hashlib.sha256(secret.encode()).digest()


def new_secret(
    owner: Principal | Application, *, entropy: Entropy, now: datetime, lifetime: timedelta, display_name: str = ""
) -> NewSecret:
    """A client secret of a service principal or an application, valid from `now` for `lifetime`."""
    secret = _SECRET_PREFIX + base64.urlsafe_b64encode(entropy.bytes(_SECRET_BYTES)).rstrip(b"=").decode()
    return NewSecret(
        secret=secret,
        credential=Credential(
            id=entropy.guid(),
            principal_id=_principal_id(owner),
            application_id=_application_id(owner),
            client_id=owner.client_id,
            kind=CredentialKind.SECRET,
            not_before=now,
            not_after=now + lifetime,
            display_name=display_name,
            secret_hash=secret_hash(secret),
            hint=secret[len(_SECRET_PREFIX) :][:_HINT],
        ),
    )


def certificate_credential(
    owner: Principal | Application, *, certificate: bytes, entropy: Entropy, display_name: str = ""
) -> Credential:
    """What lets a service principal or an application authenticate with the key of a certificate (DER), for the certificate's own lifetime.

    Raises `Failure(INVALID_PARAMETER)` for anything but an X.509 certificate with an RSA key of at least 2048 bits or a P-256 key:
    the keys that client assertions are signed with (managed-identity-endpoints.md section 6.3).
    """
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        key = parsed.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Failure(FailureKind.INVALID_PARAMETER, "the certificate cannot be read", parameter="certificate") from error
    strong_rsa = isinstance(key, RSAPublicKey) and key.key_size >= _LEAST_RSA_BITS
    p256 = isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)
    if not strong_rsa and not p256:
        raise Failure(
            FailureKind.INVALID_PARAMETER,
            "the certificate's key is neither RSA of 2048 bits or more nor P-256",
            parameter="certificate",
        )
    return Credential(
        id=entropy.guid(),
        principal_id=_principal_id(owner),
        application_id=_application_id(owner),
        client_id=owner.client_id,
        kind=CredentialKind.CERTIFICATE,
        not_before=parsed.not_valid_before_utc,
        not_after=parsed.not_valid_after_utc,
        display_name=display_name or parsed.subject.rfc4514_string(),
        certificate=certificate,
        thumbprint=hashlib.sha256(certificate).hexdigest(),
    )


def federated_credential(
    owner: Principal | Application, *, name: str, trust: Trust, entropy: Entropy, now: datetime, description: str = ""
) -> FederatedCredential:
    """What makes a service principal or an application accept another issuer's token as its own proof; raises `Failure(INVALID_NAME | INVALID_PARAMETER)`."""
    if NAME_RULE.fullmatch(name) is None:
        raise Failure(
            FailureKind.INVALID_NAME, f"Federated Identity Credential name '{name[:200]}' is invalid.", name=name[:200]
        )
    trust.check()
    return FederatedCredential(
        id=entropy.guid(),
        principal_id=_principal_id(owner),
        application_id=_application_id(owner),
        name=name,
        trust=trust,
        created_at=now,
        description=description,
    )


def _principal_id(owner: Principal | Application) -> str:
    return owner.id if isinstance(owner, Principal) else ""


def _application_id(owner: Principal | Application) -> str | None:
    return owner.id if isinstance(owner, Application) else None
