"""An agent's settings file: the example works, and what is wrong is said in one sentence that names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from idplane.agent.settings import EXAMPLE, SettingsProblem, parse_settings, read_settings
from idplane.model.dialects import Dialect

VM = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm"


def test_the_example_is_good_as_it_is() -> None:
    settings = parse_settings(EXAMPLE.encode(), "example")
    assert settings.agent.servers == ("https://id.example.com",)
    assert [one.dialect for one in settings.endpoint] == [Dialect.IMDS]


def test_the_example_is_good_with_everything_in_it() -> None:
    lines = [
        line.removeprefix("# ") if line.startswith(("# [", "# ")) and _is_setting(line) else line
        for line in EXAMPLE.splitlines()
    ]
    settings = parse_settings(
        "\n".join(lines).replace("...", "11111111-1111-1111-1111-111111111111/resourceGroups/g").encode(), "e"
    )
    assert {one.dialect for one in settings.endpoint} == set(Dialect) - {Dialect.APP_SERVICE_2017}
    assert settings.agent.host is not None
    assert settings.health is not None


def _is_setting(line: str) -> bool:
    text = line.removeprefix("# ")
    return text.startswith("[") or (" = " in text and text.split(" = ")[0].replace("_", "").isalpha())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[agent", "not TOML"),
        ("[agent]\nserver = 'https://a'", "unknown field `server`"),
        ("[agent]\nservers = 'https://a'", "Expected `array`"),
        ("[agent]\nservers = ['http://a']", "no address of a server"),
        ("[agent]\nwhen_refused = 'panic'", "Invalid enum value 'panic'"),
        ("[agents]", "unknown field `agents`"),
        ("[[endpoint]]\nport = 80", "missing required field `dialect`"),
        ("[[endpoint]]\ndialect = 'telnet'\nport = 80", "Invalid enum value 'telnet'"),
        ("[[endpoint]]\ndialect = 'imds'\nport = 99999", "<= 65535"),
        ("[[endpoint]]\ndialect = 'imds'", "endpoint 1: imds needs a port"),
        ("[[endpoint]]\ndialect = 'imds'\nport = 80\naddress = 'lo'", "'lo' is not an IP address"),
        ("[[endpoint]]\ndialect = 'imds'\nport = 80\nresource = 'vm'", "'vm' is not the id of a resource"),
        ("[[endpoint]]\ndialect = 'imds'\nport = 80\nclient_id = 'x'", "are for workload-identity"),
        ("[[endpoint]]\ndialect = 'workload-identity'", "needs a token_folder"),
        (f"[[endpoint]]\ndialect = 'imds'\nport = 80\nresource = '{VM}'\nsecret = 'x'", "unknown field `secret`"),
    ],
)
def test_what_is_wrong_is_named(text: str, words: str) -> None:
    with pytest.raises(SettingsProblem) as caught:
        parse_settings(text.encode(), "agent.toml")
    assert words in str(caught.value)
    assert "agent.toml" in str(caught.value)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(SettingsProblem, match="cannot be read: no such file"):
        read_settings(tmp_path / "agent.toml")
    (tmp_path / "large").write_bytes(b"#" * 300_000)
    with pytest.raises(SettingsProblem, match="too large"):
        read_settings(tmp_path / "large")
    with pytest.raises(SettingsProblem, match="not TOML"):
        parse_settings(b"\xff\xfe", "x")
