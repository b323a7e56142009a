"""Random requests to Graph, by its owner: whatever comes in, an answer in Graph's own words goes out, and never a 500."""

from __future__ import annotations

import asyncio
import string
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.graph.graph_world import GRAPH_APP, TENANT, Answer, GraphWorld

MANY = settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
KEYS = (
    "{app}",
    "{principal}",
    "{machine}",
    TENANT,
    "main",
    "(appId='{client}')",
    f"(appId='{GRAPH_APP}')",
    "('{app}')",
    "(x=y)",
)
WORDS = (
    *(
        "applications",
        "servicePrincipals",
        "users",
        "groups",
        "me",
        "directoryObjects",
        "auditLogs",
        "signIns",
        "directoryAudits",
    ),
    *("federatedIdentityCredentials", "appRoleAssignments", "appRoleAssignedTo", "members", "memberOf", "transitiveMemberOf"),
    *(
        "addPassword",
        "removePassword",
        "addKey",
        "removeKey",
        "getByIds",
        "getMemberGroups",
        "$count",
        "$ref",
        "$batch",
        "x",
        "ä",
    ),
    "microsoft.graph.user",
)
PATHS = st.lists(st.sampled_from(WORDS + KEYS) | st.text(string.printable, max_size=6), max_size=5).map(
    lambda parts: "/" + "/".join(quote(part, safe="(){}'=$") for part in parts)
)
KNOWN = st.sampled_from(
    (
        "/applications",
        "/applications/{app}",
        "/applications(appId='{client}')",
        "/applications/{app}/addPassword",
        "/applications/{app}/removePassword",
        "/applications/{app}/addKey",
        "/applications/{app}/federatedIdentityCredentials",
        "/applications/{app}/federatedIdentityCredentials/main",
        "/servicePrincipals",
        "/servicePrincipals/{principal}",
        "/servicePrincipals/{machine}/appRoleAssignments",
        "/servicePrincipals/{principal}/appRoleAssignedTo",
        "/users",
        "/groups",
        "/directoryObjects/getByIds",
        "/auditLogs/signIns",
        "/auditLogs/directoryAudits",
    )
)
FILTERS = st.lists(
    st.sampled_from(
        (
            *(
                "displayName",
                "appId",
                "id",
                "identifierUris/any(x:x",
                "createdDateTime",
                "accountEnabled",
                "web/homePageUrl",
                "x",
            ),
            *(
                "eq",
                "ne",
                "in",
                "ge",
                "and",
                "or",
                "not",
                "(",
                ")",
                ",",
                "'a'",
                "''",
                "1",
                "null",
                "true",
                "2026-01-01T00:00:00Z",
            ),
            *("startswith(displayName,", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00", "$count", "/", ":", "\x00"),
        )
    )
    | st.text(max_size=4),
    max_size=10,
).map(" ".join)
OPTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ("$filter", "$top", "$skiptoken", "$select", "$orderby", "$count", "$search", "$expand", "filter", "x")
        ),
        FILTERS
        | st.sampled_from(("id", "displayName desc", "true", "5", "999", "MTI", '"displayName:x"', "*", "tags,id", "-1")),
    ),
    max_size=3,
).map(lambda pairs: "&".join(f"{quote(name)}={quote(value)}" for name, value in pairs))
MEMBERS = (
    *(
        "displayName",
        "identifierUris",
        "appRoles",
        "keyCredentials",
        "passwordCredentials",
        "api",
        "web",
        "tags",
        "notes",
        "appId",
    ),
    *(
        "requestedAccessTokenVersion",
        "id",
        "value",
        "isEnabled",
        "allowedMemberTypes",
        "description",
        "passwordCredential",
        "keyId",
    ),
    *(
        "endDateTime",
        "startDateTime",
        "key",
        "type",
        "usage",
        "proof",
        "keyCredential",
        "name",
        "issuer",
        "subject",
        "audiences",
    ),
    *(
        "principalId",
        "resourceId",
        "appRoleId",
        "accountEnabled",
        "signInAudience",
        "ids",
        "types",
        "mailNickname",
        "@odata.id",
    ),
)
BODIES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
    | st.sampled_from(("{app}", "{principal}", "{machine}", "api://x", "https://x", "main", "9999-12-31T23:59:59-12:00", "QQ==")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS) | st.text(max_size=4), inner, max_size=6),
    max_leaves=14,
)  # fmt: skip
METHODS = st.sampled_from(("GET", "GET", "POST", "PATCH", "DELETE", "PUT"))
VERSIONS = st.sampled_from(("v1.0", "beta"))


class Fuzzed:
    """A world with one of everything, made anew when a request has deleted some of it."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.world: GraphWorld = self.runner.run(GraphWorld.open())
        self.names: dict[str, str] = self.runner.run(self._filled())

    async def _filled(self) -> dict[str, str]:
        app = await self.world.new_app("fuzzed")
        principal = await self.world.new_principal(app)
        trust = {"name": "main", "issuer": "https://x", "subject": "s", "audiences": ["api://AzureADTokenExchange"]}
        await self.world.call("POST", f"/applications/{app['id']}/federatedIdentityCredentials", trust)
        return {"app": app["id"], "client": app["appId"], "principal": principal["id"], "machine": self.world.system.id}

    def named(self, value: Any) -> Any:
        """The value with the ids of what there is."""
        match value:
            case str():
                for name, text in self.names.items():
                    value = value.replace(f"{{{name}}}", text)
                return value
            case dict():
                return {self.named(key): self.named(item) for key, item in value.items()}
            case list():
                return [self.named(item) for item in value]
            case _:
                return value

    def ask(self, method: str, url: str, body: object) -> Answer:
        answer = self.runner.run(self.world.call(method, self.named(url), self.named(body)))
        if method == "DELETE" and answer.status < 300:
            self.names = self.runner.run(self._filled())
        return answer


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[Fuzzed]:
    made = Fuzzed()
    yield made
    made.runner.run(made.world.store.close())
    made.runner.close()


def judge(answer: Answer, method: str) -> None:
    assert answer.status < 500, answer.text
    if answer.status >= 400:
        error = answer.body["error"]
        assert error["code"]
        assert error["message"]
        assert error["innerError"]["request-id"]
    elif method == "GET" and isinstance(answer.body, dict):
        assert answer.body["@odata.context"]


@MANY
@given(path=PATHS, options=OPTIONS, method=METHODS, body=BODIES, version=VERSIONS)
def test_any_path(fuzzed: Fuzzed, path: str, options: str, method: str, body: object, version: str) -> None:
    judge(fuzzed.ask(method, f"/{version}{path}?{options}", body), method)


@MANY
@given(path=KNOWN, options=OPTIONS, method=METHODS, body=st.dictionaries(st.sampled_from(MEMBERS), BODIES, max_size=8))
def test_any_body_at_a_known_path(fuzzed: Fuzzed, path: str, options: str, method: str, body: object) -> None:
    judge(fuzzed.ask(method, f"{path}?{options}", body), method)


@MANY
@given(text=FILTERS)
def test_any_filter(fuzzed: Fuzzed, text: str) -> None:
    for path in ("/applications", "/servicePrincipals", "/auditLogs/directoryAudits"):
        judge(fuzzed.ask("GET", f"{path}?$filter={quote(text)}", None), "GET")
