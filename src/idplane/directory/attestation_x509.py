"""Possession of a key that a certificate authority of the machine's owner has vouched for.

    evidence: {"chain": [base64 DER, the leaf first], "signature": base64 over the statement by the leaf's key}

Proves that the machine holds the key now, and what its authority says of it: subject, names, serial. It does not prove that the key is on one
machine only: a key in a file can be copied.
"""

from __future__ import annotations

import base64
import binascii

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID

from idplane.directory.certificate_chains import MAX_CHAIN, read_certificates, verify_chain
from idplane.directory.evidence import Evidence, Presented, binary, refused
from idplane.jose.statements import verify_statement
from idplane.model.enrollments import Facts, JoinMethod, Trust, join_statement, sorted_facts
from idplane.model.values import JsonObject

__all__ = ["read_x509"]

_MAX_SIGNATURE = 1024
_MAX_NAMES = 32


async def read_x509(evidence: Evidence) -> Presented:
    """The facts of a certificate whose key the machine holds; raises `Failure(ENROLLMENT_REFUSED)`."""
    leaf, *others = read_certificates(_chain(evidence.members))
    statement = join_statement(JoinMethod.X509, evidence.nonce, evidence.csr)
    if not verify_statement(leaf.public_key(), binary(evidence.members, "signature", limit=_MAX_SIGNATURE), statement):
        raise refused("the evidence is not signed by the certificate's key over this challenge and request")
    facts = _facts(leaf)

    async def check(trust: Trust) -> Facts:
        usage = ExtendedKeyUsageOID.CLIENT_AUTH
        verify_chain(leaf, others, authorities=trust.authorities, usage=usage, usage_required=True, now=evidence.now)
        return facts

    return Presented(facts=facts, check=check)


def _chain(members: JsonObject) -> list[bytes]:
    chain = members.get("chain")
    if not isinstance(chain, list) or not 0 < len(chain) <= MAX_CHAIN:
        raise refused(f"the evidence must have 1 to {MAX_CHAIN} certificates as 'chain', the machine's own first")
    try:
        return [base64.b64decode(one, validate=True) for one in chain]
    except (binascii.Error, ValueError, TypeError) as error:
        raise refused("a certificate of the evidence is not base64") from error


def _facts(leaf: x509.Certificate) -> Facts:
    pairs = [
        ("subject", leaf.subject.rfc4514_string()),
        ("issuer", leaf.issuer.rfc4514_string()),
        ("serial", f"{leaf.serial_number:x}"),
        ("fingerprint", leaf.fingerprint(SHA256()).hex()),
    ]
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return sorted_facts(pairs)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise refused("the certificate's names can't be read") from error
    pairs += [("dns", one) for one in names.get_values_for_type(x509.DNSName)]
    pairs += [("uri", one) for one in names.get_values_for_type(x509.UniformResourceIdentifier)]
    pairs += [("email", one) for one in names.get_values_for_type(x509.RFC822Name)]
    pairs += [("ip", str(one)) for one in names.get_values_for_type(x509.IPAddress)]
    if len(pairs) > _MAX_NAMES:
        raise refused(f"the certificate has more than {_MAX_NAMES} names")
    return sorted_facts(pairs)
