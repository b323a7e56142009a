"""Graph in a test's hands: the real service, access control and store, and callers that are named instead of signed."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from tests.first_party import graph_grants

from idplane.directory.clients import new_application_principal
from idplane.directory.first_party import ensure_first_party
from idplane.directory.identities import new_system_identity, new_user_assigned
from idplane.graph.catalogue import ENTITY_SETS
from idplane.graph.service import DirectoryService
from idplane.model.calls import Call, Caller
from idplane.model.directory import Principal, Tenant
from idplane.model.events import ActivityEvent
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.profile import OPEN, Profile
from idplane.model.resources import Resource
from idplane.model.roles import RoleAssignment
from idplane.ports.collections import ACTIVITY, PRINCIPALS, ROLE_ASSIGNMENTS, TENANTS
from idplane.ports.store import ABSENT, ANY, Batch, Order, Put
from idplane.ports.store import Collection as StoreCollection
from idplane.rbac import AccessControl
from idplane.store.sqlite import SqliteStore
from idplane.testing.worlds import FakeClock, SeededEntropy, memory_store
from idplane.web.graph import GraphSurface
from idplane.web.graph_errors import describe
from idplane.web.http import HttpRequest, HttpResponse, Origin

TENANT = "00000000-0000-4000-8000-0000000000a1"
OTHER_TENANT = "00000000-0000-4000-8000-0000000000a2"
BASE = "https://localhost:8443"
GRAPH_APP = "00000003-0000-0000-c000-000000000000"
OWNER_ROLE = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
_START = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
_ORIGIN = Origin(authority=BASE, management=BASE, graph=BASE, portal=f"{BASE}/portal", vault_domain="vault.localhost:8443")
_SCOPE = "/subscriptions/33333333-3333-4333-8333-333333333333/resourceGroups/Stock/providers"
VM_ID = f"{_SCOPE}/Microsoft.Compute/virtualMachines/stock-vm"
SLOT_ID = f"{_SCOPE}/Microsoft.Web/sites/shop/slots/staging"
IDENTITY_ID = f"{_SCOPE}/Microsoft.ManagedIdentity/userAssignedIdentities/front-end"


class _Named:
    """Takes a principal's id for its token; what is tested lies behind authentication."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    async def authenticate(self, token: str, audiences: Collection[str], certificate: bytes | None = None) -> Caller:
        del certificate  # nothing here is bound to one
        assert f"{BASE}/" in audiences
        found = await self._store.get(PRINCIPALS, token)
        if found is None:
            raise Failure(FailureKind.TOKEN_INVALID)
        one = found.value
        return Caller(
            tenant_id=one.tenant_id,
            principal_id=one.id,
            client_id=one.client_id,
            display_name=one.display_name,
            token_id="token",
            roles=one.roles_for(GRAPH_APP),
            claims={"appid": one.client_id},
        )


class Answer:
    """What came back."""

    def __init__(self, response: HttpResponse) -> None:
        self.status = response.status
        self.text = response.body.decode()
        self.body: Any = json.loads(response.body) if response.body else None

    @property
    def refusal(self) -> tuple[int, str]:
        assert set(self.body["error"]) == {"code", "message", "innerError"}
        return self.status, self.body["error"]["code"]

    @property
    def message(self) -> str:
        return str(self.body["error"]["message"])

    def __getitem__(self, name: str) -> Any:
        assert self.status < 300, self.body
        return self.body[name]


class GraphWorld:
    """A tenant with an administrator, a managed identity of each kind and one of a slot; and another tenant that must never show."""

    def __init__(self, store: SqliteStore, clock: FakeClock, profile: Profile) -> None:
        self.store = store
        self.clock = clock
        self.entropy = SeededEntropy("graph")
        self.access = AccessControl(store=store)
        self.surface = GraphSurface(
            service=DirectoryService(
                store=store,
                clock=clock,
                entropy=self.entropy,
                profile=profile,
                access=self.access,
                authenticator=_Named(store),
                sets=ENTITY_SETS,
                describe=describe,
            )
        )
        self.admin: Principal
        self.system: Principal
        self.user: Principal
        self.slot: Principal

    @classmethod
    async def open(cls, profile: Profile = OPEN) -> GraphWorld:
        clock = FakeClock(_START)
        world = cls(await memory_store(clock), clock, profile)
        for identifier, domain in ((TENANT, "contoso.onmicrosoft.com"), (OTHER_TENANT, "fabrikam.onmicrosoft.com")):
            tenant = Tenant(
                id=identifier, display_name=domain, domain=domain, issuer_v1=domain, issuer_v2=domain, created_at=_START
            )
            await world.add(TENANTS, tenant)
        await ensure_first_party(world.store, tenant_id=TENANT, entropy=world.entropy, now=_START)
        world.admin = await world.application("operator")
        await world.own(world.admin)
        made = {"tenant_id": TENANT, "entropy": world.entropy, "now": _START}
        world.system = new_system_identity(_resource(VM_ID), **made)  # type: ignore[arg-type]  # three keywords, typed as one dict
        world.slot = new_system_identity(_resource(SLOT_ID), **made)  # type: ignore[arg-type]  # as above
        world.user = new_user_assigned(ResourceId.parse(IDENTITY_ID), **made)  # type: ignore[arg-type]  # as above
        await world.add(PRINCIPALS, world.system, world.user, world.slot)
        return world

    async def add(self, collection: StoreCollection[Any], *values: object) -> None:
        await self.store.commit(Batch.of(*(Put(collection=collection, value=one, expect=ABSENT) for one in values)))

    async def application(self, name: str, *roles: str, tenant: str = TENANT) -> Principal:
        """A service principal with these application roles of Graph."""
        made = new_application_principal(
            tenant_id=tenant, display_name=name, entropy=self.entropy, now=self.clock.now(), app_roles=graph_grants(*roles)
        )
        await self.add(PRINCIPALS, made)
        return made

    async def own(self, principal: Principal) -> None:
        """Make it an Owner of the tenant."""
        now = self.clock.now()
        grant = RoleAssignment(
            id=self.entropy.guid(),
            tenant_id=TENANT,
            scope="/",
            role_id=OWNER_ROLE,
            principal_id=principal.id,
            principal_type="ServicePrincipal",
            created_at=now,
            changed_at=now,
        )
        await self.add(ROLE_ASSIGNMENTS, grant)

    async def principal(self, identifier: str) -> Principal | None:
        found = await self.store.get(PRINCIPALS, identifier)
        return found.value if found else None

    async def disable(self, principal: Principal) -> None:
        await self.store.commit(Batch.of(Put(collection=PRINCIPALS, value=replace(principal, enabled=False), expect=ANY)))

    async def call(self, method: str, url: str, body: object = None, *, caller: Principal | str | None = None) -> Answer:
        """One request; `url` is a path below v1.0, a path with its version, or a link."""
        parts = urlsplit(url)
        path = parts.path if parts.path.startswith(("/v1.0", "/beta")) else f"/v1.0{parts.path}"
        token = caller if isinstance(caller, str) else (caller or self.admin).id
        request = HttpRequest(
            method=method,
            path=path,
            query=tuple(parse_qsl(parts.query, keep_blank_values=True)),
            headers={"authorization": (f"Bearer {token}",)},
            body=b"" if body is None else json.dumps(body).encode(),
            origin=_ORIGIN,
            call=Call(
                request_id=self.entropy.guid(),
                correlation_id=self.entropy.guid(),
                received_at=self.clock.now(),
                method=method,
                url=parts.path,
            ),
        )
        try:
            return Answer(await self.surface.handle(request))
        except Failure as failure:
            return Answer(self.surface.refuse(failure, request))

    async def get(
        self, url: str, given: Mapping[str, str] | None = None, *, caller: Principal | None = None, **options: str
    ) -> Answer:
        query = "&".join(f"${name}={quote(value)}" for name, value in {**(given or {}), **options}.items())
        return await self.call("GET", f"{url}?{query}" if query else url, caller=caller)

    async def names(
        self, url: str, given: Mapping[str, str] | None = None, *, caller: Principal | None = None, **options: str
    ) -> list[str]:
        """The display names on all pages."""
        found: list[str] = []
        answer = await self.get(url, {**(given or {}), **options}, caller=caller)
        while True:
            found += [one["displayName"] for one in answer["value"]]
            if "@odata.nextLink" not in answer.body:
                return found
            assert answer["@odata.nextLink"].startswith(f"{BASE}/")
            answer = await self.call("GET", answer["@odata.nextLink"], caller=caller)

    async def new_app(self, name: str = "orders", **members: object) -> Any:
        answer = await self.call("POST", "/applications", {"displayName": name, **members})
        assert answer.status == 201, answer.body
        return answer.body

    async def new_principal(self, app: Any) -> Any:
        answer = await self.call("POST", "/servicePrincipals", {"appId": app["appId"]})
        assert answer.status == 201, answer.body
        return answer.body

    async def graph_principal(self) -> Any:
        return (await self.get(f"/servicePrincipals(appId='{GRAPH_APP}')")).body

    async def events(self) -> list[ActivityEvent]:
        rows = await self.store.read_log(ACTIVITY, where={"tenant_id": TENANT}, order=Order.OLDEST_FIRST, limit=1000)
        return [row.event for row in rows]


def _resource(identifier: str) -> Resource:
    parsed = ResourceId.parse(identifier)
    return Resource(id=parsed, type=parsed.type, created_at=_START, changed_at=_START)
