"""MakeCredential (TPM 2.0 Library, Part 1 section 24 and annexes B.10, C.6).

A secret that only one TPM can read, and only while it holds a certain other key. Pure but for the randomness that is passed in;
ephemeral ECC keys are OpenSSL's.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.hashes import HashAlgorithm

from idplane.directory.tpm_structures import Public, hash_of

__all__ = ["SECRET_BYTES", "kdf_a", "kdf_e", "make_credential"]

SECRET_BYTES: Final = 32
_BYTE: Final = 8


def make_credential(endorsement: Public, name: bytes, secret: bytes, seed: bytes) -> tuple[bytes, bytes]:
    """TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET: `secret` for the TPM of an endorsement key that also holds the key called `name`.

    `seed` is random, and as long as the digests of the endorsement key's name; for an ECC key it is not used.
    """
    algorithm = hash_of(endorsement.name_algorithm)
    seed, encrypted = _shared_seed(endorsement, algorithm, seed)
    key = kdf_a(algorithm, seed, "STORAGE", name, b"", endorsement.symmetric_bits)
    encryptor = Cipher(algorithms.AES(key), CFB(bytes(16))).encryptor()
    identity = encryptor.update(_sized(secret)) + encryptor.finalize()
    hmac_key = kdf_a(algorithm, seed, "INTEGRITY", b"", b"", algorithm.digest_size * _BYTE)
    outer = hmac.digest(hmac_key, identity + name, algorithm.name)
    return _sized(_sized(outer) + identity), _sized(encrypted)


def _shared_seed(endorsement: Public, algorithm: HashAlgorithm, seed: bytes) -> tuple[bytes, bytes]:
    """The seed, and what lets the TPM know it."""
    key = endorsement.key
    if isinstance(key, rsa.RSAPublicKey):
        oaep = padding.OAEP(mgf=padding.MGF1(algorithm), algorithm=algorithm, label=b"IDENTITY\0")
        return seed, key.encrypt(seed, oaep)
    ours = ec.generate_private_key(key.curve)
    size = (key.curve.key_size + _BYTE - 1) // _BYTE
    mine, theirs = ours.public_key().public_numbers(), key.public_numbers()
    shared = ours.exchange(ec.ECDH(), key)
    found = kdf_e(algorithm, shared, "IDENTITY", mine.x.to_bytes(size), theirs.x.to_bytes(size))
    return found, _sized(mine.x.to_bytes(size)) + _sized(mine.y.to_bytes(size))


def kdf_a(algorithm: HashAlgorithm, key: bytes, label: str, first: bytes, second: bytes, bits: int) -> bytes:
    """KDFa (Part 1 section 11.4.10.2): SP 800-108 in counter mode over HMAC."""
    fixed = label.encode() + b"\0" + first + second + bits.to_bytes(4)
    wanted, made, counter = bits // _BYTE, b"", 0
    while len(made) < wanted:
        counter += 1
        made += hmac.digest(key, counter.to_bytes(4) + fixed, algorithm.name)
    return made[:wanted]


def kdf_e(algorithm: HashAlgorithm, shared: bytes, label: str, ours: bytes, theirs: bytes) -> bytes:
    """KDFe (Part 1 section 11.4.10.3) for as many bits as the hash has, so that one round will do."""
    return hashlib.new(algorithm.name, b"\0\0\0\1" + shared + label.encode() + b"\0" + ours + theirs).digest()


def _sized(value: bytes) -> bytes:
    return len(value).to_bytes(2) + value
