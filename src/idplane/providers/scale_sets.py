"""Microsoft.Compute: virtual machine scale sets and their instances.

The instances follow `sku.capacity`: new ones get the next ids, and the highest ids go first when it shrinks. They are part of the
scale set's record, so that the two can't disagree, and have no identity but the scale set's. A set whose `orchestrationMode` is
Flexible has none here: its machines are virtual machines of their own, as at Azure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from idplane.arm.context import Context
from idplane.arm.declare import (
    Action,
    Deleted,
    Invocation,
    Item,
    Listed,
    Listing,
    Lookup,
    NameRule,
    Outcome,
    Own,
    Placement,
    ResourceType,
    Write,
)
from idplane.arm.missing import resource_not_found
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.resources import Resource
from idplane.model.scale_sets import INSTANCES, computer_name, instances_of
from idplane.model.values import JsonObject
from idplane.ports.collections import RESOURCES
from idplane.ports.store import Batch, Put, Versioned
from idplane.providers.fields import Fields
from idplane.providers.hosts import host_type
from idplane.providers.identity_block import identity_members

__all__ = ["COMPUTE_VERSIONS", "IDS_AS_LIST", "SCALE_SET_TYPES"]

COMPUTE_VERSIONS = (
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
"""What azure-mgmt-compute and the CLI send for machines and scale sets, and older ones (control-plane.md sections 1 and 5.3)."""
IDS_AS_LIST = frozenset({"2017-12-01", "2018-04-01"})
_MOST_INSTANCES = 1000
_NEXT = "nextInstance"
_HIDDEN = (INSTANCES, _NEXT)
_RUNNING, _STOPPED, _DEALLOCATED = "running", "stopped", "deallocated"
_TYPE = "Microsoft.Compute/virtualMachineScaleSets"
_NAMES = NameRule(
    re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,62}[A-Za-z0-9_])?"),
    "1 to 64 letters, digits, '-' or '_', starting with a letter or digit and not ending with '-'",
)


# The set ------------------------------------------------------------------------------------------------------------


def _prepare(write: Write) -> Resource:
    """The draft with its instances brought to the capacity that it states."""
    draft, old = write.draft, write.old
    properties = {"upgradePolicy": {"mode": "Manual"}, **draft.properties, "uniqueId": _unique_id(write)}
    sku = draft.envelope.get("sku")
    known = instances_of(old) if old else {}
    wanted = None if _is_flexible(properties) else Fields(write.draft.envelope).inner("sku").integer("capacity")
    envelope: dict[str, object] = {
        **draft.envelope,
        INSTANCES: known,
        _NEXT: old.envelope.get(_NEXT, 0) if old else 0,
    }
    if isinstance(sku, Mapping):
        envelope["sku"] = {**sku, "capacity": sku.get("capacity", len(known))}
    made = replace(draft, properties=properties, envelope=envelope)
    return made if wanted is None else _scaled(made, wanted, write.context)


def _unique_id(write: Write) -> object:
    return write.old.properties["uniqueId"] if write.old else write.context.entropy.guid()


def _is_flexible(properties: JsonObject) -> bool:
    return str(properties.get("orchestrationMode", "")).lower() == "flexible"


def _scaled(scale_set: Resource, capacity: int, context: Context) -> Resource:
    """The set with `capacity` instances."""
    if not 0 <= capacity <= _MOST_INSTANCES:
        detail = f"The value {capacity} of parameter 'sku.capacity' must be from 0 to {_MOST_INSTANCES}."
        raise Failure(FailureKind.INVALID_PARAMETER, detail, target="sku.capacity", parameter="sku.capacity")
    known = list(instances_of(scale_set).items())[:capacity]
    first = int(str(scale_set.envelope[_NEXT]))
    made = [(str(first + at), _new_instance(context)) for at in range(capacity - len(known))]
    envelope = {**scale_set.envelope, INSTANCES: dict([*known, *made]), _NEXT: first + len(made)}
    return replace(scale_set, envelope=envelope)


def _new_instance(context: Context) -> JsonObject:
    return {"vmId": context.entropy.guid(), "power": _RUNNING}


def _members(scale_set: Resource, _: Context) -> JsonObject:
    shown = {name: value for name, value in scale_set.envelope.items() if name not in _HIDDEN}
    return {**shown, "properties": {**scale_set.properties, "provisioningState": "Succeeded"}}


async def _set_view(invocation: Invocation) -> Outcome:
    assert invocation.resource is not None  # the type is stored
    counts: dict[str, int] = {}
    for one in instances_of(invocation.resource).values():
        code = f"PowerState/{one['power']}"
        counts[code] = counts.get(code, 0) + 1
    summary = [{"code": code, "count": count} for code, count in counts.items()]
    return Outcome(body={"virtualMachine": {"statusesSummary": summary}, "statuses": [_PROVISIONED]})


_PROVISIONED = {"code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": "Provisioning succeeded"}


def _named(invocation: Invocation) -> frozenset[str]:
    """The instances that a body names; all of them by `*` or by naming none."""
    assert invocation.resource is not None  # the type is stored
    known = instances_of(invocation.resource)
    named = Fields(invocation.body).texts("instanceIds", limit=_MOST_INSTANCES, length=10)
    if not named or "*" in named:
        return frozenset(known)
    strangers = [one for one in named if one not in known]
    if strangers:
        detail = f"The provided instanceId {strangers[0]} is not an active Virtual Machine Scale Set VM instanceId."
        raise Failure(FailureKind.INVALID_PARAMETER, detail, target="instanceIds", parameter="instanceIds")
    return frozenset(named)


def _turning_set(power: str) -> Action:
    async def run(invocation: Invocation) -> Outcome:
        named = _named(invocation)
        assert invocation.resource is not None  # the type is stored
        return Outcome(resource=_turned(invocation.resource, named, power))

    return Action(run=run)


def _turned(scale_set: Resource, instance_ids: Iterable[str], power: str) -> Resource:
    named = frozenset(instance_ids)
    instances = {key: {**one, "power": power} if key in named else one for key, one in instances_of(scale_set).items()}
    return replace(scale_set, envelope={**scale_set.envelope, INSTANCES: instances})


def _less(scale_set: Resource, instance_ids: frozenset[str]) -> Resource:
    """The set without these instances, and its capacity with them."""
    left = {key: one for key, one in instances_of(scale_set).items() if key not in instance_ids}
    sku = scale_set.envelope.get("sku")
    capacity = {"sku": {**sku, "capacity": len(left)}} if isinstance(sku, Mapping) else {}
    return replace(scale_set, envelope={**scale_set.envelope, **capacity, INSTANCES: left})


async def _delete_named(invocation: Invocation) -> Outcome:
    if not Fields(invocation.body).has("instanceIds"):
        raise Failure(
            FailureKind.INVALID_PARAMETER, "Required parameter 'instanceIds' is missing (null).", target="instanceIds"
        )
    named = _named(invocation)
    assert invocation.resource is not None  # the type is stored
    return Outcome(resource=_less(invocation.resource, named))


async def _accepted(invocation: Invocation) -> Outcome:
    """An upgrade to the latest model: there is only one model."""
    _named(invocation)
    return Outcome()


_SCALE_SETS = host_type(
    _TYPE,
    COMPUTE_VERSIONS,
    naming=_NAMES,
    prepare=_prepare,
    members=_members,
    own_refusals=True,
    actions={
        "start": _turning_set(_RUNNING),
        "powerOff": _turning_set(_STOPPED),
        "deallocate": _turning_set(_DEALLOCATED),
        "restart": _turning_set(_RUNNING),
        "delete": Action(run=_delete_named),
        "manualupgrade": Action(run=_accepted),
    },
    views={"instanceView": Action(run=_set_view)},
    ids_as_list=IDS_AS_LIST,
)


# Its instances ------------------------------------------------------------------------------------------------------


async def _set_of(context: Context, identifier: ResourceId) -> Versioned[Resource] | None:
    return await context.store.get(RESOURCES, identifier.key)


def _instance(scale_set: Resource, instance_id: str, facts: JsonObject, *, expanded: bool) -> JsonObject:
    profile = Fields(scale_set.properties).inner("virtualMachineProfile").values
    os_profile = profile.get("osProfile")
    properties: dict[str, object] = {
        "latestModelApplied": True,
        "modelDefinitionApplied": "VirtualMachineScaleSet",
        "vmId": facts["vmId"],
        **{name: profile[name] for name in ("storageProfile", "hardwareProfile") if name in profile},
    }
    if isinstance(os_profile, Mapping):
        own = {name: value for name, value in os_profile.items() if name != "computerNamePrefix"}
        prefix = str(os_profile.get("computerNamePrefix", scale_set.id.name))
        properties["osProfile"] = {**own, "computerName": computer_name(prefix, instance_id)}
    if expanded:
        properties["instanceView"] = _instance_view(facts)
    shown = {name: scale_set.envelope[name] for name in ("sku", "zones", "plan") if name in scale_set.envelope}
    return {
        "id": str(scale_set.id.child("virtualMachines", instance_id)),
        "name": f"{scale_set.id.name}_{instance_id}",
        "type": f"{_TYPE}/virtualMachines",
        "location": scale_set.location or "",
        "tags": dict(scale_set.tags),
        "instanceId": instance_id,
        **shown,
        **identity_members(scale_set.identity),
        "properties": {**properties, "provisioningState": "Succeeded"},
    }


def _instance_view(facts: JsonObject) -> JsonObject:
    power = facts["power"]
    powered = {"code": f"PowerState/{power}", "level": "Info", "displayStatus": f"VM {power}"}
    return {"statuses": [_PROVISIONED, powered]}


def _expanded(context: Context) -> bool:
    return "instanceview" in (part.strip().lower() for part in context.query.get("$expand", "").split(","))


async def _get(lookup: Lookup) -> Item | None:
    found = await _set_of(lookup.context, ResourceId(lookup.id.segments[:-2]))
    facts = instances_of(found.value).get(lookup.id.name) if found else None
    if found is None or facts is None:
        return None
    return Item(body=_instance(found.value, lookup.id.name, facts, expanded=_expanded(lookup.context)))


async def _list(listing: Listing) -> Listed:
    found = await _set_of(listing.context, listing.scope)
    if found is None:
        raise resource_not_found(listing.scope)
    after = -1 if listing.after is None or not listing.after.isdecimal() else int(listing.after)
    rest = [(key, facts) for key, facts in instances_of(found.value).items() if int(key) > after]
    page, expanded = rest[: listing.top], _expanded(listing.context)
    return Listed(
        items=tuple(_instance(found.value, key, facts, expanded=expanded) for key, facts in page),
        after=page[-1][0] if len(rest) > len(page) else None,
    )


async def _delete(lookup: Lookup) -> Deleted | None:
    found = await _set_of(lookup.context, ResourceId(lookup.id.segments[:-2]))
    if found is None or lookup.id.name not in instances_of(found.value):
        return None
    return Deleted(batch=_put(_less(found.value, frozenset({lookup.id.name})), found))


def _put(changed: Resource, found: Versioned[Resource]) -> Batch:
    return Batch.of(Put(collection=RESOURCES, value=changed, expect=found.version))


async def _invoked(invocation: Invocation) -> tuple[Versioned[Resource], JsonObject]:
    found = await _set_of(invocation.context, ResourceId(invocation.id.segments[:-2]))
    facts = instances_of(found.value).get(invocation.id.name) if found else None
    if found is None or facts is None:
        raise resource_not_found(invocation.id)
    return found, facts


def _turning(power: str) -> Action:
    async def run(invocation: Invocation) -> Outcome:
        found, _ = await _invoked(invocation)
        return Outcome(batch=_put(_turned(found.value, [invocation.id.name], power), found))

    return Action(run=run)


async def _view(invocation: Invocation) -> Outcome:
    _, facts = await _invoked(invocation)
    return Outcome(body=_instance_view(facts))


_INSTANCES = ResourceType(
    name=f"{_TYPE}/virtualMachines",
    api_versions=COMPUTE_VERSIONS,
    placements=frozenset({Placement.GROUP}),
    own=Own(get=_get, list=_list, delete=_delete),
    actions={
        "start": _turning(_RUNNING),
        "powerOff": _turning(_STOPPED),
        "deallocate": _turning(_DEALLOCATED),
        "restart": _turning(_RUNNING),
    },
    views={"instanceView": Action(run=_view)},
)

SCALE_SET_TYPES = (_SCALE_SETS, _INSTANCES)
