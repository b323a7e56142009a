"""The state folder: private, one process at a time, and never half of anything, whenever its process is killed."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from idplane.agent.state import AgentState, StateDamaged, StateFolder, StateProblem, load_state
from idplane.bootstrap.world import SystemEntropy
from idplane.jose import new_ec_key
from idplane.keys.certificates import Validity, name_of, new_serial, self_signed

NOW = datetime(2026, 1, 1, tzinfo=UTC)

# Does what renewal does, and kills itself ahead of the n-th call that changes a file.
VICTIM = """
import os, signal, sys
from pathlib import Path
from idplane.agent.state import StateFolder, load_state
folder, successor, fatal = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
calls = 0
def counted(name):
    real = getattr(os, name)
    def call(*arguments, **named):
        global calls
        calls += 1
        if calls == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **named)
    setattr(os, name, call)
opened = StateFolder.open(folder)
opened.load()
state = load_state(successor)
for name in ("open", "write", "fsync", "rename", "close", "unlink"):
    counted(name)
opened.save(state)
print(calls)
"""


def state(agent_id: str = "one") -> AgentState:
    key = new_ec_key()
    validity = Validity.starting(NOW, timedelta(days=1))
    certificate = self_signed(key, name_of(agent_id), validity, new_serial(SystemEntropy()))
    return AgentState(
        agent_id=agent_id,
        tenant_id="t",
        hosts=("/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm",),
        method="token",
        private_key=key,
        certificate=certificate,
        chain=b"chain",
        authority=b"authority",
        not_before=NOW,
        not_after=NOW + timedelta(days=1),
    )


def saved(path: Path, one: AgentState) -> AgentState:
    with StateFolder.open(path) as folder:
        folder.save(one)
    return one


def loaded(path: Path) -> AgentState | None:
    with StateFolder.open(path) as folder:
        return folder.load()


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    kept = saved(tmp_path / "a", state())
    found = loaded(tmp_path / "a")
    assert found is not None
    assert (found.agent_id, found.certificate, found.not_after) == (kept.agent_id, kept.certificate, kept.not_after)
    assert found.private_key.private_numbers() == kept.private_key.private_numbers()


def test_folder_and_file_are_their_owners_only(tmp_path: Path) -> None:
    saved(tmp_path / "a", state())
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700
    assert {stat.S_IMODE(one.stat().st_mode) for one in (tmp_path / "a").iterdir()} == {0o600}


def test_nothing_secret_is_shown(tmp_path: Path) -> None:
    assert "PRIVATE" not in repr(state())
    assert "private_key" not in repr(state())


def test_a_folder_that_others_may_look_into_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o755)
    with pytest.raises(StateProblem, match="chmod 700"):
        StateFolder.open(tmp_path / "a")


def test_a_folder_is_used_by_one_process_at_a_time(tmp_path: Path) -> None:
    with StateFolder.open(tmp_path / "a"), pytest.raises(StateProblem, match=f"process {os.getpid()} is already running"):
        StateFolder.open(tmp_path / "a")
    with StateFolder.open(tmp_path / "a"):
        pass


def test_a_new_folder_holds_no_agent(tmp_path: Path) -> None:
    assert loaded(tmp_path / "a") is None
    assert load_state(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    "change",
    [
        {"privateKey": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"},
        {"certificate": "AAAA"},
        {"certificate": "***"},
        {"form": 2},
        {"notAfter": "yesterday"},
        {"agentId": None},
    ],
)
def test_damage_is_told_in_one_sentence(tmp_path: Path, change: dict[str, object]) -> None:
    saved(tmp_path / "a", state())
    file = tmp_path / "a" / "agent.json"
    file.write_text(json.dumps({**json.loads(file.read_bytes()), **change}))
    with pytest.raises(StateDamaged, match=r"agent.json is damaged: remove it and join again"):
        loaded(tmp_path / "a")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_a_file_that_is_no_state(tmp_path: Path, content: bytes) -> None:
    saved(tmp_path / "a", state())
    (tmp_path / "a" / "agent.json").write_bytes(content)
    with pytest.raises(StateDamaged):
        loaded(tmp_path / "a")


def test_another_agents_key_does_not_fit(tmp_path: Path) -> None:
    saved(tmp_path / "a", state())
    saved(tmp_path / "b", state())
    mine, theirs = (json.loads((tmp_path / name / "agent.json").read_bytes()) for name in ("a", "b"))
    (tmp_path / "a" / "agent.json").write_text(json.dumps({**mine, "privateKey": theirs["privateKey"]}))
    with pytest.raises(StateDamaged):
        loaded(tmp_path / "a")


def test_a_link_in_the_files_place_is_not_followed(tmp_path: Path) -> None:
    saved(tmp_path / "a", state())
    saved(tmp_path / "b", state())
    (tmp_path / "a" / "agent.json").unlink()
    (tmp_path / "a" / "agent.json").symlink_to(tmp_path / "b" / "agent.json")
    with pytest.raises(StateProblem, match="cannot be read"):
        loaded(tmp_path / "a")


def test_what_cannot_be_written_leaves_the_old_state(tmp_path: Path) -> None:
    kept = saved(tmp_path / "a", state())
    with StateFolder.open(tmp_path / "a") as folder:
        (tmp_path / "a" / ".agent.json.new").mkdir()
        with pytest.raises(StateProblem, match="cannot be written"):
            folder.save(state("two"))
    found = load_state(tmp_path / "a")
    assert found is not None
    assert found.certificate == kept.certificate


def _killed(folder: Path, successor: Path, fatal: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", VICTIM, str(folder), str(successor), str(fatal)], capture_output=True, text=True, check=False
    )


def test_whoever_is_killed_leaves_the_old_state_or_the_new_one(tmp_path: Path) -> None:
    new = saved(tmp_path / "successor", state("one"))
    whole = _killed(saved_in(tmp_path / "whole"), tmp_path / "successor", 0)
    calls = int(whole.stdout)
    assert calls >= 6
    seen = set()
    for fatal in range(1, calls + 1):
        folder = tmp_path / str(fatal)
        old = saved(folder, state("one"))
        assert _killed(folder, tmp_path / "successor", fatal).returncode == -signal.SIGKILL
        found = loaded(folder)
        assert found is not None
        assert found.certificate in {old.certificate, new.certificate}
        seen.add(found.certificate == new.certificate)
        assert sorted(one.name for one in folder.iterdir()) == ["agent.json", "lock"]
    assert seen == {False, True}


def saved_in(path: Path) -> Path:
    saved(path, state())
    return path
