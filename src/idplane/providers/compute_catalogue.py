"""What Microsoft.Compute tells of images and machine sizes, for clients that look before they create (control-plane.md section 5.3).

    /subscriptions/{id}/providers/Microsoft.Compute/locations/{location}/publishers/{publisher}/artifacttypes/vmimage/offers/{offer}/skus/{sku}/versions

A small catalogue as data: the images that the Azure CLI has short names for, each with one version, and common sizes, the same everywhere.
No image is ever started, and machines may name images and sizes that are not listed here. Lists below a location are bare arrays, as Azure's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from idplane.arm.declare import Item, Listed, Listing, Lookup, Own, Placement, ResourceType
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject
from idplane.providers.filters import Comparison, invalid_filter, parse_filter
from idplane.providers.locations import LOCATION_NAMES

__all__ = ["catalogue_types"]

_VERSION = "1.0.0"
"""The only one of every image: whatever version a template names, nothing else would be started."""
_KIND = "vmimage"
_SKU_VERSIONS = ("2021-07-01", "2019-04-01", "2017-09-01")


@dataclass(frozen=True, slots=True)
class _Image:
    """A platform image."""

    publisher: str
    offer: str
    sku: str
    windows: bool = False
    generation: str = "V2"
    architecture: str = "x64"

    def part(self, depth: int) -> str:
        """Publisher, offer or SKU."""
        return (self.publisher, self.offer, self.sku)[depth]


_IMAGES = (
    _Image("Canonical", "0001-com-ubuntu-server-jammy", "22_04-lts-gen2"),
    _Image("Canonical", "ubuntu-24_04-lts", "server"),
    _Image("Debian", "debian-11", "11-backports-gen2"),
    _Image("Debian", "debian-12", "12-gen2"),
    _Image("kinvolk", "flatcar-container-linux-free", "stable-gen2"),
    _Image("microsoftazurelinux", "azurelinux-4", "4"),
    _Image("microsoftazurelinux", "azurelinux-4", "4-arm64", architecture="Arm64"),
    _Image("microsoftazurelinux", "azurelinux-4", "4-gen1", generation="V1"),
    _Image("MicrosoftWindowsServer", "WindowsServer", "2012-Datacenter", windows=True, generation="V1"),
    _Image("MicrosoftWindowsServer", "WindowsServer", "2012-R2-Datacenter", windows=True, generation="V1"),
    _Image("MicrosoftWindowsServer", "WindowsServer", "2016-datacenter-gensecond", windows=True),
    _Image("MicrosoftWindowsServer", "WindowsServer", "2019-datacenter-gensecond", windows=True),
    _Image("MicrosoftWindowsServer", "WindowsServer", "2022-datacenter-azure-edition-core", windows=True),
    _Image("MicrosoftWindowsServer", "WindowsServer", "2022-datacenter-g2", windows=True),
    _Image("OpenLogic", "CentOS", "8_5-gen2"),
    _Image("RedHat", "RHEL", "8-lvm-gen2"),
    _Image("SUSE", "openSUSE-leap-15-4", "gen2"),
    _Image("SUSE", "sles-15-sp3", "gen2"),
)


@dataclass(frozen=True, slots=True)
class _Size:
    """A machine size; memory in GiB."""

    name: str
    family: str
    cores: int
    memory: float
    disks: int


_SIZES = (
    _Size("Standard_B1s", "standardBSFamily", 1, 1, 2),
    _Size("Standard_B1ms", "standardBSFamily", 1, 2, 2),
    _Size("Standard_B2s", "standardBSFamily", 2, 4, 4),
    _Size("Standard_B2ms", "standardBSFamily", 2, 8, 4),
    _Size("Standard_DS1_v2", "standardDSv2Family", 1, 3.5, 4),
    _Size("Standard_DS2_v2", "standardDSv2Family", 2, 7, 8),
    _Size("Standard_D2s_v3", "standardDSv3Family", 2, 8, 4),
    _Size("Standard_D2s_v5", "standardDSv5Family", 2, 8, 4),
    _Size("Standard_D4s_v5", "standardDSv5Family", 4, 16, 8),
    _Size("Standard_D8s_v5", "standardDSv5Family", 8, 32, 16),
    _Size("Standard_E2s_v5", "standardESv5Family", 2, 16, 4),
    _Size("Standard_E4s_v5", "standardESv5Family", 4, 32, 8),
    _Size("Standard_F2s_v2", "standardFSv2Family", 2, 4, 4),
    _Size("Standard_F4s_v2", "standardFSv2Family", 4, 8, 8),
)
_LOCATIONS = tuple(name.replace(" ", "") for name in LOCATION_NAMES)


# Images -------------------------------------------------------------------------------------------------------------


def _location(identifier: ResourceId) -> str:
    return identifier.segments[5]


def _asked(identifier: ResourceId) -> tuple[str, ...]:
    """Publisher, offer and SKU, as far as the id goes. Raises `Failure(ARTIFACT_NOT_FOUND)` for artifacts that are no images."""
    names = identifier.segments[7::2]
    if len(names) > 1 and names[1].lower() != _KIND:
        raise _not_found(f"Artifact: {names[1]} was not found.")
    return (*names[:1], *names[2:5])


def _among(names: tuple[str, ...]) -> list[_Image]:
    """The images that names lead to; raises `Failure(ARTIFACT_NOT_FOUND)` for none."""
    wanted = tuple(name.lower() for name in names)
    found = [one for one in _IMAGES if tuple(one.part(depth).lower() for depth in range(len(wanted))) == wanted]
    if not found:
        raise _not_found("Artifact: VMImage was not found.")
    return found


def _not_found(detail: str) -> Failure:
    return Failure(FailureKind.ARTIFACT_NOT_FOUND, detail)


def _entry(location: str, below: ResourceId, word: str, name: str) -> JsonObject:
    return {"location": location, "name": name, "id": f"{below}/{word}/{name}"}


def _listed(word: str, depth: int) -> Own:
    """Lists publishers, offers or SKUs."""

    async def entries(listing: Listing) -> Listed:
        names = _asked(listing.scope) if depth else ()
        parts = dict.fromkeys(one.part(depth) for one in _among(names))
        return Listed(items=tuple(_entry(_location(listing.scope), listing.scope, word, name) for name in sorted(parts)))

    return Own(list=entries)


async def _versions(listing: Listing) -> Listed:
    image = _among(_asked(listing.scope))[0]
    entry = _entry(_location(listing.scope), listing.scope, "versions", _VERSION)
    expanded = (listing.context.query.get("$expand") or "").lower() == "properties"
    return Listed(items=({**entry, "properties": _properties(image)} if expanded else entry,))


async def _version(lookup: Lookup) -> Item | None:
    below = ResourceId(lookup.id.segments[:-2])
    image = _among(_asked(below))[0]
    if lookup.id.name != _VERSION:
        return None
    entry = _entry(_location(lookup.id), below, "versions", _VERSION)
    return Item(body={**entry, "properties": _properties(image)})


def _properties(image: _Image) -> JsonObject:
    return {
        "osDiskImage": {"operatingSystem": "Windows" if image.windows else "Linux", "sizeInGb": 127 if image.windows else 30},
        "dataDiskImages": [],
        "automaticOSUpgradeProperties": {"automaticOSUpgradeSupported": False},
        "hyperVGeneration": image.generation,
        "architecture": image.architecture,
        "features": [],
    }


# Sizes --------------------------------------------------------------------------------------------------------------


async def _skus(listing: Listing) -> Listed:
    location = _wanted_location(listing.context.query.get("$filter"))
    shown = tuple(name for name in _LOCATIONS if location in {None, name.lower()})
    return Listed(items=tuple(_sku(one, shown) for one in _SIZES) if shown else ())


def _wanted_location(text: str | None) -> str | None:
    """The location that a filter names; raises `Failure(INVALID_FILTER)` for any other filter."""
    found: str | None = None
    for condition in parse_filter(text):
        if not isinstance(condition, Comparison) or (condition.field, condition.operator) != ("location", "eq") or found:
            raise invalid_filter(text or "")
        found = condition.value.replace(" ", "").lower()
    return found


def _sku(size: _Size, locations: Iterable[str]) -> JsonObject:
    shown = list(locations)
    capabilities = {
        "vCPUs": str(size.cores),
        "MemoryGB": f"{size.memory:g}",
        "MaxDataDiskCount": str(size.disks),
        "HyperVGenerations": "V1,V2",
        "CpuArchitectureType": "x64",
        "PremiumIO": "True",
    }
    return {
        "resourceType": "virtualMachines",
        "name": size.name,
        "tier": "Standard",
        "size": size.name.removeprefix("Standard_"),
        "family": size.family,
        "locations": shown,
        "locationInfo": [{"location": one, "zones": ["1", "2", "3"], "zoneDetails": []} for one in shown],
        "capabilities": [{"name": name, "value": value} for name, value in capabilities.items()],
        "restrictions": [],
    }


async def _sizes(_: Listing) -> Listed:
    return Listed(
        items=tuple(
            {
                "name": one.name,
                "numberOfCores": one.cores,
                "osDiskSizeInMB": 1047552,
                "resourceDiskSizeInMB": 0,
                "memoryInMB": int(one.memory * 1024),
                "maxDataDiskCount": one.disks,
            }
            for one in _SIZES
        )
    )


# Types --------------------------------------------------------------------------------------------------------------


def catalogue_types(versions: tuple[str, ...]) -> tuple[ResourceType, ...]:
    """The types that tell of them, all of them below a subscription and read-only."""

    def told(path: str, own: Own, *, bare: bool = False, versions: tuple[str, ...] = versions) -> ResourceType:
        return ResourceType(
            name=f"Microsoft.Compute/{path}",
            api_versions=versions,
            placements=frozenset({Placement.SUBSCRIPTION}),
            own=own,
            bare_list=bare,
            taggable=False,
        )

    skus = "locations/publishers/artifactTypes/offers/skus"
    return (
        told("skus", Own(list=_skus), versions=_SKU_VERSIONS),
        told("locations", Own()),
        told("locations/vmSizes", Own(list=_sizes)),
        told("locations/publishers", _listed("publishers", 0), bare=True),
        told("locations/publishers/artifactTypes", Own()),
        told("locations/publishers/artifactTypes/offers", _listed("offers", 1), bare=True),
        told(skus, _listed("skus", 2), bare=True),
        told(f"{skus}/versions", Own(get=_version, list=_versions), bare=True),
    )
