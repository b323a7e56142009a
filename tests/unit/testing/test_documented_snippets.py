"""Every snippet of docs/testing.md and the README's test, run by pytest as a user would."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

pytest_plugins = "pytester"

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "testing.md"
_FENCE = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_QUIET = ("-q", "-p", "no:cacheprovider", "-p", "no:randomly")


def snippets(page: Path) -> list[tuple[str, str, str]]:
    """Language, file name (or nothing) and text of each fenced block."""
    return [(match[1], match[2] or "", match[3]) for match in _FENCE.finditer(page.read_text(encoding="utf-8"))]


def test_every_snippet_is_a_file_or_a_command() -> None:
    found = snippets(PAGE)
    assert len(found) * 2 == PAGE.read_text(encoding="utf-8").count("```")
    assert all(name.endswith(".py") if language == "python" else language == "console" for language, name, _ in found)


def test_the_commands_run_the_snippets(pytester: pytest.Pytester) -> None:
    found = snippets(PAGE)
    for language, name, text in found:
        if language == "python":
            (pytester.path / name).write_text(text, encoding="utf-8")
    tests = sum(len(re.findall(r"^def test_", text, re.MULTILINE)) for language, _, text in found if language == "python")
    commands = [line for language, _, text in found if language == "console" for line in text.splitlines()]
    assert {line.split()[1] for line in commands} == {"pytest", "make"}
    commands = [line for line in commands if line.split()[1] == "pytest"]
    assert len(commands) == 2  # make's are steps of the repository's own checks
    results = [pytester.runpytest_subprocess(*_QUIET, *shlex.split(line)[2:], timeout=120) for line in commands]
    results[0].assert_outcomes(passed=2)
    results[1].assert_outcomes(passed=tests)


def test_the_readme_s_test_passes_and_needs_its_role(pytester: pytest.Pytester) -> None:
    (text,) = (text for language, _, text in snippets(ROOT / "README.md") if language == "python" and "def test_" in text)
    without = "\n".join(line for line in text.splitlines() if "idplane.grant(" not in line)
    pytester.makepyfile(test_with=text, test_without=without)
    result = pytester.runpytest_subprocess(*_QUIET, timeout=120)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*HttpResponseError: (Forbidden) Caller is not authorized to perform action on resource.*"])
