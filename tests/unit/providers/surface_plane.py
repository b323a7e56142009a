"""The management surface over the real kernel, providers, access control and store; tokens are principals' ids."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, unquote

from idplane.arm.declare import Provider
from idplane.arm.kernel import ResourceManager
from idplane.arm.registry import Registry
from idplane.arm.requests import Kernel
from idplane.audit.activity import activity_event
from idplane.directory import identities
from idplane.model.calls import Call, Caller
from idplane.model.directory import Membership, Principal, PrincipalType, Subscription, Tenant
from idplane.model.events import ActivityEvent
from idplane.model.failure import Failure, FailureKind
from idplane.model.profile import OPEN, Profile
from idplane.model.roles import RoleAssignment
from idplane.ports.collections import ACTIVITY, MEMBERSHIPS, PRINCIPALS, ROLE_ASSIGNMENTS, SUBSCRIPTIONS, TENANTS
from idplane.ports.store import ABSENT, Batch, Order, Put, Store
from idplane.providers import PROVIDERS
from idplane.providers.administrators import keep_administrators
from idplane.rbac import AccessControl
from idplane.testing.worlds import FakeClock, MemoryCustody, SeededEntropy, memory_store
from idplane.web.arm_errors import describe, explain
from idplane.web.http import HttpRequest, HttpResponse, Origin
from idplane.web.management import ManagementSurface

HOME, AWAY = "a1000000-0000-4000-8000-000000000001", "a1000000-0000-4000-8000-000000000002"
SUBSCRIPTION, FOREIGN = "b1000000-0000-4000-8000-000000000001", "b1000000-0000-4000-8000-000000000002"
SUB = f"/subscriptions/{SUBSCRIPTION}"
GROUP = f"{SUB}/resourceGroups/Stock"
MSI = "2024-11-30"
COMPUTE = "2024-11-01"
CORE = "2022-12-01"
ROLES = {
    "Owner": "8e3af657-a8ff-443c-a75c-2fe8c4bcb635",
    "Contributor": "b24988ac-6180-42a0-ab88-20f7382dd24c",
    "Reader": "acdd72a7-3385-48ef-bd42-f606fba81ae7",
    "Virtual Machine Contributor": "9980e02c-c2be-4d73-94e8-173b1dc7cf3c",
    "Managed Identity Operator": "f1a07417-d97a-45cb-824c-7a7467783830",
    "Managed Identity Contributor": "e40ec5ca-96e0-45a2-b4ff-59039f2c2b59",
    "User Access Administrator": "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9",
    "Role Based Access Control Administrator": "f58310d9-a9f6-439a-9e8d-f62e7b41a168",
}
ORIGIN = Origin(
    authority="https://localhost:8443",
    management="https://localhost:8443",
    graph="https://localhost:8443",
    portal="https://localhost:8443/portal",
    vault_domain="vault.localhost:8443",
)


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def code(self) -> str:
        return str(self.body["error"]["code"])

    @property
    def message(self) -> str:
        return str(self.body["error"]["message"])


@dataclass(frozen=True, slots=True)
class _Named:
    store: Store
    access: AccessControl

    async def authenticate(self, token: str, audiences: Collection[str], certificate: bytes | None = None) -> Caller:
        del certificate  # nothing here is bound to one
        assert "https://localhost:8443" in audiences
        kinds = {
            "expired": FailureKind.TOKEN_EXPIRED,
            "audience": FailureKind.TOKEN_AUDIENCE,
            "revoked": FailureKind.TOKEN_REVOKED,
        }
        found = await self.store.get(PRINCIPALS, token)
        if found is None:
            raise Failure(kinds.get(token, FailureKind.TOKEN_INVALID), follows="true")
        one = found.value
        return Caller(
            tenant_id=one.tenant_id,
            principal_id=one.id,
            client_id=one.client_id,
            display_name=one.display_name,
            token_id="t",
            groups=tuple(sorted(await self.access.principal_ids(one.id) - {one.id})),
            claims={"oid": one.id, "secret_claim": "hidden"},
        )


@dataclass(slots=True)
class Plane:
    store: Store
    clock: FakeClock
    surface: ManagementSurface
    manager: ResourceManager
    count: int = 0
    people: dict[str, str] = field(default_factory=dict)

    async def call(  # noqa: PLR0913 - one request, spelled out
        self,
        method: str,
        url: str,
        body: object = None,
        *,
        by: str | None = "owner",
        version: str | None = CORE,
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
    ) -> Reply:
        """One request. `by` is a person's name, or a token as it is; None sends no token."""
        path, _, text = url.removeprefix(ORIGIN.management).partition("?")
        query = tuple(parse_qsl(text, keep_blank_values=True))
        if version is not None and not any(name.lower() == "api-version" for name, _ in query):
            query = (*query, ("api-version", version))
        self.count += 1
        sent = {"content-type": ("application/json",)} if method in ("PUT", "PATCH", "POST") else {}
        if by is not None:
            sent["authorization"] = (f"Bearer {self.people.get(by, by)}",)
        sent |= {name.lower(): (value,) for name, value in (headers or {}).items()}
        request = HttpRequest(
            method=method,
            path=unquote(path),
            query=query,
            headers=sent,
            body=raw if raw is not None else b"" if body is None else json.dumps(body).encode(),
            origin=ORIGIN,
            call=Call(
                request_id=f"c1000000-0000-4000-8000-{self.count:012x}",
                correlation_id="d1000000-0000-4000-8000-000000000001",
                received_at=self.clock.now(),
                client_address="127.0.0.1",
                method=method,
                url=path,
            ),
        )
        try:
            response = await self.surface.handle(request)
        except Failure as failure:
            if failure.kind is FailureKind.INTERNAL:
                raise
            response = self.surface.refuse(failure, request)
        return _reply(response)

    async def get(self, url: str, *, by: str | None = "owner", version: str = CORE) -> Any:
        reply = await self.call("GET", url, by=by, version=version)
        assert reply.status == 200, reply.body
        return reply.body

    async def put(self, url: str, body: object, *, by: str = "owner", version: str = CORE) -> Any:
        reply = await self.call("PUT", url, body, by=by, version=version)
        assert reply.status in (200, 201), reply.body
        return reply.body

    async def person(
        self,
        name: str,
        *grants: tuple[str, str],
        tenant: str = HOME,
        condition: str | None = None,
        kind: PrincipalType = PrincipalType.APPLICATION,
    ) -> str:
        """A principal, a service principal unless it is said, with roles at scopes, all of them under the condition if there is one."""
        number = len(self.people) + 1
        identifier = f"e1000000-0000-4000-8000-{number:012x}"
        self.people[name] = identifier
        now = self.clock.now()
        principal = Principal(
            id=identifier,
            tenant_id=tenant,
            client_id=f"f1000000-0000-4000-8000-{number:012x}",
            display_name=name,
            type=kind,
            created_at=now,
        )
        assigned = [
            RoleAssignment(
                id=f"{number:08x}-{at:04x}-4000-8000-000000000000",
                tenant_id=tenant,
                scope=scope,
                role_id=ROLES[role],
                principal_id=identifier,
                principal_type=kind.rbac_type,
                created_at=now,
                changed_at=now,
                condition=condition,
                condition_version=None if condition is None else "2.0",
            )
            for at, (role, scope) in enumerate(grants)
        ]
        operations = [Put(collection=ROLE_ASSIGNMENTS, value=one, expect=ABSENT) for one in assigned]
        await self.store.commit(Batch.of(Put(collection=PRINCIPALS, value=principal, expect=ABSENT), *operations))
        return identifier

    async def joins(self, member: str, group: str) -> None:
        """Make one a member of the other, both by name."""
        membership = Membership(group_id=self.people[group], member_id=self.people[member])
        await self.store.commit(Batch.of(Put(collection=MEMBERSHIPS, value=membership, expect=ABSENT)))

    async def events(self) -> list[ActivityEvent]:
        """The activity log, oldest first."""
        return [one.event for one in await self.store.read_log(ACTIVITY, order=Order.OLDEST_FIRST, limit=1000)]

    async def identity(self, name: str, *, by: str = "owner") -> Any:
        """A user-assigned identity in the group."""
        url = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}"
        return await self.put(url, {"location": "westeurope"}, by=by, version=MSI)

    async def machine(self, name: str, identity: object = None, *, by: str = "owner") -> Any:
        """A virtual machine in the group."""
        body = {"location": "westeurope"} | ({"identity": identity} if identity is not None else {})
        return await self.put(vm(name), body, by=by, version=COMPUTE)


def vm(name: str) -> str:
    return f"{GROUP}/providers/Microsoft.Compute/virtualMachines/{name}"


def uai(name: str) -> str:
    return f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}"


def _reply(response: HttpResponse) -> Reply:
    headers = {"content-type": response.media_type, **{name.lower(): value for name, value in response.headers}}
    is_json = response.media_type.startswith("application/json")
    body = (json.loads(response.body) if is_json else response.body.decode()) if response.body else None
    return Reply(response.status, body, headers)


OpenPlane = Callable[..., Awaitable[Plane]]
"""The fixture `open_plane`: what it opens is closed with the test."""


@asynccontextmanager
async def opening() -> AsyncIterator[OpenPlane]:
    """`open_plane`, with an end."""
    opened: list[Plane] = []

    async def open_and_note(**options: Any) -> Plane:
        opened.append(await open_plane(**options))
        return opened[-1]

    yield open_and_note
    for one in opened:
        await one.manager.close()
        await one.store.close()


async def open_plane(
    *,
    providers: tuple[Provider, ...] = PROVIDERS,
    group: bool = True,
    profile: Profile = OPEN,
    vouch: Callable[[Batch], Awaitable[Batch]] | None = None,
) -> Plane:
    """Two tenants with a subscription each; `owner` owns the home tenant's root, `reader` and `contributor` its subscription.

    `vouch` is what goes along with a change of the log's keys; without it the plane keeps no log.
    """
    clock = FakeClock()
    store = await memory_store(clock)
    access = AccessControl(store=store, clock=clock)
    kernel = Kernel(
        store=store,
        clock=clock,
        entropy=SeededEntropy(),
        profile=profile,
        registry=Registry(providers),
        authenticator=_Named(store, access),
        audiences=frozenset(),
        access=access,
        identities=identities,
        record=activity_event,
        describe=describe,
        explain=explain,
        keep=keep_administrators,
        custody=MemoryCustody(),
    )
    if vouch is not None:
        kernel = replace(kernel, vouch=vouch)
    manager = ResourceManager(kernel)
    plane = Plane(store, clock, ManagementSurface(manager=manager, home_tenant=HOME), manager)
    tenant = Tenant(id=HOME, display_name="Home", domain="home.test", issuer_v1="", issuer_v2="", created_at=clock.now())
    subscription = Subscription(id=SUBSCRIPTION, tenant_id=HOME, display_name="one")
    await store.commit(
        Batch.of(
            Put(collection=TENANTS, value=tenant, expect=ABSENT),
            Put(collection=TENANTS, value=replace(tenant, id=AWAY, domain="away.test"), expect=ABSENT),
            Put(collection=SUBSCRIPTIONS, value=subscription, expect=ABSENT),
            Put(collection=SUBSCRIPTIONS, value=replace(subscription, id=FOREIGN, tenant_id=AWAY), expect=ABSENT),
        )
    )
    await plane.person("owner", ("Owner", "/"))
    await plane.person("reader", ("Reader", SUB))
    await plane.person("contributor", ("Contributor", SUB))
    await plane.person("nobody")
    await plane.person("stranger", ("Owner", "/"), tenant=AWAY)
    if group:
        await plane.put(GROUP, {"location": "West Europe"})
    return plane
