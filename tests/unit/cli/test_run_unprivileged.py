"""`idplane run` by a user without any privilege: the same isolation, since user namespaces need none."""

import json
import os
import subprocess
import sys

import pytest

NOBODY = 65534
SCENE = """
import json, pathlib, sys, tempfile
from tests.unit.cli.run_world import VM_A, run_world
with tempfile.TemporaryDirectory() as folder, run_world(pathlib.Path(folder) / "data") as world:
    def said(*command):
        ended = world.run(*command)
        return ended.stdout.strip() + ended.stderr.strip()
    data = world.folder
    show = "stat -c '%a %u' $AZURE_FEDERATED_TOKEN_FILE; cat $AZURE_FEDERATED_TOKEN_FILE"
    pod = world.idplane("run", "--as", "vm-a", "--dialect", "workload-identity", "--", "sh", "-c", show)
    print(json.dumps({
        "host": json.loads(said("curl", "-s", "http://169.254.169.254/"))["host"] == str(VM_A),
        "azure": said("curl", "-sS", "https://contoso.vault.azure.net/"),
        "user": said("id", "-u"),
        "token": pod.stdout.strip() + pod.stderr.strip(),
        "capabilities": said("grep", "CapEff", "/proc/self/status").split()[-1],
        "key": said("cat", f"{data}/operator.pem"),
        "uncovered": said("sh", "-c", f"unshare -Urm sh -c 'umount -l {data}; cat {data}/operator.pem'"),
        "plane": said("cat", f"/proc/{__import__('os').getpid()}/root{data}/operator.pem"),
    }))
"""


def _python() -> list[str]:
    """An interpreter that this user may execute, with our modules: the running one may lie in root's home folder."""
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(filter(None, sys.path)), "PYTHONDONTWRITEBYTECODE": "1"}
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/bin/python{version}"):
        command = ["env", "-i", *(f"{name}={value}" for name, value in environment.items()), candidate]
        try:
            probe = subprocess.run(
                [*command, "-c", "import tests.unit.cli.run_world"], user=NOBODY, group=NOBODY, extra_groups=[], check=False
            )
        except OSError:
            continue
        if probe.returncode == 0:
            return command
    pytest.skip("no interpreter that user nobody may execute")


@pytest.mark.skipif(os.getuid() != 0, reason="becoming another user needs root; as another user the whole suite is this test")
def test_a_user_without_privileges_gets_the_same() -> None:
    ended = subprocess.run(
        [*_python(), "-c", SCENE],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    seen = json.loads(ended.stdout)
    assert seen.pop("key").endswith("No such file or directory")
    assert "the operator's key" not in seen.pop("uncovered")
    assert seen.pop("plane").endswith("Permission denied")
    assert seen.pop("token") == f"600 {NOBODY}\ntoken of default"
    assert seen == {"host": True, "azure": '{"served": "azure"}', "user": str(NOBODY), "capabilities": "0000000000000000"}
