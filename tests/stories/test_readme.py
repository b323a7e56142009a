"""What the README tells a newcomer to type works as it is written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.stories.planes import Up

README = Path(__file__).parents[2] / "README.md"


def test_the_five_minutes(start_up: Callable[..., Up], tmp_path: Path) -> None:
    up = start_up(tmp_path / "idplane")
    script = re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL)
    environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script[0]], env=environment, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr
    assert '"access_token":"' in done.stdout
    assert "my-vm" in done.stdout.splitlines()[-2]
    status, machines = up.arm(
        "GET", f"/subscriptions/{up.info['subscription_id']}/providers/Microsoft.Compute/virtualMachines?api-version=2024-11-01"
    )
    assert status == 200
    assert [machine["identity"]["type"] for machine in machines["value"]] == ["SystemAssigned"], json.dumps(machines)
