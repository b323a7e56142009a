"""The authorities' own keys: a line for each, so that a successor is trusted before it signs and its predecessor after.

    prepared             active             retired                    gone
    in trust bundles     signs              in trust bundles           once its last certificate has ended

An authority's key is born inside the custody where that holds keys, and sealed by it otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from idplane.jose import Algorithm, new_ec_key
from idplane.keys.certificates import Authority, Issuer, Validity, key_id, name_of, new_serial, root_certificate
from idplane.keys.moves import Line
from idplane.keys.rotation import Pace
from idplane.keys.sealing import sealed_private_key, unsealed_private_key
from idplane.model.failure import Failure, FailureKind
from idplane.model.keys import KeyPurpose, KeyState, SigningKey
from idplane.ports.world import Entropy, KeyCustody

__all__ = ["OUTLIVED", "PACE", "Root", "issuer_of", "new_root", "root_line"]

_LIFETIME = timedelta(days=10 * 365)
_BACKDATE = timedelta(days=1)
_RENEWAL = timedelta(days=400)
"""An authority is replaced when its certificate could not enclose a whole leaf's any more."""
OUTLIVED: Final = timedelta(days=397)
"""More than any certificate of an authority is good for."""
PACE: Final = Pace(lifetime=timedelta(days=8 * 365), lead=timedelta(days=90), outlived=OUTLIVED)
"""Who was given an authority by hand learns of its successor a quarter of a year ahead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """What an authority's certificate is to say."""

    purpose: KeyPurpose
    name: str
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] = field(default=())
    """Extensions with their criticality, besides those that every authority has."""
    constrained: bool = False
    """Put the authority below a root whose key is forgotten at once, because `extensions` must bind it everywhere.

    Java takes no notice of name constraints in the very certificate that it is told to trust, only in those below.
    """
    suits: Callable[[x509.Certificate], bool] = field(default=lambda _: True, repr=False)
    """Whether a certificate made earlier still says enough."""


def root_line(
    root: Root,
    custody: KeyCustody,
    entropy: Entropy,
    *,
    like: Callable[[Root, SigningKey], Root] | None = None,
    replaces: Callable[[SigningKey, SigningKey], bool] = lambda _, __: True,
) -> Line:
    """The line of an installation's authorities for a purpose; `like` is what makes a successor resemble the one before."""

    def make(state: KeyState, now: datetime, predecessor: SigningKey | None) -> SigningKey:
        wanted = like(root, predecessor) if like and predecessor else root
        issuer = new_root(wanted, now, entropy, lifetime=_LIFETIME, private_key=custody.new_authority_key())
        return _record(wanted, issuer, state, now, custody)

    return Line(purpose=root.purpose, pace=PACE, make=make, usable=lambda key, now: _will_do(root, key, now), replaces=replaces)


def new_root(
    root: Root,
    now: datetime,
    entropy: Entropy,
    *,
    lifetime: timedelta,
    private_key: ec.EllipticCurvePrivateKey | None = None,
) -> Issuer:
    """A new authority. Its name is its own, so that trust stores can tell two installations apart. `private_key` is made if None."""
    private_key = private_key or new_ec_key()
    if not root.constrained:
        return _self_made(root, now, entropy, lifetime, private_key)
    anchor = _self_made(root, now, entropy, lifetime, new_ec_key())
    authority = _authority(replace(root, name=f"{root.name} issuing"), now, entropy, lifetime, path_length=0)
    certificate = anchor.sign_authority(private_key.public_key(), authority)
    return Issuer(certificate=certificate, private_key=private_key, anchor=anchor.certificate)


def issuer_of(key: SigningKey, custody: KeyCustody) -> Issuer:
    """A stored authority, ready for use; raises `Failure(INTERNAL)` if it is not intact."""
    private_key = unsealed_private_key(key, custody)
    if not isinstance(private_key, ec.EllipticCurvePrivateKey):
        raise Failure(FailureKind.INTERNAL, "a stored authority has a key of another kind")
    certificate = x509.load_der_x509_certificate(key.certificate)
    return Issuer(certificate=certificate, private_key=private_key, anchor=_anchor(key, certificate))


def _self_made(
    root: Root, now: datetime, entropy: Entropy, lifetime: timedelta, private_key: ec.EllipticCurvePrivateKey
) -> Issuer:
    authority = _authority(root, now, entropy, lifetime, path_length=1 if root.constrained else 0)
    return Issuer(certificate=root_certificate(private_key, authority), private_key=private_key)


def _authority(root: Root, now: datetime, entropy: Entropy, lifetime: timedelta, *, path_length: int) -> Authority:
    serial = new_serial(entropy)
    return Authority(
        subject=name_of(f"{root.name} {serial & 0xFFFFFFFF:08x}"),
        validity=Validity.starting(now, lifetime, backdate=_BACKDATE),
        serial=serial,
        path_length=path_length,
        extensions=root.extensions,
    )


def _will_do(root: Root, key: SigningKey, now: datetime) -> bool:
    try:
        certificate = x509.load_der_x509_certificate(key.certificate)
    except ValueError as error:
        raise Failure(FailureKind.INTERNAL, "a stored authority's certificate cannot be read") from error
    current = certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - _RENEWAL
    return current and not key.tainted and root.suits(certificate)


def _anchor(key: SigningKey, certificate: x509.Certificate) -> x509.Certificate | None:
    """The stored root, if it did sign the authority's certificate, whose own integrity the seal has proved.

    A root of somebody else's, written into the database, must never be handed out for people to trust.
    """
    if key.anchor is None:
        return None
    try:
        anchor = x509.load_der_x509_certificate(key.anchor)
        certificate.verify_directly_issued_by(anchor)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise Failure(FailureKind.INTERNAL, "a stored authority does not belong to its root") from error
    return anchor


def _record(root: Root, issuer: Issuer, state: KeyState, now: datetime, custody: KeyCustody) -> SigningKey:
    certificate = issuer.certificate.public_bytes(Encoding.DER)
    kid = key_id(certificate)
    return SigningKey(
        id=kid,
        purpose=root.purpose,
        algorithm=Algorithm.ES256.value,
        state=state,
        certificate=certificate,
        sealed=sealed_private_key(issuer.private_key, kid, custody),
        created_at=now,
        activated_at=now if state is KeyState.ACTIVE else None,
        anchor=issuer.anchor.public_bytes(Encoding.DER) if issuer.anchor else None,
    )
