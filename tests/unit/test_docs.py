"""The documents name files and commands that exist, and leave none of the commands out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from idplane.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_every_file_that_the_architecture_names_is_there() -> None:
    table = (ROOT / "docs" / "architecture.md").read_text().partition("## Layers")[0]
    named = {
        name
        for cell in re.findall(r"^\|[^|]+\|(.+)\|$", table, re.MULTILINE)
        for name in re.findall(r"`([a-z_]+/[a-z_/]*(?:\.py)?)`", cell)
    }
    assert len(named) > 30
    assert [name for name in sorted(named) if not (ROOT / "src" / "idplane" / name).exists()] == []


def test_the_layers_on_the_page_are_those_that_the_build_enforces() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text().partition("## Layers")[2].partition("##")[0]
    on_page = set(re.findall(r"`([a-z]+)`", page)) - {"make"}
    packages = {folder.name for folder in (ROOT / "src" / "idplane").iterdir() if (folder / "__init__.py").exists()}
    assert on_page == packages


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", document.read_text())
    assert [target for target in targets if not (document.parent / target).exists()] == []


def test_every_picture_is_shown_and_every_picture_that_is_shown_is_there() -> None:
    folder = ROOT / "docs" / "screenshots"
    shown = {
        (document.parent / target).resolve()
        for document in DOCUMENTS
        for target in re.findall(r'(?:src|srcset)="([^":]+\.png)"', document.read_text())
    }
    assert shown == set(folder.glob("*.png"))


def test_every_command_is_documented() -> None:
    text = "\n".join(document.read_text() for document in (ROOT / "README.md", ROOT / "CHANGELOG.md"))
    assert [name for name in COMMANDS if f"{name}`" not in text and f"idplane {name}" not in text] == ["version"]


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = [int(path.name[:4]) for path in sorted((ROOT / "docs" / "decisions").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))
