"""`LocalPlane.bind`: bindings in one line, gone with the test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from idplane.model.bindings import SYSTEM_ASSIGNED, ContainerEngine, ContainerRule, ExecutableRule, ProcessRule
from idplane.ports.collections import BINDINGS

if TYPE_CHECKING:
    from idplane.testing.local import LocalPlane


def test_facts_and_identities_arrive(idplane: LocalPlane) -> None:
    shared = idplane.user_assigned_identity("shared")
    machine = idplane.virtual_machine("vm", identities=[shared])
    assert machine.identity is not None
    first = idplane.bind(machine, "first", identities=[machine.identity, shared], user=1000, run=True)
    second = idplane.bind(
        machine.id, "second", executable={"path": "/opt/app"}, systemdUnit="app.service", container={"engine": "docker"}
    )
    third = idplane.bind(machine, "third", identities=["SystemAssigned"], group="staff", cgroup="/")
    found = {one.value.name: one.value for one in idplane.run(idplane.store.all(BINDINGS))}
    assert [first, second, third] == [f"{machine.id}/providers/Idplane.Workloads/bindings/{name}" for name in found]
    assert found["first"].identities == (SYSTEM_ASSIGNED, shared.id)
    assert found["first"].processes == ProcessRule(user="1000", run=True)
    assert found["second"].identities == ()
    assert found["second"].processes == ProcessRule(
        executable=ExecutableRule(path="/opt/app"),
        systemd_unit="app.service",
        container=ContainerRule(engine=ContainerEngine.DOCKER),
    )
    assert (found["third"].identities, found["third"].processes.cgroup) == ((SYSTEM_ASSIGNED,), "/")
    idplane.bind(machine, "first", user="bob")
    assert len(idplane.run(idplane.store.all(BINDINGS))) == 3
    idplane.reset()
    assert idplane.run(idplane.store.all(BINDINGS)) == ()


def test_what_is_refused_is_an_assertion(idplane: LocalPlane) -> None:
    machine = idplane.virtual_machine("vm")
    for facts in ({}, {"usr": "alice"}, {"executable": {"path": "app"}}):
        with pytest.raises(AssertionError, match="refused with 400"):
            idplane.bind(machine, "app", **facts)
    with pytest.raises(AssertionError, match="BindingScopeInvalid"):
        idplane.bind(idplane.user_assigned_identity("one").id, "app", run=True)
