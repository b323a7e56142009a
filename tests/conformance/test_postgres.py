"""The store suite on PostgreSQL, over a cluster of its own made from Debian's package."""

import itertools
import os
from collections.abc import Iterator

import asyncpg
import pytest

from idplane.store.postgres import PostgresStore
from idplane.testing.postgres_cluster import Cluster, binaries, cluster
from idplane.testing.store_conformance import Opener, SharedStoreConformance, StoreConformance
from idplane.testing.worlds import FakeClock

_numbers = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    installed = binaries()
    if installed is None:
        reason = "PostgreSQL's server is not installed (Debian: apt-get install postgresql)"
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    with cluster(installed) as running:
        yield running


@pytest.fixture
async def url(server: Cluster) -> str:
    name = f"t{next(_numbers)}"
    connection = await asyncpg.connect(server.url("postgres"))
    await connection.execute(f"create database {name}")
    await connection.close()
    return server.url(name)


class TestPostgres(StoreConformance, SharedStoreConformance):
    @pytest.fixture
    def opener(self, url: str) -> Opener:
        return lambda: PostgresStore.open(url, clock=FakeClock())
