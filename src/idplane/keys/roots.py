"""The authorities' own keys: made once for an installation, sealed in the store, shared by its replicas."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from idplane.jose import Algorithm, new_ec_key
from idplane.keys.certificates import Authority, Issuer, Validity, key_id, name_of, new_serial, root_certificate
from idplane.keys.sealing import sealed_private_key, unsealed_private_key
from idplane.model.failure import Failure, FailureKind
from idplane.model.keys import KeyPurpose, KeyState, SigningKey
from idplane.ports.collections import SIGNING_KEYS
from idplane.ports.store import ABSENT, Batch, CommitRefused, Put, Store, Versioned
from idplane.ports.world import Clock, Entropy, KeyCustody

__all__ = ["Root", "new_root", "open_root"]

_LIFETIME = timedelta(days=10 * 365)
_BACKDATE = timedelta(days=1)
_RENEWAL = timedelta(days=400)
"""An authority is replaced when its certificate could not enclose a whole leaf's any more."""
_ATTEMPTS = 3


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


async def open_root(root: Root, *, store: Store, custody: KeyCustody, clock: Clock, entropy: Entropy) -> Issuer:
    """The installation's authority for a purpose: the stored one, or a new one if there is none that will do.

    A replaced authority stays in the store, retired, and signs nothing any more. It comes back when it is good and the one that replaced
    it is not: the clock was wrong then and has been set right, and people trust the earlier one already. Raises `Failure(INTERNAL)` if the
    stored key cannot be unsealed, `Failure(UNAVAILABLE)` if it keeps changing.
    """
    for _ in range(_ATTEMPTS):
        now = clock.now()
        stored = await _stored(store, root.purpose)
        active = next((one for one in stored if one.value.state is KeyState.ACTIVE), None)
        good = next((one for one in stored if _will_do(root, one.value, now)), None)
        if good is not None:
            issuer, change = _issuer(good.value, custody), _return(good, now)
            if good is active:
                return issuer
        else:
            issuer = new_root(root, now, entropy, lifetime=_LIFETIME)
            change = _creation(root, issuer, now, custody)
        with suppress(CommitRefused):  # another replica was first: take what it made
            await store.commit(_retirement(active, now) + change)
            return issuer
    raise Failure(FailureKind.UNAVAILABLE, f"the {root.purpose.value} keeps changing")


def new_root(root: Root, now: datetime, entropy: Entropy, *, lifetime: timedelta) -> Issuer:
    """A new authority, in memory. Its name is its own, so that trust stores can tell two installations apart."""
    if not root.constrained:
        return _self_made(root, now, entropy, lifetime)
    anchor = _self_made(root, now, entropy, lifetime)
    private_key = new_ec_key()
    authority = _authority(replace(root, name=f"{root.name} issuing"), now, entropy, lifetime, path_length=0)
    certificate = anchor.sign_authority(private_key.public_key(), authority)
    return Issuer(certificate=certificate, private_key=private_key, anchor=anchor.certificate)


def _self_made(root: Root, now: datetime, entropy: Entropy, lifetime: timedelta) -> Issuer:
    private_key = new_ec_key()
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


async def _stored(store: Store, purpose: KeyPurpose) -> list[Versioned[SigningKey]]:
    """Every authority there was for a purpose: the active one first, then from the newest to the oldest."""
    found = await store.all(SIGNING_KEYS, where={"purpose": purpose.value})
    newest_first = sorted(found, key=lambda one: one.value.created_at, reverse=True)
    return sorted(newest_first, key=lambda one: one.value.state is not KeyState.ACTIVE)


def _will_do(root: Root, key: SigningKey, now: datetime) -> bool:
    try:
        certificate = x509.load_der_x509_certificate(key.certificate)
    except ValueError as error:
        raise Failure(FailureKind.INTERNAL, "a stored authority's certificate cannot be read") from error
    current = certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - _RENEWAL
    return current and not key.tainted and root.suits(certificate)


def _issuer(key: SigningKey, custody: KeyCustody) -> Issuer:
    private_key = unsealed_private_key(key, custody)
    if not isinstance(private_key, ec.EllipticCurvePrivateKey):
        raise Failure(FailureKind.INTERNAL, "a stored authority has a key of another kind")
    certificate = x509.load_der_x509_certificate(key.certificate)
    return Issuer(certificate=certificate, private_key=private_key, anchor=_anchor(key, certificate))


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


def _retirement(current: Versioned[SigningKey] | None, now: datetime) -> Batch:
    if current is None:
        return Batch()
    retired = replace(current.value, state=KeyState.RETIRED, retired_at=now)
    return Batch.of(Put(collection=SIGNING_KEYS, value=retired, expect=current.version))


def _return(key: Versioned[SigningKey], now: datetime) -> Batch:
    again = replace(key.value, state=KeyState.ACTIVE, activated_at=now, retired_at=None)
    return Batch.of(Put(collection=SIGNING_KEYS, value=again, expect=key.version))


def _creation(root: Root, issuer: Issuer, now: datetime, custody: KeyCustody) -> Batch:
    certificate = issuer.certificate.public_bytes(Encoding.DER)
    kid = key_id(certificate)
    key = SigningKey(
        id=kid,
        purpose=root.purpose,
        algorithm=Algorithm.ES256.value,
        state=KeyState.ACTIVE,
        certificate=certificate,
        sealed=sealed_private_key(issuer.private_key, kid, custody),
        created_at=now,
        activated_at=now,
        anchor=issuer.anchor.public_bytes(Encoding.DER) if issuer.anchor else None,
    )
    return Batch.of(Put(collection=SIGNING_KEYS, value=key, expect=ABSENT))
