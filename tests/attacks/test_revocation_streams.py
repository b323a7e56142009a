"""The endpoints of security event streams: everything that the framework names, and what is refused there."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.attacks.test_revocation_events import ENDPOINT, Post
from tests.attacks.test_revocation_introspection import ORIGIN, Desk
from tests.unit.sts.sts_world import ARM, TENANT_ID, StsWorld

from idplane.model.directory import Principal
from idplane.model.failure import Failure
from idplane.web.http import HttpRequest
from idplane.web.security_events import SecurityEventSurface, is_about_events

PUSH = {"method": "urn:ietf:rfc:8935", "endpoint_url": ENDPOINT}


class Wire:
    """The surface as a receiver speaks to it."""

    def __init__(self, post: Post) -> None:
        self.post, self.desk = post, post.desk
        self.surface = SecurityEventSurface(
            streams=post.streams, tokens=post.world.authenticator, store=post.store, home_tenant=TENANT_ID
        )

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        by: Principal | None = None,
        token: str | None = None,
        **query: str,
    ) -> tuple[int, Any, dict[str, str]]:
        shown = token if token is not None else await self.desk.token(ARM, client=by or self.desk.api)
        sent = HttpRequest(
            method=method,
            path=path if path.startswith("/.") else f"/{TENANT_ID}{path}",
            query=tuple(query.items()),
            headers={"authorization": (f"Bearer {shown}",)} if shown else {},
            body=body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode(),
            origin=ORIGIN,
            call=self.desk.world.call(),
        )
        assert is_about_events(sent.path)
        try:
            answer = await self.surface.handle(sent)
        except Failure as failure:
            answer = self.surface.refuse(failure, sent)
        return answer.status, json.loads(answer.body) if answer.body else None, dict(answer.headers)


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    world = await StsWorld.open()
    yield Wire(Post(await Desk(world).open()))
    await world.store.close()


@pytest.mark.parametrize("path", ["/.well-known/ssf-configuration", f"/.well-known/ssf-configuration/{TENANT_ID}"])
async def test_the_configuration_names_what_there_is(wire: Wire, path: str) -> None:
    status, found, _ = await wire.ask("GET", path, token="")
    assert status == 200
    base = found["issuer"]
    for name in ("configuration", "status", "add_subject", "remove_subject", "verification"):
        assert found[f"{name}_endpoint"].startswith(f"{base}/ssf/")
    assert found["jwks_uri"] == f"{base}/discovery/v2.0/keys"


async def test_a_stream_through_its_life(wire: Wire) -> None:
    status, made, _ = await wire.ask("POST", "/ssf/streams", {"delivery": PUSH, "description": "mine"})
    assert status == 201
    assert made["aud"] == [wire.desk.api.client_id]
    assert "authorization_header" not in made["delivery"]
    name = made["stream_id"]
    assert (await wire.ask("GET", "/ssf/streams"))[1] == [made]
    assert (await wire.ask("GET", "/ssf/streams", stream_id=name))[1] == made
    wanted = made["events_supported"][:1]
    assert (await wire.ask("PATCH", "/ssf/streams", {"stream_id": name, "events_requested": wanted}))[1][
        "events_delivered"
    ] == wanted
    replaced = (await wire.ask("PUT", "/ssf/streams", {"stream_id": name, "delivery": PUSH}))[1]
    assert "description" not in replaced
    assert len(replaced["events_delivered"]) > 1
    told = {"stream_id": name, "status": "paused", "reason": "upgrade"}
    assert (await wire.ask("POST", "/ssf/status", told))[1] == told
    assert (await wire.ask("GET", "/ssf/status", stream_id=name))[1] == told
    subject = {"format": "iss_sub", "iss": "x", "sub": wire.desk.stranger.id}
    assert (await wire.ask("POST", "/ssf/subjects:add", {"stream_id": name, "subject": subject}))[0] == 200
    assert (await wire.ask("POST", "/ssf/subjects:remove", {"stream_id": name, "subject": subject}))[0] == 204
    assert (await wire.ask("POST", "/ssf/verify", {"stream_id": name, "state": "x"}))[0] == 204
    assert (await wire.ask("DELETE", "/ssf/streams", stream_id=name))[0] == 204
    assert (await wire.ask("GET", "/ssf/streams", stream_id=name))[0] == 404


async def test_too_many_streams_are_refused(wire: Wire) -> None:
    statuses = [(await wire.ask("POST", "/ssf/streams", {}))[0] for _ in range(9)]
    assert statuses == [201] * 8 + [409]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/ssf/streams", b"{", 400),
        ("POST", "/ssf/streams", b"[]", 400),
        ("POST", "/ssf/streams", b"[" * 60_000, 400),
        ("POST", "/ssf/streams", b"{" + b" " * 70_000 + b"}", 413),
        ("POST", "/ssf/streams", {"delivery": "push"}, 400),
        ("POST", "/ssf/streams", {"delivery": {"method": "mail"}}, 400),
        ("POST", "/ssf/streams", {"delivery": {"method": "urn:ietf:rfc:8935"}}, 400),
        ("POST", "/ssf/streams", {"delivery": {**PUSH, "authorization_header": "a\r\nb: c"}}, 400),
        ("POST", "/ssf/streams", {"events_requested": [1]}, 400),
        ("POST", "/ssf/streams", {"idplane_subjects": "some"}, 400),
        ("POST", "/ssf/streams", {"idplane_subjects": "all"}, 403),
        ("POST", "/ssf/streams", {"idplane_audience": "https://vault.azure.net"}, 403),
        ("POST", "/ssf/streams", {"idplane_audience": "api://nobody"}, 400),
        ("PATCH", "/ssf/streams", {}, 400),
        ("PATCH", "/ssf/streams", {"stream_id": "none"}, 404),
        ("TRACE", "/ssf/streams", None, 405),
        ("GET", "/ssf/verify", None, 405),
        ("POST", "/ssf/status", {"stream_id": "none", "status": "enabled"}, 404),
        ("POST", "/ssf/status", {"stream_id": "none", "status": "off"}, 400),
        ("POST", "/ssf/subjects:add", {"stream_id": "none", "subject": {"format": "email", "email": "a@b"}}, 400),
        ("POST", "/ssf/poll/none", {"maxEvents": -1}, 400),
        ("POST", "/ssf/poll/none", {"ack": "x"}, 400),
        ("POST", "/ssf/poll/none", {}, 404),
        ("GET", "/ssf/nothing", None, 404),
    ],
)
async def test_what_is_refused(wire: Wire, method: str, path: str, body: object, status: int) -> None:
    found = await wire.ask(method, path, body)
    assert found[0] == status
    assert set(found[1]) == {"err", "description"}


@pytest.mark.parametrize("token", ["", "x", "a.b.c"])
async def test_nobody_without_a_token(wire: Wire, token: str) -> None:
    status, body, headers = await wire.ask("GET", "/ssf/streams", token=token)
    assert (status, body["err"]) == (401, "authentication_failed")
    assert headers["WWW-Authenticate"].startswith("Bearer ")


async def test_a_token_for_something_else_is_none(wire: Wire) -> None:
    assert (await wire.ask("GET", "/ssf/streams", token=await wire.desk.token("https://vault.azure.net")))[0] == 401
