"""Cgroups that look like a unit's or a container's, made for real: only those at the places where their makers put them count."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.attacks.callers_world import REFUSED, SOMEBODY, BoundHost, Puppet, is_root

from idplane.testing.local import LocalPlane

CONTAINER = "0123456789abcdef" * 4
POD = "01234567-89ab-cdef-0123-456789abcdef"


def unified() -> Path | None:
    """Where the unified hierarchy is mounted, if it can be written."""
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        fields, _, kind = line.partition(" - ")
        if kind.startswith("cgroup2 "):
            return Path(fields.split()[4])
    return None


pytestmark = pytest.mark.skipif(
    not is_root() or unified() is None, reason="making cgroups takes root and the unified hierarchy"
)


@pytest.fixture
def host(idplane: LocalPlane, tmp_path: Path) -> Iterator[BoundHost]:
    with BoundHost.open(idplane, tmp_path) as one:
        yield one


@pytest.fixture
def inside(host: BoundHost) -> Iterator[Callable[[str], Puppet]]:
    """A process in a cgroup at a path of the hierarchy, whose folders go with the test."""
    root = unified()
    assert root is not None
    made: list[Path] = []

    def start(path: str) -> Puppet:
        puppet = host.puppet(uid=None)
        folder = root / path.lstrip("/")
        missing = [one for one in (folder, *folder.parents) if not one.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        made.extend(missing)
        (folder / "cgroup.procs").write_text(str(puppet.pid), encoding="ascii")
        puppet.do(f"become({SOMEBODY})")
        return puppet

    yield start
    host.stack.close()
    for folder in made:
        with contextlib.suppress(OSError):
            folder.rmdir()


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ({"cgroup": "/idplane-test/app"}, "/idplane-test/app"),
        ({"cgroup": "/idplane-test/app"}, "/idplane-test/app/worker"),
        ({"systemdUnit": "idplane-test.service"}, "/system.slice/idplane-test.service"),
        ({"systemdUnit": "idplane-test.service"}, "/system.slice/system-idplane.slice/idplane-test.service/below"),
        ({"container": {"engine": "docker", "id": CONTAINER}}, f"/docker/{CONTAINER}"),
        ({"container": {"engine": "docker", "id": CONTAINER}}, f"/system.slice/docker-{CONTAINER}.scope"),
        ({"container": {"engine": "podman", "id": CONTAINER}}, f"/machine.slice/libpod-{CONTAINER}.scope/container"),
        ({"container": {"engine": "kubernetes", "pod": POD}}, f"/kubepods/burstable/pod{POD}/{CONTAINER}"),
    ],
)
def test_the_place_is_told(host: BoundHost, inside: Callable[[str], Puppet], rule: dict[str, Any], path: str) -> None:
    host.bind(**rule)
    assert inside(path).ask(host.port) == [200, None]
    (issued,) = host.issued()
    assert issued.workload is not None
    assert issued.workload.cgroup == path


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ({"cgroup": "/idplane-test/app"}, "/idplane-test/app-too"),
        ({"cgroup": "/idplane-test/app"}, "/idplane-test"),
        ({"cgroup": "/idplane-test/app"}, "/other/idplane-test/app"),
        ({"systemdUnit": "idplane-test.service"}, "/system.slice/evil-idplane-test.service"),
        (
            {"systemdUnit": "idplane-test.service"},
            "/user.slice/user-54321.slice/user@54321.service/system.slice/idplane-test.service",
        ),
        ({"systemdUnit": "idplane-test.service"}, "/idplane-test/system.slice/idplane-test.service"),
        ({"systemdUnit": "idplane-test.service"}, "/system.slice/other-idplane.slice/idplane-test.service"),
        (
            {"container": {"engine": "docker", "id": CONTAINER}},
            f"/user.slice/user-54321.slice/user@54321.service/docker-{CONTAINER}.scope",
        ),
        ({"container": {"engine": "docker", "id": CONTAINER}}, f"/idplane-test/docker/{CONTAINER}"),
        ({"container": {"engine": "docker", "id": CONTAINER}}, f"/system.slice/xdocker-{CONTAINER}.scope"),
        ({"container": {"engine": "docker", "id": CONTAINER}}, f"/machine.slice/libpod-{CONTAINER}.scope"),
        (
            {"container": {"engine": "podman", "id": CONTAINER}},
            f"/user.slice/user-54321.slice/user@54321.service/user.slice/libpod-{CONTAINER}.scope",
        ),
        ({"container": {"engine": "podman", "id": CONTAINER}}, f"/machine.slice/libpod-conmon-{CONTAINER}.scope"),
        ({"container": {"engine": "kubernetes", "pod": POD}}, f"/idplane-test/kubepods/pod{POD}/{CONTAINER}"),
    ],
)
def test_what_looks_alike_is_refused(host: BoundHost, inside: Callable[[str], Puppet], rule: dict[str, Any], path: str) -> None:
    host.bind(**rule)
    assert inside(path).ask(host.port) == [403, REFUSED]
    refused = host.refused_once("CALLER_NOT_BOUND")
    assert refused.workload is not None
    assert refused.workload.cgroup == path
