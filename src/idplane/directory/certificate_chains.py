"""Chains of other people's certificates, verified within bounds (RFC 5280), for machines' certificates and those of TPMs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.verification import Criticality, ExtensionPolicy, Policy, PolicyBuilder, Store, VerificationError

from idplane.directory.evidence import refused
from idplane.jose.statements import is_statement_key

__all__ = ["MAX_CHAIN", "read_certificates", "verify_chain"]

MAX_CHAIN: Final = 8
_MAX_BYTES: Final = 64 * 1024
_DEPTH: Final = MAX_CHAIN - 1


def read_certificates(chain: Sequence[bytes]) -> list[x509.Certificate]:
    """Certificates from DER, the leaf first; raises `Failure(ENROLLMENT_REFUSED)` for too many, too large, or unreadable ones."""
    if not 0 < len(chain) <= MAX_CHAIN or sum(map(len, chain)) > _MAX_BYTES:
        raise refused(f"the evidence must have 1 to {MAX_CHAIN} certificates of at most {_MAX_BYTES} bytes together")
    try:
        found = [x509.load_der_x509_certificate(one) for one in chain]
        sound = all(is_statement_key(one.public_key()) for one in found)
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise refused("a certificate of the evidence can't be read") from error
    if not sound:
        raise refused("a certificate's key is neither RSA of 2048 to 8192 bits, nor ECDSA, nor Ed25519")
    return found


def verify_chain(
    leaf: x509.Certificate,
    others: Sequence[x509.Certificate],
    *,
    authorities: str,
    usage: x509.ObjectIdentifier,
    usage_required: bool,
    now: datetime,
) -> None:
    """Raises `Failure(ENROLLMENT_REFUSED)` unless the leaf chains to one of the authorities (PEM), is valid now and is for this usage.

    Checked for each certificate on the way: signature, validity, basic constraints, path length, name constraints, critical extensions that
    nobody here knows. `usage_required` tells whether a leaf that says nothing of its use will do.
    """

    def for_usage(_policy: Policy, _certificate: x509.Certificate, extension: x509.ExtendedKeyUsage | None) -> None:
        if extension is not None and usage not in extension:
            raise ValueError("the certificate is for another use")

    present = ExtensionPolicy.require_present if usage_required else ExtensionPolicy.may_be_present
    leaf_policy = present(ExtensionPolicy.permit_all(), x509.ExtendedKeyUsage, Criticality.AGNOSTIC, for_usage)
    try:
        builder = PolicyBuilder().store(Store(x509.load_pem_x509_certificates(authorities.encode()))).time(now)
        builder = builder.max_chain_depth(_DEPTH)
        builder = builder.extension_policies(ca_policy=_authority_policy(), ee_policy=leaf_policy)
        builder.build_client_verifier().verify(leaf, list(others))
    except VerificationError as error:
        words = f"the certificate does not chain to the authorities: {str(error)[:200]}"
        raise refused("the certificate is not one that the enrollment trusts", reason=words) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise refused("the certificate is not one that the enrollment trusts", reason="it can't be verified") from error


def _authority_policy() -> ExtensionPolicy:
    """Authorities of machines are seldom the Web's: what must be there is what makes one an authority."""

    def signs(_policy: Policy, _certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
        if usage is not None and not usage.key_cert_sign:
            raise ValueError("the authority's key may not sign certificates")

    def is_authority(_policy: Policy, _certificate: x509.Certificate, constraints: x509.BasicConstraints) -> None:
        if not constraints.ca:
            raise ValueError("the issuer is no authority")

    policy = ExtensionPolicy.permit_all().require_present(x509.BasicConstraints, Criticality.AGNOSTIC, is_authority)
    return policy.may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, signs)
