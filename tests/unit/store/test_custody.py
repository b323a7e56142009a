import os
from pathlib import Path

import pytest

from idplane.model.failure import Failure, FailureKind
from idplane.store.custody import FileCustody
from idplane.store.datafolder import DataFolderProblem
from idplane.testing.worlds import SeededEntropy


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "custody.key"


def _open(key_file: Path, seed: str = "a") -> FileCustody:
    return FileCustody.open(key_file, entropy=SeededEntropy(seed))


def test_what_was_sealed_opens_again_after_a_restart(key_file: Path) -> None:
    sealed = _open(key_file).seal(b"private", context="signing-key|1")
    assert _open(key_file, "b").unseal(sealed, context="signing-key|1") == b"private"


def test_a_seal_hides_the_plaintext_and_never_repeats(key_file: Path) -> None:
    custody = _open(key_file)
    first, second = (custody.seal(b"private", context="c") for _ in range(2))
    assert b"private" not in first
    assert first != second


@pytest.mark.parametrize("cut", [0, 1, 12, 13, 28, -1])
def test_a_shortened_seal_does_not_open(key_file: Path, cut: int) -> None:
    custody = _open(key_file)
    sealed = custody.seal(b"private", context="c")
    with pytest.raises(Failure) as caught:
        custody.unseal(sealed[:cut], context="c")
    assert caught.value.kind is FailureKind.INTERNAL


def test_no_bit_of_a_seal_can_be_changed(key_file: Path) -> None:
    custody = _open(key_file)
    sealed = custody.seal(b"private", context="c")
    for index in range(len(sealed)):
        forged = sealed[:index] + bytes([sealed[index] ^ 1]) + sealed[index + 1 :]
        with pytest.raises(Failure):
            custody.unseal(forged, context="c")


def test_a_seal_opens_only_in_its_own_context(key_file: Path) -> None:
    custody = _open(key_file)
    with pytest.raises(Failure):
        custody.unseal(custody.seal(b"private", context="secret|a"), context="secret|b")


def test_another_key_does_not_open_it(key_file: Path, tmp_path: Path) -> None:
    sealed = _open(key_file).seal(b"private", context="c")
    with pytest.raises(Failure):
        _open(tmp_path / "other.key", "other").unseal(sealed, context="c")


def test_the_key_file_is_private_and_alone(key_file: Path) -> None:
    _open(key_file)
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in key_file.parent.iterdir()] == ["custody.key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_file_that_others_can_read_is_refused(key_file: Path, mode: int) -> None:
    _open(key_file)
    key_file.chmod(mode)
    with pytest.raises(DataFolderProblem, match="others can read the key file"):
        _open(key_file)


@pytest.mark.parametrize(
    "text", [b"", b"idplane key-encryption key 1\n", b"idplane key-encryption key 1\nAAAA\n", b"\xff" * 80]
)
def test_a_damaged_key_file_is_refused_and_left_alone(key_file: Path, text: bytes) -> None:
    key_file.write_bytes(text)
    key_file.chmod(0o600)
    with pytest.raises(DataFolderProblem, match="damaged"):
        _open(key_file)
    assert key_file.read_bytes() == text


def test_the_second_of_two_creators_uses_the_first_ones_key(key_file: Path) -> None:
    first = _open(key_file, "a")
    second = _open(key_file, "b")
    assert second.unseal(first.seal(b"x", context="c"), context="c") == b"x"


def test_a_missing_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataFolderProblem, match="cannot be used: no such file or directory"):
        _open(tmp_path / "absent" / "custody.key")


def test_repr_shows_nothing(key_file: Path) -> None:
    assert repr(_open(key_file)) == "FileCustody()"
    assert os.fspath(key_file) not in repr(_open(key_file))
