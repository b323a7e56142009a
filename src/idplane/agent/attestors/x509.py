"""A certificate that this host has already, and its key: `x509:CERTIFICATE,KEY`, files in PEM, the first with its chain."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from idplane.agent.attestors import Attestor, Challenge
from idplane.agent.attestors.files import read_private, read_small
from idplane.jose.statements import sign_statement
from idplane.model.enrollments import JoinMethod, join_statement
from idplane.model.failure import Failure, FailureKind
from idplane.model.values import JsonObject

__all__ = ["attestor"]


@dataclass(frozen=True, slots=True)
class _X509:
    certificate: Path
    key: Path
    method: str = JoinMethod.X509.value

    async def challenge_body(self) -> JsonObject:
        """Nothing: the nonce is all that is asked for."""
        return {}

    async def evidence(self, challenge: Challenge, /) -> JsonObject:
        """The chain, and the key's signature."""
        try:
            chain = x509.load_pem_x509_certificates(read_small(self.certificate))
        except ValueError as error:
            raise Failure(FailureKind.UNAVAILABLE, f"{self.certificate} holds no certificates in PEM") from error
        try:
            key = load_pem_private_key(read_private(self.key), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise Failure(FailureKind.UNAVAILABLE, f"{self.key} holds no private key in PEM without a passphrase") from error
        if chain[0].public_key() != key.public_key():
            raise Failure(FailureKind.UNAVAILABLE, f"{self.key} is not the key of the first certificate in {self.certificate}")
        statement = join_statement(JoinMethod.X509, challenge.nonce, challenge.csr)
        return {
            "chain": [base64.b64encode(one.public_bytes(Encoding.DER)).decode() for one in chain],
            "signature": base64.b64encode(sign_statement(key, statement)).decode(),
        }


def attestor(argument: str) -> Attestor:
    """`x509:CERTIFICATE,KEY`."""
    certificate, comma, key = argument.partition(",")
    if not (certificate and comma and key):
        raise ValueError("'--join x509' needs two files: x509:CERTIFICATE,KEY")
    return _X509(Path(certificate), Path(key))
