"""A vault surface over the real store and access control, asked with parsed requests."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from idplane.model.calls import Call, Caller
from idplane.model.directory import Principal, PrincipalType, Subscription, Tenant
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.profile import AZURE
from idplane.model.resources import Resource
from idplane.model.roles import RoleAssignment
from idplane.ports.collections import (
    PRINCIPALS,
    RESOURCES,
    ROLE_ASSIGNMENTS,
    SUBSCRIPTIONS,
    TENANTS,
)
from idplane.ports.store import ABSENT, ANY, Batch, Put, Store
from idplane.rbac import BUILT_IN_ROLES, AccessControl
from idplane.testing.worlds import FakeClock, MemoryCustody, SeededEntropy, memory_store
from idplane.vault import SecretVault
from idplane.web.http import HttpRequest, HttpResponse, Origin
from idplane.web.vault import VaultSurface

THEN = datetime(2026, 1, 1, 12, tzinfo=UTC)
EPOCH = 1767268800
TENANT = "11111111-1111-1111-1111-111111111111"
SUBSCRIPTION = "22222222-2222-2222-2222-222222222222"
OFFICER = "aaaaaaaa-0000-0000-0000-000000000001"
USER = "aaaaaaaa-0000-0000-0000-000000000002"
STRANGER = "aaaaaaaa-0000-0000-0000-000000000003"
GROUP = ResourceId.parse(f"/subscriptions/{SUBSCRIPTION}/resourceGroups/Rg")
VAULT = GROUP.child("providers", "Microsoft.KeyVault", "vaults", "Stock")
ROLES = {role.name: role.id for role in BUILT_IN_ROLES.values()}
HOST = "https://stock.vault.localhost:8443"
MISSING = (
    "A secret with (name/id) {} was not found in this key vault. If you recently deleted this secret you may be able to recover it "
    "using the correct recovery command. For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182"
)
LOCAL = Origin(
    authority="https://localhost:8443",
    management="https://localhost:8443",
    graph="https://localhost:8443",
    portal="https://localhost:8443/portal",
    vault_domain="vault.localhost:8443",
    vault="stock",
)


def caller_of(principal: str, **changes: Any) -> Caller:
    return replace(
        Caller(
            tenant_id=TENANT,
            principal_id=principal,
            client_id=principal.replace("aaaaaaaa", "cccccccc"),
            display_name="worker",
            token_id="t",
            claims={"iss": f"https://sts.windows.net/{TENANT}/"},
        ),
        **changes,
    )


class Tokens:
    """An authenticator that knows its tokens by heart."""

    def __init__(self) -> None:
        self.known = {
            "officer": caller_of(OFFICER),
            "user": caller_of(USER),
            "stranger": caller_of(STRANGER),
            "foreigner": caller_of(OFFICER, tenant_id="other", claims={"iss": "https://sts.windows.net/other/"}),
        }
        self.audiences: Collection[str] = ()

    async def authenticate(self, token: str, audiences: Collection[str], certificate: bytes | None = None, /) -> Caller:
        del certificate  # nothing here is bound to one
        self.audiences = audiences
        if token == "for-arm":
            raise Failure(FailureKind.TOKEN_AUDIENCE, "wrong audience", audience="https://management.azure.com/")
        if token == "old":
            raise Failure(FailureKind.TOKEN_EXPIRED, "the token has expired")
        if token not in self.known:
            raise Failure(FailureKind.TOKEN_INVALID, "the token is malformed")
        return self.known[token]


@dataclass
class World:
    store: Store
    clock: FakeClock
    tokens: Tokens
    vault: SecretVault
    surface: VaultSurface
    origin: Origin = field(default=LOCAL)

    async def send(self, method: str, path: str, body: object = None, **changes: Any) -> HttpResponse:
        """One request as the edge would pass it on; failures come back in the surface's words."""
        path, _, query = path.partition("?")
        token = changes.get("token", "officer")
        parameters = [("api-version", "7.4")] if changes.get("version", "7.4") else []
        parameters += [(name, value) for name, _, value in (pair.partition("=") for pair in query.split("&")) if name]
        request = HttpRequest(
            method=method,
            path=path,
            query=tuple(parameters),
            headers=changes.get("headers", {"authorization": (f"Bearer {token}",)} if token else {}),
            body=body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode(),
            origin=changes.get("origin", self.origin),
            call=Call(request_id="r", correlation_id="c", received_at=self.clock.now()),
        )
        try:
            return await self.surface.handle(request)
        except Failure as failure:
            return self.surface.refuse(failure, request)

    async def ok(self, method: str, path: str, body: object = None, **changes: Any) -> dict[str, Any]:
        response = await self.send(method, path, body, **changes)
        assert response.status == 200, response.body
        shown: dict[str, Any] = json.loads(response.body)
        return shown

    async def refused(self, status: int, method: str, path: str, body: object = None, **changes: Any) -> dict[str, Any]:
        response = await self.send(method, path, body, **changes)
        assert response.status == status, response.body
        error: dict[str, Any] = json.loads(response.body)["error"]
        assert set(error) <= {"code", "message", "innererror"}
        return error

    async def grant(self, principal: str, role: str, scope: ResourceId, name: str) -> None:
        await self.store.commit(
            Batch.of(Put(collection=ROLE_ASSIGNMENTS, value=grant_of(principal, role, scope, name), expect=ABSENT))
        )

    async def change_vault(self, properties: Mapping[str, object]) -> None:
        await self.store.commit(Batch.of(Put(collection=RESOURCES, value=vault_of(properties), expect=ANY)))


def grant_of(principal: str, role: str, scope: ResourceId, name: str) -> RoleAssignment:
    return RoleAssignment(
        id=name,
        tenant_id=TENANT,
        scope=str(scope),
        role_id=ROLES[role],
        principal_id=principal,
        principal_type="ServicePrincipal",
        created_at=THEN,
        changed_at=THEN,
    )


def vault_of(properties: Mapping[str, object], identifier: ResourceId = VAULT, created_at: datetime = THEN) -> Resource:
    return Resource(
        id=identifier,
        type="Microsoft.KeyVault/vaults",
        location="westeurope",
        created_at=created_at,
        changed_at=created_at,
        properties=properties,
    )


def group_of(identifier: ResourceId) -> Resource:
    return Resource(id=identifier, type="Microsoft.Resources/resourceGroups", created_at=THEN, changed_at=THEN)


def principal_of(identifier: str) -> Principal:
    return Principal(
        id=identifier,
        tenant_id=TENANT,
        client_id=identifier.replace("aaaaaaaa", "cccccccc"),
        display_name="worker",
        type=PrincipalType.APPLICATION,
        created_at=THEN,
    )


def seed() -> Batch:
    tenant = Tenant(id=TENANT, display_name="T", domain="t.test", issuer_v1="i", issuer_v2="j", created_at=THEN)
    return Batch.of(
        Put(collection=TENANTS, value=tenant, expect=ABSENT),
        Put(
            collection=SUBSCRIPTIONS,
            value=Subscription(id=SUBSCRIPTION, tenant_id=TENANT, display_name="S"),
            expect=ABSENT,
        ),
        Put(collection=RESOURCES, value=group_of(GROUP), expect=ABSENT),
        Put(collection=RESOURCES, value=vault_of({"enableRbacAuthorization": True}), expect=ABSENT),
        *(Put(collection=PRINCIPALS, value=principal_of(one), expect=ABSENT) for one in (OFFICER, USER, STRANGER)),
        Put(collection=ROLE_ASSIGNMENTS, value=grant_of(OFFICER, "Key Vault Secrets Officer", VAULT, "g1"), expect=ABSENT),
        Put(collection=ROLE_ASSIGNMENTS, value=grant_of(USER, "Key Vault Secrets User", VAULT, "g2"), expect=ABSENT),
        Put(collection=ROLE_ASSIGNMENTS, value=grant_of(STRANGER, "Owner", GROUP, "g3"), expect=ABSENT),
    )


@asynccontextmanager
async def vault_world() -> AsyncIterator[World]:
    clock = FakeClock()
    store = await memory_store(clock)
    await store.commit(seed())
    access = AccessControl(store=store)
    tokens = Tokens()
    vault = SecretVault(
        store=store, custody=MemoryCustody(), access=access, clock=clock, entropy=SeededEntropy("vault"), profile=AZURE
    )
    yield World(store, clock, tokens, vault, VaultSurface(vault=vault, authenticator=tokens, store=store))
    await store.close()
