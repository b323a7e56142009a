"""Sealing at rest with a key that is inside a PKCS#11 token and does not leave it, and authorities' keys that sign in there.

The token wraps data keys (AES-GCM) and is asked once for each; a process that runs goes on sealing and opening while the token is
away, and what it has not met yet it refuses with UNAVAILABLE. Sessions end when tokens are taken out or restarted: whatever fails is
tried again once in a new session.

`python-pkcs11` is an extra and imported here only, late.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from idplane.model.failure import Failure, FailureKind
from idplane.ports.world import Entropy
from idplane.store.custody import read_private
from idplane.store.datafolder import DataFolderProblem
from idplane.store.sealed import Envelope, Header, Kind, not_opened

if TYPE_CHECKING:
    import pkcs11
    from cryptography.utils import Buffer

__all__ = ["Token", "TokenCustody", "TokenKey", "TokenPlace", "TokenWrapping"]

T = TypeVar("T")

_ID: Final = 8
_NONCE: Final = 12
_TAG_BITS: Final = 128
_KEY_NAME: Final = 16
_POINT: Final = 65
_LABEL: Final = "idplane authority"
_CONTEXT: Final = b"idplane data key"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPlace:
    """Where the key is: the module (a shared library), the token's label, the key's label, and the file with the user's PIN."""

    module: Path
    token: str
    key: str
    pin_file: Path


class Token:
    """One session with a token, opened when it is needed. Calls come one at a time: a session is no more than that."""

    def __init__(self, place: TokenPlace) -> None:
        self.place = place
        self._session: pkcs11.Session | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Token({self.place.token!r})"

    def ask(self, question: Callable[[pkcs11.Session], T]) -> T:
        """The token's answer, in a new session if the present one is lost.

        Raises `Failure(UNAVAILABLE)`, and `DataFolderProblem` for a module or a PIN's file that cannot be used.
        """
        import pkcs11  # noqa: PLC0415 - an extra, for those who have a token

        with self._lock:
            try:
                return question(self._open(anew=False))
            except pkcs11.PKCS11Error:
                self._session = None
            try:
                return question(self._open(anew=True))
            except pkcs11.PKCS11Error as error:
                self._session = None
                words = f"the token '{self.place.token}' does not do what it is asked: {type(error).__name__}"
                raise Failure(FailureKind.UNAVAILABLE, words) from error

    def _open(self, *, anew: bool) -> pkcs11.Session:
        if self._session is None:
            import pkcs11  # noqa: PLC0415 - as above

            pin = read_private(self.place.pin_file, "PIN file").strip().decode("utf-8", "replace")
            library = self._library()
            if anew:
                # Ends whatever is left of lost sessions, and lets a module see a token that was put in since.
                library.reinitialize()
            slot = library.get_token(token_label=self.place.token)
            try:
                self._session = slot.open(rw=True, user_pin=pin)
            except pkcs11.UserAlreadyLoggedIn:
                # Logins are the process's; another session of ours has made it.
                self._session = slot.open(rw=True)
        return self._session

    def _library(self) -> Any:
        import pkcs11  # noqa: PLC0415 - as above

        if not self.place.module.is_file():
            raise DataFolderProblem(f"there is no PKCS#11 module {self.place.module}")
        return pkcs11.lib(str(self.place.module))


class TokenWrapping:
    """Wraps data keys inside the token: nonce(12) ciphertext+tag, AES-GCM."""

    def __init__(self, token: Token, *, entropy: Entropy) -> None:
        """Raises `Failure(UNAVAILABLE)`, and `DataFolderProblem` when the token has no such key."""
        self._token = token
        self._entropy = entropy
        self._id = token.ask(self._identified)

    def wrap(self, data_key: bytes) -> Header:
        """The header, with the data key as the token encrypted it."""
        nonce = self._entropy.bytes(_NONCE)
        wrapped = self._token.ask(lambda session: self._encrypted(session, data_key, nonce))
        return Header(kind=Kind.PKCS11, key_id=self._id, wrapped=nonce + wrapped)

    def unwrap(self, header: Header) -> bytes:
        """The data key; raises `Failure(INTERNAL)` for what another key wrapped, `Failure(UNAVAILABLE)` while the token is away."""
        if header.kind is not Kind.PKCS11 or header.key_id != self._id or len(header.wrapped) <= _NONCE:
            raise not_opened()
        plain = self._token.ask(lambda session: self._decrypted(session, header.wrapped))
        if plain is None:
            raise not_opened()
        return plain

    def _identified(self, session: pkcs11.Session) -> bytes:
        import pkcs11  # noqa: PLC0415 - an extra, for those who have a token

        try:
            key = self._key(session)
        except pkcs11.NoSuchKey as error:
            place = self._token.place
            raise DataFolderProblem(
                f"the token '{place.token}' has no AES key '{place.key}': make one, as docs/operations.md says"
            ) from error
        named = self._token.place.key.encode() + b"\0" + bytes(key[pkcs11.Attribute.ID])
        return hashlib.sha256(b"idplane key id\0" + named).digest()[:_ID]

    def _key(self, session: pkcs11.Session) -> Any:
        import pkcs11  # noqa: PLC0415 - as above

        return session.get_key(object_class=pkcs11.ObjectClass.SECRET_KEY, label=self._token.place.key)

    def _encrypted(self, session: pkcs11.Session, data_key: bytes, nonce: bytes) -> bytes:
        import pkcs11  # noqa: PLC0415 - as above

        parameters = pkcs11.GCMParams(nonce, _CONTEXT, _TAG_BITS)
        return bytes(self._key(session).encrypt(data_key, mechanism=pkcs11.Mechanism.AES_GCM, mechanism_param=parameters))

    def _decrypted(self, session: pkcs11.Session, wrapped: bytes) -> bytes | None:
        """None when the token says that it did not encrypt this."""
        import pkcs11  # noqa: PLC0415 - as above

        parameters = pkcs11.GCMParams(wrapped[:_NONCE], _CONTEXT, _TAG_BITS)
        try:
            key = self._key(session)
            return bytes(key.decrypt(wrapped[_NONCE:], mechanism=pkcs11.Mechanism.AES_GCM, mechanism_param=parameters))
        except pkcs11.PKCS11Error:
            # Tokens have many names for a seal that does not hold, GeneralError among them. One that still encrypts is not at fault.
            self._encrypted(session, b"?", self._entropy.bytes(_NONCE))
            return None


class TokenCustody(Envelope):
    """A `ports.world.KeyCustody` over a token. Authorities' keys are born inside it, and sign there."""

    def __init__(self, place: TokenPlace, *, entropy: Entropy, like: bytes | None = None) -> None:
        """Raises `Failure(UNAVAILABLE)` for a token that is not there, `DataFolderProblem` for what a person can mend."""
        self._token = Token(place)
        self._random = entropy
        super().__init__(wrapping=TokenWrapping(self._token, entropy=entropy), entropy=entropy, like=like)

    def __repr__(self) -> str:
        return f"TokenCustody({self._token.place.token!r})"

    def new_authority_key(self) -> TokenKey:
        """A new P-256 key, which cannot leave the token."""
        name = self._random.bytes(_KEY_NAME)
        self._token.ask(lambda session: _make_pair(session, name))
        return self.authority_key(name)

    def authority_key(self, reference: bytes) -> TokenKey:
        """The key of that reference; raises `Failure(UNAVAILABLE)` when the token is away or has it no more."""
        return TokenKey(self._token, reference, self._token.ask(lambda session: _public_key(session, reference)))


class TokenKey(ec.EllipticCurvePrivateKey):
    """A private key inside a token: `cryptography` signs certificates with it as with any other."""

    def __init__(self, token: Token, reference: bytes, public_key: ec.EllipticCurvePublicKey) -> None:
        self._token = token
        self.reference = reference
        self._public = public_key

    def __repr__(self) -> str:
        return "TokenKey()"

    def sign(self, data: Buffer, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """A signature over SHA-256, in DER."""
        algorithm = signature_algorithm.algorithm
        assert isinstance(algorithm, hashes.SHA256)  # the only digest that certificates here are signed over
        digest = hashlib.sha256(data).digest()
        raw = self._token.ask(lambda session: _signature(session, self.reference, digest))
        middle = len(raw) // 2
        return encode_dss_signature(int.from_bytes(raw[:middle]), int.from_bytes(raw[middle:]))

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The public half."""
        return self._public

    @property
    def curve(self) -> ec.EllipticCurve:
        """P-256."""
        return self._public.curve

    @property
    def key_size(self) -> int:
        """In bits."""
        return self._public.key_size

    def exchange(self, *_: object, **__: object) -> bytes:
        """Not what the key is for."""
        raise UnsupportedAlgorithm("the key signs only")

    def private_numbers(self) -> ec.EllipticCurvePrivateNumbers:
        """They do not leave the token."""
        raise UnsupportedAlgorithm("the key does not leave its token")

    def private_bytes(self, *_: object, **__: object) -> bytes:
        """They do not leave the token."""
        raise UnsupportedAlgorithm("the key does not leave its token")

    def __copy__(self) -> TokenKey:
        return self

    def __deepcopy__(self, memo: object) -> TokenKey:
        return self


def _make_pair(session: pkcs11.Session, name: bytes) -> None:
    import pkcs11  # noqa: PLC0415 - as above
    from pkcs11.util.ec import encode_named_curve_parameters  # noqa: PLC0415 - as above

    curve = {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
    parameters = session.create_domain_parameters(pkcs11.KeyType.EC, curve, local=True)
    private = {pkcs11.Attribute.EXTRACTABLE: False, pkcs11.Attribute.SENSITIVE: True}
    parameters.generate_keypair(id=name, label=f"{_LABEL} {name.hex()[:8]}", store=True, private_template=private)


def _public_key(session: pkcs11.Session, name: bytes) -> ec.EllipticCurvePublicKey:
    import pkcs11  # noqa: PLC0415 - as above

    key = session.get_key(object_class=pkcs11.ObjectClass.PUBLIC_KEY, id=name)
    point = bytes(key[pkcs11.Attribute.EC_POINT])
    # An OCTET STRING around the uncompressed point (PKCS#11 section 6.3.3).
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point[-_POINT:])


def _signature(session: pkcs11.Session, name: bytes, digest: bytes) -> bytes:
    import pkcs11  # noqa: PLC0415 - as above

    key: Any = session.get_key(object_class=pkcs11.ObjectClass.PRIVATE_KEY, id=name)
    return bytes(key.sign(digest, mechanism=pkcs11.Mechanism.ECDSA))
