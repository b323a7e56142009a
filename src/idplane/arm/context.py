"""What a provider function may use: the circumstances of the request and narrow doors to reads, access checks and identities.

Providers never see a store that can commit: they return operations, and the kernel commits them together with the resource's own
change and the activity event.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeVar

from idplane.arm.inner import Manager
from idplane.model.attributes import Attributes
from idplane.model.calls import Call, Caller
from idplane.model.directory import Principal, Subscription, Tenant, TokenBinding
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.profile import Profile
from idplane.model.refusals import Refusal
from idplane.model.resources import Resource
from idplane.model.roles import Decision, Permission, RoleDefinition
from idplane.model.values import JsonObject
from idplane.ports.store import Batch, Reads, Store, Versioned
from idplane.ports.world import Entropy, KeyCustody

__all__ = ["Access", "Addresses", "Context", "Diagnostics", "Identities", "IdentityDirectory"]

T = TypeVar("T")


class Access(Protocol):
    """Authorization as the kernel and providers need it; `rbac.AccessControl` is one."""

    async def check(
        self,
        caller_ids: frozenset[str],
        action: str,
        scope: ResourceId,
        *,
        data: bool = False,
        attributes: Attributes | None = None,
    ) -> Decision:
        """Decide without refusing; `attributes` are for conditions."""
        ...

    async def require(
        self, caller: Caller, action: str, scope: ResourceId, *, data: bool = False, attributes: Attributes | None = None
    ) -> Decision:
        """Decide; raises `Failure(FORBIDDEN)` when the answer is no."""
        ...

    async def denied_below(self, scope: ResourceId) -> bool:
        """Whether deny assignments stand somewhere below a scope."""
        ...

    async def definition(self, tenant_id: str, role_id: str) -> RoleDefinition | None:
        """A built-in or custom role by its GUID."""
        ...

    async def lineage(self, scope: ResourceId) -> tuple[str, ...]:
        """The keys of a scope and of all from which it inherits, nearest first: management groups included, the tenant last."""
        ...

    async def principal_ids(self, principal_id: str) -> frozenset[str]:
        """A principal's own id and those of all groups that it is in."""
        ...

    async def permissions(self, caller_ids: frozenset[str], scope: ResourceId) -> tuple[Permission, ...]:
        """What these principals' roles give them at a scope."""
        ...


class IdentityDirectory(Protocol):
    """How the service principals of managed identities are made and unmade; the module `directory.identities` is one."""

    def new_system_identity(self, host: Resource, *, tenant_id: str, entropy: Entropy, now: datetime) -> Principal:
        """The service principal of a resource's system-assigned identity, with fresh ids."""
        ...

    def new_user_assigned(self, resource_id: ResourceId, *, tenant_id: str, entropy: Entropy, now: datetime) -> Principal:
        """The service principal of a user-assigned identity, with fresh ids."""
        ...

    async def removal_of(self, store: Store, principal_id: str, /) -> Batch:
        """Deletes of a principal and all that hangs on it: credentials, role assignments, identity assignments."""
        ...

    async def revoke_principal(self, store: Store, row: Versioned[Principal], *, entropy: Entropy, now: datetime) -> Batch:
        """The end of all tokens that a principal has."""
        ...

    def bound(self, principal: Principal, binding: TokenBinding, *, entropy: Entropy, now: datetime) -> Principal:
        """The principal with its tokens bound, or no longer."""
        ...

    async def revoke_host(self, store: Store, host_key: str, *, entropy: Entropy) -> Batch:
        """The end of all tokens that a resource got."""
        ...

    def revoke_tenant(self, row: Versioned[Tenant], *, entropy: Entropy, now: datetime) -> Batch:
        """The end of all tokens of a tenant."""
        ...


class Identities(Protocol):
    """`IdentityDirectory` for one request: the tenant, the clock and the store are settled."""

    def new_system_identity(self, host: Resource) -> Principal:
        """The service principal of a resource's system-assigned identity, with fresh ids."""
        ...

    def new_user_assigned(self, resource_id: ResourceId) -> Principal:
        """The service principal of a user-assigned identity, with fresh ids."""
        ...

    async def removal_of(self, principal_id: str) -> Batch:
        """Deletes of a principal and all that hangs on it, children first; empty if there is no such principal."""
        ...

    async def revoke_principal(self, row: Versioned[Principal]) -> Batch:
        """The end of all tokens that a principal has."""
        ...

    def bound(self, principal: Principal, binding: TokenBinding) -> Principal:
        """The principal with its tokens bound, or no longer; earlier ones end."""
        ...

    async def revoke_host(self, host_key: str) -> Batch:
        """The end of all tokens that a resource got; empty if it bears no identity."""
        ...

    def revoke_tenant(self, row: Versioned[Tenant]) -> Batch:
        """The end of all tokens of a tenant."""
        ...


class Diagnostics(Protocol):
    """Why requests were refused, and whether some would be; `explain.Diagnosis` is one."""

    home_tenant: str
    """Whose administrators see what nobody can be named for."""

    async def find(self, refusal_id: str, /) -> Refusal | None:
        """The refusal whose caller was shown this id, as far as this process knows."""
        ...

    async def settled(self) -> None:
        """Wait until what any server has just refused can be found."""
        ...

    async def flush(self) -> None:
        """Wait until what this server has just refused is in the database."""
        ...

    async def explain(self, refusal: Refusal, viewer: Caller, /) -> JsonObject:
        """The explanation, reduced to what the viewer may know."""
        ...

    async def ask(
        self, viewer: Caller, *, principal_id: str, action: str, scope: ResourceId, data: bool, attributes: Attributes
    ) -> JsonObject:
        """Whether a principal could do something, reduced likewise."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """How the outside names this server on the listener that the request came through; base URLs have no final slash."""

    authority: str
    management: str
    graph: str
    portal: str
    vault_domain: str
    """A vault's host is `{name}.{vault_domain}`; it holds the port if there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One authorized request as providers see it."""

    caller: Caller
    call: Call
    now: datetime
    api_version: str
    tenant: Tenant
    subscription: Subscription | None
    profile: Profile
    entropy: Entropy
    store: Reads
    access: Access
    identities: Identities
    addresses: Addresses
    custody: KeyCustody = field(repr=False)
    """For secrets: what is stored of them is sealed for the place where it is stored."""
    vouch: Callable[[Batch], Awaitable[Batch]] = field(repr=False)
    """A change of the log's keys with what has to be committed along with it; raises `Failure(UNAVAILABLE)`."""
    manager: Manager
    """For work that consists of further requests."""
    action: str
    """What the caller was authorized for, such as `Microsoft.Compute/virtualMachines/write`."""
    target: ResourceId
    """The scope at which it was authorized."""
    query: Mapping[str, str] = field(default_factory=dict)
    """Query parameters by lower-case name; the first value of each."""
    diagnostics: Diagnostics | None = None
    """None where refusals are not kept."""
    attachment: object = field(default=None, repr=False)
    """Of a request that another one makes: what that one handed over beside the body. Never from outside."""

    async def require(
        self, action: str, scope: ResourceId, *, data: bool = False, attributes: Attributes | None = None
    ) -> Decision:
        """A further check of the same caller; raises `Failure(FORBIDDEN)`."""
        return await self.access.require(self.caller, action, scope, data=data, attributes=attributes)

    async def require_linked(self, action: str, scope: ResourceId) -> None:
        """The check on something that the request refers to; raises `Failure(LINKED_FORBIDDEN)` (control-plane.md section 7.2)."""
        decision = await self.access.check(self.caller.principal_ids, action, scope)
        if not decision.allowed:
            raise self.linked_refusal(action, scope)

    def linked_refusal(self, action: str, scope: ResourceId) -> Failure:
        """The refusal of a linked scope, whether it is forbidden or does not exist: the two look the same from outside."""
        return Failure(
            FailureKind.LINKED_FORBIDDEN,
            "the caller lacks the action on a linked scope",
            name=self.caller.display_name or self.caller.client_id,
            oid=self.caller.principal_id,
            action=self.action,
            scope=str(self.target),
            linked_action=action,
            linked_scope=str(scope),
        )
