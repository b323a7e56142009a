"""The structures of TPM 2.0 that a server meets (TCG "TPM 2.0 Library", Part 2): public areas, signatures and quotes. Pure; every read is bounded.

Only what attestation uses is understood: RSA and NIST-curve keys, SHA-2. Anything else is `Failure(ENROLLMENT_REFUSED)`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from idplane.directory.evidence import refused

__all__ = ["SHA256_ID", "Public", "Quote", "Reader", "hash_of", "read_public", "read_quote", "verify_signature"]

TpmKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

_RSA: Final = 0x0001
_ECC: Final = 0x0023
_NULL: Final = 0x0010
SHA256_ID: Final = 0x000B
_HASHES: Final[dict[int, hashes.HashAlgorithm]] = {
    SHA256_ID: hashes.SHA256(),
    0x000C: hashes.SHA384(),
    0x000D: hashes.SHA512(),
}
_CURVES: Final[dict[int, ec.EllipticCurve]] = {0x0003: ec.SECP256R1(), 0x0004: ec.SECP384R1(), 0x0005: ec.SECP521R1()}
_RSASSA, _RSAPSS, _ECDSA = 0x0014, 0x0016, 0x0018
_OAEP, _ECDAA = 0x0017, 0x001A
_MAX_PUBLIC: Final = 2048
_MIN_BITS, _MAX_BITS = 2048, 4096
_DEFAULT_EXPONENT: Final = 65537
_MAGIC: Final = 0xFF544347
_QUOTE: Final = 0x8018
_CLOCK_BYTES: Final = 17 + 8
_MAX_SELECTIONS: Final = 16
_FIXED_TPM, _FIXED_PARENT, _ORIGIN = 1 << 1, 1 << 4, 1 << 5
_RESTRICTED, _DECRYPT, _SIGN = 1 << 16, 1 << 17, 1 << 18
_BOUND: Final = _FIXED_TPM | _FIXED_PARENT | _ORIGIN | _RESTRICTED


class Reader:
    """Bytes, read in order; raises `Failure(ENROLLMENT_REFUSED)` at their end."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._at = 0
        self._what = what

    def take(self, count: int) -> bytes:
        """The next bytes."""
        found = self._data[self._at : self._at + count]
        if len(found) != count:
            raise refused(f"the TPM's {self._what} is cut short")
        self._at += count
        return found

    def number(self, size: int) -> int:
        """An unsigned number of so many bytes."""
        return int.from_bytes(self.take(size))

    def sized(self) -> bytes:
        """A TPM2B: two bytes of length, and so much."""
        return self.take(self.number(2))

    def end(self) -> None:
        """Nothing may be left."""
        if self._at != len(self._data):
            raise refused(f"the TPM's {self._what} has more to it than it should")


@dataclass(frozen=True, slots=True, kw_only=True)
class Public:
    """The public area of a key in a TPM."""

    key: TpmKey
    name_algorithm: int
    attributes: int
    symmetric_bits: int
    """Of AES in CFB mode, which a storage key protects with; 0 for keys that protect nothing."""
    area: bytes = field(repr=False)
    """TPMT_PUBLIC."""

    @property
    def name(self) -> bytes:
        """What a TPM calls the key: it changes with every part of the public area."""
        algorithm = hash_of(self.name_algorithm)
        return self.name_algorithm.to_bytes(2) + hashlib.new(algorithm.name, self.area).digest()

    @property
    def is_endorsement(self) -> bool:
        """Whether it is of the kind that only decrypts what was made for this TPM."""
        return self.attributes & (_BOUND | _DECRYPT | _SIGN) == _BOUND | _DECRYPT and self.symmetric_bits > 0

    @property
    def is_attestation(self) -> bool:
        """Whether it never leaves the TPM, and signs nothing but what the TPM itself has to say."""
        return self.attributes & (_BOUND | _DECRYPT | _SIGN) == _BOUND | _SIGN


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What a TPM signed about its registers."""

    extra: bytes
    """What the asker gave."""
    selections: tuple[tuple[int, tuple[int, ...]], ...]
    """Hash algorithm with the registers that were quoted."""
    digest: bytes


def hash_of(identifier: int) -> hashes.HashAlgorithm:
    """A hash by its TPM number."""
    algorithm = _HASHES.get(identifier)
    if algorithm is None:
        raise refused("the TPM uses a hash that is not SHA-2")
    return algorithm


def read_public(data: bytes, what: str) -> Public:
    """A key from a TPM2B_PUBLIC."""
    if len(data) > _MAX_PUBLIC:
        raise refused(f"the TPM's {what} is too large")
    outer = Reader(data, what)
    area = outer.sized()
    outer.end()
    reader = Reader(area, what)
    kind, name_algorithm, attributes = reader.number(2), reader.number(2), reader.number(4)
    reader.sized()  # the authorization policy: part of the name, and nothing that is decided here
    bits = _symmetric(reader)
    if kind not in (_RSA, _ECC):
        raise refused(f"the TPM's {what} is neither RSA nor ECC")
    key: TpmKey = _rsa(reader) if kind == _RSA else _ecc(reader)
    reader.end()
    hash_of(name_algorithm)
    return Public(key=key, name_algorithm=name_algorithm, attributes=attributes, symmetric_bits=bits, area=area)


def _symmetric(reader: Reader) -> int:
    algorithm = reader.number(2)
    if algorithm == _NULL:
        return 0
    bits, mode = reader.number(2), reader.number(2)
    if (algorithm, mode) != (0x0006, 0x0043) or bits not in (128, 192, 256):
        raise refused("the TPM's key protects with something else than AES in CFB mode")
    return bits


def _scheme(reader: Reader) -> None:
    scheme = reader.number(2)
    if scheme not in (_NULL, 0x0015):  # 0x0015, RSAES, has no details
        reader.number(2)
    if scheme == _ECDAA:
        reader.number(2)


def _rsa(reader: Reader) -> rsa.RSAPublicKey:
    _scheme(reader)
    bits, exponent = reader.number(2), reader.number(4) or _DEFAULT_EXPONENT
    modulus = int.from_bytes(reader.sized())
    if not _MIN_BITS <= modulus.bit_length() <= _MAX_BITS or modulus.bit_length() != bits or exponent < _DEFAULT_EXPONENT:
        raise refused(f"the TPM's RSA key has not {_MIN_BITS} to {_MAX_BITS} bits, or an unusual exponent")
    try:
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()
    except ValueError as error:
        raise refused("the TPM's RSA key is none") from error


def _ecc(reader: Reader) -> ec.EllipticCurvePublicKey:
    _scheme(reader)
    curve = _CURVES.get(reader.number(2))
    if reader.number(2) != _NULL:
        reader.number(2)
    x, y = int.from_bytes(reader.sized()), int.from_bytes(reader.sized())
    if curve is None:
        raise refused("the TPM's key is on another curve than P-256, P-384 or P-521")
    try:
        return ec.EllipticCurvePublicNumbers(x, y, curve).public_key()
    except ValueError as error:
        raise refused("the TPM's ECC key is not on its curve") from error


def read_quote(data: bytes) -> Quote:
    """A TPMS_ATTEST of a quote: only what begins with the TPM's own mark was made by a TPM, not given to it to sign."""
    reader = Reader(data, "quote")
    if reader.number(4) != _MAGIC or reader.number(2) != _QUOTE:
        raise refused("what the TPM signed is no quote")
    reader.sized()  # the signer's qualified name
    extra = reader.sized()
    reader.take(_CLOCK_BYTES)
    count = reader.number(4)
    if count > _MAX_SELECTIONS:
        raise refused("the TPM's quote selects too much")
    selections = tuple(_selection(reader) for _ in range(count))
    digest = reader.sized()
    reader.end()
    return Quote(extra=extra, selections=selections, digest=digest)


def _selection(reader: Reader) -> tuple[int, tuple[int, ...]]:
    algorithm, bits = reader.number(2), reader.take(reader.number(1))
    return algorithm, tuple(at for at in range(len(bits) * 8) if bits[at // 8] >> at % 8 & 1)


def verify_signature(key: TpmKey, signature: bytes, data: bytes) -> None:
    """Raises `Failure(ENROLLMENT_REFUSED)` unless a TPMT_SIGNATURE over `data` is the key's."""
    reader = Reader(signature, "signature")
    scheme, algorithm = reader.number(2), hash_of(reader.number(2))
    try:
        if isinstance(key, rsa.RSAPublicKey) and scheme in (_RSASSA, _RSAPSS):
            value = reader.sized()
            reader.end()
            pss = padding.PSS(mgf=padding.MGF1(algorithm), salt_length=padding.PSS.AUTO)
            key.verify(value, data, padding.PKCS1v15() if scheme == _RSASSA else pss, algorithm)
            return
        if isinstance(key, ec.EllipticCurvePublicKey) and scheme == _ECDSA:
            r, s = int.from_bytes(reader.sized()), int.from_bytes(reader.sized())
            reader.end()
            key.verify(encode_dss_signature(r, s), data, ec.ECDSA(algorithm))
            return
    except (InvalidSignature, ValueError) as error:
        raise refused("the TPM's quote is not signed by its attestation key") from error
    raise refused("the TPM's signature does not suit its attestation key")
