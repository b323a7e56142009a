"""Servers behind a balancer come and go, and no client notices."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from azure.core.exceptions import AzureError
from azure.identity import CertificateCredential
from tests.needed import postgres
from tests.servers.server_world import Installation, balancer

from idplane.testing.postgres_cluster import Cluster

pytestmark = pytest.mark.wide


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with postgres() as running:
        yield running


@pytest.fixture
def servers(cluster: Cluster, tmp_path: Path) -> Iterator[Installation]:
    made = Installation.create(tmp_path, cluster)
    yield made
    made.stop_all()


class _Load:
    """Clients that ask without end and never twice; what they met."""

    def __init__(self, servers: Installation) -> None:
        self._servers = servers
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._guarded, args=(one,)) for one in (self._keep, self._keep, self._anew, self._sdk)
        ]
        self.answered = 0
        self.told_to_close = 0
        self.failed: list[str] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, more: int) -> None:
        until = self.answered + more
        while self.answered < until and not self.failed:
            self._ended.wait(0.02)

    def _guarded(self, work: object) -> None:
        try:
            assert callable(work)
            work()
        except (OSError, AzureError, AssertionError) as error:
            self.failed.append(f"{type(error).__name__}: {error}")

    def _keep(self) -> None:
        client = self._servers.client()
        while not self._ended.is_set():
            status, answer = client.token()
            assert status == 200, answer
            self.answered += 1
        self.told_to_close += client.closed
        client.close()

    def _anew(self) -> None:
        token = None
        while not self._ended.is_set():
            client = self._servers.client()
            if token is None:
                token = client.token()[1]["access_token"]
            path = "/subscriptions?api-version=2022-12-01"
            status, answer = client.ask("GET", path, headers={"Authorization": f"Bearer {token}"})
            assert status == 200, answer
            client.close()
            self.answered += 1

    def _sdk(self) -> None:
        folder = self._servers.operator()
        plane = self._servers.client().plane
        while not self._ended.is_set():
            credential = CertificateCredential(
                plane["tenant_id"],
                plane["operator_client_id"],
                str(folder / "operator.pem"),
                authority=plane["authority"],
                disable_instance_discovery=True,
                connection_verify=str(folder / "ca.pem"),
                retry_total=0,
            )
            with credential:
                for resource in ("https://management.azure.com", "https://graph.microsoft.com"):
                    assert credential.get_token(f"{resource}/.default").token
                    self.answered += 1


def test_restarting_each_server_in_turn_fails_no_request(servers: Installation, tmp_path: Path) -> None:
    servers.start("one", "two")
    servers.operator()
    with balancer(tmp_path, servers, "one", "two"), _Load(servers) as load:
        for name in ("one", "two", "one"):
            load.wait_for(30)
            assert servers.stop(name) == 0
            load.wait_for(30)
            servers.start(name)
        load.wait_for(30)
    assert load.failed == []
    assert load.told_to_close > 0
    assert servers.logs() == ""


def test_a_server_takes_over_from_another_at_the_same_address(servers: Installation) -> None:
    """Without a balancer: the next process listens before the one before it ends."""
    servers.ports |= {"one": servers.public_port, "two": servers.public_port}
    servers.start("one")
    servers.operator()
    with _Load(servers) as load:
        load.wait_for(30)
        servers.start("two")
        assert servers.stop("one") == 0
        load.wait_for(100)
    assert load.failed == []
    assert (servers.folder / "two" / "plane.json").exists()
    assert not (servers.folder / "one" / "plane.json").exists()
