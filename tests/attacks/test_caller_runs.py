"""Bindings and `idplane run`: a run's own network tells who asks there, and a run's process who its children are."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from tests.stories.planes import IDPLANE, Up

GROUP = "resourceGroups/callers"
MACHINE = "providers/Microsoft.Compute/virtualMachines/run-vm"
ASK = """
    import json, os, sys, urllib.error, urllib.request
    def ask():
        url = os.environ.get("IDENTITY_ENDPOINT", "http://169.254.169.254/metadata/identity/oauth2/token")
        version = "2019-08-01" if "IDENTITY_ENDPOINT" in os.environ else "2018-02-01"
        headers = {"Metadata": "true", "X-IDENTITY-HEADER": os.environ.get("IDENTITY_HEADER", "")}
        request = urllib.request.Request(f"{url}?api-version={version}&resource=https://vault.azure.net", headers=headers)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
                return answer.status
        except urllib.error.HTTPError as refused:
            return refused.code
"""


class Shop:
    """A plane with one machine."""

    def __init__(self, up: Up) -> None:
        self.up = up
        self.machine = f"/subscriptions/{up.info['subscription_id']}/{GROUP}/{MACHINE}"
        group = self.machine.removesuffix(f"/{MACHINE}")
        self.put(f"{group}?api-version=2024-11-01", {"location": "westeurope"})
        self.put(f"{self.machine}?api-version=2024-11-01", {"location": "westeurope", "identity": {"type": "SystemAssigned"}})

    def bind(self, **processes: Any) -> None:
        path = f"{self.machine}/providers/Idplane.Workloads/bindings/only?api-version=2026-11-01"
        self.put(path, {"properties": {"processes": processes}})

    def put(self, path: str, body: dict[str, Any]) -> None:
        status, answer = self.up.arm("PUT", path, body)
        assert status in {200, 201}, answer

    def run(self, code: str, *options: str) -> Any:
        program = textwrap.dedent(ASK) + textwrap.dedent(code)
        ended = self.up.cli("run", "--as", self.machine, *options, "--", sys.executable, "-c", program)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    up = Up(tmp_path_factory.mktemp("callers") / "data")
    yield Shop(up)
    up.stop()


ASK_TWICE = """
    import subprocess
    child = int(subprocess.run([sys.executable, "-c", "import sys; exec(sys.stdin.read()); print(ask())"],
                               input=open("/proc/self/cmdline").read().split("\\0")[2].split("import subprocess")[0],
                               capture_output=True, text=True, check=True).stdout)
    print(json.dumps([ask(), child]))
"""


@pytest.mark.parametrize("isolation", ["namespace", "env"])
def test_a_run_and_its_children_are_the_runs(shop: Shop, isolation: str) -> None:
    shop.bind(run=True)
    assert shop.run(ASK_TWICE, "--isolation", isolation) == [200, 200]


@pytest.mark.parametrize("isolation", ["namespace", "env"])
def test_other_facts_are_told_inside_a_run_too(shop: Shop, isolation: str) -> None:
    shop.bind(user="0", run=True)
    assert shop.run("print(json.dumps(ask()))", "--isolation", isolation) == 200
    shop.bind(user="54321", run=True)
    assert shop.run("print(json.dumps(ask()))", "--isolation", isolation) == 403


def test_who_stole_the_variables_of_a_run_is_refused(shop: Shop) -> None:
    shop.bind(run=True)
    code = """
        print(json.dumps({**os.environ}), flush=True)
        sys.stdin.read()
    """
    program = textwrap.dedent(ASK) + textwrap.dedent(code)
    command = [*IDPLANE, "run", "--data", str(shop.up.data), "--as", shop.machine, "--isolation", "env", "--"]
    with subprocess.Popen(
        [*command, sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        stolen = json.loads(run.stdout.readline())
        request = urllib.request.Request(
            f"{stolen['IDENTITY_ENDPOINT']}?api-version=2019-08-01&resource=https://vault.azure.net",
            headers={"X-IDENTITY-HEADER": stolen["IDENTITY_HEADER"]},
        )
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request)
        with caught.value as refused:
            assert refused.code == 403
            assert "No binding" in json.load(refused)["message"]
        run.communicate("")


def test_the_token_command_is_judged_as_every_process(shop: Shop) -> None:
    shop.bind(user="0")
    asked = ("token", "--as", shop.machine, "--resource", "https://vault.azure.net")
    assert shop.up.cli(*asked).returncode == 0
    shop.bind(run=True)
    refused = shop.up.cli(*asked)
    assert refused.returncode != 0
    assert "No binding of this host admits the process that asks" in refused.stderr
