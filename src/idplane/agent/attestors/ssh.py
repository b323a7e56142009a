"""This host's SSH key: `ssh:KEYFILE`, with the host certificate in `KEYFILE-cert.pub` if there is one, as sshd's are called."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key

from idplane.agent.attestors import Attestor, Challenge
from idplane.agent.attestors.files import read_private, read_small, required_path
from idplane.jose.statements import sign_statement
from idplane.model.enrollments import JoinMethod, join_statement
from idplane.model.failure import Failure, FailureKind
from idplane.model.values import JsonObject

__all__ = ["attestor"]


@dataclass(frozen=True, slots=True)
class _Ssh:
    key: Path
    method: str = JoinMethod.SSH.value

    async def challenge_body(self) -> JsonObject:
        """Nothing: the nonce is all that is asked for."""
        return {}

    async def evidence(self, challenge: Challenge, /) -> JsonObject:
        """The public key, its certificate, and the key's signature."""
        try:
            key = load_ssh_private_key(read_private(self.key), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise Failure(FailureKind.UNAVAILABLE, f"{self.key} holds no SSH key without a passphrase") from error
        public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        statement = join_statement(JoinMethod.SSH, challenge.nonce, challenge.csr)
        signature = base64.b64encode(sign_statement(key, statement)).decode()
        certificate = self._certificate()
        return {"publicKey": public, "signature": signature, **({"certificate": certificate} if certificate else {})}

    def _certificate(self) -> str | None:
        path = self.key.with_name(f"{self.key.name}-cert.pub")
        if not path.exists():
            return None
        try:
            return read_small(path).decode("ascii").strip()
        except UnicodeDecodeError as error:
            raise Failure(FailureKind.UNAVAILABLE, f"{path} holds no SSH certificate") from error


def attestor(argument: str) -> Attestor:
    """`ssh:KEYFILE`."""
    return _Ssh(required_path(argument, "ssh"))
