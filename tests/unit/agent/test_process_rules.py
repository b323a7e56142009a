"""Rules about processes, and what a cgroup's path tells and does not tell. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idplane.agent.binding_wire import BindingShape, bindings_from
from idplane.agent.bindings import (
    Container,
    Executable,
    ProcessFacts,
    admits,
    admitting,
    cgroup_of,
    container_of,
    is_below,
    unit_of,
    visible,
    workload_of,
)
from idplane.agent.identities import HostDescription, HostedIdentity
from idplane.model.binding_documents import process_document
from idplane.model.bindings import (
    SYSTEM_ASSIGNED,
    Binding,
    ContainerEngine,
    ContainerRule,
    ExecutableRule,
    ProcessRule,
)
from idplane.model.ids import ResourceId

NOW = datetime(2026, 1, 1, tzinfo=UTC)
VM = ResourceId.parse("/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm")
SHARED = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/shared"
HEX = "0123456789abcdef" * 4
UID = "01234567-89ab-cdef-0123-456789abcdef"
ESCAPED = UID.replace("-", "_")

FACTS = ProcessFacts(
    pid=7,
    started=1,
    uid=1000,
    gid=1000,
    groups=frozenset({4, 27}),
    executable=Executable(path="/opt/app", device=1, inode=2),
    cgroup="/system.slice/app.service",
    anchored=True,
)


@dataclass
class FakeLookups:
    files: dict[str, tuple[int, int]] = field(default_factory=lambda: {"/opt/app": (1, 2), "/opt/other": (1, 3)})
    digests: int = 0

    def user(self, name: str) -> int | None:
        return {"alice": 1000, "root": 0}.get(name)

    def group(self, name: str) -> int | None:
        return {"alice": 1000, "sudo": 27}.get(name)

    def file_at(self, path: str) -> tuple[int, int] | None:
        return self.files.get(path)

    def digest(self, process: ProcessFacts) -> str | None:
        self.digests += process.pid == FACTS.pid
        return "ab" * 32


HOLDS: list[dict[str, Any]] = [
    {"user": "alice"},
    {"user": "1000"},
    {"group": "alice"},
    {"group": "27"},
    {"group": "sudo"},
    {"executable": ExecutableRule(path="/opt/app")},
    {"executable": ExecutableRule(device=1, inode=2)},
    {"executable": ExecutableRule(sha256="AB" * 32)},
    {"systemd_unit": "app.service"},
    {"cgroup": "/system.slice"},
    {"run": False},
]
FAILS: list[dict[str, Any]] = [
    {"user": "root"},
    {"user": "nobody-knows"},
    {"user": "1001"},
    {"group": "0"},
    {"group": "nobody-knows"},
    {"executable": ExecutableRule()},
    {"executable": ExecutableRule(path="/opt/other")},
    {"executable": ExecutableRule(path="/opt/app", inode=3)},
    {"executable": ExecutableRule(path="/opt/missing")},
    {"executable": ExecutableRule(sha256="cd" * 32)},
    {"systemd_unit": "app"},
    {"systemd_unit": "App.service"},
    {"cgroup": "/system.slice/app"},
    {"container": ContainerRule()},
    {"container": ContainerRule(engine=ContainerEngine.DOCKER)},
    {"run": True},
]


@pytest.mark.parametrize("rule", HOLDS)
def test_what_holds_admits(rule: dict[str, Any]) -> None:
    assert admits(ProcessRule(**rule), FACTS, FakeLookups())


@pytest.mark.parametrize("rule", FAILS)
def test_what_does_not_hold_refuses(rule: dict[str, Any]) -> None:
    assert not admits(ProcessRule(**rule), FACTS, FakeLookups())


@given(st.lists(st.sampled_from(HOLDS), min_size=1), st.lists(st.sampled_from(FAILS)))
def test_facts_are_anded(holds: list[dict[str, Any]], fails: list[dict[str, Any]]) -> None:
    rule: dict[str, Any] = {}
    for one in holds:
        rule |= one
    for one in fails:
        rule |= one
    assert admits(ProcessRule(**rule), FACTS, FakeLookups()) is not any(
        rule[name] == one[name] for one in fails for name in one
    )


def test_a_rule_without_facts_admits_nobody() -> None:
    assert not admits(ProcessRule(), FACTS, FakeLookups())


def test_a_file_is_read_only_when_all_else_holds() -> None:
    lookups = FakeLookups()
    admits(ProcessRule(user="root", executable=ExecutableRule(sha256="ab" * 32)), FACTS, lookups)
    admits(ProcessRule(executable=ExecutableRule(path="/opt/other", sha256="ab" * 32)), FACTS, lookups)
    assert lookups.digests == 0


def test_units_and_containers_need_the_machines_own_root() -> None:
    elsewhere = replace(FACTS, anchored=False)
    assert not admits(ProcessRule(systemd_unit="app.service"), elsewhere, FakeLookups())
    inside = replace(FACTS, cgroup=f"/docker/{HEX}")
    rule = ProcessRule(container=ContainerRule(id=HEX))
    assert admits(rule, inside, FakeLookups())
    assert not admits(rule, replace(inside, anchored=False), FakeLookups())
    assert workload_of(inside, "r").container == f"docker:{HEX}"
    assert workload_of(replace(inside, anchored=False), None).container is None


def binding(name: str, *identities: str, **rule: Any) -> Binding:
    return Binding(host=VM, name=name, processes=ProcessRule(**rule), created_at=NOW, identities=identities)


def test_all_holders_must_satisfy_the_same_binding() -> None:
    alice, root = binding("alice", user="1000"), binding("root", user="0")
    other = replace(FACTS, pid=8, uid=0)
    assert admitting((alice, root), (FACTS,), FakeLookups()) == (alice,)
    assert admitting((alice, root), (FACTS, other), FakeLookups()) == ()
    assert admitting((alice, root), (), FakeLookups()) == ()


def test_bindings_hide_identities() -> None:
    system = HostedIdentity(principal_id="p", client_id="c", resource_id=None, system_assigned=True)
    shared = HostedIdentity(principal_id="q", client_id="d", resource_id=SHARED, system_assigned=False)
    host = HostDescription(id=VM, type="t", tenant_id="x", token_endpoint="e", identities=(system, shared))
    seen = {
        (): (),
        (binding("a"),): (system, shared),
        (binding("a", SYSTEM_ASSIGNED),): (system,),
        (binding("a", SHARED.upper()),): (shared,),
        (binding("a", SHARED), binding("b", SYSTEM_ASSIGNED)): (system, shared),
        (binding("a", SHARED + "2"), binding("b", "no id at all")): (),
    }
    for bindings, identities in seen.items():
        assert visible(host, bindings).identities == identities


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("/system.slice/app.service", "app.service"),
        ("/system.slice/app.service/worker", "app.service"),
        ("/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service"),
        (r"/system.slice/system-a\x2db.slice/a\x2db.service", r"a\x2db.service"),
        ("/system.slice/_cpu.service", "cpu.service"),
        ("/init.scope", "init.scope"),
        ("/user.slice/user-1000.slice/session-2.scope", "session-2.scope"),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/app.service", "user@1000.service"),
        ("/user.slice/user-1000.slice/user@1000.service/system.slice/app.service", "user@1000.service"),
        ("/system.slice/evil-app.service", "evil-app.service"),
        ("/system.slice", None),
        ("/", None),
        ("/other/system.slice/app.service", None),
        ("/system.slice/other.slice/app.service", None),
        ("/system.slice/app.service.d", None),
        ("/system.slice/../app.service", None),
        ("/system.slice//app.service", None),
        ("system.slice/app.service", None),
        (None, None),
    ],
)
def test_units(cgroup: str | None, unit: str | None) -> None:
    assert unit_of(cgroup) == unit


DOCKER, PODMAN = Container(engine=ContainerEngine.DOCKER, id=HEX), Container(engine=ContainerEngine.PODMAN, id=HEX)
POD = Container(engine=ContainerEngine.KUBERNETES, id=HEX, pod=UID)


@pytest.mark.parametrize(
    ("cgroup", "container"),
    [
        (f"/system.slice/docker-{HEX}.scope", DOCKER),
        (f"/docker/{HEX}", DOCKER),
        (f"/docker/{HEX}/init.scope", DOCKER),
        (f"/docker/{HEX}/docker/{'f' * 64}", DOCKER),
        (f"/machine.slice/libpod-{HEX}.scope", PODMAN),
        (f"/machine.slice/machine-libpod_pod_{'f' * 64}.slice/libpod-{HEX}.scope/container", PODMAN),
        (f"/libpod_parent/libpod-{HEX}", PODMAN),
        (f"/kubepods/pod{UID}/{HEX}", POD),
        (f"/kubepods/besteffort/pod{UID}/crio-{HEX}", POD),
        (f"/kubepods.slice/kubepods-pod{ESCAPED}.slice/cri-containerd-{HEX}.scope", POD),
        (f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{ESCAPED}.slice/crio-{HEX}.scope", POD),
        (f"/kubepods.slice/kubepods-burstable.slice/kubepods-besteffort-pod{ESCAPED}.slice/crio-{HEX}.scope", None),
        (f"/kubepods.slice/kubepods-pod{UID}.slice/cri-containerd-{HEX}.scope", None),
        (f"/user.slice/user-1000.slice/user@1000.service/docker-{HEX}.scope", None),
        (f"/system.slice/system.slice/docker-{HEX}.scope", None),
        (f"/system.slice/docker-{HEX}.scope.bad", None),
        (f"/system.slice/docker-{HEX.upper()}.scope", None),
        (f"/system.slice/docker-{HEX[:-1]}.scope", None),
        (f"/docker/{HEX}0", None),
        (f"/x/docker/{HEX}", None),
        (f"docker/{HEX}", None),
        (f"/../docker/{HEX}", None),
        (f"/docker/{HEX}/..", None),
        (f"/docker/{HEX}\n", None),
        (f"/machine.slice/libpod-conmon-{HEX}.scope", None),
        (None, None),
    ],
)
def test_containers(cgroup: str | None, container: Container | None) -> None:
    assert container_of(cgroup) == container


def test_a_pod_is_named_with_or_without_dashes() -> None:
    inside = replace(FACTS, cgroup=f"/kubepods/pod{UID}/{HEX}")
    for name in (UID, UID.upper(), UID.replace("-", "")):
        assert admits(ProcessRule(container=ContainerRule(pod=name)), inside, FakeLookups())


@pytest.mark.parametrize(
    ("text", "cgroup"),
    [
        ("0::/a/b\n", "/a/b"),
        ("9:name=systemd:/x\n0::/a\n", "/a"),
        ("0::/\n", "/"),
        ("9:name=systemd:/x\n", None),
        ("0::/../b\n", None),
        ("0::/a (deleted)\n", None),
        ("0::/a\n0::/b\n", None),
        ("0::a\n", None),
        ("", None),
    ],
)
def test_the_unified_hierarchy_counts(text: str, cgroup: str | None) -> None:
    assert cgroup_of(text) == cgroup


FOLDERS = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="/\0\n"), min_size=1, max_size=8), max_size=5)


def plain(folders: list[str]) -> bool:
    return not {".", ".."} & set(folders)


@given(FOLDERS, FOLDERS)
def test_below_is_a_matter_of_whole_folders(one: list[str], other: list[str]) -> None:
    path, root = "/" + "/".join(one), "/" + "/".join(other)
    assert is_below(path, root) is (plain(one) and plain(other) and one[: len(other)] == other)


@given(FOLDERS)
def test_what_lies_elsewhere_is_no_unit_and_no_container(folders: list[str]) -> None:
    """A prefix that is no slice of the machine takes the meaning from all that follows."""
    path = "/".join(["", "x", *folders, "system.slice", "app.service", "docker", HEX])
    assert unit_of(path) is None
    assert container_of(path) is None


RULES = st.builds(
    ProcessRule,
    user=st.none() | st.text(min_size=1),
    group=st.none() | st.text(min_size=1),
    executable=st.none() | st.builds(ExecutableRule, path=st.none() | st.text(), inode=st.none() | st.integers(0, 2**63 - 1)),
    systemd_unit=st.none() | st.text(),
    cgroup=st.none() | st.text(),
    container=st.none()
    | st.builds(ContainerRule, engine=st.none() | st.sampled_from(ContainerEngine), id=st.none() | st.text()),
    run=st.none() | st.booleans(),
)


def shape(document: object) -> BindingShape:
    import msgspec  # noqa: PLC0415 - one test's tool

    return BindingShape(name="b", processes=msgspec.Raw(msgspec.json.encode(document)))


@given(RULES)
def test_rules_come_over_the_wire_as_they_are(rule: ProcessRule) -> None:
    (heard,) = bindings_from([shape(process_document(rule))], VM, NOW)
    assert heard.processes == rule


@pytest.mark.parametrize(
    "document",
    [
        {"user": "alice", "selinux": "unconfined_u"},
        {"executable": {"path": "/a", "signedBy": "x"}},
        {"container": {"engine": "lxc"}},
        {"user": 1000},
        [],
    ],
)
def test_a_rule_of_a_newer_server_admits_nobody(document: object) -> None:
    (heard,) = bindings_from([shape(document)], VM, NOW)
    assert heard.processes == ProcessRule()
    assert not admits(heard.processes, FACTS, FakeLookups())
