"""The id by which a refusal is explained reaches whoever reads the exception of azure-identity, in every dialect."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.interop.test_dialects import CLEAN, ENDPOINTS
from tests.stories.planes import Up
from tests.stories.workloads import require_namespaces

from idplane.model.dialects import Dialect
from idplane.testing.local import LocalPlane

pytestmark = pytest.mark.wide

_PROGRAM = str(Path(__file__).with_name("inside_refused.py"))
_ID = re.compile(r"refusal id ([0-9a-f-]{36})")
_VERSION = "2026-11-01"


@pytest.mark.parametrize("dialect", [one for one in ENDPOINTS if one is not Dialect.ARC])
def test_what_a_program_is_told(idplane: LocalPlane, dialect: Dialect) -> None:
    machine = idplane.virtual_machine("vm", system=False)
    ended = subprocess.run(
        [sys.executable, _PROGRAM],
        env={**CLEAN, **idplane.environment(machine, dialect=dialect)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    told = json.loads(ended.stdout)
    for client, text in told.items():
        found = _ID.search(text)
        assert found is not None, (client, text)
        path = f"/providers/Idplane.Diagnostics/refusals/{found[1]}"
        known = idplane.call("GET", path, api_version=_VERSION).body["properties"]
        assert (known["kind"], known["dialect"], known["scope"]) == ("IDENTITY_NOT_FOUND", dialect.value, machine.id)


def test_inside_a_run(tmp_path: Path) -> None:
    """Arc's clients read files of root's, which are there in a run alone."""
    require_namespaces()
    up = Up(tmp_path / "data")
    try:
        group = f"/subscriptions/{up.info['subscription_id']}/resourceGroups/web"
        up.arm("PUT", f"{group}?api-version=2024-11-01", {"location": "westeurope"})
        machine = f"{group}/providers/Microsoft.HybridCompute/machines/m"
        made = up.arm("PUT", f"{machine}?api-version=2025-01-13", {"location": "westeurope", "properties": {}})
        assert made[0] in {200, 201}, made
        ended = up.cli("run", "--as", "m", "--dialect", "arc", "--", sys.executable, _PROGRAM)
        assert ended.returncode == 0, ended.stderr
        for client, text in json.loads(ended.stdout).items():
            found = _ID.search(text)
            assert found is not None, (client, text)
            explained = up.cli("explain", found[1])
            assert explained.returncode == 0, explained.stderr
            assert "the token endpoint of the host" in explained.stdout
    finally:
        up.stop()
