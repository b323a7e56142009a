"""Plain Java, with nothing but its own library, over TLS to what a run serves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.needed import missing
from tests.stories.planes import Up
from tests.stories.workloads import require_namespaces

pytestmark = pytest.mark.wide

JAVA = shutil.which("java")
PROGRAM = """
public class Get {
    public static void main(String[] addresses) throws Exception {
        for (String address : addresses) {
            var connection = (javax.net.ssl.HttpsURLConnection) java.net.URI.create(address).toURL().openConnection();
            System.out.println(connection.getResponseCode());
        }
    }
}
"""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    if JAVA is None:
        missing("there is no Java on this machine")
    require_namespaces()
    plane = Up(tmp_path_factory.mktemp("java") / "data with spaces")
    group = f"/subscriptions/{plane.info['subscription_id']}/resourceGroups/g"
    for path in (group, f"{group}/providers/Microsoft.Compute/virtualMachines/vm"):
        assert plane.arm("PUT", f"{path}?api-version=2024-11-01", {"location": "westeurope"})[0] == 201
    yield plane
    plane.stop()


@pytest.fixture
def program(tmp_path: Path) -> str:
    file = tmp_path / "Get.java"
    file.write_text(PROGRAM)
    return str(file)


def test_inside_a_namespace(up: Up, program: str) -> None:
    addresses = (
        "https://management.azure.com/metadata/endpoints?api-version=2020-06-01",
        f"{up.info['arm']}/metadata/endpoints",
    )
    ended = up.cli("run", "--as", "vm", "--", "java", program, *addresses, "https://absent.vault.azure.net/secrets")
    assert ended.stdout.split() == ["200", "200", "404"], ended.stderr


def test_by_variables(up: Up, program: str) -> None:
    address = f"{up.info['arm']}/metadata/endpoints"
    ended = up.cli("run", "--as", "vm", "--isolation", "env", "--", "java", program, address)
    assert ended.stdout.split() == ["200"], ended.stderr
    variables = json.loads(up.cli("env", "--as", "vm", "--json").stdout)["variables"]
    assert "trust/" in variables["JAVA_TOOL_OPTIONS"]
