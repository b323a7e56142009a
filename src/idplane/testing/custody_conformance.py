"""What every key custody does, as tests: subclass with a `custody` fixture that opens the same key each time it is called.

class TestMine(CustodyConformance):
    @pytest.fixture
    def custodies(self) -> OpenCustody: ...
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import pytest

from idplane.model.failure import Failure, FailureKind
from idplane.ports.world import KeyCustody
from idplane.store.sealed import key_of

__all__ = ["CustodyConformance", "OpenCustody"]


class OpenCustody(Protocol):
    """Opens a custody, as another process would: twice with the same `key`, the same key-encryption key."""

    def __call__(self, key: str = "a", /, *, like: bytes | None = None) -> KeyCustody:
        """A custody; `like` is something sealed earlier."""
        ...


def _refused(attempt: Callable[[], object]) -> None:
    with pytest.raises(Failure) as caught:
        attempt()
    assert caught.value.kind is FailureKind.INTERNAL
    assert caught.value.detail == "a sealed value could not be opened"


class CustodyConformance:
    """The suite."""

    def test_what_was_sealed_opens_in_another_process(self, custodies: OpenCustody) -> None:
        """With and without knowing of it beforehand."""
        sealed = custodies().seal(b"private", context="signing-key:1")
        assert custodies().unseal(sealed, context="signing-key:1") == b"private"
        assert custodies(like=sealed).unseal(sealed, context="signing-key:1") == b"private"

    @pytest.mark.parametrize("length", [0, 1, 31, 4096])
    def test_every_length_is_sealed(self, custodies: OpenCustody, length: int) -> None:
        """Nothing, too: marks are that."""
        custody = custodies()
        assert custody.unseal(custody.seal(bytes(length), context="c"), context="c") == bytes(length)

    def test_a_seal_hides_the_plaintext_and_never_repeats(self, custodies: OpenCustody) -> None:
        """Neither tells anything of the other."""
        custody = custodies()
        seals = {custody.seal(b"a private text", context="c") for _ in range(8)}
        assert len(seals) == 8  # noqa: PLR2004 - as many as were made
        assert not any(b"private" in one for one in seals)

    def test_a_seal_opens_only_in_its_own_context(self, custodies: OpenCustody) -> None:
        """Moved to another record, or to none."""
        custody = custodies()
        sealed = custody.seal(b"private", context="secret|a")
        for context in ("secret|b", "", "secret|a ", "SECRET|A"):
            _refused(lambda context=context: custody.unseal(sealed, context=context))  # type: ignore[misc]  # a default in a lambda

    def test_no_bit_of_a_seal_can_be_changed(self, custodies: OpenCustody) -> None:
        """Nor in what says which key it was."""
        custody = custodies()
        sealed = custody.seal(b"private", context="c")
        for index in range(len(sealed)):
            forged = sealed[:index] + bytes([sealed[index] ^ 1]) + sealed[index + 1 :]
            _refused(lambda forged=forged: custody.unseal(forged, context="c"))  # type: ignore[misc]  # as above

    def test_a_shortened_or_lengthened_seal_does_not_open(self, custodies: OpenCustody) -> None:
        """Whatever is cut off or put behind it."""
        custody = custodies()
        sealed = custody.seal(b"private", context="c")
        for forged in (*(sealed[:cut] for cut in range(len(sealed))), sealed + b"\0", b"\0" + sealed):
            _refused(lambda forged=forged: custody.unseal(forged, context="c"))  # type: ignore[misc]  # as above

    def test_another_key_does_not_open_it(self, custodies: OpenCustody) -> None:
        """And says the same words as to a damaged seal."""
        sealed = custodies("a").seal(b"private", context="c")
        other = custodies("b", like=sealed)
        _refused(lambda: other.unseal(sealed, context="c"))

    def test_what_it_has_made_it_knows(self, custodies: OpenCustody) -> None:
        """And nothing that another key has, or that nobody has made."""
        custody = custodies("a")
        sealed = custody.seal(b"private", context="c")
        assert custody.knows(sealed)
        assert custodies("a", like=sealed).knows(sealed)
        assert not custody.knows(b"")
        assert not custody.knows(b"\0" + sealed)

    def test_a_seal_names_its_key(self, custodies: OpenCustody) -> None:
        """So that values can be moved from one key to the next."""
        custody, other = custodies("a"), custodies("b")
        sealed = custody.seal(b"private", context="c")
        assert key_of(sealed) == custody.key_id
        assert custodies("a", like=sealed).key_id == custody.key_id
        assert other.key_id != custody.key_id

    def test_nothing_is_shown(self, custodies: OpenCustody) -> None:
        """A custody in a log or a traceback tells nothing."""
        custody = custodies()
        assert custody.seal(b"private", context="c").hex() not in repr(custody)
        assert "passphrase" not in repr(custody)
