"""Microsoft.Compute: virtual machines; scale sets are in `scale_sets`.

A machine's properties are stored as they are sent; what idplane adds is `vmId` and an honest power state: it runs
once created, and the four power actions change what is recorded. No machine is really started: the record is what agents,
identities and roles hang on.
"""

from __future__ import annotations

import re
from dataclasses import replace

from idplane.arm.context import Context
from idplane.arm.declare import Action, Invocation, NameRule, OperationInfo, Outcome, Provider, Write
from idplane.arm.envelope import timestamp
from idplane.model.failure import Failure, FailureKind
from idplane.model.resources import Resource
from idplane.model.values import JsonObject
from idplane.providers.compute_catalogue import catalogue_types
from idplane.providers.hosts import host_type
from idplane.providers.scale_sets import COMPUTE_VERSIONS, IDS_AS_LIST, SCALE_SET_TYPES

__all__ = ["COMPUTE"]

_POWER = "powerState"
"""Where the power state is kept: a member of the stored envelope that no request can write."""
_RUNNING, _STOPPED, _DEALLOCATED = "running", "stopped", "deallocated"
_NAMES = NameRule(
    re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?"),
    "1 to 64 letters, digits, '-', '_' or '.', not starting with '-' or '.' nor ending with '.'",
)


def _prepare(write: Write) -> Resource:
    """The draft with its id and power state carried over."""
    draft, old = write.draft, write.old
    properties = {name: value for name, value in draft.properties.items() if name not in ("vmId", "instanceView")}
    properties["vmId"] = old.properties["vmId"] if old else write.context.entropy.guid()
    return replace(draft, properties=properties, envelope={**draft.envelope, _POWER: _power(old) if old else _RUNNING})


def _power(machine: Resource) -> str:
    return str(machine.envelope.get(_POWER, _RUNNING))


def _members(machine: Resource, context: Context) -> JsonObject:
    properties = {**machine.properties, "provisioningState": "Succeeded"}
    if "instanceview" in (part.strip().lower() for part in context.query.get("$expand", "").split(",")):
        properties["instanceView"] = _instance_view(machine)
    return {**{name: value for name, value in machine.envelope.items() if name != _POWER}, "properties": properties}


def _instance_view(machine: Resource) -> JsonObject:
    power = _power(machine)
    provisioned = {
        "code": "ProvisioningState/succeeded",
        "level": "Info",
        "displayStatus": "Provisioning succeeded",
        "time": timestamp(machine.created_at),
    }
    powered = {"code": f"PowerState/{power}", "level": "Info", "displayStatus": f"VM {power}"}
    return {"statuses": [provisioned, powered]}


async def _view(invocation: Invocation) -> Outcome:
    assert invocation.resource is not None  # the type is stored
    return Outcome(body=_instance_view(invocation.resource))


def _turning(power: str, *, only_from: str | None = None) -> Action:
    """A power action that ends in `power`; with `only_from` it is refused in any other state."""

    async def run(invocation: Invocation) -> Outcome:
        machine = invocation.resource
        assert machine is not None  # the type is stored
        if only_from is not None and _power(machine) != only_from:
            raise Failure(
                FailureKind.CONFLICT,
                f"The operation is not allowed on VM '{machine.id.name}' since the VM is {_power(machine)}.",
                code="OperationNotAllowed",
            )
        return Outcome(resource=replace(machine, envelope={**machine.envelope, _POWER: power}))

    return Action(run=run)


_VIRTUAL_MACHINES = host_type(
    "Microsoft.Compute/virtualMachines",
    COMPUTE_VERSIONS,
    naming=_NAMES,
    prepare=_prepare,
    members=_members,
    own_refusals=True,
    actions={
        "start": _turning(_RUNNING),
        "powerOff": _turning(_STOPPED),
        "deallocate": _turning(_DEALLOCATED),
        "restart": _turning(_RUNNING, only_from=_RUNNING),
    },
    views={"instanceView": Action(run=_view)},
    ids_as_list=IDS_AS_LIST,
)


def _operation(verb: str, operation: str, kind: str = "virtualMachines") -> OperationInfo:
    return OperationInfo(
        name=f"Microsoft.Compute/{kind}/{verb}",
        provider="Microsoft Compute",
        resource="Virtual Machines" if kind == "virtualMachines" else "Virtual Machine Scale Sets",
        operation=operation,
        description=f"{operation}.",
    )


COMPUTE = Provider(
    namespace="Microsoft.Compute",
    types=(_VIRTUAL_MACHINES, *SCALE_SET_TYPES, *catalogue_types(COMPUTE_VERSIONS)),
    operations=(
        _operation("read", "Get a virtual machine"),
        _operation("write", "Create or update a virtual machine"),
        _operation("delete", "Delete a virtual machine"),
        _operation("instanceView/read", "Get the run-time status of a virtual machine"),
        _operation("start/action", "Start a virtual machine"),
        _operation("powerOff/action", "Power off a virtual machine"),
        _operation("restart/action", "Restart a virtual machine"),
        _operation("deallocate/action", "Deallocate a virtual machine"),
        _operation("read", "Get a virtual machine scale set", "virtualMachineScaleSets"),
        _operation("write", "Create or update a virtual machine scale set", "virtualMachineScaleSets"),
        _operation("delete", "Delete a virtual machine scale set", "virtualMachineScaleSets"),
        _operation("virtualMachines/read", "Get an instance of a scale set", "virtualMachineScaleSets"),
        _operation("virtualMachines/delete", "Delete an instance of a scale set", "virtualMachineScaleSets"),
    ),
    operations_versions=COMPUTE_VERSIONS,
)
