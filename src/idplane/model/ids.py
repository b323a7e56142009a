"""Azure resource ids: one parser, Azure's case rules, and the scope arithmetic that authorization rests on.

The grammar (control-plane.md section 4, and the Resource Manager RPC's common API details):

    /                                                                          the tenant
    /subscriptions/{id}[/resourceGroups/{name}]                                a subscription, a group
    {scope}/providers/{namespace}/{type}/{name}[/{type}/{name}]*               a resource, a child, or an extension of `scope`
    /providers/Microsoft.Management/managementGroups/{name}                    a management group: a resource by its form, a scope by use

An id does not tell which management groups its subscription lies in; whoever needs that asks `rbac`.

Comparison ignores case everywhere; the user's casing is kept for display. Repeated slashes collapse (the CLI sends them).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from idplane.model.failure import Failure, FailureKind

__all__ = ["MANAGEMENT_GROUP", "ROOT", "ResourceId", "is_guid", "management_group_id", "normalize_location"]

MANAGEMENT_GROUP = "Microsoft.Management/managementGroups"
"""The type of management groups, the scopes between the tenant and its subscriptions."""

_GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
# Resource names: at most 260 characters and none of < > % & : \ ? / (control-plane.md section 7.4), no control characters, no
# halves of surrogate pairs (no encoder takes them), and no white space at either end.
_SEGMENT = re.compile(r"(?!\s)[^<>%&:\\?/\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,260}(?<!\s)")
_MAX_LENGTH = 2048
_PROVIDERS = "providers"


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
            raise _refused(text)
        parts = tuple(part for part in text.split("/") if part)
        if any(_SEGMENT.fullmatch(part) is None or part in {".", ".."} for part in parts):
            raise _refused(text)
        keywords = _keywords(parts)
        if keywords is None:
            raise _refused(text)
        return cls(tuple(keywords.get(index, part) for index, part in enumerate(parts)))

    def child(self, *segments: str) -> ResourceId:
        """The id below this one that the further segments name, checked like any other; each is one segment, never none or two."""
        text = f"{self}/{'/'.join(segments)}"
        if not all(segments) or any("/" in segment for segment in segments):
            raise _refused(text)
        return ResourceId.parse(text)

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
        # A tenant-level type may be called `resourceGroups` too; only below a subscription is it the grammar's word.
        if self.subscription is not None and len(self.segments) >= 4 and self.segments[2] == "resourceGroups":  # noqa: PLR2004 - two keywords and their values
            return self.segments[3]
        return None

    @property
    def management_group(self) -> str | None:
        """The management group's name as written, if the id is one or lies in one by its form."""
        named = len(self.segments) >= 4 and self.segments[0] == _PROVIDERS  # noqa: PLR2004 - the keyword, namespace, type and name
        return self.segments[3] if named and "/".join(self.segments[1:3]).lower() == MANAGEMENT_GROUP.lower() else None

    @property
    def is_management_group(self) -> bool:
        """Whether the id is a management group, and nothing in or on one."""
        return len(self.segments) == 4 and self.management_group is not None  # noqa: PLR2004 - as above

    @cached_property
    def _provider_at(self) -> int | None:
        """Index of the last `providers` keyword: what stands before it is the scope."""
        keywords = _keywords(self.segments) or {}
        return max((index for index, word in keywords.items() if word == _PROVIDERS), default=None)

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
        return ResourceId(self.segments[: self._sizes[1]]) if self.segments else None

    def lineage(self) -> Iterator[ResourceId]:
        """This id, then every scope above it up to the tenant: the scopes from which roles are inherited."""
        yield self
        for size in self._sizes[1:]:
            yield ResourceId(self.segments[:size])

    @cached_property
    def lineage_keys(self) -> tuple[str, ...]:
        """The keys of `lineage`: what every decision about this id looks assignments up by."""
        parts = self.key.split("/")
        return tuple("/".join(parts[: size + 1]) or "/" for size in self._sizes)

    @cached_property
    def _sizes(self) -> tuple[int, ...]:
        """How many segments this id has, and each scope above it, in one reading of the grammar."""
        providers = [index for index, word in (_keywords(self.segments) or {}).items() if word == _PROVIDERS]
        size = len(self.segments)
        sizes = [size]
        while size:
            # providers + namespace + type + name are one step; each further type + name another.
            size = providers.pop() if providers and size - providers[-1] == 4 else max(size - 2, 0)  # noqa: PLR2004 - see above
            sizes.append(size)
        return tuple(sizes)

    def is_within(self, scope: ResourceId) -> bool:
        """Whether this id is `scope` or lies below it, by whole path segments."""
        return not scope.segments or self.key == scope.key or self.key.startswith(scope.key + "/")


def _keywords(parts: tuple[str, ...]) -> dict[int, str] | None:
    """Where the grammar's own words stand, in canonical case; None for a path that the grammar does not know.

    Read from the front, so that a resource, a group or a subscription may be named like any of them.
    """
    words: dict[int, str] = {}
    index = 0
    for word in ("subscriptions", "resourceGroups"):
        if index < len(parts) and parts[index].lower() == word.lower():
            words[index] = word
            index += 2
        else:
            break
    while index < len(parts):
        if not _starts_provider(parts, index):
            return None
        words[index] = _PROVIDERS
        # The keyword with its namespace, then at least one pair of type and name.
        index += 4
        while index < len(parts) and not _starts_provider(parts, index):
            index += 2
    return words if index == len(parts) else None


def _starts_provider(parts: tuple[str, ...], index: int) -> bool:
    """A namespace holds a dot: that tells the keyword from a child type called `providers`."""
    return parts[index].lower() == _PROVIDERS and index + 1 < len(parts) and "." in parts[index + 1]


def _refused(text: str) -> Failure:
    shown = text[:200].encode("utf-8", "replace").decode("utf-8")
    return Failure(FailureKind.INVALID_RESOURCE_ID, f"'{shown}' is not a resource id", id=shown)


ROOT = ResourceId(())


def management_group_id(name: str) -> ResourceId:
    """The id of a management group."""
    return ROOT.extension(MANAGEMENT_GROUP, name)
