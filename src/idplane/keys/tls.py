"""The authorities for listeners: one for each installation, and one for each run.

Both can sign only the names they are for, by critical name constraints, so that trusting them gives nobody more than that: the
constraints stand in the root and in the authority below it, which is the only one whose key exists. The installation's can sign nothing but this machine's own names and those configured for it. A run's signs Azure's public names, is
trusted inside the run only, and is never written down (design section 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import ClassVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from idplane.jose import new_ec_key
from idplane.keys.authority import InstallationAuthority
from idplane.keys.certificates import Issuer, Leaf, Validity, new_serial
from idplane.keys.moves import Line
from idplane.keys.names import LOOPBACK, PermittedNames, general_name
from idplane.keys.roots import Root, new_root, root_line
from idplane.model.failure import Failure, FailureKind
from idplane.model.keys import KeyPurpose, SigningKey
from idplane.ports.store import Store
from idplane.ports.world import Clock, Entropy, KeyCustody

__all__ = ["AZURE_DOMAINS", "RunAuthority", "TlsAuthority", "TlsIdentity", "tls_line"]

AZURE_DOMAINS = (
    "azure.com",
    "azure.net",
    "microsoft.com",
    "microsoftonline.com",
    "windows.net",
    "azure-api.net",
    "azurewebsites.net",
    "azurecr.io",
)
"""What Azure's public host names end in, as far as programs inside a run meet them."""

# Apple's limit for certificates under public roots is 398 days; under roots that users add it is laxer, but why depend on it.
_LEAF_LIFETIME = timedelta(days=396)
_SUBJECT = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "idplane")])
_SERVER_ONLY = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsIdentity:
    """What a TLS listener shows and proves."""

    certificate_chain_pem: bytes
    key_pem: bytes = field(repr=False)
    not_after: datetime
    """When it has to have been replaced."""

    @classmethod
    def of_files(cls, certificate_chain_pem: bytes, key_pem: bytes) -> TlsIdentity:
        """One of somebody else's authority. Raises `Failure(INVALID_PARAMETER)` when there is no certificate or no key, or not the same's."""
        try:
            leaf = x509.load_pem_x509_certificates(certificate_chain_pem)[0]
            key = load_pem_private_key(key_pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise Failure(
                FailureKind.INVALID_PARAMETER, "the listener's certificate or key is not PEM, or needs a password"
            ) from error
        if key.public_key() != leaf.public_key():
            raise Failure(FailureKind.INVALID_PARAMETER, "the listener's key is not the one of its certificate")
        return cls(certificate_chain_pem=certificate_chain_pem, key_pem=key_pem, not_after=leaf.not_valid_after_utc)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ServerCertificates:
    """Makes listeners' certificates, for permitted names only: clients would refuse others, so we do it at once."""

    issuer: Issuer = field(repr=False)
    permitted: PermittedNames
    clock: Clock = field(repr=False)
    entropy: Entropy = field(repr=False)

    def issue(self, names: Sequence[str]) -> TlsIdentity:
        private_key = new_ec_key()
        leaf = Leaf(
            public_key=private_key.public_key(),
            subject=_SUBJECT,
            names=self._checked(names),
            usage=ExtendedKeyUsageOID.SERVER_AUTH,
            validity=Validity.starting(self.clock.now(), _LEAF_LIFETIME),
        )
        certificate = self.issuer.sign(leaf, new_serial(self.entropy))
        return TlsIdentity(
            certificate_chain_pem=b"".join(one.public_bytes(Encoding.PEM) for one in (certificate, *self.issuer.chain)),
            key_pem=private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            not_after=certificate.not_valid_after_utc,
        )

    def _checked(self, names: Sequence[str]) -> list[x509.GeneralName]:
        if not names:
            raise ValueError("a listener's certificate needs a name")
        checked: list[x509.GeneralName] = []
        for text in dict.fromkeys(names):
            name = general_name(text)
            if not self.permitted.permit(name):
                raise Failure(FailureKind.INVALID_PARAMETER, f"'{text[:100]}' is not a name of this authority", name=text[:100])
            checked.append(name)
        return checked


def tls_line(custody: KeyCustody, entropy: Entropy, permitted: PermittedNames = LOOPBACK) -> Line:
    """The line of TLS authorities that may sign the permitted names; a successor may sign what its predecessor could, too."""
    wanted = permitted.extension()
    root = Root(
        purpose=KeyPurpose.TLS_AUTHORITY,
        name="local TLS authority",
        extensions=((wanted, True), _SERVER_ONLY),
        constrained=True,
        suits=lambda certificate: _covers(certificate, wanted),
    )
    return root_line(root, custody, entropy, like=_as_wide, replaces=_is_as_wide)


class TlsAuthority(InstallationAuthority):
    """The installation's own CA for its listeners, in the store; users may trust it."""

    def __init__(self, *, store: Store, custody: KeyCustody, clock: Clock, entropy: Entropy, permitted: PermittedNames) -> None:
        super().__init__(line=tls_line(custody, entropy, permitted), store=store, custody=custody, clock=clock)
        self._clock = clock
        self._entropy = entropy
        self._permitted = permitted

    @classmethod
    async def open(
        cls, *, store: Store, custody: KeyCustody, clock: Clock, entropy: Entropy, hosts: Sequence[str] = ()
    ) -> TlsAuthority:
        """The stored authority, or a new one on first use and when it may not sign one of `hosts`.

        `hosts` are names and addresses beyond the machine's own that servers are reached by. Raises `Failure(INVALID_PARAMETER)`
        for one that is neither a name nor an address, and as `follow` does.
        """
        permitted = LOOPBACK.with_hosts(hosts)
        authority = cls(store=store, custody=custody, clock=clock, entropy=entropy, permitted=permitted)
        await authority.follow()
        return authority

    def __repr__(self) -> str:
        return f"TlsAuthority({self._permitted!r})"

    @property
    def ca_pem(self) -> bytes:
        """What trust stores need: every authority that counts, also the one that will sign next."""
        return self.trust_pem

    def issue(self, names: Sequence[str]) -> TlsIdentity:
        """A certificate and key for a listener with these host names and addresses.

        Raises `Failure(INVALID_PARAMETER)` for a name that the authority may not sign.
        """
        return _ServerCertificates(
            issuer=self.issuer, permitted=self._permitted, clock=self._clock, entropy=self._entropy
        ).issue(names)


class RunAuthority:
    """The CA of one run, in memory: Azure's public names, for the processes inside and for a few days."""

    LIFETIME: ClassVar = timedelta(days=7)

    def __init__(self, certificates: _ServerCertificates) -> None:
        self._certificates = certificates

    @classmethod
    def create(
        cls, clock: Clock, entropy: Entropy, *, domains: Sequence[str] = AZURE_DOMAINS, lifetime: timedelta = LIFETIME
    ) -> RunAuthority:
        """A new authority for names at and below `domains`, and for no address at all."""
        permitted = PermittedNames(domains=()).with_hosts(domains)
        if permitted.networks or not permitted.domains:
            raise ValueError("a run's authority is for host names")
        root = Root(
            purpose=KeyPurpose.TLS_AUTHORITY,
            name="run authority",
            extensions=((permitted.extension(), True), _SERVER_ONLY),
            constrained=True,
        )
        issuer = new_root(root, clock.now(), entropy, lifetime=lifetime)
        return cls(_ServerCertificates(issuer=issuer, permitted=permitted, clock=clock, entropy=entropy))

    def __repr__(self) -> str:
        return f"RunAuthority({self._certificates.permitted!r})"

    @property
    def ca_pem(self) -> bytes:
        """The CA's certificate, to be trusted inside the run only."""
        return self._certificates.issuer.pem

    def issue(self, names: Sequence[str]) -> TlsIdentity:
        """A certificate and key for a listener inside the run; raises `Failure(INVALID_PARAMETER)` for a foreign name."""
        return self._certificates.issue(names)


def _covers(certificate: x509.Certificate, wanted: x509.NameConstraints) -> bool:
    """Whether the authority may sign all the wanted names. More is fine: a new authority would have to be trusted anew."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return False
    return set(wanted.permitted_subtrees or ()) <= set(constraints.permitted_subtrees or ())


def _as_wide(root: Root, predecessor: SigningKey) -> Root:
    """The root with the names of its predecessor, too: whoever rotates need not know which names servers are reached by.

    So servers with different names come to one authority that may sign all of them, and none takes a name away from another.
    """
    wanted = next(extension for extension, _ in root.extensions if isinstance(extension, x509.NameConstraints))
    subtrees = [*(wanted.permitted_subtrees or ())]
    subtrees += [name for name in _subtrees(predecessor) if name not in subtrees]
    widened = x509.NameConstraints(permitted_subtrees=subtrees, excluded_subtrees=wanted.excluded_subtrees)
    return replace(root, extensions=((widened, True), _SERVER_ONLY))


def _is_as_wide(key: SigningKey, other: SigningKey) -> bool:
    return set(_subtrees(other)) <= set(_subtrees(key))


def _subtrees(key: SigningKey) -> list[x509.GeneralName]:
    """What a stored authority may sign; nothing where that cannot be read."""
    try:
        extensions = x509.load_der_x509_certificate(key.certificate).extensions
        return extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or []
    except (ValueError, x509.ExtensionNotFound):
        return []
