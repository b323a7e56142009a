"""Signed notes: Go's own example, and everything that is none."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from idplane.jose.notes import MAX_NOTE, NoteKey, NoteProblem, read_note, sign_note

# The example in the documentation of golang.org/x/mod/sumdb/note.
VERIFIER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


def new_key(name: str = "log") -> tuple[NoteKey, Ed25519PrivateKey]:
    private = Ed25519PrivateKey.generate()
    return NoteKey.of(name, private.public_key()), private


def test_what_others_signed() -> None:
    key = NoteKey.parse(VERIFIER)
    assert str(key) == VERIFIER
    assert read_note(NOTE).signed_by([key]) == key
    assert read_note(NOTE.replace("then", "than")).signed_by([key]) is None


def test_what_we_sign() -> None:
    (one, first), (other, second) = new_key(), new_key()
    note = sign_note("text\n\nmore\n", [(one, first), (other, second)])
    read = read_note(note)
    assert read.text == "text\n\nmore\n"
    assert read.signed_by([other]) == other
    assert read.signed_by([one, other]) == one
    assert read.signed_by([new_key()[0]]) is None
    assert read.signed_by([NoteKey("another", one.public)]) is None


@pytest.mark.parametrize(
    "note",
    [
        "",
        "text\n",
        "text\n\n",
        NOTE[:-1],
        NOTE.replace("\u2014", "-"),
        NOTE.replace("\u2014 PeterNeumann ", "\u2014 Peter+Neumann "),
        NOTE.replace("x08go/", "x08go!"),
        NOTE.replace("text", "text").replace("\n\n", "\n"),
        NOTE + "more\n",
        NOTE.replace("If", "\x00If"),
        NOTE.replace("If", "\rIf"),
        "x" * MAX_NOTE + NOTE,
        "text\n\n\u2014 name eA==\n",
        "text\n\n\u2014 name abc\n",
        "text\n\n" + "\u2014 name eHh4eHh4eHg=\n" * 65,
    ],
)
def test_what_is_no_note(note: str) -> None:
    with pytest.raises(NoteProblem):
        read_note(note)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "name+00000000",
        VERIFIER.replace("c74f20a3", "c74f20a4"),
        VERIFIER.replace("Peter", "Pet er"),
        VERIFIER.replace("Peter", "peter"),
        VERIFIER[:-4],
        VERIFIER.replace("ARpc", "AxpC"),
        "+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "n+00+!",
    ],
)
def test_what_is_no_verifier_key(text: str) -> None:
    with pytest.raises(NoteProblem):
        NoteKey.parse(text)
