"""The words in which resource providers declare their types.

A type is a `ResourceType` with three or four small functions. There are two storage shapes through one pipeline:

- **stored** (the default): one record of `RESOURCES`. The kernel builds the new value (`Write.draft`) with Azure's PUT and PATCH
  semantics; `put` may change it and add operations, `remove` adds the deletes of what hangs on the resource.
- **own storage** (`own=Own(...)`): the provider's get, list, put and delete functions return rendered bodies and operations.

Either way the kernel authenticates, authorizes, checks preconditions, pages, renders, and commits the operations in one `Batch`
with the activity event. Functions run again from the start when another writer won a race, so they must not keep state.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from idplane.arm.bodies import parse_object
from idplane.arm.context import Context
from idplane.model.attributes import Attributes
from idplane.model.failure import Failure
from idplane.model.ids import ResourceId
from idplane.model.resources import IdentityType, Resource
from idplane.model.values import JsonObject
from idplane.ports.store import Batch, Reads

__all__ = [
    "ANY_SCOPE",
    "NAME",
    "NOTHING",
    "Action",
    "Deleted",
    "Invocation",
    "Item",
    "Listed",
    "Listing",
    "Lookup",
    "NameRule",
    "OperationInfo",
    "Outcome",
    "Own",
    "OwnWrite",
    "Placement",
    "Provider",
    "Question",
    "Removal",
    "ResourceType",
    "StoredItem",
    "Visibility",
    "Write",
    "Written",
    "accept",
    "default_members",
]


NOTHING = Batch()
"""No further operations."""


class Placement(enum.Enum):
    """Where a type's instances may live. Children live where their parent lives."""

    TENANT = "tenant"
    MANAGEMENT_GROUP = "management group"
    SUBSCRIPTION = "subscription"
    GROUP = "group"
    RESOURCE = "resource"
    """As an extension of another provider's resource."""


class Visibility(enum.Enum):
    """Who gets an answer to a collection, an action or a view."""

    PERMITTED = "permitted"
    """Callers with the action at the scope."""
    FILTERED = "filtered"
    """Also callers who hold a role somewhere below the scope. Stored types show them what they may read; functions see to it."""
    OPEN = "open"
    """Every authenticated caller; the function decides what to show."""


ANY_SCOPE = frozenset(Placement)
"""An extension type such as role assignments."""


@dataclass(frozen=True, slots=True)
class NameRule:
    """A pattern for the whole name, and the rule in words for the refusal."""

    pattern: re.Pattern[str]
    words: str
    refusal: str | None = None
    """The provider's own sentence, with `{name}`, where it has one. Own-storage types only."""


NAME = NameRule(re.compile(r"[^<>%&:\\?/\x00-\x1f\x7f]{1,260}"), "1 to 260 characters, none of < > % & : \\ ? /")
"""The rule of types that have none of their own (control-plane.md section 7.4)."""


# What functions are given ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request to an instance whose caller has not been let in yet: what conditions of role assignments may look at follows from it."""

    store: Reads
    tenant_id: str
    """The caller's tenant."""
    id: ResourceId
    verb: str
    """`read`, `write` or `delete`."""
    body: JsonObject
    """Empty when there is none that can be read; it has not been checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """A PUT (`patch=False`) or PATCH. `draft` is the value that the kernel would store."""

    context: Context
    type: ResourceType
    id: ResourceId
    body: JsonObject
    patch: bool
    old: Resource | None
    draft: Resource

    @property
    def created(self) -> bool:
        """Whether this write makes a new resource."""
        return self.old is None


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnWrite:
    """A PUT or PATCH of an own-storage type. `old` is what `Own.get` gave just before."""

    context: Context
    type: ResourceType
    id: ResourceId
    body: JsonObject
    patch: bool
    old: Item | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """A stored resource is being deleted, by itself or with what contains it."""

    context: Context
    type: ResourceType
    resource: Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """One instance of an own-storage type is asked for or deleted."""

    context: Context
    type: ResourceType
    id: ResourceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A collection of an own-storage type at `scope`: a scope for top-level types, the parent's id for children.

    `after` is the cursor that the previous page returned. Filters are in `context.query` (`$filter`, ...).
    """

    context: Context
    type: ResourceType
    scope: ResourceId
    top: int
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """A POST action or GET view. `resource` is the stored instance; None for own-storage types and for actions of a scope."""

    context: Context
    id: ResourceId
    resource: Resource | None
    body: JsonObject
    """Empty when the request had no body."""
    argument: str = ""
    """The namespace, for metadata and actions of a provider."""


# What functions return ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The value to store; `before` is applied ahead of it (what it refers to), `after` behind it (what refers to it)."""

    resource: Resource
    before: Batch = NOTHING
    after: Batch = NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One rendered instance of an own-storage type. `etag` without quotes, if the type has ETags."""

    body: JsonObject
    etag: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    status: int = 200
    bare: bool = False
    """Whether the answer has no body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredItem:
    """The result of an own-storage PUT: its rendered body, whether it is new, and the operations that store it."""

    body: JsonObject
    created: bool
    batch: Batch
    etag: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    then: Callable[[], None] | None = None
    """Called once the operations are committed: where work that goes on after the answer is started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """The result of an own-storage DELETE. The answer has the type's `deleted_status`, with the body if there is one."""

    batch: Batch
    body: JsonObject | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One page; `after` is an opaque cursor for the next page, None at the end."""

    items: tuple[JsonObject, ...]
    after: str | None = None
    extra: JsonObject = field(default_factory=dict)
    """Further members of the answer beside `value`, such as `totalCount`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of an action or view. `resource`, if given, replaces the stored one."""

    status: int = 200
    body: object = None
    """A JSON object or array; bytes for the few answers that are XML; None for an empty answer."""
    resource: Resource | None = None
    batch: Batch = NOTHING
    headers: tuple[tuple[str, str], ...] = ()
    then: Callable[[], None] | None = None
    """Called once the operations are committed."""


# Declarations -------------------------------------------------------------------------------------------------------

Run: TypeAlias = Callable[[Invocation], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A POST action (`{verb}/action`) or a GET view (`{word}/read`), with the name that authorizes it."""

    run: Run
    permission: str | None = None
    """The full action name when it is not the default one."""
    data: bool = False
    visibility: Visibility = Visibility.PERMITTED
    """`OPEN` is for questions about the caller itself and for public lists."""
    api_versions: tuple[str, ...] = ()
    """Accepted versions when they are not those of the type or provider."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """Functions of a type with its own storage. An absent function makes the method 405."""

    get: Callable[[Lookup], Awaitable[Item | None]] | None = None
    list: Callable[[Listing], Awaitable[Listed]] | None = None
    put: Callable[[OwnWrite], Awaitable[StoredItem]] | None = None
    patch: Callable[[OwnWrite], Awaitable[StoredItem]] | None = None
    delete: Callable[[Lookup], Awaitable[Deleted | None]] | None = None
    """None for what did not exist: 204."""


async def accept(write: Write) -> Written:
    """The `put` of types without rules of their own: store the draft."""
    return Written(resource=write.draft)


async def _nothing(_: Removal) -> Batch:
    return NOTHING


def default_members(resource: Resource, _: Context) -> JsonObject:
    """What types show by default beside the common envelope: what was sent, and a terminal provisioning state."""
    return {**resource.envelope, "properties": {**resource.properties, "provisioningState": "Succeeded"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceType:
    """One declared resource type. Constructor arguments are the whole difference between types."""

    name: str
    """The full type in its canonical casing: `Microsoft.Compute/virtualMachines`, `Microsoft.Web/sites/slots`."""
    api_versions: tuple[str, ...]
    """Every accepted version, newest first."""
    placements: frozenset[Placement] = frozenset({Placement.GROUP})
    naming: NameRule = NAME
    own: Own | None = None
    visibility: Visibility = Visibility.PERMITTED
    instances: Visibility = Visibility.PERMITTED
    """The same for one instance. With `OPEN`, own-storage types' functions authorize by themselves: more than the instance's own place decides."""
    keep: Callable[[Context], Callable[[Resource], bool]] | None = None
    """Stored types: reads the list's `$filter` and says which resources pass; without it `$filter` is ignored."""
    located: bool = True
    """Stored types: `location` is required when created and cannot change."""
    location_optional: bool = False
    """Located types whose `location` may be left out: children that Azure lets follow their parent."""
    taggable: bool = True
    bears_identity: bool = False
    """For provider metadata and `identities/default`; what the block means is the provider's `put`."""
    identity_types: frozenset[IdentityType] = frozenset()
    """Which identities it takes beside none, for who offers a choice; the provider's `put` refuses others."""
    most_user_assigned: int | None = None
    """How many user-assigned identities it takes at once, if that is limited."""
    system_data: bool = True
    put: Callable[[Write], Awaitable[Written]] | None = accept
    """Serves PUT, and PATCH too. None makes the type read-only."""
    patchable: bool = True
    deletable: bool = True
    delete_missing: int = 204
    """The answer to deleting what does not exist: 204, or 404 where clients know no 204 (control-plane.md section 6)."""
    remove: Callable[[Removal], Awaitable[Batch]] = _nothing
    """Operations ahead of the record's own delete. Children, and role assignments at or below, are the kernel's business."""
    render: Callable[[Resource, Context], JsonObject] = default_members
    """Members beside id, name, type, location, tags and systemData, for the api-version asked (`context.api_version`)."""
    actions: Mapping[str, Action] = field(default_factory=dict)
    """POST `{instance}/{word}`."""
    views: Mapping[str, Action] = field(default_factory=dict)
    """GET `{instance}/{word}` where the word is not a declared child type."""
    created_status: int = 201
    updated_status: int = 200
    deleted_status: int = 200
    """The answer to deleting a resource: 204 where clients of an asynchronous deletion know no 200."""
    deleted_later: bool = False
    """Stored types: whether clients expect a deletion to be answered with 202 and an address to ask."""
    reads: Callable[[bytes], JsonObject] = parse_object
    """Reads the body of a request to an instance or an action of it; raises `Failure(MALFORMED_BODY | BODY_TOO_LARGE)`."""
    missing: Callable[[ResourceId], Failure] | None = None
    """Own-storage types: the refusal of an instance that is not there, where it has words of its own."""
    logged: tuple[str, ...] = ()
    """Members of `properties` that the activity log shows of requests and answers; texts that are never secret."""
    bare_list: bool = False
    """Own-storage types: their list is an array without an envelope, as Microsoft.Compute's images have it, and has one page."""
    permissions: str = ""
    """What action names start with, when it is not the type's name."""
    attributes: Callable[[Question], Awaitable[Attributes]] | None = None
    """The attributes of requests to instances that conditions of role assignments may look at; without it there are none."""
    bodiless: bool = False
    """Whether a PUT may come without a body."""

    def __post_init__(self) -> None:
        if self.name.count("/") < 1 or not self.api_versions:
            raise ValueError(f"{self.name!r}: a type needs a namespace and at least one api-version")
        folded = {word.lower(): action for word, action in self.actions.items()}
        if len(folded) != len(self.actions):
            raise ValueError(f"{self.name!r}: two actions differ only in case")

    @property
    def namespace(self) -> str:
        """`Microsoft.Compute`."""
        return self.name.split("/", 1)[0]

    @property
    def path(self) -> str:
        """The type without its namespace: `virtualMachines`, `sites/slots`."""
        return self.name.split("/", 1)[1]

    def permission(self, verb: str) -> str:
        """The action name for `read`, `write` or `delete`."""
        return f"{self.permissions or self.name}/{verb}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationInfo:
    """One entry of a provider's operations list."""

    name: str
    operation: str
    resource: str
    provider: str
    description: str = ""
    data: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A namespace: its types, its operations list and its POST actions that belong to a scope and no type."""

    namespace: str
    types: tuple[ResourceType, ...]
    operations: tuple[OperationInfo, ...] = ()
    operations_versions: tuple[str, ...] = ()
    """Api-versions of GET `/providers/{namespace}/operations`; empty when the namespace offers no such list."""
    actions: Mapping[str, Action] = field(default_factory=dict)
    """POST `{scope}/providers/{namespace}/{word}`, such as `checkNameAvailability`."""
    actions_versions: tuple[str, ...] = ()
    views: Mapping[str, Action] = field(default_factory=dict)
    """GET `{scope}/providers/{namespace}/{word}` where the word is no declared type; each view names its own api-versions."""

    def __post_init__(self) -> None:
        strangers = [one.name for one in self.types if one.namespace.lower() != self.namespace.lower()]
        if strangers:
            raise ValueError(f"{self.namespace}: {', '.join(strangers)} belong to another namespace")
        names = [one.name.lower() for one in self.types]
        if len(set(names)) != len(names):
            raise ValueError(f"{self.namespace}: a type is declared twice")
