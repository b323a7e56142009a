"""Bindings in words, and what is known of a file before it is bound to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from idplane.cli.output import CommandError
from idplane.model.bindings import SYSTEM_ASSIGNED
from idplane.model.values import JsonObject

__all__ = ["OPEN", "identities_in_words", "local_file", "processes_in_words"]

OPEN = "no binding: whatever reaches its endpoint may use its identities"
"""What is to be said of a resource without bindings."""
_SHOWN_DIGITS = 12


def local_file(path: str | None, sha256: str | None, *, pin: bool) -> tuple[dict[str, str | None], list[str]]:
    """What a binding says of an executable, and what its author should know; raises `CommandError` for one that can't be pinned.

    A process executes a file and never a link to one, so a binding to a link admits nobody.
    """
    if path is None:
        if pin:
            raise CommandError("--pin needs --executable: the file whose content is meant")
        return {"path": None, "sha256": sha256}, []
    if pin:
        if sha256 is not None:
            raise CommandError("say one of --pin and --sha256")
        file = _resolved(path)
        return {"path": str(file), "sha256": _digest(file)}, [f"{path} leads to {file}"] if str(file) != path else []
    linked = Path(path).is_absolute() and Path(path).exists() and str(Path(path).resolve()) != path
    notes = [f"{path} leads over a symbolic link here and admits nobody; the file is {Path(path).resolve()}"] if linked else []
    return {"path": path, "sha256": sha256}, notes


def _resolved(path: str) -> Path:
    try:
        file = Path(path).resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise CommandError(f"{path} can't be pinned: there is no such file here") from error
    if not file.is_file():
        raise CommandError(f"{path} can't be pinned: it is no file")
    return file


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise CommandError(f"{file} can't be read: {error.strerror}") from error


def identities_in_words(binding: JsonObject) -> str:
    """Which identities a binding is about, user-assigned ones by their names."""
    names = _object(binding.get("properties")).get("identities")
    if not isinstance(names, list) or not names:
        return "all identities"
    return ", ".join(
        "the system-assigned identity" if name == SYSTEM_ASSIGNED else str(name).rpartition("/")[2] for name in names
    )


def processes_in_words(binding: JsonObject) -> str:
    """Which processes a binding admits."""
    rule = _object(_object(binding.get("properties")).get("processes"))
    words = [f"{label} {rule[name]}" for name, label in _PLAIN.items() if name in rule]
    words += _executable_words(_object(rule.get("executable")))
    words += _container_words(_object(rule.get("container")))
    if "run" in rule:
        words.append("started by idplane run" if rule["run"] else "not started by idplane run")
    return ", ".join(words)


_PLAIN: Mapping[str, str] = {"user": "user", "group": "group", "systemdUnit": "unit", "cgroup": "cgroup"}


def _executable_words(rule: JsonObject) -> list[str]:
    words = [f"executable {rule['path']}"] if "path" in rule else []
    if "inode" in rule:
        words.append(f"file {rule.get('device')}:{rule['inode']}")
    if "sha256" in rule:
        words.append(f"sha256 {str(rule['sha256'])[:_SHOWN_DIGITS]}")
    return words


def _container_words(rule: JsonObject) -> list[str]:
    if not rule:
        return []
    container = f"container {str(rule['id'])[:_SHOWN_DIGITS]}" if "id" in rule else "a container"
    of = f" of {rule['engine']}" if "engine" in rule else ""
    words = [container + of] if "id" in rule or "engine" in rule else []
    return [*words, *([f"pod {rule['pod']}"] if "pod" in rule else [])]


def _object(value: object) -> JsonObject:
    return value if isinstance(value, dict) else {}
