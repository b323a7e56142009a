"""A management plane in a test's hands: the real kernel, access control and store, and callers that are named instead of signed."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from idplane.arm.context import Addresses
from idplane.arm.declare import Provider
from idplane.arm.kernel import ResourceManager
from idplane.arm.registry import Registry
from idplane.arm.requests import Kernel, ManagementRequest, ManagementResponse
from idplane.audit.activity import activity_event
from idplane.directory import identities
from idplane.model.calls import Call, Caller
from idplane.model.directory import Principal, PrincipalType, Subscription, Tenant
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.profile import OPEN, Profile
from idplane.model.resources import Resource
from idplane.model.roles import RoleAssignment
from idplane.ports.collections import PRINCIPALS, RESOURCES, ROLE_ASSIGNMENTS, SUBSCRIPTIONS, TENANTS
from idplane.ports.store import ABSENT, Batch, Put
from idplane.ports.store import Collection as StoreCollection
from idplane.providers.administrators import keep_administrators
from idplane.rbac.access import AccessControl
from idplane.store.sqlite import SqliteStore
from idplane.testing.worlds import FakeClock, SeededEntropy, memory_store

__all__ = ["GROUP", "OTHER_TENANT", "OWNER", "READER", "ROLES", "SUB", "TENANT", "World", "guid", "open_world"]


def guid(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-{number:012x}"


TENANT, OTHER_TENANT = guid(0xA1), guid(0xA2)
SUBSCRIPTION, OTHER_SUBSCRIPTION = guid(0x51), guid(0x52)
SUB = f"/subscriptions/{SUBSCRIPTION}"
GROUP = f"{SUB}/resourceGroups/Web"
OWNER, READER, CONTRIBUTOR, STRANGER = guid(1), guid(2), guid(3), guid(9)
ROLES = {
    "Owner": "8e3af657-a8ff-443c-a75c-2fe8c4bcb635",
    "Contributor": "b24988ac-6180-42a0-ab88-20f7382dd24c",
    "Reader": "acdd72a7-3385-48ef-bd42-f606fba81ae7",
    "Key Vault Secrets User": "4633458b-17de-408a-b874-0445c86b69e6",
    "User Access Administrator": "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9",
    "Management Group Contributor": "5d58bcaf-24a5-4b20-bdb6-eed9f69fbe4c",
    "Tag Contributor": "4a9ae827-6dc8-4573-8ac7-8239d42aa03f",
}
_ADDRESSES = Addresses(
    authority="https://localhost:8443",
    management="https://localhost:8443",
    graph="https://localhost:8443",
    portal="https://localhost:8443/portal",
    vault_domain="vault.localhost:8443",
)


@dataclass(frozen=True, slots=True)
class _Named:
    """Takes a principal's id for its token; what is tested lies behind authentication."""

    store: SqliteStore

    async def authenticate(self, token: str, audiences: Collection[str], certificate: bytes | None = None) -> Caller:
        del certificate  # nothing here is bound to one
        assert audiences
        found = await self.store.get(PRINCIPALS, token)
        if found is None:
            raise Failure(FailureKind.TOKEN_INVALID)
        one = found.value
        return Caller(
            tenant_id=one.tenant_id,
            principal_id=one.id,
            client_id=one.client_id,
            display_name=one.display_name,
            token_id="token",
        )


class World:
    """One installation: a tenant with a subscription and a group, and another tenant that must never show."""

    def __init__(self, store: SqliteStore, clock: FakeClock, providers: tuple[Provider, ...], profile: Profile) -> None:
        self.store = store
        self.clock = clock
        self.entropy = SeededEntropy()
        self.access = AccessControl(store=store, clock=clock)
        self._manager = ResourceManager(
            Kernel(
                store=store,
                clock=clock,
                entropy=self.entropy,
                profile=profile,
                registry=Registry(providers),
                authenticator=_Named(store),
                audiences=frozenset(),
                access=self.access,
                identities=identities,
                record=activity_event,
                describe=lambda failure: (failure.kind.category.value, failure.kind.name),
                keep=keep_administrators,
            )
        )

    async def call(
        self, method: str, url: str, body: object = None, *, caller: str = OWNER, version: str = "2022-04-01"
    ) -> ManagementResponse:
        parts = urlsplit(url)
        query = tuple(parse_qsl(parts.query, keep_blank_values=True))
        if not any(name == "api-version" for name, _ in query):
            query = (*query, ("api-version", version))
        return await self._manager.handle(
            ManagementRequest(
                method=method,
                path=parts.path,
                query=query,
                body=b"" if body is None else json.dumps(body).encode(),
                call=Call(request_id="r", correlation_id="c", received_at=self.clock.now(), method=method, url=parts.path),
                addresses=_ADDRESSES,
                authorization=f"Bearer {caller}",
                content_type="application/json",
            )
        )

    async def get(self, url: str, *, caller: str = OWNER, version: str = "2022-04-01") -> Any:
        return (await self.call("GET", url, caller=caller, version=version)).body

    async def put(self, url: str, body: object, *, caller: str = OWNER, version: str = "2022-04-01") -> Any:
        return (await self.call("PUT", url, body, caller=caller, version=version)).body

    async def everything(self, url: str, *, caller: str = OWNER, version: str = "2022-04-01") -> tuple[list[Any], int]:
        """All items of a list and the number of pages that they came in."""
        items: list[Any] = []
        pages, link = 0, url
        while link:
            body = await self.get(link, caller=caller, version=version)
            items += body["value"]
            pages, link = pages + 1, body.get("nextLink", "")
        return items, pages

    async def add(self, collection: StoreCollection[Any], *values: object) -> None:
        await self.store.commit(Batch.of(*(Put(collection=collection, value=one, expect=ABSENT) for one in values)))

    async def principal(self, number: int, name: str = "", *, tenant: str = TENANT, group: bool = False) -> str:
        kind = PrincipalType.GROUP if group else PrincipalType.MANAGED_IDENTITY
        await self.add(PRINCIPALS, _principal(guid(number), name or f"identity-{number}", tenant, kind, self.clock.now()))
        return guid(number)

    async def resource(self, identifier: str) -> None:
        await self.add(RESOURCES, _resource(identifier, self.clock.now()))

    async def grant(self, number: int, role: str, scope: str, principal: str, *, tenant: str = TENANT) -> str:
        assigned = _assignment(guid(number), ROLES.get(role, role), scope, principal, self.clock.now())
        await self.add(ROLE_ASSIGNMENTS, replace(assigned, tenant_id=tenant))
        return assigned.id


async def open_world(*providers: Provider, profile: Profile = OPEN) -> World:
    clock = FakeClock()
    store = await memory_store(clock)
    world = World(store, clock, providers, profile)
    now = clock.now()
    for tenant in (TENANT, OTHER_TENANT):
        await world.add(TENANTS, _tenant(tenant, now))
    await world.add(
        SUBSCRIPTIONS,
        Subscription(id=SUBSCRIPTION, tenant_id=TENANT, display_name="one"),
        Subscription(id=OTHER_SUBSCRIPTION, tenant_id=OTHER_TENANT, display_name="two"),
    )
    people = {OWNER: "owner", READER: "reader", CONTRIBUTOR: "contributor"}
    for one, name in people.items():
        await world.add(PRINCIPALS, _principal(one, name, TENANT, PrincipalType.APPLICATION, now))
    await world.add(PRINCIPALS, _principal(STRANGER, "stranger", OTHER_TENANT, PrincipalType.APPLICATION, now))
    await world.resource(GROUP)
    await world.grant(0xF1, "Owner", SUB, OWNER)
    await world.grant(0xF2, "Reader", SUB, READER)
    await world.grant(0xF3, "Contributor", SUB, CONTRIBUTOR)
    return world


def _tenant(identifier: str, now: datetime) -> Tenant:
    return Tenant(id=identifier, display_name="t", domain=f"{identifier}.test", issuer_v1="", issuer_v2="", created_at=now)


def _principal(identifier: str, name: str, tenant: str, kind: PrincipalType, now: datetime) -> Principal:
    return Principal(id=identifier, tenant_id=tenant, client_id=identifier[::-1], display_name=name, type=kind, created_at=now)


def _resource(identifier: str, now: datetime) -> Resource:
    parsed = ResourceId.parse(identifier)
    return Resource(id=parsed, type=parsed.type, created_at=now, changed_at=now, location="westeurope")


def _assignment(identifier: str, role: str, scope: str, principal: str, now: datetime) -> RoleAssignment:
    return RoleAssignment(
        id=identifier,
        tenant_id=TENANT,
        scope=scope,
        role_id=role,
        principal_id=principal,
        principal_type="ServicePrincipal",
        created_at=now,
        changed_at=now,
    )
