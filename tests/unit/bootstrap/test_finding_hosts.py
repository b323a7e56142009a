"""Finding what a run shall be: by full id, by unique name, and an instance of a scale set by its full id."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from idplane.bootstrap.inside import PlaneHosts
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId

if TYPE_CHECKING:
    from idplane.testing.local import LocalPlane


def found(plane: LocalPlane, text: str) -> str:
    return str(plane.run(PlaneHosts(plane._plane.server).resolve(text)))


def refused(plane: LocalPlane, text: str) -> FailureKind:
    with pytest.raises(Failure) as caught:
        found(plane, text)
    return caught.value.kind


def test_any_host_is_found_as_it_is_stored(idplane: LocalPlane) -> None:
    site = idplane.resource("Microsoft.Web/sites", "Shop").id
    slot = idplane.resource("Microsoft.Web/sites/slots", "Shop/staging").id
    assert found(idplane, site.lower().replace("/resourcegroups/", "/resourceGroups/")) == site
    assert (found(idplane, "shop"), found(idplane, "STAGING"), found(idplane, slot)) == (site, slot, slot)
    idplane.resource("Microsoft.App/containerApps", "shop")
    assert refused(idplane, "shop") is FailureKind.CONFLICT
    assert refused(idplane, f"{site}/slots/gone") is FailureKind.RESOURCE_NOT_FOUND


def test_what_is_open(idplane: LocalPlane) -> None:
    hosts = PlaneHosts(idplane._plane.server)
    machine = idplane.virtual_machine("vm")
    front = idplane.resource("Microsoft.Compute/virtualMachineScaleSets", "Front", sku={"capacity": 1}).id
    for host in (machine.id, front):
        bearer, asked = ResourceId.parse(host), ResourceId.parse(host if host == machine.id else f"{front}/virtualMachines/0")
        assert idplane.run(hosts.is_open(asked))
        binding = idplane.bind(host, "app", run=True)
        assert not idplane.run(hosts.is_open(asked))
        idplane.delete(binding)
        assert idplane.run(hosts.is_open(asked))
        idplane.delete(host)
        assert not idplane.run(hosts.is_open(bearer)), "what is gone is open to nobody"


def test_an_instance_is_found_while_its_set_has_it(idplane: LocalPlane) -> None:
    front = idplane.resource("Microsoft.Compute/virtualMachineScaleSets", "Front", sku={"capacity": 1}).id
    assert found(idplane, f"{front.replace('/Front', '/front')}/VIRTUALMACHINES/0") == f"{front}/virtualMachines/0"
    for gone in (f"{front}/virtualMachines/1", f"{front}/virtualMachines/x", f"{front}2/virtualMachines/0"):
        assert refused(idplane, gone) is FailureKind.RESOURCE_NOT_FOUND
