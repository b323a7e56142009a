"""Possession of an SSH host key: one that the enrollment knows, or one that a host certificate authority has vouched for.

    evidence: {"publicKey": "ssh-ed25519 AAAA...", "certificate"?: "ssh-ed25519-cert-v01@openssh.com AAAA...", "signature": base64}

The signature is the host key's over the statement, which no SSH exchange ever signs: those sign a bare hash. Certificates are as OpenSSH's
PROTOCOL.certkeys has them; only host certificates count, within their time, without critical options, and not signed with SHA-1.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificate,
    SSHCertificateType,
    load_ssh_public_identity,
    load_ssh_public_key,
)

from idplane.directory.evidence import Evidence, Presented, binary, refused, text
from idplane.jose.statements import StatementKey, is_statement_key, verify_statement
from idplane.model.enrollments import Facts, JoinMethod, Trust, join_statement, sorted_facts

__all__ = ["read_ssh"]

_MAX_LINE: Final = 16 * 1024
_MAX_SIGNATURE: Final = 1024
_MAX_PRINCIPALS: Final = 32
_MAX_TEXT: Final = 1024
_STRONG: Final = (b"rsa-sha2-256", b"rsa-sha2-512")


async def read_ssh(evidence: Evidence) -> Presented:
    """The facts of a host key that the machine holds; raises `Failure(ENROLLMENT_REFUSED)`."""
    key, line = _key(text(evidence.members, "publicKey", limit=_MAX_LINE))
    statement = join_statement(JoinMethod.SSH, evidence.nonce, evidence.csr)
    if not verify_statement(key, binary(evidence.members, "signature", limit=_MAX_SIGNATURE), statement):
        raise refused("the evidence is not signed by the host key over this challenge and request")
    plain = sorted_facts((("fingerprint", _fingerprint(line)), ("keyType", line.split()[0])))
    certificate = None
    if evidence.members.get("certificate") is not None:
        certificate = _certificate(text(evidence.members, "certificate", limit=_MAX_LINE), key)
    facts = plain if certificate is None else sorted_facts((*plain, *_certified(certificate)))

    async def check(trust: Trust) -> Facts:
        if not trust.ssh_authority:
            return plain
        if certificate is None:
            raise refused("the host key has no certificate", reason="the enrollment asks for a host certificate")
        _check_certificate(certificate, trust, int(evidence.now.timestamp()))
        return facts

    return Presented(facts=facts, check=check)


def _key(line: str) -> tuple[StatementKey, str]:
    """A public key, and its line as we write it."""
    try:
        key = load_ssh_public_key(" ".join(line.split()[:2]).encode())
        written = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise refused("the evidence's 'publicKey' is no public key of OpenSSH") from error
    if not is_statement_key(key):
        raise refused("the host key is neither Ed25519, nor ECDSA, nor RSA of 2048 to 8192 bits")
    return key, written  # type: ignore[return-value]  # `is_statement_key` has narrowed it


def _certificate(line: str, key: StatementKey) -> SSHCertificate:
    try:
        found = load_ssh_public_identity(" ".join(line.split()[:2]).encode())
        if not isinstance(found, SSHCertificate) or found.public_key() != key:
            raise refused("the evidence's 'certificate' is not one for the host key")
        _require_strong(found, base64.b64decode(line.split()[1]))
        found.verify_cert_signature()
    except (ValueError, UnsupportedAlgorithm, IndexError) as error:
        raise refused("the evidence's 'certificate' is no certificate of OpenSSH") from error
    except InvalidSignature as error:
        raise refused("the host certificate's signature does not verify") from error
    if found.type is not SSHCertificateType.HOST:
        raise refused("the certificate is a user's, not a host's")
    if not 0 < len(found.valid_principals) <= _MAX_PRINCIPALS:
        raise refused(f"the host certificate must name 1 to {_MAX_PRINCIPALS} principals")
    return found


def _require_strong(certificate: SSHCertificate, blob: bytes) -> None:
    """Raises unless an RSA authority signed over SHA-2, which only the signature's own name tells: it ends the certificate."""
    authority = certificate.signature_key()
    if not is_statement_key(authority):
        raise refused("the certificate's authority has a key that is not accepted")
    if isinstance(authority, rsa.RSAPublicKey):
        end = len(blob) - (authority.key_size + 7) // 8 - 4
        if not any(blob[:end].endswith(name) for name in _STRONG):
            raise refused("the host certificate is signed over SHA-1")


def _certified(certificate: SSHCertificate) -> list[tuple[str, str]]:
    try:
        principals = [one.decode()[:_MAX_TEXT] for one in certificate.valid_principals]
        key_id = certificate.key_id.decode()[:_MAX_TEXT]
    except UnicodeDecodeError as error:
        raise refused("the host certificate's names are not UTF-8") from error
    return [("keyId", key_id), ("serial", str(certificate.serial)), *(("principal", one) for one in principals)]


def _check_certificate(certificate: SSHCertificate, trust: Trust, now: int) -> None:
    authority = certificate.signature_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    if authority != trust.ssh_authority:
        raise refused("the host certificate is not one that the enrollment trusts", reason="another authority signed it")
    if not certificate.valid_after <= now < certificate.valid_before:
        raise refused("the host certificate is not one that the enrollment trusts", reason="it is not valid now")
    if certificate.critical_options:
        raise refused("the host certificate is not one that the enrollment trusts", reason="it has critical options")


def _fingerprint(line: str) -> str:
    """As OpenSSH prints it."""
    digest = hashlib.sha256(base64.b64decode(line.split()[1])).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"
