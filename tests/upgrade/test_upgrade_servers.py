"""Servers of two versions over one database: rolled forwards and back under load, and each hears of what the other one writes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest
from tests.needed import postgres
from tests.servers.server_world import Installation, psql
from tests.upgrade.agents_world import claims, until
from tests.upgrade.programs import TODAY, Earlier, Program, declared

from idplane.testing.postgres_cluster import Cluster
from idplane.testing.versions import version_for

pytestmark = pytest.mark.wide

REVOKE = "/providers/Idplane.Authority/revokeTokens"
KEYS = "/providers/Idplane.Security/keys"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with postgres() as running:
        yield running


@pytest.fixture
def servers(cluster: Cluster, tmp_path: Path) -> Iterator[Installation]:
    made = Installation.create(tmp_path, cluster)
    made.replica = "notice_seconds = 0\ndrain_seconds = 10\nlease_seconds = 3"
    yield made
    made.stop_all()


class Way:
    """The owner's requests to one server, over a connection of its own."""

    def __init__(self, servers: Installation, name: str) -> None:
        self._client = servers.client(servers.ports[name])
        plane = self._client.plane
        self.group = f"/subscriptions/{plane['subscription_id']}/resourceGroups/rolling"

    def token(self) -> str:
        status, answer = self._client.token()
        assert status == 200, answer
        return str(answer["access_token"])

    def ask(self, method: str, path: str, body: Any = None, *, token: str | None = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token or self.token()}"}
        version = "2026-11-01" if "/Idplane." in path else version_for(path)
        return self._client.ask(method, f"{path}?api-version={version}", document=body, headers=headers)

    def refuses(self, token: str) -> bool:
        return self.ask("GET", self.group, token=token)[0] == 401

    def close(self) -> None:
        self._client.close()

    def machine(self, name: str) -> str:
        return f"{self.group}/providers/Microsoft.Compute/virtualMachines/{name}"

    def put(self, name: str) -> str:
        """A machine with an identity; the identity's id."""
        body = {"location": "westeurope", "identity": {"type": "SystemAssigned"}, "properties": {}}
        status, answer = self.ask("PUT", self.machine(name), body)
        assert status in {200, 201}, answer
        return str(answer["identity"]["principalId"])


@contextmanager
def ways(servers: Installation, *names: str) -> Iterator[list[Way]]:
    """To each of these servers."""
    with ExitStack() as stack:
        made = [Way(servers, name) for name in names]
        for one in made:
            stack.callback(one.close)
        yield made


class Load:
    """Tokens and reads from one server without end; what went wrong."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self.answered = 0
        self.failed: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        try:
            while not self._ended.is_set():
                status, answer = self._way.ask("GET", self._way.group)
                assert status == 200, answer
                self.answered += 1
        except (OSError, AssertionError) as error:
            self.failed.append(f"{type(error).__name__}: {error}")


def use(servers: Installation, name: str, program: Program) -> None:
    """From its next start on, the server is this version."""
    servers.programs[name] = (program.command, program.environment)


def check_both_ways(servers: Installation, name: str) -> None:
    """Whatever a server writes, the other one knows: resources, tokens, deletions."""
    with ways(servers, "one", "two") as (one, two):
        for number, (writer, reader) in enumerate(((one, two), (two, one))):
            check_heard(writer, reader, f"{name}{number}")


def check_heard(writer: Way, reader: Way, name: str) -> None:
    principal = writer.put(name)
    status, answer = reader.ask("GET", reader.machine(name))
    assert (status, answer["identity"]["principalId"]) == (200, principal)
    assert reader.ask("GET", reader.group, token=writer.token())[0] == 200
    status, answer = reader.ask("PATCH", reader.machine(name), {"tags": {"by": "the other"}})
    assert status in {200, 202}, answer
    assert writer.ask("GET", writer.machine(name))[1]["tags"] == {"by": "the other"}
    assert reader.ask("DELETE", reader.machine(name))[0] in {200, 202, 204}
    until(lambda: writer.ask("GET", writer.machine(name))[0] == 404, "a deletion is heard of")


def schema(servers: Installation, cluster: Cluster) -> set[int]:
    database = servers.url.partition("?")[0].rpartition("/")[2]
    return set(map(int, psql(cluster, database, "select version from schema_version").split()))


def verified(servers: Installation, program: Program, name: str) -> int:
    """How many records the log's tree holds, all as they were."""
    shown = program.run("log", "verify", "--config", str(servers.config(name)), "--json", check=False)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    return int(json.loads(shown.stdout)["size"])


@pytest.mark.parametrize("name", declared("servers"))
def test_rolled_forwards_and_back(earlier: Earlier, servers: Installation, cluster: Cluster, name: str) -> None:
    old = earlier(name)
    for one in ("one", "two"):
        use(servers, one, old)
    servers.start("one")
    servers.operator()
    with ways(servers, "one") as [first]:
        assert first.ask("PUT", first.group, {"location": "westeurope"})[0] == 201
        kept = first.put("kept")
    before = schema(servers, cluster)

    # The second server is today's: it migrates while the first goes on.
    use(servers, "two", TODAY)
    with ways(servers, "one") as [way], Load(way) as load:
        servers.start("two")
        assert before <= schema(servers, cluster)
        check_both_ways(servers, "mixed")
    assert load.failed == []
    assert load.answered > 0
    check_revocations(servers)

    # Within one version the old one may start on what the new one has migrated.
    assert servers.stop("one") == 0
    servers.start("one")
    check_both_ways(servers, "again")

    # Forwards: everything is today's, with the settings that the old one had.
    assert servers.stop("one") == 0
    use(servers, "one", TODAY)
    servers.start("one")
    check_both_ways(servers, "new")
    written = verified(servers, TODAY, "one")

    # And back.
    for one in ("one", "two"):
        assert servers.stop(one) == 0
        use(servers, one, old)
        servers.start(one)
    check_both_ways(servers, "old")
    with ways(servers, "two") as [last]:
        assert last.ask("GET", last.machine("kept"))[1]["identity"]["principalId"] == kept
    for one in ("one", "two"):
        assert servers.stop(one) == 0
    for program in (old, TODAY):
        assert verified(servers, program, "one") >= written
    TODAY.run("admin", "check", "--config", str(servers.config("one")))
    assert servers.logs() == ""


def check_revocations(servers: Installation) -> None:
    """Tokens that one version has revoked are worth nothing at the other, whichever issued them."""
    with ways(servers, "one", "two") as (one, two):
        for writer, reader in ((one, two), (two, one)):
            tokens = [way.token() for way in (one, two)]
            assert writer.ask("POST", REVOKE, {"principalId": claims(tokens[0])["oid"]})[0] < 300
            for token in tokens:
                until(partial(reader.refuses, token), "a revocation is heard of")
            assert reader.ask("GET", reader.group)[0] == 200


@pytest.mark.parametrize("name", declared("servers"))
def test_keys_are_moved_by_hand_beside_an_older_server(servers: Installation, earlier: Earlier, name: str) -> None:
    use(servers, "two", earlier(name))
    servers.start("two")
    servers.start("one")
    with ways(servers, "one", "two") as (one, two):
        one.ask("PUT", one.group, {"location": "westeurope"})
        for number, (purpose, word) in enumerate(
            (("log", "rotate"), ("token", "rotate"), ("log", "rotate"), ("tls-authority", "rotate"))
        ):
            before = signing(one, purpose)
            status, answer = one.ask("POST", f"{KEYS}/{before}/{word}", {})
            assert status == 200, answer
            check_heard(one, two, f"by-{number}")
            check_heard(two, one, f"back-{number}")
            # The older server knows nothing of a key that waits, takes it for one of a wrong clock, and so lets it sign.
            until(partial(others_sign, one, purpose, before), "another key signs")
    assert verified(servers, TODAY, "one") > 0
    assert "cannot be trusted" not in servers.logs()


def signing(way: Way, purpose: str) -> str:
    """The key that signs for a purpose."""
    found = way.ask("GET", KEYS)[1]["value"]
    return next(str(one["name"]) for one in found if one["properties"]["purpose"] == purpose and one["properties"]["signs"])


def others_sign(way: Way, purpose: str, key: str) -> bool:
    """Whether the key does not sign any more."""
    return signing(way, purpose) != key
