"""Whatever one program has written, the other one reads: every type of record, with every member, and whole databases."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.upgrade.programs import DECLARED, TODAY, Earlier, Program, declared
from tests.upgrade.shapes import compare

pytestmark = pytest.mark.wide

TOOL = Path(__file__).with_name("records_tool.py")


def tool(program: Program, *arguments: object) -> Any:
    return json.loads(program.script(TOOL, *map(str, arguments)))


@cache
def shapes(program: Program) -> Any:
    return tool(program, "shapes")


@cache
def composed(program: Program) -> Any:
    return tool(program, "compose")


def common(found: Any, pattern: Any) -> Any:
    """Of what was found, the members that the pattern has."""
    if isinstance(found, dict) and isinstance(pattern, dict):
        return {name: common(value, pattern[name]) for name, value in found.items() if name in pattern}
    if isinstance(found, list) and isinstance(pattern, list) and len(found) == len(pattern):
        return [common(one, other) for one, other in zip(found, pattern, strict=True)]
    return found


@pytest.mark.parametrize("name", DECLARED)
def test_shapes_change_only_as_declared(earlier: Earlier, name: str) -> None:
    found = compare(shapes(earlier(name)), shapes(TODAY))
    assert found.broken == set()
    if "servers" in DECLARED[name].can:  # others never work beside today's program
        assert found.forgotten == set(DECLARED[name].forgets), "what it drops needs a reason in programs.toml"
        assert found.unread == set(DECLARED[name].unread), "what it cannot read needs a reason in programs.toml"


@pytest.mark.parametrize("name", DECLARED)
def test_each_reads_every_record_of_the_other(earlier: Earlier, tmp_path: Path, name: str) -> None:
    programs = [TODAY, earlier(name)] if "servers" in DECLARED[name].can else [TODAY]
    for reader in programs:
        [writer] = {TODAY, earlier(name)} - {reader}
        documents = composed(writer)
        (tmp_path / "documents").write_text(json.dumps(documents))
        read = tool(reader, "echo", tmp_path / "documents")
        assert set(read) == set(documents) & set(composed(reader))
        for kept, document in read.items():
            # What the reader knows has come through; what the writer had beside that is what it may forget.
            assert common(document, documents[kept]) == common(documents[kept], document), kept


@pytest.mark.parametrize("name", DECLARED)
def test_a_database_of_an_earlier_program_is_opened(earlier: Earlier, tmp_path: Path, name: str) -> None:
    file = tmp_path / "idplane.sqlite"
    written = tool(earlier(name), "write", file)
    read = tool(TODAY, "rewrite", file)
    assert common(read, written) == written
    assert set(written) <= set(read)
    if "servers" in DECLARED[name].can:
        assert tool(earlier(name), "read", file) == written


@pytest.mark.parametrize("name", declared("servers"))
def test_an_earlier_program_works_on_a_database_of_today_s(earlier: Earlier, tmp_path: Path, name: str) -> None:
    file = tmp_path / "idplane.sqlite"
    written = tool(TODAY, "write", file)
    read = tool(earlier(name), "rewrite", file)
    assert read == common(written, read)
    again = tool(TODAY, "read", file)
    assert again == written, "the earlier program has changed what it did not mean to"


def test_a_database_of_today_s_is_refused_and_left_alone_by_a_program_too_old(earlier: Earlier, tmp_path: Path) -> None:
    file = tmp_path / "idplane.sqlite"
    written = tool(TODAY, "write", file)
    shutil.copy(file, tmp_path / "before")
    with pytest.raises(AssertionError, match="the database was written by a newer idplane"):
        tool(earlier("before-servers"), "read", file)
    assert file.read_bytes() == (tmp_path / "before").read_bytes()
    assert tool(TODAY, "read", file) == written
