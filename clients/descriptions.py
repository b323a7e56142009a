"""The operations of Azure's API descriptions, and which of them a request on the wire is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["SPECIFICATIONS", "Operation", "operations", "operations_of"]

SPECIFICATIONS = Path(__file__).parent / "specifications" / "specification"
_METHODS = ("get", "head", "put", "patch", "post", "delete")
_WHOLE = {
    "scope": r"(?:.+/)?",
    "roleAssignmentId": r"(?:.+/)?providers/Microsoft\.Authorization/roleAssignments/[^/]+",
    "denyAssignmentId": r"(?:.+/)?providers/Microsoft\.Authorization/denyAssignments/[^/]+",
    "roleId": r"(?:.+/)?providers/Microsoft\.Authorization/roleDefinitions/[^/]+",
    # What is generic matches everything; it is confirmed by the type that the requests below use for nothing else.
    "resourceId": r"subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.Network/virtualNetworks/[^/]+",
}
"""What stands for the parameters that paths begin with."""
_PLACES = {"parentResourcePath": r".*", "resourceProviderNamespace": r"[^/]+\.[^/]+"}
"""What stands for other parameters, where it is not one segment."""
_GENERIC = re.compile(r"Resources_(?!List|Move|Validate)")
"""Operations whose api-version is the target type's."""
_GENERIC_TYPE = re.compile(r"/providers/Microsoft\.Network/+virtualNetworks/[^/]+$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation of one description."""

    description: str
    """The description's file, below `SPECIFICATIONS`."""
    name: str
    method: str
    template: str
    version: str
    pattern: re.Pattern[str]
    definition: Mapping[str, Any]

    @property
    def key(self) -> str:
        """What the lists of exceptions call it."""
        return f"{self.version} {self.name}"

    @property
    def has_a_namespace(self) -> bool:
        """Whether the command finds it by itself: it goes by the last namespace of a path, or by there being nothing like one."""
        _, providers, rest = self.template.rpartition("/providers/")
        return (
            rest.startswith("Microsoft.")
            if providers
            else "provider" not in self.template and not self.template.startswith("/{")
        )

    def parameters(self, method: str, path: str, version: str) -> dict[str, str] | None:
        """The parameters of a request's path, if the request is this operation's."""
        if method != self.method:
            return None
        if _GENERIC.match(self.name):
            if not _GENERIC_TYPE.search(path):
                return None
        elif version != self.version:
            return None
        found = self.pattern.fullmatch(path)
        return {name: value.strip("/") for name, value in found.groupdict().items()} if found else None


@cache
def operations() -> tuple[Operation, ...]:
    """Every operation of every description."""
    return tuple(
        one for file in sorted(SPECIFICATIONS.rglob("*.json")) if "common-types" not in file.parts for one in _declared(file)
    )


def operations_of(method: str, path: str, version: str) -> Iterator[tuple[Operation, dict[str, str]]]:
    """The operations that a request is: several where one path has more names than one."""
    for one in operations():
        parameters = one.parameters(method, path, version)
        if parameters is not None:
            yield one, parameters


def _declared(file: Path) -> Iterator[Operation]:
    content = json.loads(file.read_text())
    for template, methods in {**content.get("paths", {}), **content.get("x-ms-paths", {})}.items():
        for method in _METHODS:
            if method in methods:
                yield Operation(
                    description=str(file.relative_to(SPECIFICATIONS)),
                    name=methods[method]["operationId"],
                    method=method.upper(),
                    template=template,
                    version=content["info"]["version"],
                    pattern=_pattern(template.partition("?")[0]),
                    definition=methods[method],
                )


def _pattern(template: str) -> re.Pattern[str]:
    parts = []
    for at, segment in enumerate(template.strip("/").split("/")):
        name = segment.strip("{}")
        if name == segment:
            parts.append(re.escape(segment) + "/")
        elif name == "scope":
            parts.append(f"(?P<{name}>{_WHOLE[name]})")
        else:
            place = _PLACES.get(name, "[^/]+") if at else _WHOLE[name]
            parts.append(f"(?P<{name}>{place})/")
    return re.compile("/+" + "".join(parts) + "?", re.IGNORECASE)
