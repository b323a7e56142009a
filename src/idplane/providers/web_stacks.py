"""What App Service tells of its runtimes and regions, for clients that look before they create an app (control-plane.md section 5.4).

A small catalogue as data, the same everywhere. No code is ever run, and sites may name runtimes that are not listed here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from idplane.arm.declare import Listed, Listing, Own, Placement, ResourceType, Visibility
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject
from idplane.providers.locations import LOCATION_NAMES

__all__ = ["stack_types"]


@dataclass(frozen=True, slots=True)
class _Release:
    """One version of a language. `linux` and `windows` are the runtime's names there, None where there is none."""

    text: str
    value: str
    linux: str | None = None
    windows: str | None = None


@dataclass(frozen=True, slots=True)
class _Stack:
    """A language. `worker` is what Functions calls it."""

    name: str
    text: str
    releases: tuple[_Release, ...]
    worker: str = ""


_WEB = (
    _Stack(
        "dotnet",
        ".NET",
        (
            _Release(".NET 8 (LTS)", "8", "DOTNETCORE|8.0", "v8.0"),
            _Release(".NET 9 (STS)", "9", "DOTNETCORE|9.0", "v9.0"),
            _Release(".NET 10 (LTS)", "10", "DOTNETCORE|10.0", "v10.0"),
        ),
    ),
    _Stack(
        "node",
        "Node",
        (
            _Release("Node 20 LTS", "20-lts", "NODE|20-lts", "~20"),
            _Release("Node 22 LTS", "22-lts", "NODE|22-lts", "~22"),
            _Release("Node 24 LTS", "24-lts", "NODE|24-lts", "~24"),
        ),
    ),
    _Stack("php", "PHP", (_Release("PHP 8.3", "8.3", "PHP|8.3"), _Release("PHP 8.4", "8.4", "PHP|8.4"))),
    _Stack(
        "python",
        "Python",
        tuple(_Release(f"Python {one}", one, f"PYTHON|{one}") for one in ("3.10", "3.11", "3.12", "3.13")),
    ),
)
_FUNCTIONS = (
    _Stack(
        "dotnet",
        ".NET",
        (
            _Release(".NET 8 Isolated", "8 (LTS), isolated worker model", "DOTNET-ISOLATED|8.0", "v8.0"),
            _Release(".NET 9 Isolated", "9, isolated worker model", "DOTNET-ISOLATED|9.0", "v9.0"),
        ),
        worker="dotnet-isolated",
    ),
    _Stack(
        "java",
        "Java",
        tuple(_Release(f"Java {one}", f"{one}.0", f"Java|{one}", one) for one in ("11", "17", "21")),
        worker="java",
    ),
    _Stack(
        "node",
        "Node.js",
        tuple(_Release(f"Node.js {one} LTS", f"{one} LTS", f"Node|{one}", f"~{one}") for one in ("20", "22")),
        worker="node",
    ),
    _Stack(
        "powershell",
        "PowerShell Core",
        (_Release("PowerShell 7.4", "7.4", "PowerShell|7.4", "7.4"),),
        worker="powershell",
    ),
    _Stack(
        "python",
        "Python",
        tuple(_Release(f"Python {one}", one, f"Python|{one}") for one in ("3.10", "3.11", "3.12", "3.13")),
        worker="python",
    ),
    _Stack("custom", "Custom Handler", (_Release("Custom Handler", "custom", "", "custom"),), worker="custom"),
)
_FUNCTIONS_VERSION = "~4"


def _stack(kind: str, stack: _Stack) -> JsonObject:
    releases: list[JsonObject] = [
        {"displayText": one.text, "value": one.value, "minorVersions": [_minor(stack, one)]} for one in stack.releases
    ]
    return {
        "id": f"/providers/{kind}/{stack.name}",
        "name": stack.name,
        "type": kind,
        "properties": {
            "displayText": stack.text,
            "value": stack.name,
            "preferredOs": "linux" if stack.releases[0].linux is not None else "windows",
            "majorVersions": releases,
        },
    }


def _minor(stack: _Stack, release: _Release) -> JsonObject:
    settings: dict[str, object] = {}
    for member, runtime in (("linuxRuntimeSettings", release.linux), ("windowsRuntimeSettings", release.windows)):
        if runtime is not None:
            settings[member] = {**_runtime(runtime), **(_functions(stack, member, runtime) if stack.worker else {})}
    return {"displayText": release.text, "value": release.value, "stackSettings": settings}


def _runtime(runtime: str) -> JsonObject:
    return {
        "runtimeVersion": runtime,
        "isPreview": False,
        "isDeprecated": False,
        "isHidden": False,
        "remoteDebuggingSupported": False,
        "appInsightsSettings": {"isSupported": False},
        "gitHubActionSettings": {"isSupported": False},
    }


def _functions(stack: _Stack, member: str, runtime: str) -> JsonObject:
    site: JsonObject = {"use32BitWorkerProcess": False}
    return {
        "isDefault": False,
        "appSettingsDictionary": {"FUNCTIONS_WORKER_RUNTIME": stack.worker},
        "siteConfigPropertiesDictionary": {**site, "linuxFxVersion": runtime} if member.startswith("linux") else site,
        "supportedFunctionsExtensionVersions": [_FUNCTIONS_VERSION],
    }


def _region(subscription: ResourceId, name: str) -> JsonObject:
    return {
        "id": f"{subscription}/providers/Microsoft.Web/geoRegions/{name}",
        "name": name,
        "type": "Microsoft.Web/geoRegions",
        "properties": {"name": name, "description": name, "displayName": name, "orgDomain": "PUBLIC"},
    }


def stack_types(versions: tuple[str, ...]) -> tuple[ResourceType, ...]:
    """The types that tell of them: runtimes for everybody who is signed in, regions below a subscription."""
    return (
        _told("webAppStacks", versions, _WEB),
        _told("functionAppStacks", versions, _FUNCTIONS),
        ResourceType(
            name="Microsoft.Web/geoRegions",
            api_versions=versions,
            placements=frozenset({Placement.SUBSCRIPTION}),
            own=Own(list=_regions),
            taggable=False,
        ),
    )


def _told(path: str, versions: tuple[str, ...], stacks: Iterable[_Stack]) -> ResourceType:
    kind = f"Microsoft.Web/{path}"
    entries = tuple(_stack(kind, one) for one in stacks)

    async def listed(_: Listing) -> Listed:
        return Listed(items=entries)

    return ResourceType(
        name=kind,
        api_versions=versions,
        placements=frozenset({Placement.TENANT}),
        own=Own(list=listed),
        visibility=Visibility.OPEN,
        taggable=False,
    )


async def _regions(listing: Listing) -> Listed:
    return Listed(items=tuple(_region(listing.scope, name) for name in LOCATION_NAMES))
