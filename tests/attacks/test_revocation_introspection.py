"""Introspection: only who may know is told, nobody is told why not, and what our own targets refuse is never active."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.unit.sts.sts_world import ARM, AUTHORITY, TENANT_ID, StsWorld, shared_ring

from idplane.directory.audiences import Audiences
from idplane.directory.clients import new_application_principal, new_secret
from idplane.model.directory import Application, GrantedRole, Principal
from idplane.model.failure import Failure
from idplane.model.roles import RoleAssignment
from idplane.ports.collections import APPLICATIONS, CREDENTIALS, PRINCIPALS, ROLE_ASSIGNMENTS
from idplane.ports.store import ABSENT, ANY, Batch, Put
from idplane.providers.token_revocation import INTROSPECT
from idplane.rbac import AccessControl
from idplane.sts.inspectors import INSPECT_ROLE, Inspectors
from idplane.sts.introspection import Introspection
from idplane.web.authority import AuthoritySurface
from idplane.web.http import HttpRequest, HttpResponse, Origin

API = "api://stock"
ORIGIN = Origin(authority=AUTHORITY, management=AUTHORITY, graph=AUTHORITY, portal=AUTHORITY, vault_domain="vault.localhost")
INACTIVE = {"active": False}
OWNER = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"


class Desk:
    """The endpoint, an API with a registration, and a stranger."""

    def __init__(self, world: StsWorld) -> None:
        self.world = world
        inspectors = Inspectors(store=world.store, access=AccessControl(store=world.store))
        self.surface = AuthoritySurface(
            tokens=world.service,
            devices=world.devices,
            ring=shared_ring(),
            store=world.store,
            inspector=Introspection(
                store=world.store,
                clients=world.service,
                tokens=world.authenticator,
                audiences=Audiences(store=world.store),
                inspectors=inspectors,
                action=INTROSPECT,
                clock=world.clock,
            ),
        )
        self.secrets: dict[str, str] = {}
        self.api: Principal
        self.stranger: Principal

    async def open(self) -> Desk:
        self.api, self.stranger = await self.client("api"), await self.client("stranger")
        registered = Application(
            id=self.world.entropy.guid(),
            client_id=self.api.client_id,
            tenant_id=TENANT_ID,
            display_name="api",
            created_at=self.world.clock.now(),
            identifier_uris=(API,),
        )
        await self.put(APPLICATIONS, registered)
        return self

    async def put(self, collection: Any, *values: object) -> None:
        await self.world.store.commit(Batch.of(*(Put(collection=collection, value=one, expect=ABSENT) for one in values)))

    async def client(self, name: str) -> Principal:
        world = self.world
        made = new_application_principal(tenant_id=TENANT_ID, display_name=name, entropy=world.entropy, now=world.clock.now())
        secret = new_secret(
            made, entropy=world.entropy, now=world.clock.now(), lifetime=world.service._profile.secret_retention
        )
        await self.put(PRINCIPALS, made)
        await self.put(CREDENTIALS, secret.credential)
        self.secrets[made.client_id] = secret.secret
        return made

    async def token(self, audience: str = API, client: Principal | None = None) -> str:
        who = {} if client is None else {"client_id": client.client_id, "client_secret": self.secrets[client.client_id]}
        request = replace(self.world.by_secret(**who), audience=audience)
        return (await self.world.service.issue(request, self.world.call())).access_token

    async def ask(self, form: dict[str, str], **headers: str) -> HttpResponse:
        sent = HttpRequest(
            method="POST",
            path=f"/{TENANT_ID}/oauth2/v2.0/introspect",
            query=(),
            headers={"content-type": ("application/x-www-form-urlencoded",), **{k: (v,) for k, v in headers.items()}},
            body=urlencode(form).encode(),
            origin=ORIGIN,
            call=self.world.call(),
        )
        try:
            return await self.surface.handle(sent)
        except Failure as failure:
            return self.surface.refuse(failure, sent)

    async def asked_by(self, client: Principal, token: str, **more: str) -> Any:
        form = {"token": token, "client_id": client.client_id, "client_secret": self.secrets[client.client_id], **more}
        answer = await self.ask(form)
        assert answer.status == 200, answer.body
        return json.loads(answer.body)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    world = await StsWorld.open()
    yield await Desk(world).open()
    await world.store.close()


async def test_a_resource_is_told_of_tokens_for_itself(desk: Desk) -> None:
    token = await desk.token()
    told = await desk.asked_by(desk.api, token, token_type_hint="refresh_token")
    assert told["active"] is True
    assert (told["client_id"], told["sub"], told["aud"]) == (desk.world.app.client_id, desk.world.app.id, API)
    assert told["token_type"] == "Bearer"
    assert told["exp"] > told["iat"]


async def test_strangers_are_told_nothing(desk: Desk) -> None:
    mine, theirs = await desk.token(client=desk.stranger), await desk.token()
    for token in (mine, theirs, await desk.token(ARM), "x.y.z", "none", "a" * 40_000):
        assert await desk.asked_by(desk.stranger, token) == INACTIVE
    # Not even of tokens that it has itself: what they are for is not its own.


async def test_a_resource_is_not_told_of_tokens_for_others(desk: Desk) -> None:
    assert await desk.asked_by(desk.api, await desk.token(ARM)) == INACTIVE


async def test_the_role_opens_one_resource(desk: Desk) -> None:
    row = await desk.world.store.get(PRINCIPALS, desk.stranger.id)
    assert row is not None
    granted = GrantedRole(resource=desk.api.client_id, role=desk.world.entropy.guid(), value=INSPECT_ROLE)
    change = Put(collection=PRINCIPALS, value=replace(row.value, app_roles=(granted,)), expect=row.version)
    await desk.world.store.commit(Batch.of(change))
    assert (await desk.asked_by(desk.stranger, await desk.token()))["active"] is True
    assert await desk.asked_by(desk.stranger, await desk.token(ARM)) == INACTIVE


async def test_the_right_at_the_root_opens_all(desk: Desk) -> None:
    now = desk.world.clock.now()
    await desk.put(
        ROLE_ASSIGNMENTS,
        RoleAssignment(
            id=desk.world.entropy.guid(),
            tenant_id=TENANT_ID,
            scope="/",
            role_id=OWNER,
            principal_id=desk.stranger.id,
            principal_type="ServicePrincipal",
            created_at=now,
            changed_at=now,
        ),
    )
    assert (await desk.asked_by(desk.stranger, await desk.token(ARM)))["active"] is True


async def test_a_token_of_a_disabled_principal_is_inactive(desk: Desk) -> None:
    token = await desk.token()
    disabled = replace(desk.world.app, enabled=False)
    await desk.world.store.commit(Batch.of(Put(collection=PRINCIPALS, value=disabled, expect=ANY)))
    assert await desk.asked_by(desk.api, token) == INACTIVE


@pytest.mark.parametrize("bent", ["", ".", "..", "x..", "\x00", "ey" * 9000])
async def test_nonsense_is_inactive_or_refused_and_never_an_error(desk: Desk, bent: str) -> None:
    form = {"token": bent, "client_id": desk.api.client_id, "client_secret": desk.secrets[desk.api.client_id]}
    answer = await desk.ask(form)
    assert (answer.status, bent) == (400, "") or json.loads(answer.body) == INACTIVE


async def test_a_changed_signature_is_inactive(desk: Desk) -> None:
    head, _, signature = (await desk.token()).rpartition(".")
    assert await desk.asked_by(desk.api, f"{head}.{signature[:-8]}AAAAAAAA") == INACTIVE


async def test_whoever_does_not_prove_itself_is_refused(desk: Desk) -> None:
    token = await desk.token()
    wrong = await desk.ask({"token": token, "client_id": desk.api.client_id, "client_secret": "wrong"})
    nobody = await desk.ask({"token": token})
    bearer = await desk.ask({"token": token}, authorization=f"Bearer {token}")  # it is for the API, not for the authority
    both = await desk.ask({"token": token, "client_id": desk.api.client_id}, authorization=f"Bearer {token}")
    assert [one.status for one in (wrong, nobody, bearer, both)] == [401, 400, 401, 400]
    for one in (wrong, nobody, bearer, both):
        assert b"active" not in one.body


async def test_a_bearer_token_for_the_plane_proves_the_asker(desk: Desk) -> None:
    own = await desk.token(ARM, client=desk.api)
    answer = await desk.ask({"token": await desk.token()}, authorization=f"Bearer {own}")
    assert json.loads(answer.body)["active"] is True


async def test_basic_proves_the_asker_too(desk: Desk) -> None:
    pair = base64.b64encode(f"{desk.api.client_id}:{desk.secrets[desk.api.client_id]}".encode()).decode()
    answer = await desk.ask({"token": await desk.token()}, authorization=f"Basic {pair}")
    assert json.loads(answer.body)["active"] is True


async def test_too_many_questions_are_put_off(desk: Desk) -> None:
    statuses = set()
    for _ in range(2100):
        answer = await desk.ask(
            {"token": "x", "client_id": desk.api.client_id, "client_secret": desk.secrets[desk.api.client_id]}
        )
        statuses.add(answer.status)
        if answer.status == 429:
            assert dict(answer.headers)["Retry-After"]
            break
    assert statuses == {200, 429}
