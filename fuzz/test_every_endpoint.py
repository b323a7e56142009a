"""Random requests to every endpoint: whatever comes in, an answer in the endpoint's own words goes out, with an id and never a 500."""

from __future__ import annotations

import json
import logging
import re
import socket
import string
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.stories.edge import PORT, Edge, Seen, errors_logged

from idplane.agent.host import Dialect
from idplane.testing.local import LocalPlane

MANY = settings(max_examples=4000, deadline=None, suppress_health_check=list(HealthCheck))
FEW = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))

SUBSCRIPTION = "{subscription}"
WORDS = (
    "subscriptions", SUBSCRIPTION, "resourceGroups", "resourcegroups", "tests", "providers", "Microsoft.Compute", "virtualMachines",
    "vm", "virtualMachineScaleSets", "set", "Microsoft.Web", "sites", "app", "slots", "config", "web", "Microsoft.ManagedIdentity", "userAssignedIdentities", "id", "identities", "default", "Microsoft.Authorization",
    "roleAssignments", "roleDefinitions", "denyAssignments", "permissions", "checkAccess", "11111111-2222-3333-4444-555555555555",
    "Microsoft.KeyVault", "vaults", "kv", "Microsoft.Insights", "eventtypes", "management", "values", "Microsoft.Resources",
    "resources", "locations", "tenants", "metadata", "endpoints", "common", "organizations", "{tenant}", "oauth2", "v2.0", "token",
    ".well-known", "openid-configuration", "discovery", "keys", "instance", "v1.0", "beta", "auditLogs", "signIns", "agent", "v1",
    "host", "certificates", "changes", "secrets", "deletedsecrets", "recover", "portal", "start", "listAssociatedResources",
    "Idplane.Workloads", "bindings", "refusals",
    "Idplane.Directory", "deviceCodes", "BCDFGHJKL", "show", "approve", "deny", "devicecode", "deviceauth", "userrealm", "admin@idplane.onmicrosoft.com",
    "users", "groups", "me", "members", "memberOf", "transitiveMemberOf", "directoryObjects", "getByIds", "getMemberGroups", "$ref", "$count",
    "deployments", "validate", "whatIf", "cancel", "exportTemplate", "operations", "operationStatuses",
    "", "..", ".", "%2e%2e", "%2f", "%00", "%ff", "ä", "a" * 300, "$", "*", "null", "'", "<script>",
)  # fmt: skip
PATHS = st.lists(
    st.sampled_from(WORDS) | st.text(string.printable, max_size=12).map(lambda s: quote(s, safe="")), max_size=12
).map(lambda parts: "/" + "/".join(quote(part, safe="%{}.$*'") for part in parts))
KNOWN = st.sampled_from(
    (
        "/subscriptions/{subscription}/resourceGroups/tests?api-version=2024-11-01",
        "/subscriptions/{subscription}/resourceGroups/tests/providers/Microsoft.Compute/virtualMachines/vm?api-version=2024-11-01",
        "/subscriptions/{subscription}/resourceGroups/tests/providers/Microsoft.ManagedIdentity/userAssignedIdentities/known?api-version=2024-11-30",
        "/subscriptions/{subscription}/resourceGroups/tests/providers/Microsoft.KeyVault/vaults/fuzzed-vault?api-version=2023-07-01",
        "/subscriptions/{subscription}/providers/Microsoft.Authorization/roleAssignments/11111111-2222-3333-4444-555555555555?api-version=2022-04-01",
        "/subscriptions/{subscription}/providers/Microsoft.Authorization/roleDefinitions/11111111-2222-3333-4444-555555555555?api-version=2022-04-01",
        "/subscriptions/{subscription}/resourceGroups/tests/providers/Microsoft.Compute/virtualMachineScaleSets/set?api-version=2024-11-01",
        "/subscriptions/{subscription}/resourceGroups/tests/providers/Microsoft.Compute/virtualMachineScaleSets/set/delete?api-version=2024-11-01",
        "/subscriptions/{subscription}/resourceGroups/tests/providers/Microsoft.Web/sites/app?api-version=2025-05-01",
        "/subscriptions/{subscription}/resourceGroups/tests/providers/Microsoft.ContainerService/managedClusters/aks?api-version=2025-05-01",
        "/subscriptions/{subscription}/resourceGroups/kept/providers/Microsoft.KeyVault/vaults/fuzzed/providers/Idplane.Workloads/bindings/b?api-version=2026-11-01",
        "/subscriptions/{subscription}/resourceGroups/kept/providers/Microsoft.Compute/virtualMachines/bound/providers/Idplane.Workloads/bindings/b?api-version=2026-11-01",
        "/subscriptions/{subscription}/providers/Idplane.Workloads/bindings?api-version=2026-11-01",
        "/subscriptions/{subscription}/resourceGroups/tests/providers/Microsoft.Resources/deployments/main?api-version=2025-04-01",
        "/subscriptions/{subscription}/resourceGroups/tests/providers/Microsoft.Resources/deployments/main/whatIf?api-version=2025-04-01",
        "/subscriptions/{subscription}/providers/Microsoft.Resources/deployments/main/validate?api-version=2025-04-01",
        "/{tenant}/oauth2/v2.0/token",
        "/{tenant}/oauth2/token",
        "/organizations/oauth2/v2.0/token",
        "/common/oauth2/v2.0/devicecode",
        "/common/userrealm/admin@idplane.onmicrosoft.com?api-version=1.0",
        "/providers/Idplane.Directory/deviceCodes/BCDFGHJKL/approve?api-version=2026-11-01",
        "/v1.0/users",
        "/v1.0/groups",
        "/v1.0/directoryObjects/getByIds",
        "/agent/v1/certificates",
        "/agent/v1/refusals",
        "/secrets/name?api-version=7.4",
        "/secrets/name/version?api-version=7.4",
    )
)
NAMES = (
    "$filter",
    "$top",
    "$skiptoken",
    "$skipToken",
    "$select",
    "$orderby",
    "$expand",
    "api-version",
    "maxresults",
    "id",
    "after",
    "wait",
    "resource",
)
QUERIES = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from(
            ("2024-11-01", "7.4", "atScope()", "principalId eq 'x'", "eventTimestamp ge 'x'", "-1", "0", "9" * 40, "", "NaN")
        )
        | st.text(max_size=30),
    ),
    max_size=4,
).map(lambda pairs: "&".join(f"{quote(name)}={quote(value)}" for name, value in pairs))
METHODS = st.sampled_from(("GET", "PUT", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "PROPFIND"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.sampled_from(("SystemAssigned", "UserAssigned", "None", "westeurope", "2024-01-01T00:00:00Z", "/subscriptions/x", "*")),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from((
            "properties", "identity", "type", "userAssignedIdentities", "location", "tags", "roleDefinitionId", "principalId",
            "principalType", "condition", "permissions", "actions", "assignableScopes", "roleName", "value", "attributes", "enabled",
            "exp", "nbf", "contentType", "tenantId", "sku", "capacity", "siteConfig", "virtualMachineProfile", "osProfile", "identityProfile",
            "kubeletidentity", "resourceId", "instanceIds", "secrets", "kind", "accessPolicies", "enableRbacAuthorization", "host", "csr", "id", "name",
            "processes", "identities", "user", "executable", "path", "container", "engine", "cgroup", "run", "refusals", "workload",
        )) | st.text(max_size=6),
        inner,
        max_size=5,
    ),
    max_leaves=12,
)  # fmt: skip
BODIES = JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60) | st.sampled_from(
    (
        b"", b"{", b"[" * 2000, b'{"a":' * 1000, b"1e999999", b'{"a":' + b"9" * 5000 + b"}", b"\xff\xfe", b'{"a":1,"a":2}', b"null",
        b"grant_type=client_credentials&client_id=x&client_secret=y&scope=z",
        b"client_id=04b07795-8ddb-461a-bbee-02f9e1bf7b46&scope=openid+offline_access+User.Read",
        b"grant_type=urn:ietf:params:oauth:grant-type:device_code&client_id=04b07795-8ddb-461a-bbee-02f9e1bf7b46&device_code=x",
        b"grant_type=refresh_token&client_id=04b07795-8ddb-461a-bbee-02f9e1bf7b46&refresh_token=x&scope=z",
        b'{"displayName":"x","mailNickname":"x","mailEnabled":false,"securityEnabled":true,"members@odata.bind":["x"]}',
        b'{"accountEnabled":true,"displayName":"x","mailNickname":"x","userPrincipalName":"x@y"}', b'{"ids":["x"]}',
        b"grant_type=client_credentials&grant_type=password", b"client_assertion=a.b.c&client_id=x&grant_type=client_credentials", b"%zz=%",
    )
)  # fmt: skip
TOKENS = st.sampled_from(
    (
        "operator",
        "",
        "Bearer",
        "Bearer ",
        "Bearer a.b.c",
        "Basic eDp5",
        "Bearer " + "a" * 20000,
        "bearer x",
        "Bearer eyJhbGciOiJub25lIn0.e30.",
    )
)
HERE, VAULT = f"localhost:{PORT}", f"fuzzed.vault.localhost:{PORT}"
HOSTS = st.sampled_from((HERE, HERE, HERE, VAULT, "evil.example", "", HERE + ".evil", "a." + VAULT))


@pytest.fixture(scope="module")
def bugs() -> Any:
    """Everything that the edge logged as a bug."""
    with errors_logged() as records:
        yield records


@pytest.fixture(scope="module", autouse=True)
def _vault(idplane_server: LocalPlane) -> None:
    idplane_server.vault("fuzzed", group="kept", password="value")
    idplane_server.virtual_machine("bound", group="kept")


@MANY
@given(path=PATHS, query=QUERIES, method=METHODS, body=BODIES, authorization=TOKENS, host=HOSTS)
def test_any_request_to_any_path(
    idplane_server: LocalPlane,
    bugs: list[logging.LogRecord],
    path: str,
    query: str,
    method: str,
    body: bytes,
    authorization: str,
    host: str,
) -> None:
    check(idplane_server, bugs, method, f"{path}?{query}", body, authorization, host)


@MANY
@given(
    path=KNOWN,
    method=METHODS,
    body=BODIES,
    authorization=st.just("operator") | TOKENS,
    host=st.sampled_from((HERE, VAULT)),
)
@example(path="/{tenant}/oauth2/v2.0/token", method="POST", body=b"a=" + b"x" * 70000, authorization="", host=HERE)
def test_any_body_to_a_known_endpoint(
    idplane_server: LocalPlane,
    bugs: list[logging.LogRecord],
    path: str,
    method: str,
    body: bytes,
    authorization: str,
    host: str,
) -> None:
    check(idplane_server, bugs, method, path, body, authorization, host)


def check(
    plane: LocalPlane, bugs: list[logging.LogRecord], method: str, target: str, body: bytes, authorization: str, host: str
) -> None:
    target = target.replace("{subscription}", plane.subscription_id).replace("{tenant}", plane.tenant_id)
    if authorization == "operator":
        resource = "https://vault.azure.net" if "vault" in host else "https://management.azure.com"
        authorization = f"Bearer {plane.operator_token(resource)['access_token']}"
    form = target.split("?")[0].endswith("/token")
    headers = {
        "authorization": authorization,
        "content-type": "application/x-www-form-urlencoded" if form else "application/json",
        "x-forwarded-for": "10.0.0.1",
    }
    seen = Edge(plane).ask(method, target, headers=tuple(headers.items()), body=body, host=host)
    judge(seen, bugs, method)


def judge(seen: Seen, bugs: list[logging.LogRecord], method: str) -> None:
    """No bug, an id in every answer, and words in every refusal."""
    assert seen.status < 500, seen
    assert not bugs, bugs[0].getMessage()
    assert len(seen.headers["x-ms-request-id"]) == 36
    if seen.status >= 400 and method != "HEAD":
        if seen.headers["content-type"].startswith("text/html"):  # the portal's
            assert seen.headers["x-ms-request-id"].encode() in seen.body, seen
        else:
            assert seen.code, seen
            assert seen.text, seen
    assert b"Traceback" not in seen.body


@pytest.fixture(scope="module")
def imds(idplane_server: LocalPlane) -> tuple[str, int]:
    machine = idplane_server.virtual_machine("fuzzed")
    address = idplane_server.environment(machine, dialect=Dialect.IMDS)["AZURE_POD_IDENTITY_AUTHORITY_HOST"]
    return "127.0.0.1", int(address.rsplit(":", 1)[1])


HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            (
                "Metadata",
                "metadata",
                "X-Forwarded-For",
                "Host",
                "Content-Length",
                "Transfer-Encoding",
                "Connection",
                "X-IDENTITY-HEADER",
            )
        ),
        st.sampled_from(("true", "True", "false", "", "169.254.169.254", "evil", "close", "chunked", "-1", "5", "99999999999"))
        | st.text(string.ascii_letters, max_size=8),
    ),
    max_size=6,
)
SELECTORS = st.lists(
    st.tuples(
        st.sampled_from(
            (
                "api-version",
                "resource",
                "client_id",
                "object_id",
                "msi_res_id",
                "bypass_cache",
                "token_sha256_to_refresh",
                "format",
                "x",
            )
        ),
        st.sampled_from(("2018-02-01", "https://management.azure.com/", "true", "", "../..", "%2f", "\x00"))
        | st.text(max_size=12),
    ),
    max_size=5,
).map(lambda pairs: "&".join(f"{name}={quote(value)}" for name, value in pairs))
METADATA = st.sampled_from(
    (
        "/metadata/identity/oauth2/token", "//metadata/identity/oauth2/token/", "/METADATA/identity/oauth2/token", "/metadata/instance",
        "/metadata/instance/compute/name", "/metadata/versions", "/metadata/../metadata/identity/oauth2/token", "/", "*",
        "/metadata/identity/%6fauth2/token", "/metadata/identity/info", "/metadata/identity/getplatformmetadata", "http://169.254.169.254/metadata/versions",
    )
)  # fmt: skip


@FEW
@given(method=METHODS, path=METADATA, query=SELECTORS, headers=HEADERS, body=st.binary(max_size=30))
def test_any_request_to_the_metadata_endpoint(
    imds: tuple[str, int],
    bugs: list[logging.LogRecord],
    method: str,
    path: str,
    query: str,
    headers: list[tuple[str, str]],
    body: bytes,
) -> None:
    lines = [f"{method} {path}?{query} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "Connection: close", "", ""]
    answer = _exchange(imds, "\r\n".join(lines).encode("latin-1", "replace") + body)
    if answer:  # A request that never ends is answered by nobody; the connection is closed.
        head, _, rest = answer.partition(b"\r\n\r\n")
        status = int(head.split()[1])
        length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        content = rest[: int(length[1]) if length else 0]
        assert status < 500, answer
        if status >= 400 and content:
            assert "error" in json.loads(content), answer
    assert not bugs, bugs[0].getMessage()


@FEW
@given(data=st.binary(min_size=1, max_size=400))
@example(data=b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 4000)
@example(data=b"GET /" + b"a" * 70000)
def test_any_bytes_to_the_metadata_endpoint(imds: tuple[str, int], bugs: list[logging.LogRecord], data: bytes) -> None:
    _exchange(imds, data)
    assert not bugs


def _exchange(address: tuple[str, int], data: bytes) -> bytes:
    with socket.create_connection(address, timeout=10) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            received = b""
            while chunk := connection.recv(65536):
                received += chunk
        except OSError:
            return b""
    return received
