"""Settings files of earlier programs, with every member that they knew, mean something to today's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.upgrade.programs import Earlier, declared

from idplane.agent.settings import parse_settings, read_settings
from idplane.bootstrap.server_settings import ServerTables, read_server_settings
from idplane.bootstrap.settings_file import read_tables

pytestmark = pytest.mark.wide

_SHOWN = re.compile(r"^# (?=\[|[a-z_]+ = )", re.MULTILINE)


def uncommented(example: str) -> str:
    """The example with everything that it shows in force."""
    return _SHOWN.sub("", example)


@pytest.mark.parametrize("name", declared("servers"))
def test_those_of_servers(earlier: Earlier, tmp_path: Path, name: str) -> None:
    example = earlier(name).run("server", "--example").stdout
    path = tmp_path / "server.toml"
    path.write_text(example)
    assert read_server_settings(path).listen == ("0.0.0.0", 8443)
    path.write_text(uncommented(example))
    assert path.read_text().count("\n[") == example.count("\n[")
    tables = read_tables(path, ServerTables)
    assert tables.health.listen == "127.0.0.1:9464"


@pytest.mark.parametrize("name", declared("agents"))
def test_those_of_agents(earlier: Earlier, tmp_path: Path, name: str) -> None:
    example = earlier(name).run("agent", "--example").stdout
    path = tmp_path / "agent.toml"
    path.write_text(example)
    assert read_settings(path).agent.servers == ("https://id.example.com",)
    everything = uncommented(example).replace("...", "11111111-1111-1111-1111-111111111111/resourceGroups/g")
    assert len(parse_settings(everything.encode(), "all").endpoint) > len(read_settings(path).endpoint)
