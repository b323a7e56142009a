"""`idplane server` as a process: what it needs, what it refuses, and what it keeps to itself."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from tests.needed import postgres
from tests.servers.server_world import IDPLANE, Installation, free_port, psql

from idplane.testing.postgres_cluster import Cluster

pytestmark = pytest.mark.wide

_T = TypeVar("_T")
_PASSWORD = "correct-horse-battery-staple"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with postgres() as running:
        yield running


@pytest.fixture
def servers(cluster: Cluster, tmp_path: Path) -> Iterator[Installation]:
    made = Installation.create(tmp_path, cluster)
    yield made
    made.stop_all()


def _refused(servers: Installation, name: str = "one") -> str:
    """What a server that does not start says."""
    process = servers.launch(name)
    assert process.wait(60) == 1
    assert process.communicate()[0] == ""
    del servers.processes[name]
    log = servers.folder / f"{name}.log"
    said = log.read_text()
    log.unlink()
    assert said.startswith("idplane: ")
    assert said.count("\n") == 1, said
    return said


class TestStarting:
    def test_many_start_at_once_on_an_empty_database(self, servers: Installation) -> None:
        servers.start("one", "two", "three")
        planes = [json.loads((servers.folder / name / "plane.json").read_text()) for name in ("one", "two", "three")]
        assert len({one["tenant_id"] for one in planes}) == 1
        assert len({(servers.folder / name / "ca.pem").read_text() for name in ("one", "two", "three")}) == 1
        for name in ("one", "two", "three"):
            client = servers.client(servers.ports[name])
            assert client.token()[0] == 200
            client.close()
        assert servers.logs() == ""

    def test_it_makes_no_operator_s_key(self, servers: Installation) -> None:
        servers.start("one")
        names = {path.name for path in (servers.folder / "one").iterdir()}
        assert {"ca.pem", "plane.json"} <= names
        assert not any("operator" in name for name in names)

    def test_a_token_of_one_is_good_at_another_and_what_one_deletes_is_gone_at_the_other(self, servers: Installation) -> None:
        servers.start("one", "two")
        one, two = (servers.client(servers.ports[name]) for name in ("one", "two"))
        token = one.token()[1]["access_token"]
        group = f"/subscriptions/{one.plane['subscription_id']}/resourceGroups/shop?api-version=2024-11-01"
        headers = {"Authorization": f"Bearer {token}"}
        assert two.ask("GET", group, headers=headers)[0] == 404
        path = f"/{one.plane['tenant_id']}/discovery/v2.0/keys"
        assert one.ask("GET", path)[1] == two.ask("GET", path)[1]
        one.close()
        two.close()

    def test_it_shows_the_certificate_that_it_was_given(self, servers: Installation) -> None:
        _certified(servers.folder, "ca", "server")
        (servers.folder / "server.key").chmod(0o600)
        servers.more = '[tls]\ncertificate = "server.pem"\nkey = "server.key"\nauthority = "ca.pem"'
        servers.start("one")
        assert (servers.folder / "one" / "ca.pem").read_bytes() == (servers.folder / "ca.pem").read_bytes()
        client = servers.client(servers.ports["one"])
        assert client.token()[0] == 200
        client.close()

    def test_nothing_secret_is_in_arguments_environment_or_output(self, servers: Installation, cluster: Cluster) -> None:
        database = servers.url.partition("?")[0].rpartition("/")[2]
        psql(cluster, "postgres", f"create role keeper login superuser password '{_PASSWORD}'")
        secret = servers.folder / "url"
        secret.write_text(f"postgresql://keeper:{_PASSWORD}@/{database}?host={cluster.folder}\n")
        secret.chmod(0o600)
        path = servers.config("one")
        path.write_text(path.read_text().replace(f'url = "{servers.url}"', 'url_file = "url"'))
        command = [*IDPLANE, "server", "--config", str(path), "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert json.loads(said)["ready"] is True
            for member in ("cmdline", "environ"):
                assert _PASSWORD.encode() not in Path(f"/proc/{process.pid}/{member}").read_bytes()
            process.send_signal(signal.SIGTERM)
            out, errors = process.communicate(timeout=60)
        assert _PASSWORD not in said + out + errors


class TestRefusals:
    def test_no_database(self, servers: Installation) -> None:
        servers.url = "postgresql://idplane@127.0.0.1:1/x"
        assert "the database cannot be used" in _refused(servers)

    def test_a_database_of_a_newer_program(self, servers: Installation, cluster: Cluster) -> None:
        servers.start("one")
        servers.stop("one")
        database = servers.url.partition("?")[0].rpartition("/")[2]
        psql(cluster, database, "insert into schema_version values (9999, 'later', '', 9999)")
        assert "newer idplane (its schema is 9999" in _refused(servers)

    def test_a_key_file_that_is_missing_or_another_one(self, servers: Installation) -> None:
        servers.start("one")
        servers.stop("one")
        key = servers.folder / "custody.key"
        kept = key.rename(servers.folder / "kept")
        assert "key" in _refused(servers)
        assert not key.exists()
        kept.rename(key)
        servers.start("one")
        assert servers.stop("one") == 0

    def test_a_port_that_another_program_has(self, servers: Installation) -> None:
        import socket  # noqa: PLC0415 - for this test only

        with socket.create_server(("127.0.0.1", 0)) as taken:
            servers.ports["one"] = taken.getsockname()[1]
            assert f"port {servers.ports['one']} is taken by another program" in _refused(servers)

    def test_a_listener_s_key_that_everybody_may_read(self, servers: Installation) -> None:
        for name in ("server.pem", "server.key"):
            (servers.folder / name).write_text("x")
            (servers.folder / name).chmod(0o644)
        servers.more = '[tls]\ncertificate = "server.pem"\nkey = "server.key"\nauthority = "server.pem"'
        assert "everybody may read" in _refused(servers)
        (servers.folder / "server.key").chmod(0o600)
        assert "not PEM" in _refused(servers)

    def test_an_operator_s_folder_that_is_there_already(self, servers: Installation) -> None:
        servers.start("one")
        out = servers.operator()
        before = (out / "operator.pem").read_bytes()
        command = [*IDPLANE, "admin", "operator", "--config", str(servers.config("one")), "--out", str(out)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "exists" in done.stderr
        assert (out / "operator.pem").read_bytes() == before


class TestOperators:
    def test_each_has_a_key_of_its_own_until_one_replaces_them(self, servers: Installation) -> None:
        servers.ports["one"] = servers.public_port
        servers.start("one")
        first = servers.operator().rename(servers.folder / "first")
        second = servers.operator().rename(servers.folder / "second")
        assert _token(first) == _token(second) == 0
        command = [*IDPLANE, "admin", "operator", "--config", str(servers.config("one")), "--replace", "--out"]
        subprocess.run([*command, str(servers.folder / "third")], check=True, capture_output=True)
        assert [_token(servers.folder / name) for name in ("first", "second", "third")] == [1, 1, 0]


def _token(folder: Path) -> int:
    command = [*IDPLANE, "token", "--operator", "--resource", "https://management.azure.com", "--data", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode


class TestLeases:
    def test_a_frozen_holder_is_followed_and_does_no_harm_when_it_wakes(self, servers: Installation, cluster: Cluster) -> None:
        servers.replica = "lease_seconds = 3\nnotice_seconds = 0"
        database = servers.url.partition("?")[0].rpartition("/")[2]

        def holders() -> set[str]:
            return set(psql(cluster, database, "select doc::json ->> 'holder' from leases").split())

        servers.start("one")
        first = _until(holders)
        servers.start("two")
        servers.processes["one"].send_signal(signal.SIGSTOP)
        second = _until(lambda: holders() - first)
        servers.processes["one"].send_signal(signal.SIGCONT)
        client = servers.client(servers.ports["one"])
        _until(lambda: client.token()[0] == 200)
        client.close()
        assert holders() == second
        assert servers.stop("two") == 0
        _until(lambda: holders() == first)
        assert servers.logs() == ""


def _until(condition: Callable[[], _T]) -> _T:
    for _ in range(600):
        if found := condition():
            return found
        threading.Event().wait(0.05)
    pytest.fail("it never came to that")


class TestTlsToTheDatabase:
    @pytest.fixture
    def secured(self, tmp_path: Path) -> Iterator[Cluster]:
        """A cluster that takes TLS only, with a certificate for `localhost`, and asks for a password."""
        _certified(tmp_path, "ca", "server")
        with postgres() as running:
            for name in ("server.pem", "server.key"):
                shutil.copy(tmp_path / name, running.folder / name)
                (running.folder / name).chmod(0o600)
                if os.geteuid() == 0:
                    shutil.chown(running.folder / name, "postgres")
            psql(running, "postgres", f"alter role idplane password '{_PASSWORD}'")
            hba = running.folder / "data" / "pg_hba.conf"
            hba.write_text("local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n")
            port = free_port()
            more = f"-c listen_addresses=localhost -c port={port} -c ssl=on -c ssl_cert_file={running.folder}/server.pem "
            secured = Cluster(
                folder=running.folder,
                binaries=running.binaries,
                settings=f"{more} -c ssl_key_file={running.folder}/server.key -c fsync=off",
            )
            running.stop()
            _start_listening(secured)
            (tmp_path / "pgpass").write_text(f"*:*:*:*:{_PASSWORD}\n")
            (tmp_path / "pgpass").chmod(0o600)
            (tmp_path / "port").write_text(str(port))
            yield secured

    def test_with_the_right_authority_and_only_with_it(self, secured: Cluster, tmp_path: Path) -> None:
        del secured
        port = int((tmp_path / "port").read_text())
        servers = Installation(folder=tmp_path, url=f"postgresql://idplane@localhost:{port}/postgres", public_port=free_port())
        path = servers.config("one")
        plain = path.read_text()
        secure = 'passfile = "pgpass"\nsslmode = "verify-full"\nroot_certificate = "ca.pem"\n[custody]'
        try:
            servers.more = ""
            path.write_text(plain.replace("[custody]", secure))
            with subprocess.Popen(_command(path), stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                assert json.loads(process.stdout.readline())["ready"] is True
                process.send_signal(signal.SIGTERM)
            _openssl(tmp_path, "req", "-x509", "-key", "ca.key", "-subj", "/CN=another", "-days", "2", "-out", "other.pem")
            for wrong in (
                secure.replace("ca.pem", "other.pem"),
                secure.replace("verify-full", "disable").replace('root_certificate = "ca.pem"\n', ""),
                secure.replace('passfile = "pgpass"\n', ""),
            ):
                path.write_text(plain.replace("[custody]", wrong))
                done = subprocess.run(_command(path), capture_output=True, text=True, check=False, env=_without_password())
                assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
                assert "the database cannot be used" in done.stderr
                assert _PASSWORD not in done.stderr
        finally:
            servers.stop_all()


def _command(config: Path) -> list[str]:
    return [*IDPLANE, "server", "--config", str(config), "--json"]


def _without_password() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"HOME": "/nonexistent"}


def _certified(folder: Path, ca: str, server: str) -> None:
    """An authority, and a certificate of it for `localhost`."""
    for name in (ca, server):
        _openssl(folder, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")
    _openssl(folder, "req", "-x509", "-key", f"{ca}.key", "-subj", "/CN=an authority", "-days", "2", "-out", f"{ca}.pem")
    _openssl(folder, "req", "-new", "-key", f"{server}.key", "-subj", "/CN=localhost", "-out", f"{server}.csr")
    (folder / "san").write_text("subjectAltName=DNS:localhost")
    sign = ("x509", "-req", "-in", f"{server}.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-CAcreateserial", "-days", "2")
    _openssl(folder, *sign, "-extfile", "san", "-out", f"{server}.pem")


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def _start_listening(cluster: Cluster) -> None:
    options = f"-k {cluster.folder} {cluster.settings}"
    command = [
        str(cluster.binaries / "pg_ctl"),
        "-D",
        str(cluster.folder / "data"),
        "-w",
        "start",
        "-l",
        f"{cluster.folder}/log",
    ]
    subprocess.run([*command, "-o", options], check=True, stdout=subprocess.DEVNULL, cwd="/", user=_owner())


def _owner() -> int | None:
    import pwd  # noqa: PLC0415 - only where the tests run as root

    return pwd.getpwnam("postgres").pw_uid if os.geteuid() == 0 else None
