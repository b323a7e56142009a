"""A search through all that a run has written, for anything that must never be written: known values, and what has the shape of a token or private key.

Pure, but for reading. Values are found in the clear, in base64 and in hexadecimal, whole or any part of at least `PIECE` characters' length that
begins at a multiple of it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["PIECE", "Found", "Needles", "files_below", "process_texts", "tables_of"]

PIECE: Final = 24
_WORDS: Final = re.compile(rb"[A-Za-z0-9+/_=.~-]{%d,}" % PIECE)
_HEX: Final = re.compile(rb"(?:[0-9a-fA-F]{2}){%d,}" % PIECE)
_SHAPES: Final[Mapping[str, re.Pattern[bytes]]] = {
    "a JSON web token": re.compile(rb"eyJ[A-Za-z0-9_-]{16,}\.eyJ[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),
    "a private key": re.compile(rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----"),
    "a password in an address": re.compile(rb"postgres(?:ql)?://[^\s:/@]+:[^\s@]+@"),
}
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/_-]{%d,}={0,2}" % (2 * PIECE))


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Something that should not be where it is."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class Needles:
    """Values that must be nowhere, each with a name that may be shown."""

    def __init__(self, values: Iterable[tuple[str, str]]) -> None:
        self._pieces: dict[bytes, str] = {}
        self._short: list[tuple[bytes, str]] = []
        for name, value in values:
            encoded = value.encode()
            if len(encoded) < PIECE:
                self._short.append((encoded, name))
            for start in range(0, len(encoded) - PIECE + 1, PIECE):
                # The head of a token is the same for many, and is what anybody may know.
                self._pieces.setdefault(encoded[start : start + PIECE], name)

    def __len__(self) -> int:
        return len(self._pieces) + len(self._short)

    def search(self, where: str, content: bytes) -> list[Found]:
        """What of it is in `content`; each kind of thing once."""
        found = {what for what, shape in _SHAPES.items() if shape.search(content)}
        found |= set(self._values(content))
        for text in _unwrapped(content):
            found |= {f"{what}, encoded" for what in self._values(text)}
            found |= {f"{what}, encoded" for what, shape in _SHAPES.items() if shape.search(text)}
        return [Found(where=where, what=what) for what in sorted(found)]

    def _values(self, content: bytes) -> Iterator[str]:
        yield from (name for value, name in self._short if value in content)
        for word in _WORDS.finditer(content):
            text = word.group()
            for start in range(len(text) - PIECE + 1):
                name = self._pieces.get(text[start : start + PIECE])
                if name is not None:
                    yield name


def _unwrapped(content: bytes) -> Iterator[bytes]:
    """What is within: hexadecimal, as databases print bytes; base64, as JSON holds them."""
    for found in _HEX.finditer(content):
        yield binascii.unhexlify(found.group())
    for found in _BASE64.finditer(content):
        text = found.group().rstrip(b"=")
        try:
            yield base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_" if b"-" in text or b"_" in text else None)
        except ValueError:
            continue


def tables_of(dump: str) -> Iterator[tuple[str, bytes]]:
    """A database's dump in parts, by the tables that they are about."""
    for number, part in enumerate(dump.split("\nCOPY ")):
        name = f"table {part.split()[0]}" if number else "definitions"
        yield f"the database's dump, {name}", part.encode()


def files_below(folder: Path, *, but: Iterable[Path] = ()) -> Iterator[tuple[str, bytes]]:
    """Every file below a folder with its content, except for those named, and for what is no file."""
    left_out = {path.resolve() for path in but}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.resolve() not in left_out:
            yield str(path.relative_to(folder)), path.read_bytes()


def process_texts(pid: int) -> Iterator[tuple[str, bytes]]:
    """What everybody may see of a process' start: its arguments and its variables."""
    for name in ("cmdline", "environ"):
        yield f"/proc/{pid}/{name}", (Path("/proc") / str(pid) / name).read_bytes()
