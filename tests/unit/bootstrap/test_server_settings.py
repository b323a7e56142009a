import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from idplane.bootstrap.server_settings import ServerSettings, ServerTables, example, read_server_settings
from idplane.bootstrap.settings_file import SettingsProblem
from idplane.cli.main import idplane
from idplane.cli.server import command
from idplane.model.profile import AZURE, OPEN

_LEAST = """
[server]
public_url = "https://id.example.com"
data = "data"
[database]
url = "postgresql://idplane@db.example.com/idplane"
"""


def _write(folder: Path, text: str) -> Path:
    path = folder / "server.toml"
    path.write_text(text)
    return path


def _read(folder: Path, text: str) -> ServerSettings:
    return read_server_settings(_write(folder, text))


def _secret(folder: Path, name: str, text: str, mode: int = 0o600) -> Path:
    path = folder / name
    path.write_text(text)
    path.chmod(mode)
    return path


class TestExample:
    def test_it_is_a_settings_file(self, tmp_path: Path) -> None:
        settings = _read(tmp_path, example())
        assert settings.listen == ("0.0.0.0", 8443)
        assert settings.profile is OPEN
        assert settings.database_url() == "postgresql://idplane@db.example.com/idplane"

    def test_it_shows_every_member_and_no_other(self) -> None:
        """Uncommented, it is what the reader knows: table by table, member by member."""
        shown = _everything()
        tables = {field.encode_name: field.type for field in msgspec.structs.fields(ServerTables)}
        assert shown.keys() == tables.keys()
        for name, table in tables.items():
            known = {field.encode_name for field in msgspec.structs.fields(table)}
            assert shown[name].keys() == known, name

    def test_what_it_shows_as_defaults_are_the_defaults(self) -> None:
        shown = _everything()
        for field in msgspec.structs.fields(ServerTables):
            for member in msgspec.structs.fields(field.type):
                if isinstance(member.default, bool | int | float | str):
                    assert shown[field.encode_name][member.encode_name] == member.default, member.name

    def test_the_command_prints_it(self) -> None:
        answer = CliRunner().invoke(command, ["--example"])
        assert (answer.exit_code, answer.output) == (0, example())


def _everything() -> dict[str, dict[str, Any]]:
    text = re.sub(r"^# ([a-z_]+ = )", r"\1", example(), flags=re.MULTILINE)
    return tomllib.loads(text)


class TestAnswers:
    def test_paths_are_relative_to_the_file(self, tmp_path: Path) -> None:
        settings = _read(tmp_path, _LEAST)
        assert settings.data == tmp_path / "data"
        assert settings.path("/etc/x") == Path("/etc/x")

    def test_the_profile_is_the_one_that_is_named(self, tmp_path: Path) -> None:
        assert _read(tmp_path, _LEAST.replace("[database]", 'profile = "azure"\n[database]')).profile is AZURE

    @pytest.mark.parametrize(
        ("text", "expected"),
        [("127.0.0.1:0", ("127.0.0.1", 0)), ("[::]:8443", ("::", 8443)), ("id.example.com:65535", ("id.example.com", 65535))],
    )
    def test_addresses(self, tmp_path: Path, text: str, expected: tuple[str, int]) -> None:
        assert _read(tmp_path, _LEAST.replace("[database]", f'listen = "{text}"\n[database]')).listen == expected

    def test_the_database_s_files_become_part_of_its_address(self, tmp_path: Path) -> None:
        _secret(tmp_path, "pass", "db:5432:idplane:idplane:s3cret")
        _secret(tmp_path, "client.key", "key")
        for name in ("ca.pem", "client.pem"):
            _secret(tmp_path, name, "certificate", 0o644)
        more = 'sslmode = "verify-full"\npassfile = "pass"\nroot_certificate = "ca.pem"\ncertificate = "client.pem"\nkey = "client.key"\n'
        url = _read(tmp_path, _LEAST + more).database_url()
        assert url.startswith("postgresql://idplane@db.example.com/idplane?sslmode=verify-full&")
        for part in (f"passfile={tmp_path}/pass", f"sslkey={tmp_path}/client.key", f"sslrootcert={tmp_path}/ca.pem"):
            assert part in url.replace("%2F", "/")
        assert "s3cret" not in url

    def test_an_address_in_a_file_may_hold_the_password(self, tmp_path: Path) -> None:
        _secret(tmp_path, "url", "postgresql://idplane:s3cret@db.example.com/idplane?sslmode=require\n")
        text = _LEAST.replace(
            'url = "postgresql://idplane@db.example.com/idplane"', 'url_file = "url"\nsslmode = "verify-full"'
        )
        settings = _read(tmp_path, text)
        assert settings.database_url() == "postgresql://idplane:s3cret@db.example.com/idplane?sslmode=verify-full"
        assert "s3cret" not in repr(settings)

    def test_the_command_line_may_name_another_database(self, tmp_path: Path) -> None:
        path = _write(tmp_path, _LEAST.replace("\nurl = ", "\nurl_file = "))
        assert read_server_settings(path, database="postgresql:///other").database_url() == "postgresql:///other"


_PROBLEMS = {
    "unknown member": (_LEAST + "pasfile = 1", "[database] has no member 'pasfile'"),
    "unknown table": (_LEAST + "[databse]", "there is no table [databse]"),
    "missing member": (_LEAST.replace("public_url", "data").replace('data = "data"', ""), "[server] lacks 'public_url'"),
    "missing table": ("[server]\npublic_url = 'https://x'\ndata = 'd'", "the table [database] is missing"),
    "a number for a text": (_LEAST.replace('"data"', "5"), "server.data: expected `str`, got `int`"),
    "a text for a number": (_LEAST + 'connections = "8"', "database.connections: expected `int`, got `str`"),
    "a table for a text": (_LEAST.replace('"data"', "{}"), "server.data: expected `str`, got `object`"),
    "too few connections": (_LEAST + "connections = 0", "database.connections: expected `int` >= 1"),
    "another profile": (
        _LEAST.replace("[database]", 'profile = "aws"\n[database]'),
        "server.profile: invalid enum value 'aws'",
    ),
    "no length of time": (_LEAST.replace("[database]", 'keep_activity = "soon"\n[database]'), "server.keep_activity: expected"),
    "staleness beyond reason": (
        _LEAST + "[replica]\nstaleness_seconds = 3600",
        "replica.staleness_seconds: expected `float` <= 60",
    ),
    "no TOML": ("[server", "is not TOML"),
    "a member twice": (_LEAST + "url = 'postgresql:///y'", "is not TOML"),
    "a public address without TLS": (_LEAST.replace("https:", "http:"), "server.public_url must be like https://"),
    "a public address with a path": (
        _LEAST.replace('example.com"\ndata', 'example.com/x"\ndata'),
        "server.public_url must be like",
    ),
    "a public address with a port that is none": (
        _LEAST.replace("id.example.com", "id.example.com:99999"),
        "server.public_url must",
    ),
    "no port to listen on": (_LEAST.replace("[database]", 'listen = "0.0.0.0"\n[database]'), "server.listen must be like"),
    "a port that is none": (_LEAST.replace("[database]", 'listen = "0.0.0.0:99999"\n[database]'), "server.listen must be like"),
    "no database": (_LEAST.replace("\nurl = ", "\n# url = "), "[database] needs one of 'url' and 'url_file'"),
    "two databases": (_LEAST + 'url_file = "x"', "[database] needs one of 'url' and 'url_file'"),
    "a password": (_LEAST.replace("idplane@", "idplane:s3cret@"), "the database's address holds a password"),
    "a password as a parameter": (
        _LEAST.replace('/idplane"', '/idplane?password=s3cret"'),
        "the database's address holds a password",
    ),
    "a certificate without a key": (
        _LEAST + '[tls]\ncertificate = "x"\nauthority = "y"',
        "[tls] needs 'certificate', 'key' and 'authority'",
    ),
    "a certificate without its authority": (
        _LEAST + '[tls]\ncertificate = "x"\nkey = "y"',
        "[tls] needs 'certificate', 'key' and 'authority'",
    ),
    "an empty data folder": (_LEAST.replace('"data"', '" "'), "[server] 'data' is empty"),
}


@pytest.mark.parametrize(("text", "expected"), _PROBLEMS.values(), ids=_PROBLEMS)
def test_a_mistake_is_one_sentence_with_the_file_s_name(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(SettingsProblem) as caught:
        _read(tmp_path, text)
    said = str(caught.value)
    assert said.startswith(str(tmp_path / "server.toml"))
    assert expected in said
    assert "\n" not in said
    assert "s3cret" not in said
    answer = CliRunner().invoke(idplane, ["server", "--config", str(tmp_path / "server.toml")])
    assert (answer.exit_code, answer.output) == (1, f"idplane: {said}\n")


def test_a_password_on_the_command_line_is_refused(tmp_path: Path) -> None:
    answer = CliRunner().invoke(command, ["--config", str(_write(tmp_path, _LEAST)), "--database", "postgresql://a:s3cret@b/c"])
    assert answer.exit_code == 1
    assert "holds a password" in answer.output
    assert "s3cret" not in answer.output


@pytest.mark.parametrize("member", ["passfile", "url_file", "key"])
@pytest.mark.parametrize("state", ["missing", "everybody's", "a folder"])
def test_a_secret_s_file_that_cannot_be_used(tmp_path: Path, member: str, state: str) -> None:
    if state == "everybody's":
        _secret(tmp_path, "secret", "postgresql:///x", 0o644)
    elif state == "a folder":
        (tmp_path / "secret").mkdir()
    text = _LEAST.replace("\nurl = ", "\n# url = ") if member == "url_file" else _LEAST
    settings = _read(tmp_path, f'{text}{member} = "secret"')
    words = {"missing": "no such file", "everybody's": "everybody may read", "a folder": "is a directory"}[state]
    with pytest.raises(SettingsProblem, match=rf"database\.{member}") as caught:
        settings.database_url()
    assert words in str(caught.value)
    assert str(tmp_path / "secret") in str(caught.value)


def test_a_group_may_share_a_secret(tmp_path: Path) -> None:
    _secret(tmp_path, "secret", "x", 0o640)
    assert "passfile" in _read(tmp_path, f'{_LEAST}passfile = "secret"').database_url()


@pytest.mark.parametrize("name", ["absent.toml", "."])
def test_a_settings_file_that_is_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsProblem, match="cannot be read"):
        read_server_settings(tmp_path / name)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x = '" + b"y" * 300_000 + b"'", b"[" * 10_000, bytes(range(256))])
def test_whatever_is_in_it_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "server.toml").write_bytes(content)
    with pytest.raises(SettingsProblem):
        read_server_settings(tmp_path / "server.toml")
