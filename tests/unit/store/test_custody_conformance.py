from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from idplane.model.failure import Failure, FailureKind
from idplane.ports.world import KeyCustody
from idplane.store.custody import Custodies, FileCustody
from idplane.store.custody_passphrase import passphrase_custody
from idplane.store.datafolder import DataFolderProblem
from idplane.store.sealed import FIRST, key_of
from idplane.testing.custody_conformance import CustodyConformance, OpenCustody
from idplane.testing.worlds import MemoryCustody, SeededEntropy

CHEAP = 14
"""The least that scrypt may cost here; the suite derives some hundred keys."""
PASSPHRASES = {"a": b"correct horse battery\n", "b": b"incorrect horse battery"}


def fresh(count: list[int] = []) -> SeededEntropy:  # noqa: B006 - counts the processes of this module
    count.append(1)
    return SeededEntropy(f"process {len(count)}")


class TestFileCustody(CustodyConformance):
    @pytest.fixture
    def custodies(self, tmp_path: Path) -> OpenCustody:
        return lambda key="a", *, like=None: FileCustody.open(tmp_path / key, entropy=fresh())  # noqa: ARG005 - the protocol's


class TestFileOfTheFirstFormat(CustodyConformance):
    @pytest.fixture
    def custodies(self, tmp_path: Path) -> OpenCustody:
        first_file(tmp_path / "a")
        return lambda key="a", *, like=None: FileCustody.open(tmp_path / key, entropy=fresh())  # noqa: ARG005 - the protocol's


class TestMemoryCustody(CustodyConformance):
    @pytest.fixture
    def custodies(self) -> OpenCustody:
        return lambda key="a", *, like=None: MemoryCustody(SeededEntropy(key))  # noqa: ARG005 - the protocol's

    def test_a_seal_hides_the_plaintext_and_never_repeats(self, custodies: OpenCustody) -> None:
        super().test_a_seal_hides_the_plaintext_and_never_repeats(custodies)


class TestPassphraseCustody(CustodyConformance):
    @pytest.fixture
    def custodies(self) -> OpenCustody:
        return lambda key="a", *, like=None: passphrase_custody(PASSPHRASES[key], entropy=fresh(), like=like, cost=CHEAP)


class TestSeveralCustodies(CustodyConformance):
    @pytest.fixture
    def custodies(self, tmp_path: Path) -> OpenCustody:
        def opened(key: str = "a", /, *, like: bytes | None = None) -> KeyCustody:
            further = passphrase_custody(PASSPHRASES[key], entropy=fresh(), like=like, cost=CHEAP)
            return Custodies(FileCustody.open(tmp_path / key, entropy=fresh()), [further])

        return opened


def first_file(path: Path) -> Path:
    path.write_bytes(b"idplane key-encryption key 1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n")
    path.chmod(0o600)
    return path


def test_what_an_earlier_version_sealed_opens(tmp_path: Path) -> None:
    custody = FileCustody.open(first_file(tmp_path / "old"), entropy=fresh())
    # By the program before keys had ids.
    sealed = bytes.fromhex("01") + bytes(12) + known_answer()
    assert custody.unseal(sealed, context="c") == b"private"
    assert key_of(sealed) == key_of(custody.seal(b"x", context="c")) == custody.key_id == "file-1"


def known_answer() -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - for this one answer

    return AESGCM(bytes(range(32))).encrypt(bytes(12), b"private", b"c")


def test_a_process_derives_one_key_for_whatever_others_sealed() -> None:
    first = passphrase_custody(PASSPHRASES["a"], entropy=fresh(), cost=CHEAP)
    like = first.seal(b"x", context="c")
    second = passphrase_custody(PASSPHRASES["a"], entropy=fresh(), like=like, cost=CHEAP)
    assert second.seal(b"y", context="c").startswith(like[:12])
    assert second.key_id == first.key_id


@pytest.mark.parametrize("cost", [1, 13, 21, 40, 255])
def test_a_seal_cannot_demand_a_weak_or_a_costly_key(cost: int) -> None:
    custody = passphrase_custody(PASSPHRASES["a"], entropy=fresh(), cost=CHEAP)
    sealed = bytearray(custody.seal(b"x", context="c"))
    sealed[12] = cost
    with pytest.raises(Failure):
        custody.unseal(bytes(sealed), context="c")
    assert passphrase_custody(PASSPHRASES["a"], entropy=fresh(), like=bytes(sealed), cost=CHEAP).key_id != key_of(bytes(sealed))


@pytest.mark.parametrize("text", [b"", b"\n", b"short", b"eleven char"])
def test_a_short_passphrase_is_refused(text: bytes) -> None:
    with pytest.raises(DataFolderProblem, match="too short"):
        passphrase_custody(text, entropy=fresh())


def test_several_custodies_seal_with_the_first_and_open_with_each(tmp_path: Path) -> None:
    old = FileCustody.open(first_file(tmp_path / "old"), entropy=fresh())
    new = FileCustody.open(tmp_path / "new", entropy=fresh())
    earlier = old.seal(b"private", context="c")
    both = Custodies(new, [old])
    assert both.unseal(earlier, context="c") == b"private"
    assert key_of(both.seal(b"x", context="c")) == both.key_id == new.key_id
    opens: list[Callable[[], bytes]] = [
        lambda: Custodies(new, []).unseal(earlier, context="c"),
        lambda: both.unseal(earlier, context="d"),
        lambda: both.unseal(FIRST + bytes(40), context="c"),
    ]
    for one in opens:
        with pytest.raises(Failure):
            one()


class _Away(MemoryCustody):
    """A token that nobody can ask just now."""

    def authority_key(self, reference: bytes, /) -> ec.EllipticCurvePrivateKey:
        raise Failure(FailureKind.UNAVAILABLE, f"no token, no {len(reference)}")


@pytest.mark.parametrize("away_first", [False, True])
def test_an_authority_s_key_is_not_lost_because_its_token_is_away(*, away_first: bool) -> None:
    both = [_Away(), MemoryCustody()] if away_first else [MemoryCustody(), _Away()]
    with pytest.raises(Failure) as caught:
        Custodies(both[0], both[1:]).authority_key(b"name")
    assert caught.value.kind is FailureKind.UNAVAILABLE
