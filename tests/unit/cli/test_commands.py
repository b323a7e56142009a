"""The commands without a plane: help, usage, words, and files that are not what they should be."""

import importlib
import json
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cli.run_world import tls_context

from idplane.bootstrap.world import SystemClock, SystemEntropy
from idplane.cli.client import PlaneClient
from idplane.cli.env import dotenv_lines, shell_lines
from idplane.cli.hosts import with_lines
from idplane.cli.main import COMMANDS, idplane
from idplane.cli.output import CommandError
from idplane.cli.paging import pages
from idplane.cli.token import claim_rows
from idplane.keys import RunAuthority

OWN = [name for name in COMMANDS if importlib.util.find_spec(f"idplane.cli.{name}") is not None]


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(idplane, list(arguments))


def test_help_names_every_command() -> None:
    shown = invoke("--help")
    assert shown.exit_code == 0
    assert all(f"  {name} " in shown.output for name in OWN)


@pytest.mark.parametrize("name", OWN)
def test_every_command_has_help_and_json(name: str) -> None:
    """A group's commands have it, where the group itself has not."""
    shown = invoke(name, "--help")
    assert shown.exit_code == 0
    found = idplane.get_command(click.Context(idplane), name)
    parts = found.list_commands(click.Context(found)) if isinstance(found, click.Group) else []
    assert "--json" in shown.output or all("--json" in invoke(name, part, "--help").output for part in parts)
    assert "--json" in shown.output or parts


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("up", "--port", "x"),
        ("up", "--port", "70000"),
        ("up", "--profile", "x"),
        ("up", "--keep-activity", "0"),
        ("up", "--otlp-endpoint", "collector:4317"),
        ("log", "export", "nonsense"),
        ("log", "export", "activity", "--follow", "--until", "1h"),
        ("log",),
    ],
)
def test_wrong_usage_is_2(arguments: tuple[str, ...]) -> None:
    assert invoke(*arguments).exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("token", "--resource", "x"),
        ("token", "--operator", "--as", "x", "--resource", "x"),
        ("token", "--operator", "--client-id", "x", "--resource", "x"),
        ("token", "--as", "x", "--client-id", "x", "--object-id", "y", "--resource", "x"),
        ("token", "--operator"),
        ("env",),
        ("env", "--as", "x", "--list"),
        ("log", "signins", "--since", "whenever"),
    ],
)
def test_combinations_that_make_no_sense_are_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "plane.json").write_text("{}")
    name, *rest = arguments
    assert invoke(name, "--data", str(tmp_path), *rest).exit_code in {1, 2}
    assert invoke(name, "--data", str(tmp_path), *rest).output


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--as", "x", "true"),
        ("env", "--as", "x"),
        ("env", "--list"),
        ("token", "--operator", "--resource", "x"),
        ("token", "--as", "x", "--resource", "x"),
        ("log", "activity"),
        ("log", "signins", "--json"),
        ("log", "export", "signins"),
        ("hosts",),
    ],
)
def test_without_a_plane_there_is_one_sentence(arguments: tuple[str, ...], tmp_path: Path) -> None:
    name, *rest = arguments
    ended = invoke(name, "--data", str(tmp_path), *rest)
    assert ended.exit_code == 1
    assert ended.stdout == ""
    assert ended.stderr == (
        f"idplane: no plane is running on {tmp_path}: start one with 'idplane up', or name its folder with --data\n"
    )


def test_status_without_a_plane_is_3(tmp_path: Path) -> None:
    ended = invoke("status", "--data", str(tmp_path), "--json")
    assert ended.exit_code == 3
    assert json.loads(ended.stdout)["ready"] is False
    assert invoke("status", "--data", str(tmp_path)).stdout.startswith("not running: ")


@pytest.mark.parametrize("content", ["", "[]", "{", '{"arm": "x"}', "\udcff"])
def test_a_description_that_is_none_is_one_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "plane.json").write_text(content, errors="surrogateescape")
    ended = invoke("log", "signins", "--data", str(tmp_path))
    assert ended.exit_code == 1
    assert ended.stderr.startswith("idplane: ")
    assert ended.stderr.count("\n") == 1
    assert invoke("status", "--data", str(tmp_path)).exit_code == 3


def test_data_folder_default_follows_xdg(tmp_path: Path) -> None:
    ended = CliRunner(env={"XDG_DATA_HOME": str(tmp_path)}).invoke(idplane, ["status", "--json"])
    assert json.loads(ended.stdout)["data"] == str(tmp_path / "idplane")


def test_version() -> None:
    assert invoke("version").stdout.startswith("idplane ")
    assert "version" in json.loads(invoke("version", "--json").stdout)


def test_errors_are_one_line() -> None:
    assert CommandError("one\n two").message == "one two"


# Lines for shells and files


VALUES = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=20)


@given(st.dictionaries(st.sampled_from(["A", "B", "IDENTITY_HEADER"]), VALUES))
def test_shell_lines_mean_what_they_say(variables: dict[str, str]) -> None:
    script = "\n".join((*shell_lines(variables), "env -0"))
    ended = subprocess.run(
        ["sh", "-c", script], capture_output=True, check=True, env={"PATH": "/usr/bin:/bin", "MSI_SECRET": "x"}
    )
    seen = dict(entry.decode().split("=", 1) for entry in ended.stdout.rstrip(b"\0").split(b"\0"))
    assert {name: seen[name] for name in variables} == variables
    assert "MSI_SECRET" not in seen


def test_dotenv_lines_quote_only_what_needs_it() -> None:
    assert dotenv_lines({"A": "http://127.0.0.1:80/x", "B": 'a "b" $c \\'}) == [
        "A=http://127.0.0.1:80/x",
        'B="a \\"b\\" \\$c \\\\"',
    ]


HOSTS = st.text(st.sampled_from("ab \n#"), max_size=30)


@given(HOSTS, st.lists(st.sampled_from(["127.0.0.1 a", "127.0.0.1 b"]), max_size=3))
def test_installing_hosts_twice_is_installing_once(existing: str, lines: list[str]) -> None:
    once = with_lines(existing, lines)
    assert with_lines(once, lines) == once
    assert all(line in once.splitlines() for line in lines)
    assert with_lines(once, []).rstrip("\n") == existing.rstrip("\n")


def test_hosts_around_our_block_stay() -> None:
    existing = "1.2.3.4 x\n# idplane: vaults on this machine\n127.0.0.1 old\n# idplane: end\n5.6.7.8 y\n"
    assert with_lines(existing, ["127.0.0.1 new"]) == (
        "1.2.3.4 x\n5.6.7.8 y\n# idplane: vaults on this machine\n127.0.0.1 new\n# idplane: end\n"
    )


def test_claims_are_shown_for_people() -> None:
    assert claim_rows({"oid": "x", "exp": 0, "roles": ["a", "b"], "other": 1}) == [
        ("oid", "principal id", "x"),
        ("exp", "expires", "1970-01-01 00:00:00 UTC"),
        ("roles", "application roles", "a, b"),
        ("other", "", "1"),
    ]


# HTTPS to the plane


class Server:
    """Answers every request with what the test put there."""

    def __init__(self, folder: Path) -> None:
        authority = RunAuthority.create(SystemClock(), SystemEntropy(), domains=["localhost"])
        self.ca_file = folder / "ca.pem"
        self.ca_file.write_bytes(authority.ca_pem)
        self.answers: list[tuple[int, bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = outer.answers.pop(0)
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                if status == 429:
                    self.send_header("retry-after", "0")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.http.socket = tls_context(authority.issue(["localhost"])).wrap_socket(self.http.socket, server_side=True)
        self.url = f"https://localhost:{self.http.server_address[1]}"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    thread = Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (403, b'{"error":{"code":"AuthorizationFailed","message":"The client may not."}}', "The client may not."),
        (401, b'{"error":"invalid_client","error_description":"AADSTS7000215: No.\\r\\nTrace ID: 1"}', "AADSTS7000215: No."),
        (400, b'{"error":"invalid_request"}', "invalid_request"),
        (500, b"{}", "the plane answered 500"),
        (404, b"", "the plane answered 404"),
        (200, b"<html>", "the plane's answer is not JSON"),
        (200, b"[" * 100_000, "the plane's answer is not JSON"),
    ],
)
def test_refusals_are_the_planes_words(server: Server, status: int, body: bytes, words: str) -> None:
    server.answers.append((status, body))
    with pytest.raises(CommandError) as caught:
        PlaneClient(server.ca_file).get(server.url)
    assert caught.value.message == words


def test_what_comes_too_often_is_asked_again_and_not_for_ever(server: Server) -> None:
    throttled = (429, b'{"error":{"code":"TooManyRequests","message":"Too many."}}')
    server.answers += [throttled, throttled, (200, b'{"n": 1}')]
    assert PlaneClient(server.ca_file).get(server.url) == {"n": 1}
    server.answers += [throttled] * 6
    with pytest.raises(CommandError, match="Too many"):
        PlaneClient(server.ca_file).get(server.url)
    assert server.answers == []


def test_pages_are_followed_in_both_spellings(server: Server) -> None:
    for name in ("nextLink", "@odata.nextLink"):
        server.answers.append((200, json.dumps({"value": [{"n": 1}], name: f"{server.url}/2"}).encode()))
        server.answers.append((200, b'{"value": [{"n": 2}]}'))
        assert [item["n"] for item in pages(PlaneClient(server.ca_file), server.url, "t")] == [1, 2]


def test_only_the_installations_authority_is_trusted(server: Server, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(RunAuthority.create(SystemClock(), SystemEntropy()).ca_pem)
    with pytest.raises(CommandError, match="its certificate is not this installation's"):
        PlaneClient(other).get(server.url)


def test_an_authority_file_that_is_none(tmp_path: Path) -> None:
    for content in (None, "", "nonsense"):
        path = tmp_path / "ca.pem"
        if content is not None:
            path.write_text(content)
        with pytest.raises(CommandError, match="can't be read as a certificate authority"):
            PlaneClient(path)


def test_nobody_listening_is_one_sentence(server: Server) -> None:
    with pytest.raises(CommandError, match=r"does not answer: Connection refused"):
        PlaneClient(server.ca_file).get("https://localhost:1/")
