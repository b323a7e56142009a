"""Requests that are almost right: good documents, tokens, forms and bytes with something changed, which get further in than noise does."""

from __future__ import annotations

import json
import logging
import socket
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.stories.edge import ARM, GRAPH, PORT, VAULT, Edge, Seen, errors_logged

from idplane.agent.host import Dialect
from idplane.testing.local import Application, LocalPlane

MANY = settings(max_examples=2500, deadline=None, suppress_health_check=list(HealthCheck))
FEW = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
GROUP = "/subscriptions/{subscription}/resourceGroups/near"
GUID = "11111111-2222-4333-8444-555555555555"
KV = f"near-misses.vault.localhost:{PORT}"
READER = "/providers/Microsoft.Authorization/roleDefinitions/acdd72a7-3385-48ef-bd42-f606fba81ae7"

DOCUMENTS: dict[str, Any] = {
    f"{GROUP}?api-version=2024-11-01": {"location": "westeurope", "tags": {"a": "b"}},
    f"{GROUP}/providers/Microsoft.Compute/virtualMachines/vm?api-version=2024-11-01": {
        "location": "westeurope",
        "identity": {"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": {f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/near-id": {}}},
        "zones": ["1"],
        "properties": {"hardwareProfile": {"vmSize": "Standard_B1s"}},
    },
    f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/near-id?api-version=2024-11-30": {"location": "westeurope", "tags": {}},
    f"{GROUP}/providers/Microsoft.KeyVault/vaults/near-fuzzed?api-version=2023-07-01": {
        "location": "westeurope",
        "properties": {"tenantId": "{tenant}", "sku": {"family": "A", "name": "standard"}, "enableRbacAuthorization": True, "softDeleteRetentionInDays": 90},
    },
    f"{GROUP}/providers/Microsoft.Authorization/roleAssignments/{GUID}?api-version=2022-04-01": {
        "properties": {"roleDefinitionId": READER, "principalId": "{operator}", "principalType": "ServicePrincipal", "condition": None}
    },
    f"{GROUP}/providers/Microsoft.Authorization/roleDefinitions/{GUID}?api-version=2022-04-01": {
        "properties": {
            "roleName": "near",
            "type": "CustomRole",
            "permissions": [{"actions": ["*/read"], "notActions": [], "dataActions": [], "notDataActions": []}],
            "assignableScopes": [GROUP],
        }
    },
    f"{GROUP}/providers/Microsoft.Compute/virtualMachines/bound/providers/Idplane.Workloads/bindings/near?api-version=2026-11-01": {
        "properties": {
            "identities": ["SystemAssigned", f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/near-id"],
            "processes": {
                "user": "near",
                "group": 1000,
                "executable": {"path": "/usr/bin/near", "device": 1, "inode": 2, "sha256": "0" * 64},
                "systemdUnit": "near.service",
                "cgroup": "/system.slice",
                "container": {"engine": "docker", "id": "f" * 64},
                "run": True,
            },
        }
    },
}  # fmt: skip
SECRET = {
    "value": "v",
    "contentType": "text/plain",
    "tags": {"a": "b"},
    "attributes": {"enabled": True, "nbf": 1, "exp": 4_000_000_000},
}
LEAVES: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=30)
    | st.sampled_from(("", " ", "*", "/", "//", "*/read", "/subscriptions/x", "None", "SystemAssigned", "a" * 2000, "\x00", "\ud800", "2024-01-01", "{", "%s", "{0}"))
    | st.just([]) | st.just({}) | st.lists(st.none() | st.integers() | st.text(max_size=5), max_size=3)
    | st.dictionaries(st.text(max_size=8), st.none() | st.text(max_size=8), max_size=3)
)  # fmt: skip


def paths_of(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths_of(inner, (*at, key))


def with_changes(document: Any, changes: list[tuple[int, Any, bool]]) -> Any:
    """Members replaced by other values, or taken out."""
    changed = json.loads(json.dumps(document))
    for number, value, remove in changes:
        places = list(paths_of(changed))
        path = places[number % len(places)]
        if not path:
            changed = value if number % 7 == 0 else changed
            continue
        holder = changed
        for key in path[:-1]:
            holder = holder[key]
        if remove:
            del holder[path[-1]]
        else:
            holder[path[-1]] = value
    return changed


CHANGES = st.lists(st.tuples(st.integers(0, 200), LEAVES, st.booleans()), min_size=1, max_size=3)


@pytest.fixture(scope="module")
def plane() -> Iterator[LocalPlane]:
    plane = LocalPlane()
    plane.resource_group("near")
    plane.user_assigned_identity("near-id", group="near")
    plane.virtual_machine("bound", group="near")
    plane.vault("near-misses", group="kept", password="v")
    yield plane
    plane.close()


@pytest.fixture(scope="module")
def bugs() -> Iterator[list[logging.LogRecord]]:
    with errors_logged() as records:
        yield records


@pytest.fixture(scope="module")
def edge(plane: LocalPlane) -> Edge:
    return Edge(plane)


@pytest.fixture(scope="module")
def application(plane: LocalPlane) -> Application:
    return plane.application("near")


def judge(seen: Seen, bugs: list[logging.LogRecord]) -> None:
    assert seen.status < 500, seen
    assert not bugs, bugs[0].getMessage()
    assert len(seen.headers["x-ms-request-id"]) == 36
    if seen.status >= 400:
        assert seen.code, seen
        assert seen.text, seen


@MANY
@given(
    target=st.sampled_from(sorted(DOCUMENTS)),
    method=st.sampled_from(("PUT", "PUT", "PATCH", "POST", "DELETE", "GET")),
    changes=CHANGES,
)
def test_documents(
    edge: Edge, bugs: list[logging.LogRecord], target: str, method: str, changes: list[tuple[int, Any, bool]]
) -> None:
    operator = edge.plane._plane.server.installation.operator.id  # noqa: SLF001 - somebody who is there
    text = json.dumps(with_changes(DOCUMENTS[target], changes))
    for name, value in (
        ("{subscription}", edge.plane.subscription_id),
        ("{tenant}", edge.plane.tenant_id),
        ("{operator}", operator),
    ):
        text = text.replace(name, value)
    if method == "DELETE" and target.startswith(f"{GROUP}?"):
        method = "GET"  # everything else would go with it
    headers = [("content-type", "application/json")]
    judge(edge.ask(method, target, headers=headers, body=text.encode(), token=edge.operator(ARM)), bugs)
    # Whatever was stored can be read, alone and in lists.
    judge(edge.ask("GET", target, token=edge.operator(ARM)), bugs)
    assert edge.ask("GET", f"{GROUP}/resources?api-version=2024-11-01", token=edge.operator(ARM)).status in {200, 404}


@MANY
@given(
    method=st.sampled_from(("PUT", "PATCH", "POST")),
    changes=CHANGES,
    name=st.sampled_from(("password", "fresh", "FRESH", "a-b", "x" * 127)),
)
def test_secrets(
    edge: Edge, bugs: list[logging.LogRecord], method: str, changes: list[tuple[int, Any, bool]], name: str
) -> None:
    headers = [("content-type", "application/json")]
    body = json.dumps(with_changes(SECRET, changes)).encode()
    judge(
        edge.ask(method, f"/secrets/{name}?api-version=7.4", headers=headers, body=body, host=KV, token=edge.operator(VAULT)),
        bugs,
    )
    for target in (
        f"/secrets/{name}?api-version=7.4",
        f"/secrets/{name}/versions?api-version=7.4&maxresults=2",
        "/secrets?api-version=7.4",
    ):
        judge(edge.ask("GET", target, host=KV, token=edge.operator(VAULT)), bugs)


@MANY
@given(at=st.integers(0, 2000), bits=st.integers(1, 255), surface=st.sampled_from((ARM, GRAPH, VAULT)))
def test_tokens(edge: Edge, bugs: list[logging.LogRecord], at: int, bits: int, surface: str) -> None:
    """One byte of a good token changed: either it still is the same token, spelled otherwise, or it is none."""
    targets = {
        ARM: (f"{GROUP}?api-version=2024-11-01", f"localhost:{PORT}"),
        GRAPH: ("/beta/auditLogs/signIns", f"localhost:{PORT}"),
        VAULT: ("/secrets?api-version=7.4", KV),
    }
    token = bytearray(edge.operator(surface).encode())
    token[at % len(token)] ^= bits
    target, host = targets[surface]
    seen = edge.ask("GET", target, host=host, token=token.decode("latin-1"))
    judge(seen, bugs)
    assert seen.status == 401, seen


FIELDS = (
    "grant_type",
    "client_id",
    "client_secret",
    "scope",
    "resource",
    "client_assertion",
    "client_assertion_type",
    "claims",
    "x",
)
TEXTS = st.text(max_size=30) | st.sampled_from(
    ("client_credentials", "https://vault.azure.net/.default", "/.default", "a.b.c", "{", "[" * 3000, '{"access_token":{"xms_cc":{"values":["cp1"]}}}', "\x00", "\ud800", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
)  # fmt: skip


@MANY
@given(
    changes=st.lists(st.tuples(st.sampled_from(FIELDS), TEXTS | st.none()), max_size=3), version=st.sampled_from(("", "v2.0/"))
)
def test_forms(
    edge: Edge, bugs: list[logging.LogRecord], application: Application, changes: list[tuple[str, str | None]], version: str
) -> None:
    form: dict[str, str | None] = {
        "grant_type": "client_credentials",
        "client_id": application.client_id,
        "client_secret": application.secret,
        "scope" if version else "resource": "https://vault.azure.net/.default" if version else "https://vault.azure.net",
        **dict(changes),
    }
    body = "&".join(
        f"{name}={quote(value, safe='', errors='surrogatepass')}" for name, value in form.items() if value is not None
    )
    headers = [("content-type", "application/x-www-form-urlencoded")]
    seen = edge.ask("POST", f"/{{tenant}}/oauth2/{version}token", headers=headers, body=body.encode())
    judge(seen, bugs)
    assert application.secret.encode() not in seen.body


PIECES = st.sampled_from(
    (
        b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: evil\r\n", b"5\r\nabcde\r\n",
        b"0\r\n\r\n", b"GET / HTTP/1.1\r\n", b"HTTP/1.0", b"Connection: upgrade\r\nUpgrade: h2c\r\n", b"Expect: 100-continue\r\n", b"Connection: keep-alive\r\n", b"\xff", b"x" * 70_000, b"a: b\r\n" * 300,
    )
) | st.binary(max_size=20)  # fmt: skip
SPLICES = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 6), PIECES), min_size=1, max_size=4)


def spliced(data: bytes, splices: list[tuple[int, int, bytes]]) -> bytes:
    for at, length, piece in splices:
        begin = at % (len(data) + 1)
        data = data[:begin] + piece + data[begin + length :]
    return data


def statuses_of(answer: bytes) -> list[int]:
    """The statuses of a row of answers with lengths, which is all that may come back."""
    found: list[int] = []
    while answer:
        head, separator, rest = answer.partition(b"\r\n\r\n")
        assert separator, answer
        assert head.startswith(b"HTTP/1.1 "), answer
        found.append(int(head.split()[1]))
        lengths = [int(line[16:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: ")]
        assert len(lengths) <= 1, head
        answer = rest[lengths[0] :] if lengths else rest
    return found


def exchange(connection: socket.socket, data: bytes) -> bytes:
    received = b""
    try:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while more := connection.recv(65536):
            received += more
    except OSError:
        return received
    return received


def answered(connection: ssl.SSLSocket, data: bytes) -> bytes:
    """What comes back until nothing does: the connection may stay open, or be cut because of what is still on its way."""
    received = b""
    try:
        connection.sendall(data)
        connection.settimeout(0.05)
        while more := connection.recv(65536):
            received += more
    except OSError:
        return received
    return received


@FEW
@given(splices=SPLICES, method=st.sampled_from(("GET", "POST")))
def test_bytes_to_the_listener(
    plane: LocalPlane, bugs: list[logging.LogRecord], splices: list[tuple[int, int, bytes]], method: str
) -> None:
    host = plane.url.removeprefix("https://")
    body = urlencode(
        {"grant_type": "client_credentials", "client_id": GUID, "client_secret": "x", "scope": f"{VAULT}/.default"}
    )
    form = f"POST /{plane.tenant_id}/oauth2/v2.0/token HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    get = f"GET /common/discovery/keys HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n\r\n"
    data = spliced((form if method == "POST" else get).encode() + get.encode(), splices)
    context = ssl.create_default_context(cafile=plane.ca_file)
    with (
        socket.create_connection(("127.0.0.1", int(host.rpartition(":")[2])), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        received = answered(connection, data)
    assert all(status < 500 for status in statuses_of(received)), received
    assert not bugs, bugs[0].getMessage()


@pytest.fixture(scope="module")
def dialects(plane: LocalPlane) -> dict[Dialect, tuple[int, bytes]]:
    """The port of each token endpoint, and a request that it serves."""
    machine = plane.virtual_machine("near", group="near")
    imds = int(plane.environment(machine, dialect=Dialect.IMDS)["AZURE_POD_IDENTITY_AUTHORITY_HOST"].rpartition(":")[2])
    app = plane.environment(machine)
    port = int(app["IDENTITY_ENDPOINT"].split(":")[2].split("/")[0])
    first = f"GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource={ARM} HTTP/1.1\r\nHost: 127.0.0.1:{imds}\r\nMetadata: true\r\n\r\n"
    second = f"GET /msi/token?api-version=2019-08-01&resource={ARM} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX-IDENTITY-HEADER: {app['IDENTITY_HEADER']}\r\n\r\n"
    return {Dialect.IMDS: (imds, first.encode()), Dialect.APP_SERVICE: (port, second.encode())}


@MANY
@given(splices=SPLICES, dialect=st.sampled_from((Dialect.IMDS, Dialect.APP_SERVICE)))
def test_bytes_to_the_token_endpoints(
    dialects: dict[Dialect, tuple[int, bytes]],
    bugs: list[logging.LogRecord],
    splices: list[tuple[int, int, bytes]],
    dialect: Dialect,
) -> None:
    port, request = dialects[dialect]
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        received = exchange(connection, spliced(request * 2, splices))
    shown = received.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
    if not shown.endswith((b"}", b"\r\n\r\n")) and shown:
        return  # cut by a reset, since it was refused while more was on its way
    assert all(status < 500 for status in statuses_of(shown)), received
    assert not bugs, bugs[0].getMessage()
