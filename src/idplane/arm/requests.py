"""What the kernel is given and what it works with: a management request, its resolved attempt, and the doors to the world."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Never, Protocol

from idplane.arm.bodies import parse_object
from idplane.arm.context import Access, Addresses, Diagnostics, IdentityDirectory
from idplane.arm.declare import Visibility
from idplane.arm.registry import CollectionRoute, InstanceRoute, OperationsRoute, Registry, Route, Verb
from idplane.model.calls import Call, Caller
from idplane.model.directory import Principal, Tenant, TokenBinding
from idplane.model.events import ActivityEvent
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.profile import Profile
from idplane.model.resources import Resource
from idplane.model.roles import Decision
from idplane.model.values import JsonObject
from idplane.ports.store import Batch, Store, Versioned
from idplane.ports.world import Clock, Entropy, KeyCustody

__all__ = [
    "Attempt",
    "Authenticator",
    "BoundIdentities",
    "Kernel",
    "ManagementRequest",
    "ManagementResponse",
    "NoCustody",
    "Recorder",
    "body_of",
    "first_values",
    "verb_of",
    "visibility_of",
]

_MEDIA_TYPES = frozenset({"", "application/json", "text/json"})


class Authenticator(Protocol):
    """Verifies bearer tokens; `sts.TokenAuthenticator` is one."""

    async def authenticate(self, token: str, audiences: Collection[str], certificate: bytes | None = None) -> Caller:
        """Who bears the token; raises `Failure` of the `TOKEN_*` kinds."""
        ...


class Recorder(Protocol):
    """Makes activity events; `audit.activity.activity_event` is one."""

    def __call__(  # noqa: PLR0913 - an event has this many sides
        self,
        *,
        event_id: str,
        at: datetime,
        call: Call,
        caller: Caller,
        resource_id: ResourceId,
        operation: str,
        decision: Decision | None,
        http_status: int,
        failure_code: str | None,
        details: Mapping[str, str],
        goes_on: bool = False,
    ) -> ActivityEvent:
        """The event of one attempt: it succeeded when there is no failure code, or goes on behind its answer."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagementRequest:
    """A management request after HTTP has been read. Header values are None when absent or repeated."""

    method: str
    path: str
    """Percent-decoded."""
    query: tuple[tuple[str, str], ...]
    body: bytes
    call: Call
    addresses: Addresses
    authorization: str | None = field(default=None, repr=False)
    content_type: str | None = None
    if_match: str | None = None
    if_none_match: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagementResponse:
    """A finished answer. `body` is a JSON object or array, bytes of XML, or None for an empty one."""

    status: int
    body: object = None
    headers: tuple[tuple[str, str], ...] = ()


class NoCustody:
    """Seals nothing: for a manager without vaults."""

    @property
    def key_id(self) -> str:
        """No key's."""
        return "none"

    def seal(self, plaintext: bytes, *, context: str) -> bytes:
        """Raises `Failure(UNAVAILABLE)`."""
        del plaintext, context
        raise Failure(FailureKind.UNAVAILABLE, "this server holds no key for secrets")

    def unseal(self, sealed: bytes, *, context: str) -> bytes:
        """Raises `Failure(UNAVAILABLE)`."""
        return self.seal(sealed, context=context)

    def knows(self, sealed: bytes, /) -> bool:
        """Nothing."""
        del sealed
        return False

    def new_authority_key(self) -> None:
        """None: it holds no keys."""

    def authority_key(self, reference: bytes, /) -> Never:
        """Raises `Failure(UNAVAILABLE)`."""
        del reference
        raise Failure(FailureKind.UNAVAILABLE, "this server holds no keys")


@dataclass(frozen=True, slots=True)
class BoundIdentities:
    """The identity directory for one request."""

    directory: IdentityDirectory
    store: Store
    tenant_id: str
    entropy: Entropy
    now: datetime

    def new_system_identity(self, host: Resource) -> Principal:
        """The principal of a host whose identity is being enabled."""
        return self.directory.new_system_identity(host, tenant_id=self.tenant_id, entropy=self.entropy, now=self.now)

    def new_user_assigned(self, resource_id: ResourceId) -> Principal:
        """The principal of a user-assigned identity that is being made."""
        return self.directory.new_user_assigned(resource_id, tenant_id=self.tenant_id, entropy=self.entropy, now=self.now)

    async def removal_of(self, principal_id: str) -> Batch:
        """What goes when a principal goes."""
        return await self.directory.removal_of(self.store, principal_id)

    async def revoke_principal(self, row: Versioned[Principal]) -> Batch:
        """The end of a principal's tokens."""
        return await self.directory.revoke_principal(self.store, row, entropy=self.entropy, now=self.now)

    def bound(self, principal: Principal, binding: TokenBinding) -> Principal:
        """A principal with its tokens bound, or no longer."""
        return self.directory.bound(principal, binding, entropy=self.entropy, now=self.now)

    async def revoke_host(self, host_key: str) -> Batch:
        """The end of a resource's tokens."""
        return await self.directory.revoke_host(self.store, host_key, entropy=self.entropy)

    def revoke_tenant(self, row: Versioned[Tenant]) -> Batch:
        """The end of a tenant's tokens."""
        return self.directory.revoke_tenant(row, entropy=self.entropy, now=self.now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A resolved request of a known caller: what the activity log would say of it."""

    request: ManagementRequest
    verb: Verb
    caller: Caller
    route: Route
    api_version: str
    attachment: object = field(default=None, repr=False)


async def _no_log(_: Batch) -> Batch:
    raise Failure(FailureKind.UNAVAILABLE, "this server keeps no log")


async def _keep_anything(_: Store, __: Batch, ___: str) -> Batch:
    return Batch()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """What a `ResourceManager` works with: doors to the world, and the narrow interfaces of its neighbours."""

    store: Store
    clock: Clock
    entropy: Entropy
    profile: Profile
    registry: Registry
    authenticator: Authenticator
    audiences: frozenset[str]
    """`aud` values of Resource Manager tokens, beside the address that is asked."""
    access: Access
    identities: IdentityDirectory
    record: Recorder
    describe: Callable[[Failure], tuple[int, str]]
    """A failure's HTTP status and error code, for the activity log."""
    explain: Callable[[Failure], JsonObject] = field(
        default=lambda failure: {"code": failure.kind.name, "message": failure.detail}
    )
    """A failure's error object, for operations whose end is told later."""
    keep: Callable[[Store, Batch, str], Awaitable[Batch]] = _keep_anything
    """Refuses a change that would leave a tenant without administrators; what it returns is committed with the change."""
    custody: KeyCustody = field(default=NoCustody(), repr=False)
    """What seals secrets."""
    vouch: Callable[[Batch], Awaitable[Batch]] = _no_log
    """What goes along with a change of the log's keys: the checkpoint by which whoever verifies learns of it."""
    diagnostics: Diagnostics | None = None
    """None where refusals are not kept."""


def visibility_of(route: Route) -> Visibility:
    """Who gets an answer from a route."""
    if isinstance(route, OperationsRoute):
        return Visibility.OPEN
    if isinstance(route, CollectionRoute):
        return route.type.visibility
    if isinstance(route, InstanceRoute):
        return route.type.instances
    return route.action.visibility


def verb_of(method: str) -> Verb:
    """The verb of an HTTP method; raises `Failure(METHOD_NOT_ALLOWED)`."""
    try:
        return Verb[method]
    except KeyError as error:
        raise Failure(FailureKind.METHOD_NOT_ALLOWED, f"{method[:20]} is not supported", method=method[:20]) from error


def first_values(query: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Query values by their names in lower case; of a repeated one the first."""
    values: dict[str, str] = {}
    for name, value in query:
        values.setdefault(name.lower(), value)
    return values


def body_of(attempt: Attempt) -> Mapping[str, object]:
    """The body of methods that have one; GET, HEAD and DELETE bodies mean nothing.

    Raises `Failure(UNSUPPORTED_MEDIA_TYPE | MALFORMED_BODY | BODY_TOO_LARGE)`.
    """
    request = attempt.request
    if attempt.verb not in (Verb.PUT, Verb.PATCH, Verb.POST):
        return {}
    media_type = (request.content_type or "").split(";", 1)[0].strip().lower()
    if request.body and media_type not in _MEDIA_TYPES:
        raise Failure(FailureKind.UNSUPPORTED_MEDIA_TYPE, "the request content must be JSON", media_type=media_type[:100])
    declared = None if isinstance(attempt.route, OperationsRoute) else attempt.route.type
    bodiless = attempt.verb is Verb.POST or (declared is not None and declared.bodiless)
    if not bodiless and not request.body.strip():
        raise Failure(FailureKind.MALFORMED_BODY, "the request content is empty: a JSON object is needed")
    return declared.reads(request.body) if declared is not None else parse_object(request.body)
