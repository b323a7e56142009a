"""Arc's key file: shown in every wrong way, replaced by every other file, and read by whom it is not for. Real runs, real client.

That a key has its time is `tests/unit/agent/test_arc_keys.py`, where the clock is the test's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from tests.attacks import inside_arc
from tests.stories.planes import Up
from tests.stories.workloads import Owner, Workload, require_namespaces


class Scene:
    """Two Arc machines with a process each, which tell each other their keys."""

    def __init__(self, up: Up) -> None:
        owner = Owner(up)
        for name in ("one", "two"):
            owner.machine(name)
        command = [sys.executable, inside_arc.__file__]
        runs = [Workload(up.data, name, command, "--dialect", "arc") for name in ("one", "two")]
        keys = [read_line(run) for run in runs]
        self.pids = [run.process.pid for run in runs]
        self.reports: list[dict[str, Any]] = []
        for run, other in zip(runs, reversed(keys), strict=True):
            tell(run, other)
            self.reports.append(json.loads(read_line(run)))
        self.read_by_others = [read_as_nobody(pid) for pid in self.pids]
        for run in runs:
            tell(run, "end")
            run.process.communicate(timeout=30)
        self.log = owner.log("signins")


def read_line(run: Workload) -> str:
    assert run.process.stdout is not None
    line = run.process.stdout.readline()
    assert line, run.process.wait(timeout=30)
    return line.strip()


def tell(run: Workload, line: str) -> None:
    assert run.process.stdin is not None
    run.process.stdin.write(f"{line}\n")
    run.process.stdin.flush()


def read_as_nobody(pid: int) -> str:
    """Another user of this machine looks into the run's folder, from outside."""
    if os.geteuid() != 0:
        return "PermissionError"  # there is no other user whom we could be
    code = f"import os; os.listdir('/proc/{pid}/root{inside_arc.FOLDER}')"
    ended = subprocess.run(
        ["/usr/bin/env", "python3", "-c", code],
        user=65534,
        group=65534,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.stderr


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    require_namespaces()
    up = Up(tmp_path_factory.mktemp("arc") / "data")
    yield Scene(up)
    assert up.stop() == 0


def test_only_the_key_itself_is_worth_a_token_and_only_once(scene: Scene) -> None:
    for report in scene.reports:
        right = {name: status for name, status in report["forged"].items() if status == 200}
        assert right == {"the right one": 200}
        assert set(report["forged"].values()) == {200, 401}


def test_another_machines_key_is_none(scene: Scene) -> None:
    assert [report["another run's"] for report in scene.reports] == [401, 401]


def test_what_others_put_in_its_place_is_no_key(scene: Scene) -> None:
    for report in scene.reports:
        assert report["placed"] == {"symlink": 401, "oversize": 401, "swapped": 401}


def test_what_the_real_client_makes_of_such_files(scene: Scene) -> None:
    """It looks at the size alone: it follows a link, and shows us whatever is behind it. That gets no token, nor is it kept."""
    for report in scene.reports:
        seen = report["client"]
        assert "4KB" in seen["oversize"]
        assert "No such file" in seen["removed"]
        assert all("Show the content of the file" in seen[name] for name in ("symlink", "swapped"))
        assert "what the link leads to" not in seen["symlink"]


def test_the_file_is_its_machines_users_alone(scene: Scene) -> None:
    for report in scene.reports:
        assert (report["mode"], report["folder"], report["mine"]) == (0o400, 0o700, True)
    assert all("PermissionError" in seen for seen in scene.read_by_others)


def test_the_log_tells_of_each_machines_forgeries_and_of_no_first_step(scene: Scene) -> None:
    """The clients' first request shows no key because it has none yet: that is no refusal."""
    refused = [event["@idplane.endpoint"] for event in scene.log if "@idplane.endpoint" in event]
    assert {(one["dialect"], one["reason"]) for one in refused} == {("arc", "ENDPOINT_SECRET")}
    assert len(refused) >= len(scene.reports)


def test_the_next_good_client_is_served(scene: Scene) -> None:
    assert [report["served"] for report in scene.reports] == [True, True]
