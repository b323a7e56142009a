"""A whole plane whose refusals are explained by the id that their callers were shown, and mended as the explanation says."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from idplane.explain.explainer import Explainer
from idplane.explain.model import Explanation, Fix, FixRequest, Question
from idplane.model.calls import Caller
from idplane.model.dialects import Dialect
from idplane.model.ids import ResourceId
from idplane.model.refusals import Refusal
from idplane.rbac import AccessControl
from idplane.testing.local import Application, LocalPlane

ARM = "https://management.azure.com"
VAULT = "https://vault.azure.net"
GRAPH = "https://graph.microsoft.com"


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def ok(self) -> bool:
        return self.status < 400

    @property
    def id(self) -> str:
        """What a person would copy."""
        return self.headers["x-ms-request-id"]


class ExplainWorld:
    def __init__(self, plane: LocalPlane) -> None:
        self.plane = plane
        self._server = plane._plane.server
        self._tls = ssl.create_default_context(cafile=str(plane.ca_file))
        world = self._server.world
        self.keeper = self._server.refusals
        self.access = plane.run(self._access())
        self.explainer = Explainer(store=world.store, access=self.access, clock=world.clock, profile=world.profile)

    async def _access(self) -> AccessControl:
        return AccessControl(store=self._server.world.store, clock=self._server.world.clock)

    def close(self) -> None:
        self.access.close()

    # Callers ------------------------------------------------------------------------------------------------------------

    @property
    def owner(self) -> Caller:
        one = self._server.installation.operator
        return Caller(
            tenant_id=one.tenant_id, principal_id=one.id, client_id=one.client_id, display_name=one.display_name, token_id=""
        )

    def caller(self, principal_id: str, client_id: str = "") -> Caller:
        groups = tuple(self.plane.run(self.access.principal_ids(principal_id)) - {principal_id})
        return Caller(
            tenant_id=self.plane.tenant_id,
            principal_id=principal_id,
            client_id=client_id,
            display_name=principal_id,
            token_id="",
            groups=groups,
        )

    # Requests -----------------------------------------------------------------------------------------------------------

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        vault: str | None = None,
        form: bool = False,
    ) -> Reply:
        headers = {"content-type": "application/x-www-form-urlencoded" if form else "application/json"}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        content = b"" if body is None else (urlencode(body) if form else json.dumps(body)).encode()
        port = int(self.plane.url.rpartition(":")[2])
        connection = http.client.HTTPSConnection("localhost", port, context=self._tls, timeout=30)
        host = f"localhost:{port}" if vault is None else f"{vault}.{self.plane.vault_domain}"
        return _reply(connection, method, path, content, {**headers, "host": host})

    def token_request(self, client: Application, resource: str = ARM, **form: str) -> Reply:
        """At the version 1 endpoint, with the client's secret unless a form says otherwise."""
        fields = {"grant_type": "client_credentials", "client_id": client.client_id, "resource": resource}
        fields |= form or {"client_secret": client.secret}
        return self.send("POST", f"/{self.plane.tenant_id}/oauth2/token", fields, form=True)

    def token(self, client: Application, resource: str = ARM) -> str:
        reply = self.token_request(client, resource)
        assert reply.ok, reply.body
        text: str = reply.body["access_token"]
        return text

    def graph(self, method: str, path: str, body: Any = None, *, version: str = "v1.0") -> Any:
        """As the owner."""
        token = self.plane.operator_token(GRAPH)["access_token"]
        reply = self.send(method, f"/{version}{quote(path, safe='/?$=')}", body, token=token)
        assert reply.ok, reply.body
        return reply.body

    def endpoint(
        self, machine: Any, dialect: Dialect, query: Mapping[str, str], headers: Mapping[str, str] | None = None
    ) -> Reply:
        """A request to a machine's own token endpoint, from this process, with all that it takes; `headers` in place of some of it."""
        opened = self.plane.environment(machine, dialect=dialect)
        if dialect is Dialect.IMDS:
            address = f"{opened['AZURE_POD_IDENTITY_AUTHORITY_HOST']}/metadata/identity/oauth2/token"
            sent = {"Metadata": "true"}
            given = {"api-version": "2018-02-01", **query}
        else:
            address, sent = opened["IDENTITY_ENDPOINT"], {"X-IDENTITY-HEADER": opened["IDENTITY_HEADER"]}
            given = {"api-version": "2019-08-01", **query}
        parts = urlsplit(f"{address}?{urlencode(given)}")
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        return _reply(connection, "GET", f"{parts.path}?{parts.query}", b"", sent if headers is None else headers)

    # Explanations --------------------------------------------------------------------------------------------------------

    def record(self, refusal_id: str) -> Refusal:
        for _ in range(20):  # a host's agent tells of its refusals when it has answered, and each look waits for a moment
            found: Refusal | None = self.plane.run(self.keeper.find(refusal_id))
            if found is not None:
                return found
            self.plane.run(self.keeper.settled())
        raise AssertionError("the refusal was not kept")

    def explain(self, refusal_id: str, viewer: Caller | None = None) -> Explanation:
        return self.explained(self.record(refusal_id), viewer or self.owner)

    def explained(self, refusal: Refusal, viewer: Caller) -> Explanation:
        told: Explanation = self.plane.run(self.explainer.explain(refusal, viewer))
        return told

    def ask(
        self, principal_id: str, action: str, scope: str, *, data: bool = False, viewer: Caller | None = None
    ) -> Explanation:
        question = Question(principal_id=principal_id, action=action, scope=ResourceId.parse(scope), data=data)
        told: Explanation = self.plane.run(self.explainer.ask(question, viewer or self.owner))
        return told

    # Fixes ----------------------------------------------------------------------------------------------------------------

    def apply(self, fixes: Sequence[Fix], *, together: bool = False) -> Any:
        """The first fix that is a request, exactly as it is told, as the owner; all of them where all are needed."""
        asked = [one.request for one in fixes if one.request is not None]
        assert asked, [one.text for one in fixes]
        replies = [self._apply(one) for one in (asked if together else asked[:1])]
        return replies[-1]

    def _apply(self, request: FixRequest) -> Any:
        resource = {"management": ARM, "graph": GRAPH, "vault": VAULT}[request.api]
        token = self.plane.operator_token(resource)["access_token"]
        reply = self.send(request.method, request.path, request.body, token=token, vault=request.vault)
        assert reply.ok, (request, reply.body)
        return reply.body

    def mend(self, refusal_id: str) -> Explanation:
        """Explain a refusal to the owner and do what the explanation says."""
        told = self.explain(refusal_id)
        self.apply(told.fixes, together=told.together)
        return told


def _reply(connection: http.client.HTTPConnection, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
    with closing(connection):
        connection.request(method, path, body or None, dict(headers))
        answer = connection.getresponse()
        text = answer.read()
    names = {name.lower(): value for name, value in answer.getheaders()}
    return Reply(answer.status, json.loads(text) if text else None, names)
