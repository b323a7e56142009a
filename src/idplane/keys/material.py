"""A signing key made ready for use: its signers, and how it is published."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import rsa

from idplane.jose import Algorithm, PrivateKey, PublicKey, Signer, b64url, new_ec_key, new_rsa_key
from idplane.keys.certificates import Validity, key_id, name_of, new_serial, self_signed
from idplane.keys.moves import Line
from idplane.keys.permits import PublicKeyInfo
from idplane.keys.rotation import Pace
from idplane.keys.sealing import sealed_private_key, unsealed_private_key
from idplane.model.keys import KeyPurpose, KeyState, SigningKey
from idplane.model.profile import Profile
from idplane.model.values import JsonObject
from idplane.ports.world import Entropy, KeyCustody

__all__ = ["EVENT", "Material", "new_private_key", "new_signing_key", "token_line"]

EVENT = 0
"""In place of a token version: the signer of security events."""
# Nobody checks these dates; they only have to enclose every moment at which the key may be published, as Entra's five years do.
_CERTIFICATE_LIFETIME = timedelta(days=5 * 365)
_CERTIFICATE_BACKDATE = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a stored key becomes once it is unsealed and parsed, which happens once."""

    info: PublicKeyInfo
    jwk: JsonObject
    signers: Mapping[int, Signer] = field(repr=False)
    """By token version; `EVENT` for security events."""

    @classmethod
    def of(cls, key: SigningKey, custody: KeyCustody) -> Material:
        """Unseal and prepare; raises `Failure(INTERNAL)` if the stored key is not intact."""
        private_key = unsealed_private_key(key, custody)
        public_key, algorithm = private_key.public_key(), Algorithm(key.algorithm)
        return cls(
            info=PublicKeyInfo(kid=key.id, algorithm=algorithm, key=public_key, certificate=key.certificate),
            jwk=_jwk(key, public_key),
            # MIE section 9: v1 tokens name the key twice, v2 tokens once.
            signers={
                1: Signer(private_key, algorithm, {"x5t": key.id, "kid": key.id}),
                2: Signer(private_key, algorithm, {"kid": key.id}),
                EVENT: Signer(private_key, algorithm, {"typ": "secevent+jwt", "kid": key.id}),
            },
        )


def new_private_key(algorithm: Algorithm) -> PrivateKey:
    """A key for one of the algorithms; for RSA it takes long enough to be called in a thread."""
    return new_ec_key() if algorithm is Algorithm.ES256 else new_rsa_key()


def token_line(profile: Profile, algorithm: Algorithm, custody: KeyCustody, entropy: Entropy) -> Line:
    """The line of token-signing keys; new ones are for `algorithm`."""

    def make(state: KeyState, now: datetime, _: SigningKey | None) -> SigningKey:
        return new_signing_key(new_private_key(algorithm), algorithm, state, now, (custody, entropy))

    return Line(purpose=KeyPurpose.TOKEN, pace=Pace.of_tokens(profile), make=make)


def new_signing_key(
    private_key: PrivateKey, algorithm: Algorithm, state: KeyState, now: datetime, sealing: tuple[KeyCustody, Entropy]
) -> SigningKey:
    """The record of a new token-signing key, sealed. `sealing` is who seals it and where its serial number comes from."""
    custody, entropy = sealing
    validity = Validity.starting(now, _CERTIFICATE_LIFETIME, backdate=_CERTIFICATE_BACKDATE)
    certificate = self_signed(private_key, name_of("token signing"), validity, new_serial(entropy))
    kid = key_id(certificate)
    return SigningKey(
        id=kid,
        purpose=KeyPurpose.TOKEN,
        algorithm=algorithm.value,
        state=state,
        certificate=certificate,
        sealed=sealed_private_key(private_key, kid, custody),
        created_at=now,
        activated_at=now if state is KeyState.ACTIVE else None,
    )


def _jwk(key: SigningKey, public_key: PublicKey) -> JsonObject:
    """The JSON Web Key (RFC 7517) with the members that Entra publishes, in their order."""
    chain = [base64.b64encode(key.certificate).decode("ascii")]
    if isinstance(public_key, rsa.RSAPublicKey):
        rsa_numbers = public_key.public_numbers()
        modulus, exponent = _minimal(rsa_numbers.n), _minimal(rsa_numbers.e)
        return {"kty": "RSA", "use": "sig", "kid": key.id, "x5t": key.id, "n": modulus, "e": exponent, "x5c": chain}
    ec_numbers = public_key.public_numbers()
    # RFC 7518 section 6.2.1.2: coordinates always have the curve's full length.
    x, y = b64url(ec_numbers.x.to_bytes(32)), b64url(ec_numbers.y.to_bytes(32))
    return {"kty": "EC", "use": "sig", "kid": key.id, "x5t": key.id, "crv": "P-256", "x": x, "y": y, "x5c": chain}


def _minimal(number: int) -> str:
    """Base64urlUInt (RFC 7518 section 2): big-endian without leading zeros."""
    return b64url(number.to_bytes((number.bit_length() + 7) // 8))
