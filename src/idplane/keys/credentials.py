"""The credential authority: X.509 certificates by which agents, and identities on hosts, authenticate (design section 6).

The key is born where it is used; only a request (PKCS#10) gets here, and all it contributes is its public key. Signing is pure:
whoever asks commits the credential together with the check that the entitlement still stands.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from idplane.jose import PublicKey, certificate_thumbprint
from idplane.jose.certificates import is_acceptable_key
from idplane.keys.authority import InstallationAuthority
from idplane.keys.certificates import Leaf, Validity, new_serial
from idplane.keys.moves import Line
from idplane.keys.roots import Root, root_line
from idplane.model.directory import Credential, CredentialKind, Principal
from idplane.model.failure import Failure, FailureKind
from idplane.model.keys import KeyPurpose
from idplane.model.profile import Profile
from idplane.ports.store import Store
from idplane.ports.world import Clock, Entropy, KeyCustody

__all__ = ["CredentialAuthority", "credential_line", "requested_key"]

_MAX_REQUEST = 8 * 1024
_MIN_EXPONENT = 65537
_WORKLOAD_LIFETIME = timedelta(hours=1)
_AGENT_LIFETIME = timedelta(days=397)
_ROOT = Root(
    purpose=KeyPurpose.CREDENTIAL_AUTHORITY,
    name="credential authority",
    # Even where somebody trusts this root for more than it is for, it vouches for clients only.
    extensions=((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),),
)

_BACKDATE = timedelta(minutes=15)
"""A certificate is shown to servers whose clocks may be ten minutes behind the one that issued it."""


def credential_line(custody: KeyCustody, entropy: Entropy) -> Line:
    """The line of credential authorities."""
    return root_line(_ROOT, custody, entropy)


class CredentialAuthority(InstallationAuthority):
    """Issues client certificates. The invariant: every name in one comes from the directory, none from the request."""

    def __init__(self, *, store: Store, custody: KeyCustody, clock: Clock, entropy: Entropy, profile: Profile) -> None:
        super().__init__(line=credential_line(custody, entropy), store=store, custody=custody, clock=clock)
        self._clock = clock
        self._entropy = entropy
        self._profile = profile

    @classmethod
    async def open(
        cls, *, store: Store, custody: KeyCustody, clock: Clock, entropy: Entropy, profile: Profile
    ) -> CredentialAuthority:
        """The installation's credential authority, made on first use; raises as `follow` does."""
        authority = cls(store=store, custody=custody, clock=clock, entropy=entropy, profile=profile)
        await authority.follow()
        return authority

    def __repr__(self) -> str:
        return f"CredentialAuthority({len(self.keys)} keys)"

    @property
    def certificate_pem(self) -> bytes:
        """What clients' certificates are verified with: `trust_pem`."""
        return self.trust_pem

    def issue_identity(
        self, csr_der: bytes, principal: Principal, host_key: str, agent_id: str, *, lifetime: timedelta | None = None
    ) -> Credential:
        """A certificate for one identity on one host, as the credential that the caller stores; raises `Failure(CSR_INVALID)`."""
        names = [x509.UniformResourceIdentifier(f"urn:idplane:identity:{principal.id}")]
        certificate = self._issue(csr_der, principal.client_id, names, lifetime or self._profile.identity_certificate_lifetime)
        der = certificate.public_bytes(Encoding.DER)
        return Credential(
            id=self._entropy.guid(),
            principal_id=principal.id,
            client_id=principal.client_id,
            kind=CredentialKind.IDENTITY_CERTIFICATE,
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            display_name=principal.display_name,
            certificate=der,
            thumbprint=certificate_thumbprint(der),
            host=host_key,
            agent_id=agent_id,
        )

    def issue_workload(self, csr_der: bytes, principal: Principal, host_key: str, agent_id: str) -> Credential:
        """The same for a key that was born in a workload there: short-lived, since nobody renews it but the workload."""
        issued = self.issue_identity(csr_der, principal, host_key, agent_id, lifetime=_WORKLOAD_LIFETIME)
        return replace(issued, kind=CredentialKind.WORKLOAD_CERTIFICATE)

    def issue_agent(self, csr_der: bytes, agent_id: str, lifetime: timedelta = _AGENT_LIFETIME) -> bytes:
        """A certificate, in DER, for an agent to authenticate its own requests with; raises `Failure(CSR_INVALID)`.

        Without a `lifetime` it is one for an agent inside this process, whose key lives and dies with it.
        """
        names = [x509.UniformResourceIdentifier(f"urn:idplane:agent:{agent_id}")]
        return self._issue(csr_der, agent_id, names, lifetime).public_bytes(Encoding.DER)

    def _issue(
        self, csr_der: bytes, common_name: str, names: list[x509.UniformResourceIdentifier], lifetime: timedelta
    ) -> x509.Certificate:
        leaf = Leaf(
            public_key=requested_key(csr_der),
            subject=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]),
            names=names,
            usage=ExtendedKeyUsageOID.CLIENT_AUTH,
            validity=Validity.starting(self._clock.now(), lifetime, backdate=_BACKDATE),
        )
        return self.issuer.sign(leaf, new_serial(self._entropy))


def requested_key(csr_der: bytes) -> PublicKey:
    """The public key of a certificate request (RFC 2986) whose sender has shown to hold the private one.

    Raises `Failure(CSR_INVALID)` unless the request is DER of at most 8 KiB, its key is P-256 or RSA of 2048 to 8192 bits with a
    usual exponent, and its own signature, over SHA-2, verifies. Subject, extensions and attributes are not even looked at.
    """
    if len(csr_der) > _MAX_REQUEST:
        raise _refused("the certificate request is too large")
    try:
        request = x509.load_der_x509_csr(csr_der)
        key = request.public_key()
        if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey) or not _is_sound(key):
            raise _refused("the certificate request's key is neither P-256 nor RSA of at least 2048 bits")
        if not isinstance(request.signature_hash_algorithm, hashes.SHA256 | hashes.SHA384 | hashes.SHA512):
            raise _refused("the certificate request is not signed over SHA-2")
        if not request.is_signature_valid:
            raise _refused("the certificate request's signature does not verify")
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise _refused("the certificate request could not be read") from error
    return key


def _is_sound(key: PublicKey) -> bool:
    usual = not isinstance(key, rsa.RSAPublicKey) or key.public_numbers().e >= _MIN_EXPONENT
    return usual and is_acceptable_key(key)


def _refused(detail: str) -> Failure:
    return Failure(FailureKind.CSR_INVALID, detail)
