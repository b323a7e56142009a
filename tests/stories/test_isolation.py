"""Must-show 4: code that runs as one machine gets no other machine's identity, and code outside gets none. Real processes."""

from __future__ import annotations

import base64
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.stories import insider
from tests.stories.planes import Up
from tests.stories.workloads import Owner, Workload, require_namespaces

INSIDER = [sys.executable, insider.__file__]
TOKEN = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://management.azure.com/"
ADDRESSES = [
    "169.254.169.254",
    "169.254.169.254.",
    "2852039166",
    "0xA9FEA9FE",
    "0xa9.0xfe.0xa9.0xfe",
    "0251.0376.0251.0376",
    "025177524776",
    "169.254.43518",
    "169.16689662",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "::169.254.169.254",
    "fe80::a9fe:a9fe",
    "metadata.azure.internal",
    "instance-data",
]


class Scene:
    """Two machines with a process each, a third by variables only, and identities that are none of the first one's business."""

    def __init__(self, up: Up) -> None:
        self.owner = Owner(up)
        self.up = up
        group = self.owner.id("Microsoft.ManagedIdentity/userAssignedIdentities", "of-b")
        self.user_assigned = self.owner.call("PUT", group, {"location": "westeurope"})
        self.a = self.owner.machine("vm-a")
        self.b = self.owner.machine("vm-b", self.user_assigned["id"])
        self.c = self.owner.machine("vm-c")
        self.mine = self.a["identity"]["principalId"]
        self.inside = Workload(up.data, "vm-a", INSIDER)
        self.other = Workload(up.data, "vm-b", INSIDER)
        self.by_variables = Workload(up.data, "vm-c", INSIDER, "--isolation", "env")
        assert bearer(self.try_("exchange", "169.254.169.254", 80, get(TOKEN))) == {self.mine}
        assert bearer(ask(self.other, "exchange", "169.254.169.254", 80, get(TOKEN))) == {self.b["identity"]["principalId"]}
        ask(self.by_variables, "listening_ports")

    def try_(self, do: str, *arguments: Any, **options: Any) -> Any:
        """Have the process on the first machine try something."""
        return ask(self.inside, do, *arguments, **options)

    def end(self) -> None:
        for one in (self.inside, self.other, self.by_variables):
            one.process.communicate(timeout=30)


def ask(workload: Workload, do: str, *arguments: Any, **options: Any) -> Any:
    return json.loads(workload.say(json.dumps({"do": do, "with": arguments, **options})))


def get(target: str, *headers: str, host: str = "169.254.169.254", method: str = "GET") -> str:
    """A request as text; `Metadata: true` unless `headers` say otherwise."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *(headers or ["Metadata: true"]), "Connection: close", "", ""]
    return "\r\n".join(lines)


def bearer(answer: str) -> set[str]:
    """Whose tokens are in an answer."""
    payloads = re.findall(r"eyJ[A-Za-z0-9_-]+\.(eyJ[A-Za-z0-9_-]+)\.", answer)
    return {json.loads(base64.urlsafe_b64decode(one + "=" * (-len(one) % 4)))["oid"] for one in payloads}


def status(answer: str) -> int:
    found = re.match(r"HTTP/1\.1 ([0-9]{3}) ", answer)
    assert found, answer
    return int(found[1])


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    require_namespaces()
    up = Up(tmp_path_factory.mktemp("plane") / "data", "--no-rates")
    try:
        made = Scene(up)
        yield made
        made.end()
    finally:
        up.stop()


# What a request can say


def test_no_selector_names_another_machines_identity(scene: Scene) -> None:
    b, user = scene.b["identity"], scene.user_assigned["properties"]
    client_of_b = next(
        event["appId"] for event in scene.owner.log("signins") if event["servicePrincipalId"] == b["principalId"]
    )
    values = [
        b["principalId"],
        b["principalId"].upper(),
        client_of_b,
        user["clientId"],
        user["principalId"],
        scene.user_assigned["id"],
        scene.user_assigned["id"].lower(),
        scene.b["id"],
        f"{scene.b['id']}/providers/Microsoft.ManagedIdentity/identities/default",
        scene.up.info["operator_client_id"],
    ]
    spellings = ["client_id", "clientid", "object_id", "principal_id", "principalId", "msi_res_id", "mi_res_id", "msi-res-id"]
    for spelling in (*spellings, "resource_id"):
        for value in values:
            answer = scene.try_("exchange", "169.254.169.254", 80, get(f"{TOKEN}&{spelling}={quote(value)}"))
            assert (status(answer), "Identity not found" in answer, bearer(answer)) == (400, True, set()), (spelling, value)


@pytest.mark.parametrize(
    "query",
    [
        "&client_id={a}&client_id={b}",
        "&client_id={b}&client_id={a}",
        "&client_id={a}&CLIENT_ID={b}",
        "&object_id={a}&client_id={b}",
        "&client_id={a}&msi_res_id={vm}",
        "&client_id={a}%00{b}",
        "&client_id={a}%0a{b}",
        "&client_id={a},{b}",
        "&client_id[]={b}",
        "&client%5fid={b}",
        "&host={vm}&client_id={b}",
        "&resource={vm}",
    ],
)
def test_no_query_mixes_identities(scene: Scene, query: str) -> None:
    filled = query.format(a=scene.mine, b=scene.b["identity"]["principalId"], vm=quote(scene.b["id"]))
    answer = scene.try_("exchange", "169.254.169.254", 80, get(TOKEN + filled))
    # An unknown parameter is ignored, as by the real one; then it is our own token.
    assert bearer(answer) <= ({scene.mine} if "[]" in query else set())


FORWARDED = ["X-Forwarded-For: 169.254.169.254", "x-forwarded-for: 127.0.0.1", "X-FORWARDED-FOR:"]


@pytest.mark.parametrize(
    "headers",
    [
        *(["Metadata: true", one] for one in FORWARDED),
        ["Metadata: true", "Metadata: true"],
        ["Metadata: true", "metadata: false"],
        ["Metadata: true, true"],
        ["Metadata: false"],
        ["Metadata : true"],
        ["X-Metadata: true"],
        ["Metadata:\r\n true"],
        ["Metadata: true", "Host: vm-b"],
        ["Metadata: true", "Host: 169.254.169.254"],
    ],
)
def test_no_header_gets_around_the_checks(scene: Scene, headers: list[str]) -> None:
    answer = scene.try_("exchange", "169.254.169.254", 80, get(TOKEN, *headers))
    assert 400 <= status(answer) < 500
    assert bearer(answer) == set()


@pytest.mark.parametrize(
    "host",
    ["vm-b", "localhost", "127.0.0.1", "169.254.169.254.", "2852039166", "169.254.169.254:8080", "a@169.254.169.254", ""],
)
def test_no_foreign_host_is_served(scene: Scene, host: str) -> None:
    answer = scene.try_("exchange", "169.254.169.254", 80, get(TOKEN, host=host))
    assert 400 <= status(answer) < 500
    assert bearer(answer) == set()


@pytest.mark.parametrize("header", ["X-Real-IP", "Forwarded", "X-Original-URL", "X-Host", "X-ms-resource-id", "Authorization"])
def test_other_headers_change_nothing(scene: Scene, header: str) -> None:
    answer = scene.try_("exchange", "169.254.169.254", 80, get(TOKEN, "Metadata: true", f"{header}: {scene.b['id']}"))
    assert bearer(answer) == {scene.mine}


@pytest.mark.parametrize(
    "path",
    [
        "{vm}/metadata/identity/oauth2/token",
        "/metadata/identity/oauth2/token/..{vm}",
        "/metadata/identity/oauth2/token{vm}",
        "/metadata/identity/oauth2/../oauth2/token",
        "/metadata/identity/oauth2/%2e%2e/oauth2/token",
        "/metadata/identity%2foauth2%2ftoken",
        "/metadata\\identity\\oauth2\\token",
        "///metadata/identity/oauth2/token",
        "/metadata/identity//oauth2/token",
        "/metadata/identity/oauth2/token;host=vm-b",
        "/msi/token",
        "/agent/v1/host",
        "http://vm-b/metadata/identity/oauth2/token",
        "http://localhost/metadata/identity/oauth2/token",
        "http://a:b@169.254.169.254/metadata/identity/oauth2/token",
        "http://169.254.169.254@vm-b/metadata/identity/oauth2/token",
        "https://169.254.169.254/metadata/identity/oauth2/token",
    ],
)
def test_no_path_leads_elsewhere(scene: Scene, path: str) -> None:
    target = f"{path.format(vm=scene.b['id'])}?{TOKEN.partition('?')[2]}"
    answer = scene.try_("exchange", "169.254.169.254", 80, get(target))
    assert 400 <= status(answer) < 500
    assert bearer(answer) == set()


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "get"])
def test_no_other_method_is_served(scene: Scene, method: str) -> None:
    answer = scene.try_("exchange", "169.254.169.254", 80, get(TOKEN, method=method))
    assert 400 <= status(answer) < 500
    assert bearer(answer) == set()


def test_smuggled_requests_are_our_own(scene: Scene) -> None:
    """A second request behind the first, however it is hidden, is answered for the same machine or not at all."""
    second = get(f"{TOKEN}&object_id={scene.b['identity']['principalId']}")
    for first in (
        get(TOKEN).replace("close", "keep-alive"),
        get(TOKEN, "Metadata: true", "Content-Length: 4", "Transfer-Encoding: chunked") + "0\r\n\r\n",
        get(TOKEN, "Metadata: true", f"Content-Length: {len(second)}"),
        get(TOKEN, "Metadata: true", "Content-Length: 0", "Content-Length: 9").replace("close", "keep-alive"),
    ):
        assert bearer(scene.try_("exchange", "169.254.169.254", 80, first + second)) <= {scene.mine}


# Other ways to the endpoint, and other endpoints


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_spelling_of_the_address_leads_to_the_own_machine_or_nowhere(scene: Scene, address: str) -> None:
    assert bearer(scene.try_("exchange", address, 80, get(TOKEN))) <= {scene.mine}
    assert bearer(scene.try_("exchange", address, 80, get(TOKEN, host=f"[{address}]" if ":" in address else address))) <= {
        scene.mine
    }


def test_nothing_that_listens_inside_gives_tokens_but_the_own_endpoint(scene: Scene) -> None:
    ports = scene.try_("listening_ports") + scene.try_("listening_ports", "/proc/net/tcp6")
    assert sorted(ports) == sorted([53, 80, 443, scene.up.info["port"]])
    secret = "X-IDENTITY-HEADER: x"
    for port in {443, scene.up.info["port"]}:
        for host in ("169.254.169.254", f"localhost:{port}", "management.azure.com"):
            for target in (TOKEN, "/msi/token?api-version=2019-08-01&resource=https://management.azure.com/"):
                request = get(target, "Metadata: true", secret, host=host)
                answer = scene.try_("exchange", "127.0.0.1", port, request, tls=True, name="management.azure.com")
                assert 400 <= status(answer) < 500
                assert bearer(answer) == set()
    assert bearer(scene.try_("exchange", "127.0.0.1", 80, get(TOKEN, host="169.254.169.254"))) == set()


def test_ports_of_other_runs_and_of_the_machine_are_out_of_reach(scene: Scene) -> None:
    outside = insider.listening_ports()
    assert scene.up.info["port"] in outside
    endpoint, secret = variables(scene)
    for address in ("127.0.0.1", "localhost", "168.63.129.16", *own_addresses()):
        request = get(f"{endpoint}&resource=x", f"X-IDENTITY-HEADER: {secret}", host=f"{address}:{port_of(scene)}")
        answer = scene.try_("exchange", address, port_of(scene), request)
        assert "Error" in answer or "error" in answer
        assert bearer(answer) == set()


def own_addresses() -> list[str]:
    """What this machine is called on its own networks."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return []
        return [probe.getsockname()[0]]


def variables(scene: Scene) -> tuple[str, str]:
    """The variables of the run that has no other protection, as its own user can read them from outside."""
    block = Path(f"/proc/{scene.by_variables.process.pid}/environ").read_text(encoding="utf-8").split("\0")
    found = dict(line.split("=", 1) for line in block if "=" in line)
    return f"{found['IDENTITY_ENDPOINT'].partition('/msi')[1]}/token?api-version=2019-08-01", found["IDENTITY_HEADER"]


def port_of(scene: Scene) -> int:
    block = Path(f"/proc/{scene.by_variables.process.pid}/environ").read_text(encoding="utf-8")
    found = re.search(r"IDENTITY_ENDPOINT=http://127\.0\.0\.1:([0-9]+)/", block)
    assert found
    return int(found[1])


def test_variables_are_worth_nothing_without_the_secret(scene: Scene) -> None:
    target, secret = variables(scene)
    target += "&resource=https://management.azure.com/"
    host = f"127.0.0.1:{port_of(scene)}"
    right = insider.exchange("127.0.0.1", port_of(scene), get(target, f"X-IDENTITY-HEADER: {secret}", host=host))
    assert bearer(right) == {scene.c["identity"]["principalId"]}
    for headers in (
        ["X-Nothing: x"],
        ["X-IDENTITY-HEADER:"],
        [f"X-IDENTITY-HEADER: {secret[:-1]}"],
        [f"X-IDENTITY-HEADER: {secret}x"],
        [f"X-IDENTITY-HEADER: {secret.upper()}"],
        [f"X-IDENTITY-HEADER: {secret}", f"X-IDENTITY-HEADER: {secret}"],
        [f"Secret: {secret}"],
        [f"Metadata: {secret}"],
        [f"X-IDENTITY-HEADER: {secret}", "X-Forwarded-For: 127.0.0.1"],
    ):
        answer = insider.exchange("127.0.0.1", port_of(scene), get(target, *headers, host=host))
        assert 400 <= status(answer) < 500, headers
        assert bearer(answer) == set()
    elsewhere = insider.exchange("127.0.0.1", port_of(scene), get(target, f"X-IDENTITY-HEADER: {secret}", host="evil.example"))
    assert (400 <= status(elsewhere) < 500, bearer(elsewhere)) == (True, set())


# Around the endpoint


def test_no_other_process_can_be_entered(scene: Scene) -> None:
    for process in (scene.up.process, scene.other.process, scene.by_variables.process):
        outcomes = scene.try_("reach_process", process.pid)
        assert set(outcomes.values()) == {"refused"}, outcomes


def test_the_same_attempts_outside_succeed(scene: Scene) -> None:
    """So that what is refused inside is refused for being inside."""
    asked = json.dumps({"do": "reach_process", "with": [scene.up.process.pid]})
    shown = subprocess.run(INSIDER, input=f"{asked}\n", text=True, capture_output=True, check=True)
    outcomes = json.loads(shown.stdout)
    ways = ("network namespace", "mount namespace", "user namespace", "open a descriptor", "environment", "root")
    assert {way: outcomes[way][:3] for way in ways} == dict.fromkeys(ways, "got")


def test_the_control_socket_is_out_of_reach(scene: Scene) -> None:
    data, pid = scene.up.data, scene.up.process.pid
    paths = [
        f"{data}/control.sock",
        f"/proc/{pid}/root{data}/control.sock",
        f"/proc/{pid}/cwd/{data}/control.sock",
        f"/proc/1/root{data}/control.sock",
        f"/proc/self/root{data}/control.sock",
    ]
    outcomes = scene.try_("reach_sockets", *paths)
    assert set(outcomes.values()) == {"refused"}, outcomes
    assert insider.reach_sockets(paths[0])[paths[0]] == "got 'connected'"  # as the test itself can, outside


def test_a_token_of_ones_own_opens_no_other_identity(scene: Scene) -> None:
    answer = scene.try_("exchange", "169.254.169.254", 80, get(TOKEN))
    token = re.search(r'"access_token":"([^"]+)"', answer)
    assert token
    mine, authorization = token[1], f"Authorization: Bearer {token[1]}"
    host = f"localhost:{scene.up.info['port']}"
    for method, target in (
        ("GET", f"/agent/v1/host?id={quote(scene.b['id'])}"),
        ("GET", "/agent/v1/changes?wait=0"),
        ("POST", "/agent/v1/certificates"),
        ("POST", "/agent/v1/refusals"),
    ):
        for header in (authorization, "X-Nothing: x"):
            said = scene.try_(
                "exchange", "127.0.0.1", scene.up.info["port"], get(target, header, host=host, method=method), tls=True
            )
            assert status(said) == 401, (target, said)
    form = (
        f"grant_type=client_credentials&client_id={scene.b['identity']['principalId']}&resource=https://vault.azure.net"
        f"&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer&client_assertion={mine}"
    )
    for client in (scene.b["identity"]["principalId"], scene.user_assigned["properties"]["clientId"]):
        body = form.replace(scene.b["identity"]["principalId"], client)
        head = get(
            f"/{scene.up.info['tenant_id']}/oauth2/token",
            "Content-Type: application/x-www-form-urlencoded",
            f"Content-Length: {len(body)}",
            host=host,
            method="POST",
        )
        said = scene.try_("exchange", "127.0.0.1", scene.up.info["port"], head + body, tls=True)
        assert (400 <= status(said) < 500, bearer(said) - {scene.mine}) == (True, set())


# Outside


def test_a_process_outside_any_machine_gets_nothing(scene: Scene) -> None:
    """The machine that the tests run on may have a metadata service of its own at that address, but never one of ours."""
    before = len(scene.owner.log("signins"))
    ours = {scene.mine, scene.b["identity"]["principalId"], scene.user_assigned["properties"]["principalId"]}

    def attempt(address: str) -> str:
        return insider.exchange(address, 80, get(TOKEN))

    with ThreadPoolExecutor(len(ADDRESSES)) as pool:
        answers = list(pool.map(attempt, ADDRESSES))
    assert not set().union(*map(bearer, answers)) & ours
    for port in insider.listening_ports():
        if port in (scene.up.info["port"], port_of(scene)):
            assert bearer(insider.exchange("127.0.0.1", port, get(TOKEN), tls=port == scene.up.info["port"])) == set()
    # Only the log command itself has signed in since; what was refused to others may be told by now.
    issued = [event for event in scene.owner.log("signins")[before:] if event["status"]["errorCode"] == 0]
    assert {event["servicePrincipalId"] for event in issued} == {scene.owner.principal_id}
