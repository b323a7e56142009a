"""`idplane run --dialect workload-identity` as real processes, in both isolation modes, and `idplane federate`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.interop.test_dialects import CLEAN
from tests.stories.planes import IDPLANE, Up
from tests.stories.workloads import require_namespaces

PROGRAM = str(Path(__file__).with_name("inside_workload_identity.py"))
AKS_FILE = "/var/run/secrets/azure/tokens/azure-identity-token"
RUN = ("--dialect", "workload-identity")


class Cluster:
    """A plane with a cluster, a machine, and an identity that one service account and the machine are trusted to be."""

    def __init__(self, up: Up) -> None:
        self.up = up
        self.group = f"/subscriptions/{up.info['subscription_id']}/resourceGroups/pods"
        self.put(self.group, "2024-11-01", {})
        self.cluster = f"{self.group}/providers/Microsoft.ContainerService/managedClusters/aks"
        self.put(self.cluster, "2024-10-01", {"properties": {"oidcIssuerProfile": {"enabled": True}}})
        self.put(f"{self.group}/providers/Microsoft.Compute/virtualMachines/runner", "2024-11-01", {})
        self.identity = self.made("cart")
        self.other = self.made("other")
        self.trust = [self.federate("aks", "--service-account", "shop/cart", "cart"), self.federate("runner", "cart")]

    def made(self, name: str) -> dict[str, Any]:
        path = f"{self.group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}"
        properties: dict[str, Any] = self.put(path, "2024-11-30", {})["properties"]
        return properties

    def federate(self, host: str, *arguments: str) -> dict[str, Any]:
        ended = self.up.cli("federate", "--as", host, "--json", *arguments)
        assert ended.returncode == 0, ended.stderr
        answer: dict[str, Any] = json.loads(ended.stdout)
        return answer

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.up.cli("run", *RUN, *arguments, env=CLEAN)

    def put(self, path: str, version: str, body: dict[str, Any]) -> dict[str, Any]:
        status, answer = self.up.arm("PUT", f"{path}?api-version={version}", {"location": "westeurope", **body})
        assert status in {200, 201}, answer
        result: dict[str, Any] = answer
        return result


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    require_namespaces()
    up = Up(tmp_path_factory.mktemp("pods") / "data")
    yield Cluster(up)
    up.stop()


@pytest.mark.parametrize("host", [("aks", "--service-account", "shop/cart"), ("runner",)], ids=["cluster", "machine"])
def test_inside_a_namespace(cluster: Cluster, host: tuple[str, ...]) -> None:
    ended = cluster.run("--as", *host, "--", sys.executable, PROGRAM)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["oids"] == [cluster.identity["principalId"]] * 7
    assert (told["file"], told["modes"]) == (AKS_FILE, [0o600, 0o700])
    assert told["authority"] == "https://login.microsoftonline.com/"
    assert told["issuers"] == [cluster.trust[len(host) == 1]["issuer"]] * 2
    assert told["keys"] >= 1
    assert not Path(AKS_FILE).exists()


def test_by_variables(cluster: Cluster) -> None:
    """The issuer's public-looking name leads here by the run's tunnel."""
    ended = cluster.run("--as", "aks", "--service-account", "shop/cart", "--isolation", "env", "--", sys.executable, PROGRAM)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["oids"] == [cluster.identity["principalId"]] * 7
    file = Path(told["file"])
    assert (file.is_relative_to(cluster.up.data / "runs"), told["modes"]) == (True, [0o600, 0o700])
    assert told["authority"] == f"{cluster.up.info['authority']}/"
    assert told["issuers"] == [cluster.trust[0]["issuer"]] * 2


def test_the_file_ends_with_the_run(cluster: Cluster) -> None:
    command = [*IDPLANE, "run", "--data", str(cluster.up.data), *RUN, "--as", "runner", "--isolation", "env"]
    show = ["sh", "-c", 'echo "$AZURE_FEDERATED_TOKEN_FILE"; cat >/dev/null']
    with subprocess.Popen([*command, "--", *show], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=CLEAN) as run:
        assert run.stdout is not None
        file = Path(run.stdout.readline().strip())
        assert file.read_text().count(".") == 2
        run.communicate()
    # The plane hears of the end by itself; a later exchange with it comes after that.
    assert any(file.parent.name not in cluster.up.cli("env", "--list").stdout for _ in range(50))
    assert not file.parent.exists()


def test_printed_variables(cluster: Cluster) -> None:
    printed = cluster.up.cli("env", "--as", "runner", *RUN, "--json")
    assert printed.returncode == 0, printed.stderr
    opened = json.loads(printed.stdout)
    file = Path(opened["variables"]["AZURE_FEDERATED_TOKEN_FILE"])
    code = (
        "from azure.identity import DefaultAzureCredential as C\n"
        "print(C().get_token('https://vault.azure.net/.default').token.count('.'))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], env={**CLEAN, **opened["variables"]}, capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "2"
    assert cluster.up.cli("env", "--revoke", opened["id"]).returncode == 0
    assert not file.parent.exists()


@pytest.mark.parametrize("way", ["clientId", "name", "id"])
def test_an_identity_that_is_named(cluster: Cluster, way: str) -> None:
    """Whether it may be used is the authority's to say."""
    names = {
        "clientId": cluster.other["clientId"],
        "name": "other",
        "id": f"{cluster.group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/other",
    }
    shown = cluster.run("--as", "runner", "--identity", names[way], "--", "sh", "-c", "echo $AZURE_CLIENT_ID")
    assert (shown.returncode, shown.stdout.strip()) == (0, cluster.other["clientId"]), shown.stderr


def test_nothing_else_is_a_token_source_inside(cluster: Cluster) -> None:
    code = (
        "import os, socket\n"
        "print(sorted(name for name in os.environ if name.startswith(('AZURE_', 'IDENTITY_', 'MSI_'))))\n"
        "socket.create_connection(('169.254.169.254', 80), timeout=5)"
    )
    steering = {"AZURE_CLIENT_SECRET": "x", "AZURE_USERNAME": "x", "IDENTITY_ENDPOINT": "x", "AZURE_AUTHORITY_HOST": "x"}
    ended = cluster.up.cli("run", *RUN, "--as", "runner", "--", sys.executable, "-c", code, env={**CLEAN, **steering})
    expected = ["AZURE_AUTHORITY_HOST", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_TENANT_ID"]
    assert ended.stdout.strip() == str(expected)
    assert "ConnectionRefusedError" in ended.stderr


def test_everything_else_below_run_stays(cluster: Cluster) -> None:
    before = sorted(os.listdir("/var/run"))  # noqa: PTH208 - as the program does it
    code = "import json, os; print(json.dumps(sorted(os.listdir('/var/run'))))"
    ended = cluster.run("--as", "runner", "--", sys.executable, "-c", code)
    assert json.loads(ended.stdout) == sorted({*before, "secrets"}), ended.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--as", "aks"), "idplane federate --as /subscriptions/"),
        (("--as", "aks", "--service-account", "Shop/cart"), "is no service account"),
        (("--as", "runner", "--service-account", "shop/cart"), "only clusters have service accounts"),
        (("--as", "runner", "--identity", "nobody"), "there is no resource named 'nobody'"),
        (("--as", "runner", "--identity", "aks"), "there is no resource named 'aks'"),
    ],
)
@pytest.mark.parametrize("mode", ["namespace", "env"])
def test_what_cannot_start(cluster: Cluster, arguments: tuple[str, ...], words: str, mode: str) -> None:
    ended = cluster.run("--isolation", mode, *arguments, "--", "true")
    assert ended.returncode == 1
    said, *more = ended.stderr.splitlines()
    assert words in said
    assert [one.split()[:-1] for one in more] in ([], [["why:", "idplane", "explain"]])


def test_choices_of_other_dialects(cluster: Cluster) -> None:
    for command in (
        ("run", "--as", "runner", "--identity", "cart", "--", "true"),
        ("env", "--as", "runner", "--identity", "x"),
    ):
        ended = cluster.up.cli(*command)
        assert (ended.returncode, "are for --dialect workload-identity" in ended.stderr) == (2, True)


def test_federate_tells_or_makes(cluster: Cluster) -> None:
    told = cluster.federate("aks", "--service-account", "shop/other")
    assert (told["subject"], told["audience"]) == ("system:serviceaccount:shop:other", "api://AzureADTokenExchange")
    assert "id" not in told
    made = cluster.federate("aks", "--service-account", "shop/other", "--name", "mine", "other")
    assert made["id"].endswith("/userAssignedIdentities/other/federatedIdentityCredentials/mine")
    for wrong, words in (
        ("runner", "there is no user-assigned identity named"),
        (cluster.cluster, "is no user-assigned identity"),
    ):
        refused = cluster.up.cli("federate", "--as", "aks", wrong)
        assert (refused.returncode, words in refused.stderr) == (1, True)
