"""The log against whoever can write to the SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.attacks.log_attacks import LogAttacks
from tests.attacks.log_world import LogUnderAttack, log_under_attack

from idplane.store.sqlite import SqliteStore
from idplane.testing.worlds import FakeClock


class TestSqlite(LogAttacks):
    @pytest.fixture
    async def attacked(self, tmp_path: Path) -> AsyncIterator[LogUnderAttack]:
        clock = FakeClock()
        store = await SqliteStore.open(tmp_path / "db", clock=clock)
        with closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as connection:
            for (name,) in connection.execute("select name from sqlite_schema where type = 'trigger'").fetchall():
                connection.execute(f"drop trigger {name}")

            async def sql(text: str, *parameters: object) -> Sequence[Any]:
                return connection.execute(text, parameters).fetchall()

            async with log_under_attack(store, clock, sql) as made:
                yield made
        await store.close()
