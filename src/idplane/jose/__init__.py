"""Signed tokens and certificate requests, over `cryptography`: what server and agent both need.

Owns base64url, the compact serialization (RFC 7515), signing and strict verification with RS256, PS256 and ES256, and the few
certificate chores that both sides share. Does not decide anything about claims, holds no keys and reads no clock.

    text --parse--> UnverifiedToken --verify(key, algorithm)--> the caller checks the claims
    Signer(private key, algorithm, header) --sign(claims)--> text
"""

from idplane.jose.certificates import (
    PrivateKey,
    PublicKey,
    certificate_thumbprint,
    is_acceptable_key,
    load_private_key,
    make_csr,
    new_ec_key,
    new_rsa_key,
    private_key_der,
    public_key_of,
)
from idplane.jose.encoding import b64url, b64url_decode
from idplane.jose.signatures import Algorithm, Signer, verify
from idplane.jose.tokens import MAX_TOKEN_LENGTH, UnverifiedToken, numeric_date, parse

__all__ = [
    "MAX_TOKEN_LENGTH",
    "Algorithm",
    "PrivateKey",
    "PublicKey",
    "Signer",
    "UnverifiedToken",
    "b64url",
    "b64url_decode",
    "certificate_thumbprint",
    "is_acceptable_key",
    "load_private_key",
    "make_csr",
    "new_ec_key",
    "new_rsa_key",
    "numeric_date",
    "parse",
    "private_key_der",
    "public_key_of",
    "verify",
]
