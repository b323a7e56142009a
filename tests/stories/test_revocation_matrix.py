"""Everything that takes access away against everything that must know of it, over two servers on one store.

Each row is a way to take something away, with what every column must answer afterwards: the token service, the agent's cache, introspection,
our own targets, and security events; server A does it, and A and B are asked. `test_revocation_matrix_postgres` does the same over PostgreSQL.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

import pytest

from idplane.agent.host import Selector, SelectorKind
from idplane.bootstrap.server import Server
from idplane.bootstrap.world import World
from idplane.model.failure import Failure
from idplane.model.ids import ResourceId
from idplane.model.security_events import EventType
from idplane.model.values import JsonObject
from idplane.ports.agent_records import credentials_ended
from idplane.ports.collections import PRINCIPALS, QUEUED_EVENTS
from idplane.ports.store import Batch, Put
from idplane.testing.local import LocalPlane, ManagedIdentity, VirtualMachine
from idplane.web.origins import Origins

ARM, VAULT, GRAPH, API = "https://management.azure.com", "https://vault.azure.net", "https://graph.microsoft.com", "api://stock"
REVOKE = "/providers/Idplane.Authority/revokeTokens"


@dataclass(frozen=True, kw_only=True)
class Row:
    """What every column must show."""

    take: Callable[[Stage], None]
    again: bool
    """Whether the token service gives another token."""
    dead: bool
    """Whether tokens that were issued are dead; else they only may do less."""
    events: frozenset[EventType]
    user_assigned: bool = False


class Stage:
    """An identity at work on a machine, an API that introspects and listens, and two servers."""

    def __init__(self, plane: LocalPlane, other: Server, *, user_assigned: bool) -> None:
        self.plane, self.other = plane, other
        self.api = plane.application("stock-api", uris=[API])
        self.machine: VirtualMachine
        self.identity: ManagedIdentity
        if user_assigned:
            self.identity = plane.user_assigned_identity("shared", group="identities")
            self.machine = plane.virtual_machine("vm", system=False, identities=[self.identity])
        else:
            self.machine = plane.virtual_machine("vm")
            assert self.machine.identity is not None
            self.identity = self.machine.identity
        self.vault = plane.vault("stock", group="vaults", password="hunter2")
        self.group = plane.people.group("readers", [self.identity.principal_id])
        self.reader = plane.grant(self.identity, "Key Vault Secrets User", self.vault)
        plane.grant(self.group, "Reader", plane.resource_group())
        self.graph_role = self.give_graph_role()
        self.held = {one: self.token(one) for one in (ARM, VAULT, GRAPH, API)}
        self.stream = self.asked("POST", "/ssf/streams", {"delivery": {"method": "urn:ietf:rfc:8936"}})[1]["stream_id"]

    @property
    def tenant_wide(self) -> str:
        return f"/{self.plane.tenant_id}"

    def give_graph_role(self) -> str:
        graph = self.plane._ask_graph("GET", "/servicePrincipals(appId='00000003-0000-0000-c000-000000000000')", None).body[
            "id"
        ]
        body = {
            "principalId": self.identity.principal_id,
            "resourceId": graph,
            "appRoleId": "9a5d68dd-52b0-4cc2-bd40-abcf44ac3a30",
        }
        path = f"/servicePrincipals/{self.identity.principal_id}/appRoleAssignments"
        return f"{path}/{self.plane._ask_graph('POST', path, body).body['id']}"

    def token(self, resource: str) -> str:
        """Through the agent, with its cache."""
        selector = Selector(kind=SelectorKind.CLIENT_ID, value=self.identity.client_id)
        agent = self.plane._plane.agent
        answer = self.plane.run(agent.token(ResourceId.parse(self.machine.id), selector, resource))
        return str(answer.access_token)

    def sent(self, server: Server, method: str, path: str, *, host: str, headers: dict[str, str], body: bytes = b"") -> Any:
        """Status, headers and body of an answer."""

        async def exchange() -> tuple[int, dict[str, str], bytes]:
            raw, _, query = path.partition("?")
            scope = {
                "type": "http",
                "method": method,
                "path": raw,
                "raw_path": raw.encode(),
                "query_string": query.encode(),
                "headers": [(b"host", host.encode()), *((name.encode(), value.encode()) for name, value in headers.items())],
                "client": None,
                "idplane.complete": True,
            }
            told: list[Any] = []

            async def receive() -> Any:
                return {"type": "http.request", "body": body, "more_body": False}

            async def send(message: Any) -> None:
                told.append(message)

            await server.app(Origins.local(self.plane._thread.port))(scope, receive, send)
            return told[0]["status"], {k.decode(): v.decode() for k, v in told[0]["headers"]}, told[1]["body"]

        return self.plane.run(exchange())

    @property
    def servers(self) -> tuple[Server, Server]:
        return self.plane._plane.server, self.other

    def refusals(self, server: Server) -> dict[str, tuple[int, str]]:
        """What each target makes of the token that is held for it."""
        here = f"localhost:{self.plane._thread.port}"
        group = f"{self.plane.resource_group()}/resources?api-version=2021-04-01"
        places = {
            ARM: (here, group),
            VAULT: (f"stock.vault.{here}", "/secrets/password?api-version=7.4"),
            GRAPH: (here, "/v1.0/servicePrincipals?$top=1"),
        }
        found = {}
        for resource, (host, path) in places.items():
            headers = {"authorization": f"Bearer {self.held[resource]}"}
            status, told, _ = self.sent(server, "GET", path, host=host, headers=headers)
            found[resource] = (status, told.get("www-authenticate", ""))
        return found

    def active(self, server: Server) -> bool:
        form = {"token": self.held[API], "client_id": self.api.client_id, "client_secret": self.api.secret}
        headers = {"content-type": "application/x-www-form-urlencoded"}
        here = f"localhost:{self.plane._thread.port}"
        path = f"{self.tenant_wide}/oauth2/v2.0/introspect"
        status, _, body = self.sent(server, "POST", path, host=here, headers=headers, body=urlencode(form).encode())
        assert status == 200, body
        return bool(json.loads(body)["active"])

    def api_token(self) -> str:
        form = {
            "grant_type": "client_credentials",
            "client_id": self.api.client_id,
            "client_secret": self.api.secret,
            "scope": f"{ARM}/.default",
        }
        headers = {"content-type": "application/x-www-form-urlencoded"}
        here = f"localhost:{self.plane._thread.port}"
        path = f"{self.tenant_wide}/oauth2/v2.0/token"
        _, _, body = self.sent(self.servers[0], "POST", path, host=here, headers=headers, body=urlencode(form).encode())
        return str(json.loads(body)["access_token"])

    def asked(self, method: str, path: str, body: Any = None, server: Server | None = None) -> tuple[int, Any]:
        headers = {"authorization": f"Bearer {self.api_token()}", "content-type": "application/json"}
        content = b"" if body is None else json.dumps(body).encode()
        here = f"localhost:{self.plane._thread.port}"
        status, _, answer = self.sent(
            server or self.servers[0], method, self.tenant_wide + path, host=here, headers=headers, body=content
        )
        return status, json.loads(answer) if answer else None

    def events(self) -> list[dict[str, Any]]:
        """What the API is told, by the server that did nothing."""
        self.plane.run(self.other.events.turn())
        status, answer = self.asked("POST", f"/ssf/poll/{self.stream}", {"returnImmediately": True}, self.other)
        assert status == 200, answer
        return [verified(self.plane, text) for text in answer["sets"].values()]

    def call(self, method: str, path: str, body: JsonObject | None = None, version: str = "2026-11-01") -> None:
        self.plane.call(method, path, body, api_version=version)


def verified(plane: LocalPlane, text: str) -> dict[str, Any]:
    """The claims, by a library that knows nothing of us."""
    import jwt  # noqa: PLC0415 - the receiver's own library, for this one step

    keys = {one["kid"]: jwt.PyJWK(one) for one in plane._plane.server.ring.jwks()["keys"]}  # type: ignore[attr-defined]  # JSON
    header = jwt.get_unverified_header(text)
    assert header["typ"] == "secevent+jwt"
    options: Any = {"verify_aud": False, "require": ["iss", "jti", "iat", "aud"]}
    return jwt.decode(text, keys[header["kid"]].key, algorithms=["RS256"], options=options)


# The rows -------------------------------------------------------------------------------------------------------------


def resource_deleted(it: Stage) -> None:
    it.plane.delete(it.machine.id)


def identity_deleted(it: Stage) -> None:
    it.plane.delete(it.identity.id)


def disabled(it: Stage) -> None:
    row = it.plane.run(it.plane.store.get(PRINCIPALS, it.identity.principal_id))
    change = Put(collection=PRINCIPALS, value=replace(row.value, enabled=False), expect=row.version)
    it.plane.run(it.plane.store.commit(Batch.of(change)))


def unassigned(it: Stage) -> None:
    it.plane.call("PATCH", it.machine.id, {"identity": {"type": "None"}})


def role_removed(it: Stage) -> None:
    it.plane.delete(it.reader)


def tokens_revoked(it: Stage) -> None:
    it.call("POST", f"{REVOKE}", {"principalId": it.identity.principal_id})


def identity_revoked(it: Stage) -> None:
    it.call("POST", f"{it.identity.id}/revokeTokens", version="2025-05-31-preview")


def host_revoked(it: Stage) -> None:
    it.call("POST", f"{it.machine.id}{REVOKE}")


def tenant_revoked(it: Stage) -> None:
    it.call("POST", REVOKE)
    it.plane._tokens.clear()


def host_banned(it: Stage) -> None:
    """As a ban does; the embedded agent itself is not to be banned."""
    it.plane.run(_ended(it.plane))


async def _ended(plane: LocalPlane) -> None:
    await plane.store.commit(await credentials_ended(plane.store, "embedded"))


def key_tainted(it: Stage) -> None:
    ring = it.plane._plane.server.ring
    active = next(one.id for one in ring.keys if one.state.value == "active")
    it.plane.run(ring.taint(active))
    it.plane._tokens.clear()


def left_group(it: Stage) -> None:
    it.plane.people.leave(it.group, it.identity.principal_id)


def graph_role_taken(it: Stage) -> None:
    it.plane._ask_graph("DELETE", it.graph_role, None)


REVOKED, CLAIMS, PURGED, DISABLED = (
    frozenset({one})
    for one in (EventType.SESSION_REVOKED, EventType.CLAIMS_CHANGE, EventType.ACCOUNT_PURGED, EventType.ACCOUNT_DISABLED)
)
ROWS = {
    "resource deleted": Row(take=resource_deleted, again=False, dead=True, events=PURGED),
    "identity deleted": Row(take=identity_deleted, again=False, dead=True, events=PURGED, user_assigned=True),
    "principal disabled": Row(take=disabled, again=False, dead=True, events=DISABLED),
    "identity unassigned": Row(take=unassigned, again=False, dead=True, events=REVOKED, user_assigned=True),
    "system identity taken away": Row(take=unassigned, again=False, dead=True, events=PURGED),
    "role removed": Row(take=role_removed, again=True, dead=False, events=CLAIMS),
    "tokens revoked": Row(take=tokens_revoked, again=True, dead=True, events=REVOKED),
    "identity's tokens revoked": Row(take=identity_revoked, again=True, dead=True, events=REVOKED, user_assigned=True),
    "host's tokens revoked": Row(take=host_revoked, again=True, dead=True, events=REVOKED, user_assigned=True),
    "tenant's tokens revoked": Row(take=tenant_revoked, again=True, dead=True, events=REVOKED),
    "host banned": Row(take=host_banned, again=True, dead=True, events=REVOKED),
    "key tainted": Row(take=key_tainted, again=True, dead=True, events=REVOKED),
    "left a group": Row(take=left_group, again=True, dead=False, events=CLAIMS),
    "application role taken": Row(take=graph_role_taken, again=True, dead=False, events=CLAIMS),
}
PARTLY = {"role removed": {VAULT: 403}, "left a group": {ARM: 403}, "application role taken": {GRAPH: 401}}
"""Where nothing is dead: what the old token may no longer do."""


@pytest.fixture
def other(idplane: LocalPlane) -> Iterator[Server]:
    world: World = idplane._plane.server.world
    server = idplane.run(Server.open(world))
    yield server
    idplane.run(server.close())


@pytest.mark.parametrize("name", ROWS)
def test_every_cell(idplane: LocalPlane, other: Server, name: str) -> None:
    check(Stage(idplane, other, user_assigned=ROWS[name].user_assigned), name)


def check(stage: Stage, name: str) -> None:
    row = ROWS[name]
    for server in stage.servers:
        assert {status for status, _ in stage.refusals(server).values()} == {200}
        assert stage.active(server)
    stage.plane.run(stage.other.events.turn())
    stage.plane.run(_emptied(stage.plane))
    row.take(stage)
    for server in stage.servers:
        check_targets(stage, server, name)
        assert stage.active(server) is not row.dead
    check_service(stage, row)
    told = stage.events()
    mine = {"format": "iss_sub", "iss": told[0]["sub_id"].get("iss"), "sub": stage.identity.principal_id}
    everyone = {"format": "complex", "tenant": {"format": "opaque", "id": stage.plane.tenant_id}}
    about = [one for one in told if one["sub_id"] in (mine, everyone)]
    assert row.events <= {EventType(kind) for one in about for kind in one["events"]}
    assert len({one["jti"] for one in told}) == len(told)


async def _emptied(plane: LocalPlane) -> None:
    """What making the stage was told of is of no interest."""
    from idplane.ports.store import Delete  # noqa: PLC0415 - for this one step

    waiting = await plane.store.all(QUEUED_EVENTS)
    await plane.store.commit(Batch.of(*(Delete(collection=QUEUED_EVENTS, key=one.value.key) for one in waiting)))


def check_targets(stage: Stage, server: Server, name: str) -> None:
    found = stage.refusals(server)
    expected = PARTLY.get(name) or dict.fromkeys(found, 401)
    for resource, (status, challenge) in found.items():
        assert status == expected.get(resource, 200), (resource, challenge)
        assert ('error="insufficient_claims"' in challenge) is (status == 401)


def check_service(stage: Stage, row: Row) -> None:
    """Another token or none; never the one that was held."""
    for resource in (ARM, VAULT, API):
        try:
            fresh = stage.token(resource)
        except Failure:
            assert not row.again
        else:
            assert row.again
            assert fresh != stage.held[resource]


def test_nothing_waits_for_the_feed(idplane: LocalPlane, other: Server) -> None:
    """The duty is woken by the change itself: an event is there without anybody's turn."""
    stage = Stage(idplane, other, user_assigned=False)
    duty = idplane.run(_started(other))
    try:
        tokens_revoked(stage)
        status, answer = stage.asked("POST", f"/ssf/poll/{stage.stream}", {"returnImmediately": False}, other)
        assert status == 200
        assert answer["sets"]
    finally:
        idplane.run(_cancelled(duty))


async def _started(server: Server) -> asyncio.Task[Any]:
    return asyncio.get_running_loop().create_task(server.events.run())


async def _cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
