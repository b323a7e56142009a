import base64
import hashlib
import hmac
import json

import joserfc.jwt
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey, RSAKey
from tests.unit.jose.jose_keys import EC_KEY, JOSE_KEYS, RSA_KEY

from idplane.jose import Algorithm, PrivateKey, Signer, b64url, parse, verify
from idplane.model.failure import Failure

CLAIMS = {"aud": "https://management.azure.com", "oid": "ö", "exp": 1767268800, "list": [1, {"a": None}], "f": 1.5}
ALL = list(Algorithm)


def pem(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def oracle_key(key: PrivateKey) -> RSAKey | ECKey:
    return RSAKey.import_key(pem(key)) if isinstance(key, rsa.RSAPrivateKey) else ECKey.import_key(pem(key))


@pytest.mark.parametrize("algorithm", ALL)
def test_what_we_sign_pyjwt_and_joserfc_verify(algorithm: Algorithm) -> None:
    key = JOSE_KEYS[algorithm]
    token = Signer(key, algorithm, {"x5t": "abc", "kid": "abc"}).sign(CLAIMS)
    options = {"verify_aud": False, "verify_exp": False}
    assert jwt.decode(token, key.public_key(), algorithms=[algorithm.value], options=options) == CLAIMS  # type: ignore[arg-type]  # PyJWT's options are a TypedDict of optionals
    decoded = joserfc.jwt.decode(token, oracle_key(key), algorithms=[algorithm.value])
    assert (decoded.claims, decoded.header) == (CLAIMS, {"typ": "JWT", "alg": algorithm.value, "x5t": "abc", "kid": "abc"})


@pytest.mark.parametrize("algorithm", ALL)
def test_what_pyjwt_and_joserfc_sign_we_verify(algorithm: Algorithm) -> None:
    key = JOSE_KEYS[algorithm]
    header = {"alg": algorithm.value, "kid": "one"}
    for token in (
        jwt.encode(CLAIMS, key, algorithm=algorithm.value, headers=header),
        joserfc.jwt.encode(header, CLAIMS, oracle_key(key), algorithms=[algorithm.value]),
    ):
        parsed = parse(token)
        assert verify(parsed, key.public_key(), algorithm)
        assert parsed.claims == CLAIMS


@pytest.mark.parametrize("algorithm", ALL)
def test_the_header_keeps_the_order_that_entra_uses(algorithm: Algorithm) -> None:
    token = Signer(JOSE_KEYS[algorithm], algorithm, {"x5t": "k", "kid": "k"}).sign({})
    raw = base64.urlsafe_b64decode(token.partition(".")[0] + "==")
    assert raw == b'{"typ":"JWT","alg":"%s","x5t":"k","kid":"k"}' % algorithm.value.encode()


@given(
    claims=st.dictionaries(
        st.text(max_size=10), st.integers(-(2**53), 2**53) | st.text(max_size=30) | st.booleans(), max_size=8
    )
)
def test_claims_survive_signing_and_verifying(claims: dict[str, object]) -> None:
    parsed = parse(Signer(EC_KEY, Algorithm.ES256, {"kid": "k"}).sign(claims))
    assert verify(parsed, EC_KEY.public_key(), Algorithm.ES256)
    assert parsed.claims == claims


@pytest.mark.parametrize("algorithm", ALL)
def test_no_byte_can_change(algorithm: Algorithm) -> None:
    key = JOSE_KEYS[algorithm]
    token = Signer(key, algorithm, {"kid": "k"}).sign({"sub": "a", "n": 1})
    for at, old in enumerate(token):
        for new in {"A", "B", "-", "+", "/", ".", "=", " ", chr(ord(old) ^ 1)} - {old}:
            assert not accepted(token[:at] + new + token[at + 1 :], key, algorithm), (at, old, new)


@settings(max_examples=300)
@given(at=st.integers(min_value=0), new=st.characters(max_codepoint=127), insert=st.booleans())
def test_no_edit_of_a_token_is_accepted(at: int, new: str, insert: bool) -> None:  # noqa: FBT001 - drawn by hypothesis
    token = Signer(EC_KEY, Algorithm.ES256, {"kid": "k"}).sign({"sub": "a"})
    at %= len(token)
    edited = token[:at] + new + token[at if insert else at + 1 :]
    assert edited == token or not accepted(edited, EC_KEY, Algorithm.ES256)


@pytest.mark.parametrize("algorithm", ALL)
def test_a_truncated_or_extended_signature_is_refused(algorithm: Algorithm) -> None:
    key = JOSE_KEYS[algorithm]
    signed = Signer(key, algorithm, {}).sign({"sub": "a"})
    signing_input, _, signature = signed.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    for other in (b"", raw[:-1], raw[1:], raw + b"\x00", b"\x00" + raw, b"\x00" * len(raw), b"\xff" * len(raw), raw * 2):
        assert not accepted(f"{signing_input}.{b64url(other)}", key, algorithm)


def accepted(token: str, key: PrivateKey, *algorithms: Algorithm) -> bool:
    try:
        return verify(parse(token), key.public_key(), *algorithms)
    except Failure:
        return False


@pytest.mark.parametrize("made", ALL)
@pytest.mark.parametrize("asked", ALL)
def test_only_the_callers_algorithm_counts(made: Algorithm, asked: Algorithm) -> None:
    token = parse(Signer(JOSE_KEYS[made], made, {}).sign({}))
    for key in JOSE_KEYS.values():
        assert verify(token, key.public_key(), asked) == (made is asked and key is JOSE_KEYS[made])


def test_several_algorithms_can_be_allowed() -> None:
    for algorithm in (Algorithm.RS256, Algorithm.PS256):
        token = parse(Signer(JOSE_KEYS[algorithm], algorithm, {}).sign({}))
        assert verify(token, JOSE_KEYS[algorithm].public_key(), Algorithm.RS256, Algorithm.PS256)
        assert not verify(token, JOSE_KEYS[algorithm].public_key())


def forged(header: object, signature: bytes) -> str:
    return ".".join((b64url(json.dumps(header).encode()), b64url(b'{"sub":"a"}'), b64url(signature)))


@pytest.mark.parametrize(
    "alg", ["none", "None", "NONE", "", "HS256", "RS512", "rs256", "EdDSA", None, 1, ["RS256"], {"RS256": 1}]
)
def test_other_algorithms_are_refused(alg: object) -> None:
    for key in JOSE_KEYS.values():
        assert not accepted(forged({"alg": alg}, b""), key, *ALL)
        assert not accepted(forged({"alg": alg}, b"x" * 64), key, *ALL)
        assert not accepted(forged({}, b""), key, *ALL)


def test_the_public_key_is_no_hmac_secret() -> None:
    public = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    unsigned = forged({"alg": "HS256"}, b"").rpartition(".")[0]
    mac = hmac.new(public, unsigned.encode(), hashlib.sha256).digest()
    assert not accepted(f"{unsigned}.{b64url(mac)}", RSA_KEY, *ALL)


def test_es256_signatures_are_raw_not_der() -> None:
    unsigned = forged({"alg": "ES256"}, b"").rpartition(".")[0]
    der = EC_KEY.sign(unsigned.encode(), ec.ECDSA(SHA256()))
    assert not accepted(f"{unsigned}.{b64url(der)}", EC_KEY, *ALL)
    assert len(parse(Signer(EC_KEY, Algorithm.ES256, {}).sign({})).signature) == 64


@pytest.mark.parametrize("salt", [0, 20, 33, 64, padding.PSS.MAX_LENGTH])
def test_ps256_takes_no_other_salt_length(salt: int) -> None:
    unsigned = forged({"alg": "PS256"}, b"").rpartition(".")[0]
    signature = RSA_KEY.sign(unsigned.encode(), padding.PSS(mgf=padding.MGF1(SHA256()), salt_length=salt), SHA256())
    assert not accepted(f"{unsigned}.{b64url(signature)}", RSA_KEY, *ALL)


def test_weak_and_foreign_keys_verify_nothing() -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    curve = ec.generate_private_key(ec.SECP384R1())
    signing_input = forged({"alg": "RS256"}, b"").rpartition(".")[0]
    signature = weak.sign(signing_input.encode(), padding.PKCS1v15(), SHA256())
    assert not accepted(f"{signing_input}.{b64url(signature)}", weak, *ALL)
    signing_input = forged({"alg": "ES256"}, b"").rpartition(".")[0]
    assert not accepted(f"{signing_input}.{b64url(b'1' * 64)}", curve, *ALL)
    assert not accepted(f"{signing_input}.{b64url(b'1' * 96)}", curve, *ALL)


def test_a_signer_needs_a_fitting_key_and_header() -> None:
    for key, algorithm in ((RSA_KEY, Algorithm.ES256), (EC_KEY, Algorithm.RS256), (EC_KEY, Algorithm.PS256)):
        with pytest.raises(ValueError, match="suit"):
            Signer(key, algorithm, {})
    with pytest.raises(ValueError, match="signed with"):
        Signer(ec.generate_private_key(ec.SECP384R1()), Algorithm.ES256, {})
    with pytest.raises(ValueError, match="another algorithm"):
        Signer(EC_KEY, Algorithm.ES256, {"alg": "none"})


def test_a_signer_shows_nothing_of_its_key() -> None:
    for algorithm, key in JOSE_KEYS.items():
        assert repr(Signer(key, algorithm, {"kid": "k"})) == f"Signer({algorithm.value})"
