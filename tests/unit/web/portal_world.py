"""The portal in a test's hands: a whole server in this process, and browsers without scripts.

    async with portal_world() as world:
        ada = await world.person("ada", "Reader")
        page = await ada.get("/portal/identities")
        assert page.status == 200 and "Managed identities" in page.text
        done = await ada.post("/portal/identities/new", name="front-end")       # with the form's own hidden value

Everything goes through the real edge: hosts, sessions, forms, roles.
"""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from idplane.arm.bodies import encode_object
from idplane.arm.requests import ManagementRequest
from idplane.bootstrap.server import Server
from idplane.bootstrap.world import World
from idplane.directory.people import new_user
from idplane.model.calls import Call, Caller
from idplane.model.directory import Principal, UserDetails
from idplane.model.portal import CODE_BYTES, new_link
from idplane.model.profile import AZURE_UNHURRIED
from idplane.model.roles import RoleAssignment
from idplane.model.values import JsonObject
from idplane.ports.collections import LOCKS, PORTAL_LINKS, PRINCIPALS, RESOURCES, ROLE_ASSIGNMENTS
from idplane.ports.store import ABSENT, Batch, Delete, Put, Store
from idplane.ports.world import Clock, Entropy
from idplane.rbac import BUILT_IN_ROLES
from idplane.sts.sign_in_provider import SignInProvider
from idplane.testing.worlds import FakeClock, MemoryCustody, SeededEntropy, memory_store
from idplane.web.app import ServerApp
from idplane.web.management import addresses_of
from idplane.web.origins import Origins

HOST = "localhost:8443"
_CSRF = re.compile(r'name="csrf" value="([^"]+)"')


@dataclass(frozen=True, slots=True)
class PageAnswer:
    """What a browser got."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def html(self) -> str:
        return self.body.decode()

    @property
    def text(self) -> str:
        """What a person reads: without tags, white space folded."""
        visible = re.sub(r"<(script|style)\b.*?</\1>", " ", self.html, flags=re.DOTALL)
        return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", visible)).split())

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name.lower()), None)

    @property
    def location(self) -> str:
        return self.header("location") or ""

    @property
    def refusal_id(self) -> str:
        return self.header("x-ms-request-id") or ""


@dataclass(slots=True)
class PortalClient:
    """A browser without scripts: keeps cookies, and knows its forms' hidden value."""

    app: ServerApp
    host: str = HOST
    cookies: dict[str, str] = field(default_factory=dict)
    csrf: str = ""
    principal: Principal | None = None

    async def get(self, url: str, **headers: str) -> PageAnswer:
        return await self.send("GET", url, headers={name.replace("_", "-"): value for name, value in headers.items()})

    async def post(self, url: str, fields: Mapping[str, str] | None = None, /, **more: str) -> PageAnswer:
        """Send a form as one of the portal's own pages does."""
        if not self.csrf:
            await self.get("/portal/account")
        return await self.send("POST", url, form={"csrf": self.csrf, **(fields or {}), **more})

    async def send(
        self, method: str, url: str, *, form: Mapping[str, str] | bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> PageAnswer:
        sent = {"host": self.host, "sec-fetch-mode": "navigate"}
        if form is not None:
            sent |= {"origin": f"https://{self.host}", "content-type": "application/x-www-form-urlencoded"}
        sent |= headers or {}
        if self.cookies:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        body = form if isinstance(form, bytes) else urlencode(form or {}).encode()
        answer = await _exchange(self.app, method, url, {name: value for name, value in sent.items() if value}, body)
        self._keep(answer)
        return answer

    def _keep(self, answer: PageAnswer) -> None:
        for name, value in answer.headers:
            if name == "set-cookie":
                key, _, rest = value.partition("=")
                if "Max-Age=0" in rest:
                    self.cookies.pop(key, None)
                else:
                    self.cookies[key] = rest.partition(";")[0]
        if found := _CSRF.search(answer.body.decode("utf-8", "replace")):
            self.csrf = found[1]


@dataclass(slots=True)
class PortalWorld:
    """A server whose clock a test moves, and its people."""

    server: Server
    clock: FakeClock
    store: Store
    app: ServerApp

    made: list[Delete[Any]] = field(default_factory=list)

    @property
    def subscription(self) -> str:
        return f"/subscriptions/{self.server.installation.subscription.id}"

    @property
    def tenant_id(self) -> str:
        return self.server.installation.tenant.id

    def browser(self, app: ServerApp | None = None) -> PortalClient:
        """One in which nobody is signed in."""
        return PortalClient(app or self.app)

    async def person(self, name: str = "ada", *roles: str, scope: str = "/") -> PortalClient:
        """A new user with these built-in roles at `scope`, signed in."""
        return await self.sign_in(await self.user(name, *roles, scope=scope))

    async def administrator(self) -> PortalClient:
        """The tenant's first user, an Owner of everything, signed in."""
        found = await self.store.get(PRINCIPALS, self.server.installation.user_id)
        assert found is not None
        return await self.sign_in(found.value)

    async def user(self, name: str, *roles: str, scope: str = "/") -> Principal:
        entropy, now = self.server.world.entropy, self.clock.now()
        tenant = self.server.installation.tenant
        details = UserDetails(user_principal_name=f"{name}@{tenant.domain}", mail_nickname=name)
        user = new_user(tenant_id=tenant.id, display_name=name.capitalize(), details=details, entropy=entropy, now=now)
        ids = {role.name: role.id for role in BUILT_IN_ROLES.values()}
        grants = [
            RoleAssignment(
                id=entropy.guid(),
                tenant_id=tenant.id,
                scope=scope,
                role_id=ids[role],
                principal_id=user.id,
                principal_type="User",
                created_at=now,
                changed_at=now,
            )
            for role in roles
        ]
        self.made += [Delete(collection=ROLE_ASSIGNMENTS, key=grant.id) for grant in grants]
        self.made.append(Delete(collection=PRINCIPALS, key=user.id))
        await self.store.commit(
            Batch.of(
                Put(collection=PRINCIPALS, value=user, expect=ABSENT),
                *(Put(collection=ROLE_ASSIGNMENTS, value=grant, expect=ABSENT) for grant in grants),
            )
        )
        return user

    async def link(self, user: Principal) -> str:
        """The code of a link that signs a user in."""
        secret = self.server.world.entropy.bytes(CODE_BYTES)
        link, code = new_link(user, secret, made_by=user.id, now=self.clock.now())
        await self.store.commit(Batch.of(Put(collection=PORTAL_LINKS, value=link, expect=ABSENT)))
        return code

    async def sign_in(self, user: Principal, browser: PortalClient | None = None) -> PortalClient:
        """Sign in through a link, as people do."""
        client = browser or self.browser()
        answer = await client.send("POST", "/portal/sign-in", form={"code": await self.link(user)})
        assert answer.status == 303, answer.text
        client.principal = user
        return client

    async def forget_people(self) -> None:
        """Delete all who were made, for tests that share a world."""
        await self.store.commit(Batch.of(*self.made))
        self.made.clear()

    async def clear(self) -> None:
        """Delete all resources and locks, too."""
        for lock in await self.store.all(LOCKS):
            await self.manage("DELETE", str(lock.value.id), version="2020-05-01")
        for group in await self.store.all(RESOURCES, where={"type": "microsoft.resources/resourcegroups"}):
            await self.manage("DELETE", str(group.value.id), version="2022-12-01")
        await self.forget_people()

    async def manage(self, method: str, path: str, body: JsonObject | None = None, *, version: str) -> Any:
        """A request to Resource Manager as the tenant's first user: what a test's stage is set with."""
        user = self.server.installation.user_id
        caller = Caller(tenant_id=self.tenant_id, principal_id=user, client_id=user, display_name="admin", token_id="stage")
        call = Call(
            request_id=self.server.world.entropy.guid(),
            correlation_id=self.server.world.entropy.guid(),
            received_at=self.clock.now(),
            method=method,
            url=path,
        )
        answer = await self.server.manager.serve(
            ManagementRequest(
                method=method,
                path=path,
                query=(("api-version", version),),
                body=b"" if body is None else encode_object(body),
                call=call,
                addresses=addresses_of(Origins.local(8443).hosts[HOST]),
                content_type="application/json",
            ),
            caller,
        )
        return answer.body

    async def group(self, name: str = "stock") -> str:
        """A resource group; its id."""
        identifier = f"{self.subscription}/resourceGroups/{name}"
        await self.manage("PUT", identifier, {"location": "westeurope"}, version="2022-12-01")
        return identifier


@asynccontextmanager
async def portal_world(provider: Callable[[Clock, Entropy], SignInProvider] | None = None) -> AsyncIterator[PortalWorld]:
    """A server over an empty store of its own; with an issuer that people sign in at, if one is given."""
    clock = FakeClock()
    store = await memory_store(clock)
    world = World(clock=clock, entropy=SeededEntropy("portal"), store=store, custody=MemoryCustody(), profile=AZURE_UNHURRIED)
    server = await Server.open(world, provider=provider(clock, world.entropy) if provider else None)
    try:
        yield PortalWorld(server=server, clock=clock, store=store, app=server.app(Origins.local(8443)))
    finally:
        await server.close()
        await store.close()


async def _exchange(app: ServerApp, method: str, url: str, headers: Mapping[str, str], body: bytes) -> PageAnswer:
    path, _, query = url.partition("?")
    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": quote(path, safe="/%:@!$&'()*+,;=~").encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("192.0.2.7", 50000),
        "idplane.complete": True,
    }
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    answered = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in sent[0]["headers"])
    return PageAnswer(status=sent[0]["status"], headers=answered, body=b"".join(one.get("body", b"") for one in sent[1:]))
