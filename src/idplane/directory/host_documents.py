"""What a host's agent is told about it: the `compute` document of the instance metadata (MIE section 1.8). Pure.

Every primitive value is a string, and what is not known is there as an empty one: that is how clients know the document.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from idplane.model.resources import Resource
from idplane.model.scale_sets import computer_name, instances_of
from idplane.model.values import JsonObject

__all__ = ["compute_document", "instance_document"]


def compute_document(host: Resource) -> JsonObject:
    """The document for a resource of any type; virtual machines have the most to say."""
    identifier, properties = host.id, host.properties
    image = _object(properties, "storageProfile", "imageReference")
    namespace = host.type.partition("/")[0]
    zones = host.envelope.get("zones")
    return {
        "azEnvironment": "AzurePublicCloud",
        "customData": "",
        "evictionPolicy": _text(properties.get("evictionPolicy")),
        "isHostCompatibilityLayerVm": "false",
        "licenseType": _text(properties.get("licenseType")),
        "location": host.location or "",
        "name": identifier.name,
        "offer": _text(image.get("offer")),
        "osProfile": _os_profile(properties),
        "osType": _text(_object(properties, "storageProfile", "osDisk").get("osType")) or "Linux",
        "placementGroupId": "",
        "plan": {name: _text(_object(host.envelope, "plan").get(name)) for name in ("name", "product", "publisher")},
        "platformFaultDomain": _text(properties.get("platformFaultDomain")),
        "platformUpdateDomain": "",
        "priority": _text(properties.get("priority")),
        "provider": namespace,
        "publicKeys": _public_keys(properties),
        "publisher": _text(image.get("publisher")),
        "resourceGroupName": identifier.resource_group or "",
        "resourceId": str(identifier),
        "securityProfile": _security_profile(properties),
        "sku": _text(image.get("sku")),
        "storageProfile": _storage_profile(properties, image),
        "subscriptionId": identifier.subscription or "",
        "tags": ";".join(f"{name}:{value}" for name, value in host.tags.items()),
        "tagsList": [{"name": name, "value": value} for name, value in host.tags.items()],
        "userData": _text(properties.get("userData")),
        "version": _text(image.get("version")),
        "virtualMachineScaleSet": {"id": _text(_object(properties, "virtualMachineScaleSet").get("id"))},
        "vmId": _text(properties.get("vmId")),
        "vmScaleSetName": _text(_object(properties, "virtualMachineScaleSet").get("id")).rpartition("/")[2],
        "vmSize": _text(_object(properties, "hardwareProfile").get("vmSize")),
        "zone": _text(zones[0]) if isinstance(zones, list | tuple) and zones else "",
    }


def instance_document(scale_set: Resource, instance_id: str) -> JsonObject:
    """The document for an instance of a scale set: the set's model as a machine, with the instance's own name and id."""
    profile = _object(scale_set.properties, "virtualMachineProfile")
    os_profile = _object(profile, "osProfile")
    prefix = _text(os_profile.get("computerNamePrefix")) or scale_set.id.name
    properties = {
        **profile,
        "osProfile": {**os_profile, "computerName": computer_name(prefix, instance_id)},
        "hardwareProfile": {"vmSize": _text(_object(scale_set.envelope, "sku").get("name"))},
        "virtualMachineScaleSet": {"id": str(scale_set.id)},
        "vmId": instances_of(scale_set)[instance_id].get("vmId"),
    }
    document = compute_document(replace(scale_set, properties=properties))
    identifier = scale_set.id.child("virtualMachines", instance_id)
    return {**document, "name": f"{scale_set.id.name}_{instance_id}", "resourceId": str(identifier)}


def _os_profile(properties: JsonObject) -> JsonObject:
    profile = _object(properties, "osProfile")
    linux = _object(profile, "linuxConfiguration")
    return {
        "adminUsername": _text(profile.get("adminUsername")),
        "computerName": _text(profile.get("computerName")),
        "disablePasswordAuthentication": _text(linux.get("disablePasswordAuthentication", False)),
    }


def _public_keys(properties: JsonObject) -> list[JsonObject]:
    keys = _object(properties, "osProfile", "linuxConfiguration", "ssh").get("publicKeys")
    if not isinstance(keys, list | tuple):
        return []
    return [{"keyData": _text(key.get("keyData")), "path": _text(key.get("path"))} for key in keys if isinstance(key, Mapping)]


def _security_profile(properties: JsonObject) -> JsonObject:
    profile = _object(properties, "securityProfile")
    uefi = _object(profile, "uefiSettings")
    return {
        "encryptionAtHost": _text(profile.get("encryptionAtHost", False)),
        "secureBootEnabled": _text(uefi.get("secureBootEnabled", False)),
        "securityType": _text(profile.get("securityType")),
        "virtualTpmEnabled": _text(uefi.get("vTpmEnabled", False)),
    }


def _storage_profile(properties: JsonObject, image: JsonObject) -> JsonObject:
    disk = _object(properties, "storageProfile", "osDisk")
    return {
        "dataDisks": [],
        "imageReference": {name: _text(image.get(name)) for name in ("id", "offer", "publisher", "sku", "version")},
        "osDisk": {name: _text(disk.get(name)) for name in ("caching", "createOption", "diskSizeGB", "name", "osType")},
        "resourceDisk": {"size": ""},
    }


def _object(value: object, *path: str) -> Mapping[str, object]:
    """The object at a path of members; an empty one where something is missing or of another shape."""
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else ""
