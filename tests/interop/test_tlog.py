"""Go's own implementation of signed trees (golang.org/x/mod/sumdb) finds our log sound, and notices when it is not."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.needed import missing

from idplane.audit.checkpoints import read_checkpoint
from idplane.audit.entries import ENTRY_BYTES
from idplane.audit.stored_tree import inclusion_proof
from idplane.bootstrap.log_keeping import LogKeeping
from idplane.bootstrap.world import World
from idplane.model.profile import OPEN
from idplane.ports.collections import SIGN_INS
from idplane.ports.store import Append, Batch
from idplane.testing import store_samples as sample
from idplane.testing.worlds import FakeClock, MemoryCustody, SeededEntropy, memory_store

pytestmark = pytest.mark.wide

PROGRAM = Path(__file__).with_name("tlog")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    go = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin")
    if go is None:
        missing("Go is not installed (Debian: apt-get install golang-go)")
    built = tmp_path_factory.mktemp("tlog") / "tlog"
    subprocess.run([go, "build", "-mod=readonly", "-o", str(built), "."], cwd=PROGRAM, check=True)
    return built


async def _log() -> dict[str, object]:
    clock = FakeClock()
    world = World(clock=clock, entropy=SeededEntropy(), store=await memory_store(clock), custody=MemoryCustody(), profile=OPEN)
    keeping = await LogKeeping.open(world, tenant_id="11111111-1111-4111-8111-111111111111")
    notes = []
    for count in (300, 777):
        for _ in range(count):
            await world.store.commit(Batch.of(Append(log=SIGN_INS, event=sample.sign_in(world.entropy.guid()))))
        await keeping.turn()
        notes.append(keeping.checkpoint or "")
    size, tree = read_checkpoint(notes[1]).size, world.store.tree
    packed = await tree.entries(0, size, ENTRY_BYTES)
    made: dict[str, object] = {
        "Key": keeping.verifiers[0],
        "Earlier": notes[0],
        "Checkpoint": notes[1],
        "Entries": [_text(packed[at : at + ENTRY_BYTES]) for at in range(0, len(packed), ENTRY_BYTES)],
        "Inclusion": [
            {"Index": index, "Hashes": [_text(one) for one in await inclusion_proof(tree, index, size)]}
            for index in (0, 1, 255, 256, 300, 1023, 1024, 1076)
        ],
        "Consistency": [_text(one) for one in await keeping.consistency(300, size)],
    }
    await world.store.close()
    return made


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _said(program: Path, log: dict[str, object]) -> str:
    done = subprocess.run([program], input=json.dumps(log), capture_output=True, text=True, check=False)
    return done.stdout.strip()


async def test_go_finds_it_sound(program: Path) -> None:
    log = await _log()
    assert _said(program, log) == "sound"
    entries = log["Entries"]
    assert isinstance(entries, list)
    assert _said(program, {**log, "Entries": [entries[1], entries[0], *entries[2:]]}) == "another root"
    assert "invalid" in _said(program, {**log, "Checkpoint": str(log["Checkpoint"]).replace("\n1077\n", "\n1078\n")})
    assert _said(program, {**log, "Consistency": [entries[0]]}) != "sound"
