"""Signing and verifying, with one short list of algorithms.

Both are written out over `cryptography` because they are the hot path: a general library costs ES256 half of its rate and
RS256 verification as much again as the signature (performance.md sections 2 and 3). PyJWT and joserfc are the tests' oracles.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import assert_never

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from idplane.jose.certificates import PrivateKey, PublicKey, is_acceptable_key
from idplane.jose.encoding import b64url
from idplane.jose.tokens import UnverifiedToken
from idplane.model.values import JsonObject

__all__ = ["Algorithm", "Signer", "verify"]


class Algorithm(enum.StrEnum):
    """The signature algorithms (RFC 7518 section 3) that we make or accept. No symmetric one, and no `none`."""

    RS256 = "RS256"
    PS256 = "PS256"
    ES256 = "ES256"


_SHA256 = SHA256()
_PKCS1 = padding.PKCS1v15()
# RFC 7518 section 3.5: the salt is as long as the hash, no shorter and no longer.
_PSS = padding.PSS(mgf=padding.MGF1(SHA256()), salt_length=padding.PSS.DIGEST_LENGTH)
_ECDSA = ec.ECDSA(SHA256())
_P256_HALF = 32


class Signer:
    """Signs claims with one key. The invariant: header, key and algorithm belong together, and the header is encoded once."""

    __slots__ = ("_algorithm", "_make_signature", "_prefix")

    def __init__(self, private_key: PrivateKey, algorithm: Algorithm, header: JsonObject) -> None:
        """`header` is what follows `typ` and `alg`, in its order. A key that does not suit the algorithm is a `ValueError`."""
        whole = {"typ": "JWT", "alg": algorithm.value, **header}
        if whole["alg"] != algorithm.value:
            raise ValueError("the header names another algorithm")
        self._algorithm = algorithm
        self._make_signature = _signing_function(private_key, algorithm)
        self._prefix = b64url(msgspec.json.encode(whole)) + "."

    def __repr__(self) -> str:
        return f"Signer({self._algorithm.value})"

    def sign(self, claims: JsonObject) -> str:
        """The signed token, members in the order of `claims`."""
        signing_input = self._prefix + b64url(msgspec.json.encode(claims))
        return f"{signing_input}.{b64url(self._make_signature(signing_input.encode('ascii')))}"


def verify(unverified: UnverifiedToken, public_key: PublicKey, *algorithms: Algorithm) -> bool:
    """Whether `public_key` made the signature with one of `algorithms`, which the caller knows and the token does not choose.

    False also when the key is of the wrong kind for the algorithm, an RSA key is shorter than 2048 bits or longer than 8192,
    an elliptic curve is not P-256, or the signature does not have its exact length.
    """
    algorithm = next((one for one in algorithms if one.value == unverified.header.get("alg")), None)
    if algorithm is None or not is_acceptable_key(public_key):
        return False
    try:
        return _check(unverified, public_key, algorithm)
    except (InvalidSignature, ValueError):
        return False


def _check(unverified: UnverifiedToken, public_key: PublicKey, algorithm: Algorithm) -> bool:
    """True, False for a key of another kind, or an exception of `cryptography` for a signature that does not fit."""
    signature, data = unverified.signature, unverified.signing_input
    match algorithm:
        case Algorithm.RS256 | Algorithm.PS256:
            if not isinstance(public_key, rsa.RSAPublicKey):
                return False
            public_key.verify(signature, data, _PKCS1 if algorithm is Algorithm.RS256 else _PSS, _SHA256)
        case Algorithm.ES256:
            if not isinstance(public_key, ec.EllipticCurvePublicKey) or len(signature) != 2 * _P256_HALF:
                return False
            public_key.verify(_to_der(signature), data, _ECDSA)
        case _:
            assert_never(algorithm)
    return True


def _signing_function(private_key: PrivateKey, algorithm: Algorithm) -> Callable[[bytes], bytes]:
    if not is_acceptable_key(private_key.public_key()):
        raise ValueError("the key is not one that tokens may be signed with")
    match algorithm, private_key:
        case Algorithm.RS256, rsa.RSAPrivateKey():
            return lambda data: private_key.sign(data, _PKCS1, _SHA256)
        case Algorithm.PS256, rsa.RSAPrivateKey():
            return lambda data: private_key.sign(data, _PSS, _SHA256)
        case Algorithm.ES256, ec.EllipticCurvePrivateKey():
            return lambda data: _from_der(private_key.sign(data, _ECDSA))
        case _:
            raise ValueError(f"the key does not suit {algorithm.value}")


def _from_der(signature: bytes) -> bytes:
    """DER to r || s (RFC 7518 section 3.4)."""
    r, s = decode_dss_signature(signature)
    return r.to_bytes(_P256_HALF) + s.to_bytes(_P256_HALF)


def _to_der(signature: bytes) -> bytes:
    return encode_dss_signature(int.from_bytes(signature[:_P256_HALF]), int.from_bytes(signature[_P256_HALF:]))
