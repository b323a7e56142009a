"""The Azure CLI, unmodified, against a live plane."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from tests.stories.planes import Up


def test_a_cloud_is_registered_from_its_address_alone(up: Up, azure_cli: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "AZURE_CONFIG_DIR": str(tmp_path), "REQUESTS_CA_BUNDLE": str(up.info["ca_file"])}

    def az(*arguments: str) -> str:
        return subprocess.run([azure_cli, *arguments], env=environment, text=True, capture_output=True, check=True).stdout

    az("cloud", "register", "--name", "idplane", "--endpoint-resource-manager", str(up.info["arm"]))

    assert json.loads(az("cloud", "show", "--name", "idplane"))["endpoints"]["activeDirectory"] == up.info["authority"]
