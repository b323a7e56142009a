"""Scale sets: their instances are machines without a record of their own, and without an identity of their own.

What runs on an instance uses the scale set's identities, and its tokens name the scale set (managed-identity-endpoints.md
section 9). The instances are a member of the scale set's stored envelope that no request can write.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from idplane.model.ids import ResourceId
from idplane.model.resources import Resource
from idplane.model.values import JsonObject

__all__ = ["INSTANCES", "computer_name", "host_on", "identity_host", "identity_host_key", "instances_of"]

INSTANCES = "instances"
"""The envelope member: by instance id, the instance's own facts."""
_MARK = "/providers/microsoft.compute/virtualmachinescalesets/"
_WORD = "virtualmachines"
_BASE36 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_COMPUTER_NAME_DIGITS = 6


def identity_host(identifier: ResourceId) -> ResourceId:
    """The resource whose identities are used on a host: the host itself, or the scale set that it is an instance of."""
    return ResourceId(identifier.segments[:-2]) if identity_host_key(identifier.key) != identifier.key else identifier


def identity_host_key(key: str) -> str:
    """`identity_host` for a host's id key."""
    head, mark, rest = key.partition(_MARK)
    parts = rest.split("/")
    return f"{head}{mark}{parts[0]}" if mark and len(parts) == 3 and parts[1] == _WORD else key  # noqa: PLR2004 - set, word, instance


def instances_of(scale_set: Resource) -> Mapping[str, JsonObject]:
    """A scale set's instances by instance id, lowest first."""
    instances = cast("Mapping[str, JsonObject]", scale_set.envelope.get(INSTANCES, {}))
    return dict(sorted(instances.items(), key=lambda it: int(it[0])))


def host_on(bearer: Resource, host: ResourceId) -> ResourceId | None:
    """The host under the bearer's own spelling: the bearer itself, or an instance that it has now; None for one that it has not."""
    if host == bearer.id:
        return bearer.id
    instance_id = host.name
    return bearer.id.child("virtualMachines", instance_id) if instance_id in instances_of(bearer) else None


def computer_name(prefix: str, instance_id: str) -> str:
    """An instance's host name: the prefix and the id as six digits of base 36."""
    number, digits = int(instance_id), ""
    while number or len(digits) < _COMPUTER_NAME_DIGITS:
        number, digit = divmod(number, len(_BASE36))
        digits = _BASE36[digit] + digits
    return prefix + digits
