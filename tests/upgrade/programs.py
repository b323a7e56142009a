"""Earlier programs, out of the repository's own history, and today's beside them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.needed import missing

__all__ = ["DECLARED", "ROOT", "TODAY", "Declared", "Earlier", "Program", "declared"]

ROOT = Path(__file__).parents[2]
_MAIN = "from idplane.cli.main import main; main()"
_SECONDS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What `programs.toml` says of an earlier program."""

    commit: str
    can: tuple[str, ...]
    forgets: Mapping[str, str] = field(default_factory=dict)
    """`Record.member` → why it may."""
    unread: Mapping[str, str] = field(default_factory=dict)
    """`Enumeration.value` → why that harms nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A version of idplane that can be run."""

    name: str
    source: Path

    @property
    def command(self) -> tuple[str, ...]:
        """What runs its commands."""
        return (sys.executable, "-c", _MAIN)

    @property
    def environment(self) -> dict[str, str]:
        """Where its modules are found, ahead of those that are installed."""
        return {**os.environ, "PYTHONPATH": str(self.source)}

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """One of its commands, to its end."""
        return self._ended((*self.command, *arguments), check=check)

    def script(self, path: Path, *arguments: str) -> str:
        """What a script of ours prints that uses its modules."""
        return self._ended((sys.executable, str(path), *arguments), check=True).stdout

    def _ended(self, command: tuple[str, ...], *, check: bool) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=_SECONDS, cwd="/", check=False
        )
        assert not check or ended.returncode == 0, f"{self.name}: {ended.stderr}"
        return ended


TODAY = Program(name="today", source=ROOT / "src")


def _declared() -> dict[str, Declared]:
    tables = tomllib.loads(Path(__file__).with_name("programs.toml").read_text(encoding="utf-8"))
    return {name: _one(table) for name, table in tables.items()}


def _one(table: Mapping[str, Any]) -> Declared:
    return Declared(**{**table, "can": tuple(table["can"])})


DECLARED = _declared()


def declared(ability: str) -> list[str]:
    """The names of the earlier programs that can do something."""
    return [name for name, one in DECLARED.items() if ability in one.can]


class Earlier:
    """Takes each program out of the history once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, name: str) -> Program:
        folder = self._folder / name
        if not folder.exists():
            _extract(DECLARED[name].commit, folder)
        return Program(name=name, source=folder / "src")


def _extract(commit: str, folder: Path) -> None:
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", commit, "src", "pyproject.toml"], capture_output=True, check=False
    )
    if archive.returncode:
        missing(f"commit {commit} is not in this clone's history: upgrades are tested in whole clones (git fetch --unshallow)")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
