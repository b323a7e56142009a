"""The store suite on SQLite: a file on disk, and the private store that tests use."""

from pathlib import Path

import pytest

from idplane.store.sqlite import SqliteStore
from idplane.testing.store_conformance import Opener, SharedStoreConformance, StoreConformance
from idplane.testing.worlds import FakeClock, memory_store


class TestSqliteFile(StoreConformance, SharedStoreConformance):
    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        return lambda: SqliteStore.open(tmp_path / "store.sqlite", clock=FakeClock())


class TestPrivateSqlite(StoreConformance):
    @pytest.fixture
    def opener(self) -> Opener:
        return memory_store
