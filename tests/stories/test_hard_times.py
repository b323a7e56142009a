"""Hard times: one clear sentence, a failing exit code, and nothing lost. Real processes throughout."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
from tests.stories.planes import IDPLANE, Up, send

pytestmark = pytest.mark.wide

# Root may write anywhere, unless it gives up what makes it root.
WITHOUT_PRIVILEGES = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
GROUPS = "/subscriptions/{subscription}/resourceGroups"


def sentence_of(ended: subprocess.CompletedProcess[str], *, code: int = 1) -> str:
    """What a command that failed said: one line, for a person, and nothing of the inside."""
    assert ended.returncode == code, ended
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    (line,) = ended.stderr.strip().splitlines()
    assert line.startswith("idplane: ")
    return line


def start(data: Path | str, *options: str, prefix: tuple[str, ...] = (), **given: Any) -> subprocess.CompletedProcess[str]:
    """`idplane up` that is expected to end by itself."""
    port = () if "--port" in options else ("--port", "0")
    arguments = [*prefix, *IDPLANE, "up", "--data", str(data), *port, *options]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=30, check=False, **given)


def put_group(up: Up, name: str) -> tuple[int, Any]:
    path = GROUPS.format(subscription=up.info["subscription_id"])
    return up.arm("PUT", f"{path}/{name}?api-version=2024-11-01", {"location": "westeurope"})


def groups(up: Up) -> set[str]:
    path = GROUPS.format(subscription=up.info["subscription_id"])
    status, body = up.arm("GET", f"{path}?api-version=2024-11-01")
    assert status == 200
    return {group["name"] for group in body["value"]}


# The port ---------------------------------------------------------------------------------------------------------------


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = sentence_of(start(tmp_path / "data", "--port", str(port)))
    assert said == f"idplane: port {port} is taken by another program: stop it, or choose another with --port"


@pytest.mark.parametrize("port", ["-1", "65536", "http", "8443.5", ""])
def test_a_port_that_is_none(tmp_path: Path, port: str) -> None:
    ended = start(tmp_path / "data", "--port", port)
    assert ended.returncode == 2
    assert "Invalid value for '--port'" in ended.stderr
    assert not (tmp_path / "data").exists()


# The data folder --------------------------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_made_or_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "is a file: name a folder" in sentence_of(start(tmp_path / "file"))
    assert "cannot be created: not a directory" in sentence_of(start(tmp_path / "file" / "data"))
    assert "cannot be created" in sentence_of(start("/proc/data"))
    assert "cannot be created: file name too long" in sentence_of(start(tmp_path / ("a" * 300)))


def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    assert "closed is not writable: permission denied" in sentence_of(start(tmp_path / "closed", prefix=WITHOUT_PRIVILEGES))
    assert "cannot be created: permission denied" in sentence_of(start(tmp_path / "closed" / "data", prefix=WITHOUT_PRIVILEGES))


def test_a_folder_that_everybody_may_write_to(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(0o777)
    assert "make it private with chmod 700" in sentence_of(start(tmp_path / "data"))


def test_an_empty_folder_name_does_not_mean_this_folder(tmp_path: Path) -> None:
    """An unset variable in a script."""
    ended = start("", cwd=tmp_path)
    assert ended.returncode == 2
    assert "the folder's name is empty" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_second_process_on_the_folder(up: Up) -> None:
    said = sentence_of(start(up.data))
    assert f"process {up.process.pid} is already running on the data folder {up.data}" in said
    assert put_group(up, "unharmed")[0] == 201


def test_a_path_beyond_what_sockets_can_be_called(start_up: Callable[..., Up], tmp_path: Path) -> None:
    up = start_up(tmp_path / ("a" * 200) / ("b" * 200))
    ended = up.cli("status", "--json")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["ready"] is True
    assert put_group(up, "there")[0] == 201
    machine = f"{GROUPS.format(subscription=up.info['subscription_id'])}/there/providers/Microsoft.Compute/virtualMachines/vm"
    assert (
        up.arm("PUT", f"{machine}?api-version=2024-11-01", {"location": "westeurope", "identity": {"type": "SystemAssigned"}})[
            0
        ]
        == 201
    )
    token = up.cli("token", "--as", "vm", "--resource", "https://vault.azure.net", "--json")  # through the control socket
    assert token.returncode == 0, token.stderr


# What kill -9 leaves behind ---------------------------------------------------------------------------------------------


def test_leftovers_of_a_killed_process_mislead_nobody(start_up: Callable[..., Up], tmp_path: Path) -> None:
    data = tmp_path / "data"
    first = start_up(data)
    assert put_group(first, "kept")[0] == 201
    first.kill()
    assert {"plane.json", "control.sock"} <= {one.name for one in data.iterdir()}

    status = first.cli("status", "--json")
    assert status.returncode == 3
    assert json.loads(status.stdout)["ready"] is False
    assert "does not answer" in sentence_of(first.cli("token", "--operator", "--resource", "https://management.azure.com"))
    assert "no plane" in sentence_of(first.cli("token", "--as", "vm", "--resource", "https://vault.azure.net"))

    second = start_up(data)
    assert "kept" in groups(second)
    assert json.loads(second.cli("status", "--json").stdout)["pid"] == second.process.pid
    assert second.stop() == 0
    assert not {"plane.json", "control.sock"} & {one.name for one in data.iterdir()}


def test_a_stranger_on_the_port_of_a_plane_that_is_gone_is_not_trusted(start_up: Callable[..., Up], tmp_path: Path) -> None:
    first, other = start_up(tmp_path / "data"), start_up(tmp_path / "other")
    first.kill()
    described = json.loads((first.data / "plane.json").read_text())
    moved = json.dumps(described).replace(f":{first.info['port']}", f":{other.info['port']}")
    (first.data / "plane.json").write_text(moved)
    said = sentence_of(first.cli("token", "--operator", "--resource", "https://management.azure.com"))
    assert "its certificate is not this installation's" in said


# Damaged files ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a plane that was stopped, to copy from."""
    up = Up(tmp_path_factory.mktemp("installation") / "data")
    assert put_group(up, "kept")[0] == 201
    assert up.stop() == 0
    return up.data


@pytest.fixture
def damaged(installation: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(installation, tmp_path / "data"))


def overwrite(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "overwritten": (lambda path: path.write_bytes(b"hello " * 20_000), "not a database, or damaged: restore it from a backup"),
    "head overwritten": (lambda path: overwrite(path, 0, b"XXXX"), "not a database, or damaged: restore it from a backup"),
    "middle overwritten": (lambda path: overwrite(path, 4096, b"\xa5" * 100_000), "damaged: restore it from a backup"),
    "cut": (lambda path: os.truncate(path, 20_000), "damaged: restore it from a backup"),
    "its end cut": (lambda path: os.truncate(path, path.stat().st_size - 4096), "damaged: restore it from a backup"),
    "empty": (lambda path: os.truncate(path, 0), "is empty, but there is a key file of an earlier one"),
    "gone": (lambda path: path.unlink(), "is empty, but there is a key file of an earlier one"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_database(damaged: Path, installation: Path, case: str) -> None:
    damage, words = DAMAGE[case]
    database = damaged / "idplane.sqlite"
    damage(database)
    said = sentence_of(start(damaged))
    assert words in said
    assert str(database) in said
    # As the sentence says: with the backup all is well again.
    shutil.copy(installation / "idplane.sqlite", database)
    back = Up(damaged)
    assert "kept" in groups(back)
    assert back.stop() == 0


def test_a_database_of_a_newer_version(damaged: Path) -> None:
    with closing(sqlite3.connect(damaged / "idplane.sqlite")) as database, database:
        database.execute("insert into schema_version (version, name, applied_at) values (9999, 'future', '2050-01-01')")
    said = sentence_of(start(damaged))
    assert "was written by a newer idplane (its schema is 9999" in said
    assert "use the newer one" in said


def test_a_database_that_another_program_holds(damaged: Path) -> None:
    with closing(sqlite3.connect(damaged / "idplane.sqlite", isolation_level=None)) as database:
        database.execute("pragma locking_mode = exclusive")
        database.execute("begin exclusive")
        assert "another program keeps it locked" in sentence_of(start(damaged))


def test_a_key_file_that_is_missing(damaged: Path, installation: Path) -> None:
    (damaged / "custody.key").unlink()
    said = sentence_of(start(damaged))
    assert "custody.key is missing, and the database cannot be read without it: restore it from a backup" in said
    assert not (damaged / "custody.key").exists()  # no new one takes its place
    shutil.copy(installation / "custody.key", damaged)
    back = Up(damaged)
    assert "kept" in groups(back)
    assert back.stop() == 0


def test_a_key_file_of_another_installation(damaged: Path, tmp_path: Path) -> None:
    other = Up(tmp_path / "other")
    assert other.stop() == 0
    shutil.copy(tmp_path / "other" / "custody.key", damaged / "custody.key")
    assert "custody.key does not belong to the database" in sentence_of(start(damaged))


def test_a_key_file_that_is_damaged_or_exposed(damaged: Path) -> None:
    key = damaged / "custody.key"
    key.chmod(0o644)
    assert "make it private with chmod 600" in sentence_of(start(damaged))
    key.chmod(0o600)
    for content in (b"", b"hello", key.read_bytes()[:-10], b"\0" * 100):
        key.write_bytes(content)
        assert "custody.key is damaged: restore it from a backup" in sentence_of(start(damaged))
    key.unlink()
    key.mkdir()
    assert "custody.key cannot be used: is a directory" in sentence_of(start(damaged))


@pytest.mark.parametrize("name", ["operator.pem", "ca.pem", "plane.json", "control.sock"])
def test_a_folder_in_place_of_a_file(damaged: Path, name: str) -> None:
    (damaged / name).unlink(missing_ok=True)
    (damaged / name).mkdir()
    said = sentence_of(start(damaged))
    assert name in said
    assert "is a directory" in said.lower()


def test_an_operators_key_that_is_damaged_is_made_anew(damaged: Path) -> None:
    old = (damaged / "operator.pem").read_bytes()
    (damaged / "operator.pem").write_bytes(old[:500])
    up = Up(damaged)
    assert "kept" in groups(up)
    assert (damaged / "operator.pem").read_bytes() != old
    assert (damaged / "operator.pem").stat().st_mode & 0o077 == 0
    assert up.stop() == 0


# Stopping ---------------------------------------------------------------------------------------------------------------


def test_requests_under_way_are_finished_when_the_plane_is_told_to_stop(start_up: Callable[..., Up], tmp_path: Path) -> None:
    up = start_up(tmp_path / "data")
    token = up.operator_token("https://management.azure.com")
    path = GROUPS.format(subscription=up.info["subscription_id"])
    acknowledged: list[str] = []
    begun = threading.Barrier(5)

    def write(worker: int) -> None:
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        with closing(up.connect()) as connection:
            for number in range(10_000):
                name = f"g{worker}-{number}"
                try:
                    status, _ = send(
                        connection, "PUT", f"{path}/{name}?api-version=2024-11-01", '{"location": "westeurope"}', headers
                    )
                except (
                    OSError,
                    HTTPException,
                ):  # closed between two requests, or in the middle of one that nobody acknowledged
                    return
                if status != 201:
                    return
                acknowledged.append(name)
                if number == 5:
                    begun.wait()

    workers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    begun.wait()
    asked = time.monotonic()
    assert up.stop() == 0
    assert time.monotonic() - asked < 15
    for worker in workers:
        worker.join()
    assert len(acknowledged) >= 24
    assert set(acknowledged) <= groups(start_up(tmp_path / "data"))


def wait_until_refused(port: int) -> None:
    for _ in range(10_000):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except ConnectionRefusedError:
            return
    raise AssertionError("the plane goes on accepting")


def test_an_answer_that_was_begun_by_a_slow_request_still_arrives(up: Up) -> None:
    """A body that is still on its way when the plane is told to stop."""
    context = ssl.create_default_context(cafile=up.info["ca_file"])
    body = b"grant_type=client_credentials&client_id=x&client_secret=y"
    head = (
        f"POST /{up.info['tenant_id']}/oauth2/v2.0/token HTTP/1.1\r\nHost: localhost:{up.info['port']}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    with (
        socket.create_connection(("127.0.0.1", up.info["port"]), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(head + body[:10])
        assert up.cli("status", "--json").returncode == 0  # by now the head was read
        up.process.send_signal(signal.SIGTERM)
        wait_until_refused(up.info["port"])
        connection.sendall(body[10:])
        assert connection.recv(65536).startswith(b"HTTP/1.1 40")
    assert up.process.wait(timeout=30) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_first_moment_ends_in_good_order(
    start_up: Callable[..., Up], tmp_path: Path, number: signal.Signals
) -> None:
    for _ in range(5):
        up = start_up(tmp_path / "data")
        up.process.send_signal(number)
        assert up.process.wait(timeout=30) == 0
        assert not {"plane.json", "control.sock"} & {one.name for one in up.data.iterdir()}
