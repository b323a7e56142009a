"""A TPM 2.0: the machine is the one with this chip, and, where the enrollment says so, has started what it should.

    challenge: {"ekPublic", "akPublic", "ekCertificate"?}   → {"credentialBlob", "secret"}
    evidence:  the same, {"credential": the secret, "quoted", "signature", "pcrValues"}

The secret of the challenge is for the TPM with the endorsement key, and readable only while the attestation key is in the very same TPM
(ActivateCredential): that ties one to the other. The attestation key signs nothing but the TPM's own words, so its quote over the statement
tells that this TPM answers this challenge, for this certificate request, with these registers.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from idplane.directory.certificate_chains import read_certificates, verify_chain
from idplane.directory.evidence import Evidence, Presented, binary, refused
from idplane.directory.tpm_credentials import SECRET_BYTES, make_credential
from idplane.directory.tpm_structures import (
    SHA256_ID,
    Public,
    Quote,
    hash_of,
    read_public,
    read_quote,
    verify_signature,
)
from idplane.model.enrollments import Facts, JoinMethod, PcrRule, Trust, join_statement, sorted_facts
from idplane.model.values import JsonObject
from idplane.ports.world import Entropy

__all__ = ["TpmOffers", "read_tpm"]

_MAX_STRUCTURE: Final = 2048
_MAX_CERTIFICATE: Final = 16 * 1024
_REGISTERS: Final = 24
_DIGEST: Final = 32
_EK_USAGE: Final = x509.ObjectIdentifier("2.23.133.8.1")
_MAKER: Final = {
    x509.ObjectIdentifier("2.23.133.2.1"): "manufacturer",
    x509.ObjectIdentifier("2.23.133.2.2"): "model",
    x509.ObjectIdentifier("2.23.133.2.3"): "firmware",
}
_SECRET, _KEYS = "secret", "keys"


class TpmOffers:
    """Makes the part of a challenge that only one TPM can read."""

    def __init__(self, *, entropy: Entropy) -> None:
        self._entropy = entropy

    def __call__(self, members: JsonObject, nonce: bytes) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """What the machine is told, and what the server must find again; raises `Failure(ENROLLMENT_REFUSED)`."""
        del nonce
        endorsement, attestation = _keys(members)
        secret = self._entropy.bytes(SECRET_BYTES)
        seed = self._entropy.bytes(hash_of(endorsement.name_algorithm).digest_size)
        blob, encrypted = make_credential(endorsement, attestation.name, secret, seed)
        told = {"credentialBlob": base64.b64encode(blob).decode(), "secret": base64.b64encode(encrypted).decode()}
        return told, {_SECRET: secret.hex(), _KEYS: _both(endorsement, attestation)}


async def read_tpm(evidence: Evidence) -> Presented:
    """The facts of a machine's TPM; raises `Failure(ENROLLMENT_REFUSED)`."""
    members = evidence.members
    endorsement, attestation = _keys(members)
    if evidence.sealed.get(_KEYS) != _both(endorsement, attestation):
        raise refused("the TPM's keys are not those that the challenge was made for")
    credential = binary(members, "credential", limit=_DIGEST)
    if not hmac.compare_digest(credential, bytes.fromhex(evidence.sealed.get(_SECRET, ""))):
        raise refused("the TPM could not read the challenge: the attestation key is not in the endorsement key's TPM")
    quoted = binary(members, "quoted", limit=_MAX_STRUCTURE)
    verify_signature(attestation.key, binary(members, "signature", limit=_MAX_STRUCTURE), quoted)
    quote = read_quote(quoted)
    statement = join_statement(JoinMethod.TPM, evidence.nonce, evidence.csr)
    if not hmac.compare_digest(quote.extra, hashlib.sha256(statement).digest()):
        raise refused("the TPM's quote is not over this challenge and request")
    certificate = _certificate(members, endorsement)
    known = ("endorsementKey", _key_digest(endorsement))
    facts = sorted_facts((known, *(_certified(certificate) if certificate is not None else ())))

    async def check(trust: Trust) -> Facts:
        if trust.pcrs is not None:
            _check_registers(trust.pcrs, quote, members)
        if not trust.authorities:
            return (known,)
        if certificate is None:
            raise refused("the TPM shows no certificate of its maker", reason="the enrollment asks for one")
        verify_chain(certificate, [], authorities=trust.authorities, usage=_EK_USAGE, usage_required=False, now=evidence.now)
        return facts

    return Presented(facts=facts, check=check)


def _keys(members: JsonObject) -> tuple[Public, Public]:
    """The endorsement and attestation keys, each of its kind."""
    endorsement = read_public(binary(members, "ekPublic", limit=_MAX_STRUCTURE), "endorsement key")
    attestation = read_public(binary(members, "akPublic", limit=_MAX_STRUCTURE), "attestation key")
    if not endorsement.is_endorsement:
        raise refused("the TPM's endorsement key is not restricted to decryption, or not bound to the TPM")
    if not attestation.is_attestation:
        raise refused("the TPM's attestation key is not restricted to signing what the TPM says, or not bound to the TPM")
    return endorsement, attestation


def _both(endorsement: Public, attestation: Public) -> str:
    return hashlib.sha256(endorsement.name + attestation.name).hexdigest()


def _key_digest(endorsement: Public) -> str:
    return hashlib.sha256(endorsement.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _certificate(members: JsonObject, endorsement: Public) -> x509.Certificate | None:
    if members.get("ekCertificate") is None:
        return None
    (found,) = read_certificates([binary(members, "ekCertificate", limit=_MAX_CERTIFICATE)])
    if found.public_key() != endorsement.key:
        raise refused("the TPM's certificate is for another endorsement key")
    return found


def _certified(certificate: x509.Certificate) -> list[tuple[str, str]]:
    """The certificate's serial, and what its maker says of the chip (TCG EK Credential Profile, section 3.2.9)."""
    facts = [("serial", f"{certificate.serial_number:x}")]
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return facts
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise refused("the names in the TPM's certificate can't be read") from error
    for name in names.get_values_for_type(x509.DirectoryName):
        facts += [(_MAKER[one.oid], str(one.value)) for one in name if one.oid in _MAKER]
    return facts


def _check_registers(rule: PcrRule, quote: Quote, members: JsonObject) -> None:
    """The quoted registers have the values that were sent along, and those that the rule names add up to its digest."""
    values = _values(members)
    banks = dict(quote.selections)
    quoted = banks.get(SHA256_ID, ())
    if len(banks) != 1 or len(quote.selections) != 1 or not set(rule.registers) <= set(quoted):
        raise _state("the quote leaves out registers that the enrollment asks for")
    if not all(at in values for at in quoted):
        raise _state("values of quoted registers are missing")
    if hashlib.sha256(b"".join(values[at] for at in quoted)).digest() != quote.digest:
        raise _state("the values are not those that were quoted")
    if hashlib.sha256(b"".join(values[at] for at in rule.registers)).hexdigest() != rule.digest:
        raise _state("the registers have other values than the enrollment asks for")


def _values(members: JsonObject) -> dict[int, bytes]:
    given = members.get("pcrValues")
    if not isinstance(given, dict) or len(given) > _REGISTERS:
        raise _state("there are no values of registers")
    try:
        return {int(name): bytes.fromhex(value) for name, value in given.items() if len(value) == 2 * _DIGEST}
    except (ValueError, TypeError) as error:
        raise _state("the values of registers can't be read") from error


def _state(reason: str) -> Exception:
    return refused("the machine's measured state is not what the enrollment asks for", reason=reason)
