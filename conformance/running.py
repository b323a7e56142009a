"""A language's programs, built; and one program on one host, started inside a run, asked everything, and heard."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.stories.planes import IDPLANE
from tests.stories.workloads import plain_environment

from conformance.catalogue import HERE, Language, Program
from conformance.cells import Isolation, Stage
from conformance.estate import Estate

__all__ = ["BuildError", "Heard", "build", "cache_folder", "missing_tools", "run", "understood"]

_BUILD_SECONDS = 1800
_LINES = 30


class BuildError(Exception):
    """A language's `build` failed; its words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a program said."""

    about: Mapping[str, Any] = field(default_factory=dict)
    """Its first line: `sdk`, `version`, `language`, `runtime`."""
    answers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By cell."""
    asked: int = 0
    """How often its endpoint was asked, where that is counted."""
    trouble: str = ""
    """Why there may be less than was asked for."""
    errors: str = ""
    """The end of its standard error."""


def missing_tools(language: Language) -> tuple[str, ...]:
    """The commands that a language needs and this machine has not."""
    return tuple(name for name in language.needs if shutil.which(name) is None)


def cache_folder(language: Language) -> Path:
    """Where a language's programs are kept from one run to the next."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "idplane-conformance" / language.folder


def build(language: Language) -> None:
    """Make the programs. Raises `BuildError`."""
    cache = cache_folder(language)
    cache.mkdir(parents=True, exist_ok=True)
    folder = HERE / language.folder
    environment = {**os.environ, "CONFORMANCE_CACHE": str(cache), "CONFORMANCE_PYTHON": sys.executable}
    try:
        with (cache / ".lock").open("w") as lock:
            # One checkout at a time.
            fcntl.flock(lock, fcntl.LOCK_EX)
            ended = subprocess.run(
                [str(folder / "build")],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=_BUILD_SECONDS,
                check=False,
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(str(error)) from error
    if ended.returncode != 0:
        raise BuildError(_end_of(ended.stdout))


def run(
    estate: Estate, language: Language, program: Program, stage: Stage, isolation: Isolation, cells: Iterable[str]
) -> Heard:
    """Ask a program all `cells` on a stage's host."""
    words = {"cache": cache_folder(language), "here": HERE / language.folder, "python": sys.executable}
    command = [word.format_map(words) for word in program.command]
    if stage.witnessed:
        command = [sys.executable, str(HERE / "witness.py"), *command]
    where = ["--data", str(estate.up.data), "--as", estate.host(stage.host), "--isolation", isolation.value, *stage.options]
    asked = "".join(json.dumps(estate.request(cell)) + "\n" for cell in cells)
    with subprocess.Popen(
        [*IDPLANE, "run", *where, "--", *command],
        env=plain_environment(),
        cwd=HERE / language.folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(asked, timeout=program.seconds)
            trouble = f"it ended with {process.returncode}" if process.returncode else ""
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, errors = process.communicate()
            trouble = f"it was not done after {program.seconds:.0f} s"
    return understood(output, errors, trouble)


def understood(output: str, errors: str, trouble: str) -> Heard:
    """What lines of output say; `trouble` is what is known already."""
    lines = []
    for line in output.splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            said = None
        if isinstance(said, dict):
            lines.append(said)
        else:
            trouble = trouble or f"it said {line[:200]!r}, which is no JSON object"
    about = next((line for line in lines if "sdk" in line and "version" in line), {})
    answers = {str(line["id"]): line for line in lines if "id" in line}
    if not about:
        trouble = trouble or "it did not say what it is"
    asked = next((int(line["asked"]) for line in lines if "asked" in line), 0)
    return Heard(about=about, answers=answers, asked=asked, trouble=trouble, errors=_end_of(errors))


def _end_of(text: str) -> str:
    return "\n".join(text.splitlines()[-_LINES:])
