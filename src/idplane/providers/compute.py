"""Microsoft.Compute: virtual machines.

A machine's properties are stored as they are sent, less its secrets; what idplane adds is `vmId` and an honest power state: it runs
once created, and the four power actions change what is recorded. No machine is really started: the record is what agents,
identities and roles hang on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from idplane.arm.context import Context
from idplane.arm.declare import Action, Invocation, NameRule, OperationInfo, Outcome, Provider, Write
from idplane.arm.envelope import timestamp
from idplane.model.failure import Failure, FailureKind
from idplane.model.resources import Resource
from idplane.model.values import JsonObject
from idplane.providers.hosts import host_type

__all__ = ["COMPUTE"]

_VERSIONS = (
    "2026-04-01",
    "2026-03-01",
    "2025-11-01",
    "2025-04-01",
    "2024-11-01",
    "2024-07-01",
    "2024-03-01",
    "2023-09-01",
    "2023-07-01",
    "2023-03-01",
    "2022-11-01",
    "2022-08-01",
    "2022-03-01",
    "2021-11-01",
    "2021-07-01",
    "2021-04-01",
    "2021-03-01",
    "2020-12-01",
    "2020-06-01",
    "2019-12-01",
    "2019-07-01",
    "2019-03-01",
    "2018-10-01",
    "2018-06-01",
    "2018-04-01",
    "2017-12-01",
)
_IDS_AS_LIST = frozenset({"2017-12-01", "2018-04-01"})
_POWER = "powerState"
"""Where the power state is kept: a member of the stored envelope that no request can write."""
_RUNNING, _STOPPED, _DEALLOCATED = "running", "stopped", "deallocated"
_SECRETS = ("adminPassword", "customData")
"""Members of `osProfile` that are taken and never given back, so they are not kept at all."""
_NAMES = NameRule(
    re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?"),
    "1 to 64 letters, digits, '-', '_' or '.', not starting with '-' or '.' nor ending with '.'",
)


def _prepare(write: Write) -> Resource:
    """The draft with its id and power state carried over, and without secrets."""
    draft, old = write.draft, write.old
    properties = {name: value for name, value in draft.properties.items() if name not in ("vmId", "instanceView")}
    profile = properties.get("osProfile")
    if isinstance(profile, Mapping):
        properties["osProfile"] = {name: value for name, value in profile.items() if name not in _SECRETS}
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
    _VERSIONS,
    naming=_NAMES,
    prepare=_prepare,
    members=_members,
    actions={
        "start": _turning(_RUNNING),
        "powerOff": _turning(_STOPPED),
        "deallocate": _turning(_DEALLOCATED),
        "restart": _turning(_RUNNING, only_from=_RUNNING),
    },
    views={"instanceView": Action(run=_view)},
    ids_as_list=_IDS_AS_LIST,
)


def _operation(verb: str, operation: str) -> OperationInfo:
    return OperationInfo(
        name=f"Microsoft.Compute/virtualMachines/{verb}",
        provider="Microsoft Compute",
        resource="Virtual Machines",
        operation=operation,
        description=f"{operation}.",
    )


COMPUTE = Provider(
    namespace="Microsoft.Compute",
    types=(_VIRTUAL_MACHINES,),
    operations=(
        _operation("read", "Get a virtual machine"),
        _operation("write", "Create or update a virtual machine"),
        _operation("delete", "Delete a virtual machine"),
        _operation("instanceView/read", "Get the run-time status of a virtual machine"),
        _operation("start/action", "Start a virtual machine"),
        _operation("powerOff/action", "Power off a virtual machine"),
        _operation("restart/action", "Restart a virtual machine"),
        _operation("deallocate/action", "Deallocate a virtual machine"),
    ),
    operations_versions=_VERSIONS,
)
