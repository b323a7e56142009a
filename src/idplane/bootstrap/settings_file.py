"""Settings files: TOML tables as structs, and every mistake in one told in a sentence that names the file and the member.

A section is a `Table` in the module of whoever reads it. Nothing secret stands in a settings file: it names files that hold secrets, and
those must not be readable by everybody.
"""

from __future__ import annotations

import re
import stat
import tomllib
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

from idplane.model.failure import os_reason

__all__ = ["Seconds", "SettingsProblem", "Table", "listening_address", "private_file", "public_file", "read_tables"]

T = TypeVar("T")

Seconds = Annotated[float, msgspec.Meta(ge=0.1, le=3600)]

_LARGEST = 256 * 1024
_MAX_SECRET = 64 * 1024
_MAX_PORT = 65535
_OTHERS = 0o007
_UNKNOWN = re.compile(r"unknown field `(?P<name>[^`]*)`")
_MISSING = re.compile(r"missing required field `(?P<name>[^`]*)`")
_AT = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")


class SettingsProblem(Exception):  # noqa: N818 - it is what the person at the terminal reads
    """Why a settings file cannot be used; its text is one sentence."""


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of a settings file: members that it does not declare are refused."""


def read_tables(path: Path, type_: type[T]) -> T:
    """The file as a struct of tables. Raises `SettingsProblem`."""
    try:
        return msgspec.convert(_parse(path), type=type_)
    except msgspec.ValidationError as error:
        raise SettingsProblem(f"{path}: {_words(str(error))}") from error


def private_file(file: Path, member: str, path: Path) -> bytes:
    """The content of a file that holds a secret, which `member` of `file` names. Raises `SettingsProblem`, also when everybody may read it."""
    try:
        with path.open("rb") as secret:
            if stat.S_IMODE(path.stat().st_mode) & _OTHERS:
                raise SettingsProblem(f"{file}: everybody may read {path} ({member}): make it private with chmod 600")
            return secret.read(_MAX_SECRET)
    except OSError as error:
        raise _unreadable(file, member, path, error) from error


def public_file(file: Path, member: str, path: Path) -> bytes:
    """The content of a file that is no secret, which `member` of `file` names. Raises `SettingsProblem`."""
    try:
        with path.open("rb") as source:
            return source.read(_MAX_SECRET)
    except OSError as error:
        raise _unreadable(file, member, path, error) from error


def listening_address(file: Path, member: str, text: str) -> tuple[str, int]:
    """Host and port of `0.0.0.0:8443` or `[::]:8443`. Raises `SettingsProblem`."""
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > _MAX_PORT:
        raise SettingsProblem(f"{file}: {member} must be like 0.0.0.0:8443 or [::]:8443")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _unreadable(file: Path, member: str, path: Path, error: OSError) -> SettingsProblem:
    return SettingsProblem(f"{file}: {path} ({member}) cannot be read: {os_reason(error)}")


def _parse(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise SettingsProblem(f"{path} is larger than any settings file")
        return tomllib.loads(content.decode("utf-8"))
    except OSError as error:
        raise SettingsProblem(f"the settings file {path} cannot be read: {os_reason(error)}") from error
    except UnicodeDecodeError as error:
        raise SettingsProblem(f"{path} is not UTF-8 text") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsProblem(f"{path} is not TOML: {error}") from error


def _words(text: str) -> str:
    """What is wrong with a member, in the words of someone who writes TOML."""
    at = _AT.search(text)
    where = at["path"] if at else ""
    if unknown := _UNKNOWN.search(text):
        return f"[{where}] has no member '{unknown['name']}'" if where else f"there is no table [{unknown['name']}]"
    if missing := _MISSING.search(text):
        return f"[{where}] lacks '{missing['name']}'" if where else f"the table [{missing['name']}] is missing"
    said = _AT.sub("", text)
    return f"{where}: {said[:1].lower()}{said[1:]}" if where else said
