"""`idplane binding` and what `idplane status` says of open hosts, against a plane as a user starts it."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.stories.planes import Up

from idplane.cli.main import idplane

SHA = "0123456789abcdef" * 4
NUMBERS = itertools.count()
OPEN = "no binding: whatever reaches its endpoint may use its identities"


class Operator:
    """Someone at a terminal."""

    def __init__(self, up: Up) -> None:
        self.up = up
        self.group = f"/subscriptions/{up.info['subscription_id']}/resourceGroups/stock"
        up.arm("PUT", f"{self.group}?api-version=2022-12-01", {"location": "westeurope"})

    def machine(self, name: str | None = None, group: str = "") -> str:
        """A new machine's id."""
        url = f"{group or self.group}/providers/Microsoft.Compute/virtualMachines/{name or f'vm-{next(NUMBERS)}'}"
        body = {"location": "westeurope", "identity": {"type": "SystemAssigned"}}
        assert self.up.arm("PUT", f"{url}?api-version=2024-11-01", body)[0] == 201
        return url

    def does(self, *words: str) -> Result:
        command, *rest = words
        sub = [rest.pop(0)] if command == "binding" else []
        return CliRunner().invoke(idplane, [command, *sub, "--data", str(self.up.data), *rest])

    def says(self, *words: str) -> list[str]:
        ended = self.does(*words)
        assert ended.exit_code == 0, ended.output
        return ended.stdout.splitlines()

    def json(self, *words: str) -> Any:
        return json.loads("\n".join(self.says(*words, "--json")))

    def refused(self, *words: str, code: int = 1) -> str:
        ended = self.does(*words)
        assert (ended.exit_code, ended.stdout) == (code, "")
        if code == 1:
            assert ended.stderr.startswith("idplane: ")
            assert ended.stderr.count("\n") == 1
        return ended.stderr


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    up = Up(tmp_path_factory.mktemp("plane") / "data")
    yield up
    up.stop()


@pytest.fixture
def operator(plane: Up) -> Operator:
    return Operator(plane)


def test_a_binding_is_added_listed_and_removed(operator: Operator) -> None:
    operator.machine("stock-vm")
    assert operator.says("binding", "list", "stock-vm") == [f"stock-vm: {OPEN}"]
    assert operator.says(
        "binding", "add", "STOCK-vm", "tracker", "--user", "alice", "--unit", "app.service", "--identity", "system"
    ) == [
        "tracker admits user alice, unit app.service to the system-assigned identity of stock-vm",
        "stock-vm had no binding before: from now on, nothing else there gets its identities",
    ]
    assert operator.says("binding", "add", "stock-vm", "jobs", "--run") == [
        "jobs admits started by idplane run to all identities of stock-vm"
    ]
    assert operator.says("binding", "list", "stock-vm") == [
        "HOST      BINDING  IDENTITIES                    PROCESSES",
        "stock-vm  jobs     all identities                started by idplane run",
        "stock-vm  tracker  the system-assigned identity  user alice, unit app.service",
    ]
    assert operator.says("binding", "remove", "stock-vm", "JOBS") == ["removed JOBS"]
    assert "is the last binding of stock-vm" in operator.refused("binding", "remove", "stock-vm", "tracker")
    assert operator.says("binding", "remove", "stock-vm", "tracker", "--open") == ["removed tracker", f"stock-vm: {OPEN}"]
    assert "has no binding named 'tracker'" in operator.refused("binding", "remove", "stock-vm", "tracker")


def test_every_fact_arrives(operator: Operator) -> None:
    machine = operator.machine()
    facts = (
        *("--user", "1000", "--group", "staff", "--executable", "/opt/app", "--sha256", SHA, "--device", "5", "--inode", "6"),
        *("--unit", "app.service", "--cgroup", "/system.slice", "--container-engine", "kubernetes", "--container-id", "f" * 64),
        *("--pod", "a" * 32, "--run", "--identity", "SYSTEMASSIGNED"),
    )
    made = operator.json("binding", "add", machine, "all", *facts)
    assert made["properties"] == {
        "identities": ["SystemAssigned"],
        "processes": {
            "user": 1000,
            "group": "staff",
            "executable": {"path": "/opt/app", "device": 5, "inode": 6, "sha256": SHA},
            "systemdUnit": "app.service",
            "cgroup": "/system.slice",
            "container": {"engine": "kubernetes", "id": "f" * 64, "pod": "a" * 32},
            "run": True,
        },
        "provisioningState": "Succeeded",
    }
    assert operator.json("binding", "list", machine) == [made]
    (_, row) = operator.says("binding", "list", machine)
    assert row.endswith(
        "user 1000, group staff, unit app.service, cgroup /system.slice, executable /opt/app, file 5:6, "
        f"sha256 {SHA[:12]}, container {'f' * 12} of kubernetes, pod {'a' * 32}, started by idplane run"
    )
    assert operator.json("binding", "remove", machine, "all", "--open") == {"removed": "all", "host": machine, "bindings": 0}


def test_an_existing_binding_is_replaced_only_when_told(operator: Operator) -> None:
    machine = operator.machine()
    operator.says("binding", "add", machine, "app", "--user", "alice")
    assert "add --replace" in operator.refused("binding", "add", machine, "APP", "--user", "bob")
    assert operator.json("binding", "list", machine)[0]["properties"]["processes"] == {"user": "alice"}
    operator.says("binding", "add", machine, "APP", "--user", "bob", "--replace")
    assert [one["properties"]["processes"] for one in operator.json("binding", "list", machine)] == [{"user": "bob"}]


def test_identities_by_name(operator: Operator) -> None:
    machine = operator.machine()
    other = f"{operator.group}-2"
    operator.up.arm("PUT", f"{other}?api-version=2022-12-01", {"location": "westeurope"})
    kind = "providers/Microsoft.ManagedIdentity/userAssignedIdentities"
    for url in (f"{operator.group}/{kind}/batch", f"{operator.group}/{kind}/twin", f"{other}/{kind}/twin"):
        operator.up.arm("PUT", f"{url}?api-version=2024-11-30", {"location": "westeurope"})
    made = operator.json("binding", "add", machine, "a", "--run", "--identity", "BATCH", "--identity", f"{other}/{kind}/twin")
    assert made["properties"]["identities"] == [f"{operator.group}/{kind}/batch", f"{other}/{kind}/twin"]
    assert "may mean any of these" in operator.refused("binding", "add", machine, "b", "--run", "--identity", "twin")
    assert "no user-assigned identity named" in operator.refused("binding", "add", machine, "b", "--run", "--identity", "none")
    assert "'properties.identities[0]'" in operator.refused("binding", "add", machine, "b", "--run", "--identity", machine)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere", "app", "--run"), "there is no resource named 'nowhere'"),
        (("{vm}", "a b", "--run"), "The name 'a b' is not valid"),
        (("{vm}", "a/b", "--run"), "'a/b' can't be a name here"),
        (("{vm}", "", "--run"), "'' can't be a name here"),
        (
            ("{vm}", "app", "--user", "a b"),
            "The property 'properties.processes.user' must be the name of a user, or its number.",
        ),
        (("{vm}", "app", "--executable", "app"), "'properties.processes.executable.path' must be an absolute path"),
        (("{vm}", "app", "--inode", "5"), "device and inode name a file together"),
        (("{vm}", "app", "--container-id", "abc"), "must have 64 hexadecimal digits"),
        (("{vm}", "app", "--pod", "web-0"), "must be a pod's uid"),
        (("{vm}", "app", "--unit", "app"), "must be the whole name of a service or scope"),
        (("{vm}", "app", "--cgroup", "/a/../b"), "must be an absolute path"),
        (("{vm}", "app", "--run", "--pin"), "--pin needs --executable"),
        (("{vm}", "app", "--executable", "/nowhere/app", "--pin"), "there is no such file here"),
        (("{vm}", "app", "--executable", "/usr", "--pin"), "it is no file"),
        (("{vm}", "app", "--executable", "/bin/sh", "--pin", "--sha256", SHA), "say one of --pin and --sha256"),
    ],
)
def test_what_is_refused_in_one_sentence(operator: Operator, words: tuple[str, ...], said: str) -> None:
    if "{vm}" in words:
        machine = f"{operator.group}/providers/Microsoft.Compute/virtualMachines/refusing"
        operator.up.arm("PUT", f"{machine}?api-version=2024-11-01", {"location": "westeurope"})
        words = tuple(machine if word == "{vm}" else word for word in words)
    assert said in operator.refused("binding", "add", *words)


@pytest.mark.parametrize(
    "words",
    [
        ("add", "vm", "app"),
        ("add", "vm"),
        ("add", "vm", "a", "--container-engine", "lxc"),
        ("add", "vm", "a", "--device", "-1", "--inode", "5"),
        ("remove", "vm"),
        ("x",),
    ],
)
def test_wrong_usage(operator: Operator, words: tuple[str, ...]) -> None:
    operator.refused("binding", *words, code=2)


def test_without_a_plane(tmp_path: Path) -> None:
    for words in (["list"], ["add", "vm", "app", "--run"], ["remove", "vm", "app"]):
        ended = CliRunner().invoke(idplane, ["binding", *words, "--data", str(tmp_path)])
        assert (ended.exit_code, ended.stdout) == (1, "")
        assert ended.stderr.startswith(f"idplane: no plane is running on {tmp_path}")


def test_a_link_is_told_of_and_a_pin_follows_it(operator: Operator, tmp_path: Path) -> None:
    machine = operator.machine()
    file, link = tmp_path / "app", tmp_path / "link"
    file.write_bytes(b"program")
    link.symlink_to(file)
    noted = operator.does("binding", "add", machine, "link", "--executable", str(link))
    assert noted.stderr == f"note: {link} leads over a symbolic link here and admits nobody; the file is {file}\n"
    pinned = operator.does("binding", "add", machine, "pin", "--executable", str(link), "--pin", "--json")
    assert pinned.stderr == f"note: {link} leads to {file}\n"
    assert json.loads(pinned.stdout)["properties"]["processes"] == {
        "executable": {"path": str(file), "sha256": hashlib.sha256(b"program").hexdigest()}
    }


def test_hosts_of_one_name_are_listed_by_their_ids(operator: Operator) -> None:
    far = f"{operator.group}-far"
    operator.up.arm("PUT", f"{far}?api-version=2022-12-01", {"location": "westeurope"})
    twins = [operator.machine("same"), operator.machine("same", far)]
    for machine in twins:
        operator.says("binding", "add", machine, "app", "--run")
    shown = "\n".join(operator.says("binding", "list"))
    assert all(f"{machine}  app" in shown for machine in twins)


def test_status_names_what_is_served_and_open(operator: Operator) -> None:
    machines = {name: operator.machine(name) for name in ("open-vm", "bound-vm", "idle-vm", "gone-vm")}
    assert operator.json("status")["unbound"] == []
    operator.says("binding", "add", "bound-vm", "app", "--run")
    for name in ("open-vm", "open-vm", "bound-vm", "gone-vm"):
        operator.says("env", "--as", name)
    operator.up.arm("DELETE", f"{machines['gone-vm']}?api-version=2024-11-01")
    assert operator.json("status")["unbound"] == [machines["open-vm"]]
    assert operator.says("status")[-1] == f"open-vm: {OPEN}"
    operator.says("binding", "add", "open-vm", "app", "--user", "root")
    assert operator.json("status")["unbound"] == []
    assert not any("no binding" in line for line in operator.says("status"))


def test_status_says_nothing_of_hosts_that_it_can_t_ask_for(operator: Operator, tmp_path: Path) -> None:
    (tmp_path / "plane.json").write_bytes((operator.up.data / "plane.json").read_bytes())
    ended = CliRunner().invoke(idplane, ["status", "--data", str(tmp_path), "--json"])
    assert (ended.exit_code, json.loads(ended.stdout)["unbound"]) == (0, None)
    assert "unbound" not in CliRunner().invoke(idplane, ["status", "--data", str(tmp_path)]).stdout
