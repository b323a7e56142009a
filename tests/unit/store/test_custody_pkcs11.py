"""Custody in a token, against SoftHSM."""

import hashlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pkcs11
import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.needed import token as a_token

from idplane.bootstrap.rewrap import remaining, rewrap
from idplane.jose import make_csr, new_ec_key
from idplane.keys import CredentialAuthority, KeyRing
from idplane.keys.certificates import Authority, Validity, name_of, root_certificate
from idplane.keys.sealing import private_context
from idplane.model.failure import Failure, FailureKind
from idplane.model.keys import KeyState
from idplane.model.profile import OPEN
from idplane.ports.collections import SIGNING_KEYS
from idplane.store.custody import Custodies, FileCustody
from idplane.store.custody_pkcs11 import TokenCustody, TokenPlace
from idplane.store.datafolder import DataFolderProblem
from idplane.testing.custody_conformance import CustodyConformance, OpenCustody
from idplane.testing.softhsm import MODULE, SoftHsm
from idplane.testing.worlds import FakeClock, SeededEntropy, memory_store

pytestmark = pytest.mark.wide


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftHsm]:
    with a_token(tmp_path_factory.mktemp("hsm")) as made:
        yield made


def opened(token: SoftHsm, key: str = "a", *, like: bytes | None = None) -> TokenCustody:
    return TokenCustody(token.place(key), entropy=SeededEntropy(os.urandom(8).hex()), like=like)


class TestTokenCustody(CustodyConformance):
    @pytest.fixture
    def custodies(self, token: SoftHsm) -> OpenCustody:
        return lambda key="a", *, like=None: opened(token, key, like=like)


def test_the_token_is_asked_once_and_not_for_each_value(token: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> None:
    custody = opened(token)
    sealed = custody.seal(b"private", context="c")
    monkeypatch.setattr(custody._token, "place", TokenPlace(module=MODULE, token="gone", key="a", pin_file=token.pin_file))
    custody._token._session = None
    assert custody.unseal(sealed, context="c") == b"private"
    assert custody.unseal(custody.seal(b"more", context="d"), context="d") == b"more"
    with pytest.raises(Failure) as caught:
        custody.unseal(opened(token).seal(b"of another process", context="c"), context="c")
    assert caught.value.kind is FailureKind.UNAVAILABLE


# The library complains of a search that it could not end in a session that is no more.
_LOST = "ignore:Exception ignored in. 'pkcs11:pytest.PytestUnraisableExceptionWarning"


@pytest.mark.filterwarnings(_LOST)
def test_a_lost_session_is_opened_again(token: SoftHsm) -> None:
    custody = opened(token)
    foreign = opened(token).seal(b"of another process", context="c")
    pkcs11.lib(str(MODULE)).reinitialize()  # every session and login of the process is gone, as when a token was pulled out
    assert custody.unseal(foreign, context="c") == b"of another process"


@pytest.mark.filterwarnings(_LOST)
def test_a_login_that_ended_is_made_again(token: SoftHsm) -> None:
    custody = opened(token)
    foreign = opened(token).seal(b"of another process", context="c")
    assert custody._token._session is not None
    custody._token._session.close()
    assert custody.unseal(foreign, context="c") == b"of another process"


def place(hsm: SoftHsm, **changes: object) -> TokenPlace:
    known = hsm.place("a")
    values = {"module": known.module, "token": known.token, "key": known.key, "pin_file": known.pin_file, **changes}
    return TokenPlace(**values)  # type: ignore[arg-type]  # the tests pass what fits


def test_what_a_person_can_mend_is_one_sentence(token: SoftHsm, tmp_path: Path) -> None:
    open_pin = tmp_path / "pin"
    open_pin.write_text("246813\n")
    open_pin.chmod(0o644)
    for wrong, words in (
        ({"key": "absent"}, "has no AES key 'absent'"),
        ({"module": tmp_path / "absent.so"}, "there is no PKCS#11 module"),
        ({"pin_file": tmp_path / "absent"}, "PIN file .* cannot be used"),
        ({"pin_file": open_pin}, "others can read the PIN file"),
    ):
        with pytest.raises(DataFolderProblem, match=words):
            TokenCustody(place(token, **wrong), entropy=SeededEntropy())


def test_a_wrong_pin_or_an_absent_token_is_unavailable_and_names_no_pin(token: SoftHsm, tmp_path: Path) -> None:
    wrong_pin = tmp_path / "pin"
    wrong_pin.write_text("135724\n")
    wrong_pin.chmod(0o600)
    pkcs11.lib(str(MODULE)).reinitialize()
    for wrong in ({"pin_file": wrong_pin}, {"token": "absent"}):
        with pytest.raises(Failure) as caught:
            TokenCustody(place(token, **wrong), entropy=SeededEntropy())
        assert caught.value.kind is FailureKind.UNAVAILABLE
        assert "135724" not in str(caught.value)


def test_an_authoritys_key_signs_in_the_token_and_stays_there(token: SoftHsm) -> None:
    custody = opened(token)
    key = custody.new_authority_key()
    now = datetime(2026, 1, 1, tzinfo=UTC)
    authority = Authority(subject=name_of("inside"), validity=Validity.starting(now, timedelta(days=9)), serial=7)
    certificate = root_certificate(key, authority)
    certificate.verify_directly_issued_by(certificate)
    again = opened(token).authority_key(key.reference)
    assert again.public_key() == key.public_key()
    again.public_key().verify(again.sign(b"text", ec.ECDSA(SHA256())), b"text", ec.ECDSA(SHA256()))
    for attempt in (key.private_numbers, lambda: key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())):
        with pytest.raises(UnsupportedAlgorithm):
            attempt()


def test_the_tokens_keys_are_sensitive_and_cannot_be_extracted(token: SoftHsm) -> None:
    custody = opened(token)
    reference = custody.new_authority_key().reference
    session = custody._token._session
    assert session is not None
    held = session.get_key(object_class=pkcs11.ObjectClass.PRIVATE_KEY, id=reference)
    assert held[pkcs11.Attribute.SENSITIVE]
    assert not held[pkcs11.Attribute.EXTRACTABLE]
    with pytest.raises(pkcs11.PKCS11Error):
        assert held[pkcs11.Attribute.VALUE]


def test_a_key_that_the_token_does_not_have_is_no_key(token: SoftHsm) -> None:
    with pytest.raises(Failure) as caught:
        opened(token).authority_key(hashlib.sha256(b"?").digest()[:16])
    assert caught.value.kind is FailureKind.UNAVAILABLE


async def test_authorities_live_in_the_token_and_follow_one_another_there(token: SoftHsm) -> None:
    clock = FakeClock()
    store = await memory_store(clock)

    async def authority() -> CredentialAuthority:
        return await CredentialAuthority.open(
            store=store, custody=opened(token), clock=clock, entropy=SeededEntropy(), profile=OPEN
        )

    first = await authority()
    held = first.issue_agent(make_csr(new_ec_key(), "agent"), "agent")
    await first.rotate()
    again = await authority()
    assert again.trust_pem == first.trust_pem
    assert again.vouches_for(held)
    assert again.is_current(again.issue_agent(make_csr(new_ec_key(), "agent"), "agent"))
    for row in await store.all(SIGNING_KEYS):
        plain = opened(token).unseal(row.value.sealed, context=private_context(row.value.id))
        assert plain.startswith(b"held by the custody:"), "only a reference is in the database"
    await again.taint(next(key.id for key in again.keys if key.state is KeyState.RETIRED))
    assert not again.vouches_for(held)
    await store.close()


async def test_values_move_from_a_file_into_the_token(token: SoftHsm, tmp_path: Path) -> None:
    store = await memory_store()
    file = FileCustody.open(tmp_path / "key", entropy=SeededEntropy())
    ports: Any = {"store": store, "clock": FakeClock(), "entropy": SeededEntropy(), "profile": OPEN}
    ring = await KeyRing.open(custody=file, **ports)
    inside = opened(token)
    await rewrap(store, Custodies(inside, [file]))
    assert (await remaining(store, inside)).elsewhere == 0
    row = (await store.all(SIGNING_KEYS))[0].value
    alone = await KeyRing.open(custody=opened(token, like=row.sealed), **ports)
    assert alone.jwks() == ring.jwks()
    await store.close()
