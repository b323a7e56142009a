"""Azure resource ids: one parser, Azure's case rules, and the scope arithmetic that authorization rests on.

The grammar (control-plane.md section 4, and the Resource Manager RPC's common API details):

    /                                                                          the tenant
    /subscriptions/{id}[/resourceGroups/{name}]                                a subscription, a group
    {scope}/providers/{namespace}/{type}/{name}[/{type}/{name}]*               a resource, a child, or an extension of `scope`

Comparison ignores case everywhere; the user's casing is kept for display. Repeated slashes collapse (the CLI sends them).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from idplane.model.failure import Failure, FailureKind

__all__ = ["ROOT", "ResourceId", "is_guid", "normalize_location"]

_GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
# Resource names: at most 260 characters and none of < > % & : \ ? / (control-plane.md section 7.4), no control characters.
_SEGMENT = re.compile(r"[^<>%&:\\?/\x00-\x1f\x7f]{1,260}")
_MAX_LENGTH = 2048


def is_guid(text: str) -> bool:
    """Whether `text` is a GUID in its hyphenated form, in any case."""
    return _GUID.fullmatch(text) is not None


def normalize_location(text: str) -> str:
    """`West Europe` and `westeurope` are the same place."""
    return text.replace(" ", "").lower()


@dataclass(frozen=True, eq=False)
class ResourceId:
    """A parsed resource id, or a scope: the tenant, a subscription and a group are ids too.

    `segments` are as the user wrote them, except that the grammar's own words have their canonical case.
    """

    segments: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> ResourceId:
        """Parse an id; raises `Failure(INVALID_RESOURCE_ID)` for anything outside the grammar."""
        if len(text) > _MAX_LENGTH or not text.startswith("/"):
            raise Failure(FailureKind.INVALID_RESOURCE_ID, f"'{text[:200]}' is not a resource id", id=text[:200])
        parts = tuple(part for part in text.split("/") if part)
        if any(_SEGMENT.fullmatch(part) is None or part in {".", ".."} for part in parts):
            raise Failure(FailureKind.INVALID_RESOURCE_ID, f"'{text[:200]}' is not a resource id", id=text[:200])
        return cls(_canonical(parts, text))

    def child(self, *segments: str) -> ResourceId:
        """The id below this one that the further segments name, checked like any other."""
        return ResourceId.parse(f"{self}/{'/'.join(segments)}")

    def extension(self, resource_type: str, name: str) -> ResourceId:
        """The id of an extension or top-level resource of `resource_type` at this scope."""
        namespace, *types = resource_type.split("/")
        if len(types) != 1:
            raise ValueError(f"{resource_type!r} is not a top-level type")
        return self.child("providers", namespace, types[0], name)

    def __str__(self) -> str:
        return "/" + "/".join(self.segments)

    def __repr__(self) -> str:
        return f"ResourceId({str(self)!r})"

    @cached_property
    def key(self) -> str:
        """What ids are compared and stored by: the lower-case text."""
        return str(self).lower()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ResourceId) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def subscription(self) -> str | None:
        """The subscription's GUID, lower case, if the id lies in one."""
        if len(self.segments) >= 2 and self.segments[0] == "subscriptions":  # noqa: PLR2004 - a keyword and its value
            return self.segments[1].lower()
        return None

    @property
    def resource_group(self) -> str | None:
        """The group's name as written, if the id lies in one."""
        if len(self.segments) >= 4 and self.segments[2] == "resourceGroups":  # noqa: PLR2004 - two keywords and their values
            return self.segments[3]
        return None

    @cached_property
    def _provider_at(self) -> int | None:
        """Index of the last `providers` keyword: what stands before it is the scope."""
        # A namespace holds a dot, and a type never does: that is what tells the keyword from a resource named `providers`.
        for index in range(len(self.segments) - 4, -1, -1):
            if self.segments[index] == "providers" and "." in self.segments[index + 1]:
                return index
        return None

    @property
    def scope(self) -> ResourceId:
        """What the (last) provider part is attached to; the id itself for the tenant, a subscription or a group."""
        return self if self._provider_at is None else ResourceId(self.segments[: self._provider_at])

    @property
    def namespace(self) -> str | None:
        """The resource provider's namespace as written, such as `Microsoft.Compute`."""
        return None if self._provider_at is None else self.segments[self._provider_at + 1]

    @property
    def type(self) -> str:
        """The full type as written, such as `Microsoft.Web/sites/slots`; the kernel's own words for scopes."""
        if self._provider_at is None:
            return ("Microsoft.Resources/tenants", "Microsoft.Resources/subscriptions", "Microsoft.Resources/resourceGroups")[
                len(self.segments) // 2
            ]
        rest = self.segments[self._provider_at + 2 :]
        return "/".join((self.segments[self._provider_at + 1], *rest[::2]))

    @property
    def name(self) -> str:
        """The last segment: the resource's own name; empty for the tenant."""
        return self.segments[-1] if self.segments else ""

    @property
    def parent(self) -> ResourceId | None:
        """One step up: parent resource, then the scope, then group, subscription, tenant; None above the tenant."""
        if not self.segments:
            return None
        at = self._provider_at
        # providers + namespace + type + name are one step; each further type + name another.
        if at is not None and len(self.segments) - at == 4:  # noqa: PLR2004 - see the comment above
            return ResourceId(self.segments[:at])
        return ResourceId(self.segments[:-2])

    def lineage(self) -> Iterator[ResourceId]:
        """This id, then every scope above it up to the tenant: the scopes from which roles are inherited."""
        current: ResourceId | None = self
        while current is not None:
            yield current
            current = current.parent

    def is_within(self, scope: ResourceId) -> bool:
        """Whether this id is `scope` or lies below it, by whole path segments."""
        return not scope.segments or self.key == scope.key or self.key.startswith(scope.key + "/")


def _canonical(parts: tuple[str, ...], text: str) -> tuple[str, ...]:
    """The segments with the grammar's words in canonical case; raises for a path that the grammar does not know."""
    out = list(parts)
    index = 0
    refused = Failure(FailureKind.INVALID_RESOURCE_ID, f"'{text[:200]}' is not a resource id", id=text[:200])
    if parts and parts[0].lower() == "subscriptions":
        if len(parts) < 2:  # noqa: PLR2004 - the keyword needs its value
            raise refused
        out[0] = "subscriptions"
        index = 2
        if len(parts) > 2 and parts[2].lower() == "resourcegroups":  # noqa: PLR2004 - the next keyword
            if len(parts) < 4:  # noqa: PLR2004 - the keyword needs its value
                raise refused
            out[2] = "resourceGroups"
            index = 4
    while index < len(parts):
        if parts[index].lower() != "providers" or len(parts) - index < 4:  # noqa: PLR2004 - providers/namespace/type/name
            raise refused
        out[index] = "providers"
        index += 4
        while index < len(parts) and not _starts_provider(parts, index):
            if len(parts) - index < 2:  # noqa: PLR2004 - a type needs its name
                raise refused
            index += 2
    return tuple(out)


def _starts_provider(parts: tuple[str, ...], index: int) -> bool:
    return parts[index].lower() == "providers" and index + 1 < len(parts) and "." in parts[index + 1]


ROOT = ResourceId(())
