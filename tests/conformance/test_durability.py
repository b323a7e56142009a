"""Nothing acknowledged is lost: processes that commit are killed at random moments."""

import subprocess
from pathlib import Path

import pytest

from idplane.store.sqlite import SqliteStore
from idplane.testing.store_conformance import committer, verify_acknowledged
from idplane.testing.worlds import FakeClock


@pytest.mark.parametrize("lines", [1, 40, 333])
async def test_what_a_killed_process_acknowledged_is_there(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "store.sqlite"
    with subprocess.Popen(committer(str(path)), stdout=subprocess.PIPE, text=True) as process:  # noqa: ASYNC220 - nothing else to do meanwhile
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        told += process.stdout.readlines()
    store = await SqliteStore.open(path, clock=FakeClock())
    await verify_acknowledged(store, [line.strip() for line in told if line.endswith("\n")])
    await store.close()
