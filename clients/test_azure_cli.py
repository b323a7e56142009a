"""The Azure CLI, unmodified, against a live plane."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

from clients.azure_cli_world import operator_az, own_az
from tests.stories.planes import IDPLANE, Up

README = Path(__file__).parents[1] / "README.md"


def test_a_cloud_is_registered_from_its_address_alone(up: Up, azure_cli: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "AZURE_CONFIG_DIR": str(tmp_path), "REQUESTS_CA_BUNDLE": str(up.info["ca_file"])}

    def az(*arguments: str) -> str:
        return subprocess.run([azure_cli, *arguments], env=environment, text=True, capture_output=True, check=True).stdout

    az("cloud", "register", "--name", "idplane", "--endpoint-resource-manager", str(up.info["arm"]))

    assert json.loads(az("cloud", "show", "--name", "idplane"))["endpoints"]["activeDirectory"] == up.info["authority"]


def test_what_the_readme_says_of_it(azure_cli: Path, tmp_path: Path) -> None:
    section = README.read_text().partition("## With the Azure CLI")[2]
    found = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert found
    home = tmp_path / "home"
    home.mkdir()
    shell = own_az(azure_cli, home).environment
    path = f"{Path(IDPLANE[0]).parent}:{azure_cli.parent}:{shell['PATH']}"
    up = Up(tmp_path / "idplane")
    try:
        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", found[1]],
            env={**shell, "PATH": path, "XDG_DATA_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    finally:
        up.stop()
    assert ended.returncode == 0, ended.stderr
    assert '"principalType": "ServicePrincipal"' in ended.stdout
    assert list(home.iterdir()) == [], "nothing of the person's own was touched"


def test_it_follows_a_plane_that_changes(azure_cli: Path, tmp_path: Path) -> None:
    first = Up(tmp_path / "data")
    az = operator_az(first, azure_cli, tmp_path)
    az("group", "create", "--name", "kept", "--location", "westeurope")
    first.stop()
    assert "no plane is running" in az.refused("group", "list")

    (first.data / "operator.pem").unlink()
    second = Up(tmp_path / "data")
    try:
        assert second.info["port"] != first.info["port"]
        assert az("group", "list", "--query", "[].name") == ["kept"]
        az("account", "clear")
        assert az("account", "show")["user"]["name"] == second.info["operator_client_id"]
    finally:
        second.stop()
