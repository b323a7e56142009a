"""What the dialects have in common, over real sockets: refusals first, each in the dialect's words, and the next good request served."""

from __future__ import annotations

import json
import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.unit.agent.agent_world import ARM, OTHER_VM, SECOND, SHARED, SYSTEM, VM, AgentWorld, Known, Response, get

from idplane.agent import (
    appservice_2017_errors,
    arc_errors,
    cloudshell_errors,
    machinelearning_errors,
    servicefabric_errors,
)
from idplane.agent.api import Dialect
from idplane.agent.replies import Reply
from idplane.bootstrap.server import context_for
from idplane.bootstrap.world import SystemClock, SystemEntropy
from idplane.keys import RunAuthority
from idplane.model.dialects import INSIDE_ADDRESSES, default_dialect, variables_dialect
from idplane.model.failure import Category, Failure, FailureKind

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ID = "11111111-1111-1111-1111-111111111111"
SECRET = "0123456789abcdef"
FABRIC = "/metadata/identity/oauth2/token?api-version=2019-07-01-preview"
FORM = "application/x-www-form-urlencoded"
Render = Callable[[Failure, str, datetime], Reply]
TABLES: dict[Dialect, Render] = {
    Dialect.APP_SERVICE_2017: appservice_2017_errors.render,
    Dialect.ARC: arc_errors.render,
    Dialect.SERVICE_FABRIC: servicefabric_errors.render,
    Dialect.CLOUD_SHELL: cloudshell_errors.render,
    Dialect.MACHINE_LEARNING: machinelearning_errors.render,
}


@dataclass(frozen=True)
class Case:
    """A dialect, where its endpoint is, and the headers of a good request."""

    dialect: Dialect
    target: str
    headers: list[str] = field(default_factory=list)
    good: int = 200

    def request(self, *more: str, headers: list[str] | None = None, target: str | None = None, method: str = "GET") -> bytes:
        lines = ["Host: localhost", *(self.headers if headers is None else headers), *more]
        return get(f"{self.target}&resource={ARM}" if target is None else target, *lines, method=method)


MSI = "/msi/token?api-version=2017-09-01"
ARC = Case(Dialect.ARC, "/metadata/identity/oauth2/token?api-version=2020-06-01", ["Metadata: true"], good=401)
SHELL = Case(Dialect.CLOUD_SHELL, "/oauth2/token?x=y", ["Metadata: true"])
LEGACY = Case(Dialect.APP_SERVICE_2017, MSI, [f"secret: {SECRET}"])
LEARNING = Case(Dialect.MACHINE_LEARNING, MSI, [f"secret: {SECRET}"])
WEB = Case(Dialect.APP_SERVICE, "/msi/token?api-version=2025-03-30", [f"X-IDENTITY-HEADER: {SECRET}"])
PLAIN = [WEB, LEGACY, LEARNING, ARC, SHELL]
BY_SECRET = [WEB, LEGACY, LEARNING]


def names(case: Case) -> str:
    return case.dialect.value


async def open_case(world: AgentWorld, case: Case, folder: Path) -> tuple[str, int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    return await world.open(case.dialect, SECRET, key_folder=descriptor)


def empty(folder: Path) -> bool:
    return not any(folder.iterdir())


def words(answer: Response) -> str:
    """The sentence that the dialect has for a person."""
    body = json.loads(answer.body)
    error = body.get("error")
    found = (
        error["message"]
        if isinstance(error, dict)
        else body.get("message") or body.get("Message") or body.get("error_description")
    )
    assert isinstance(found, str)
    return found


# Refusals that every dialect makes


@pytest.mark.parametrize("case", PLAIN, ids=names)
@pytest.mark.parametrize(
    ("more", "text"),
    [
        ("X-Forwarded-For: 10.0.0.1", "Requests that were forwarded by a proxy are not served"),
        ("Host: localhost", "The Host header names a host that is not served here"),
    ],
)
async def test_doubtful_requests(world: AgentWorld, tmp_path: Path, case: Case, more: str, text: str) -> None:
    address = await open_case(world, case, tmp_path)
    refused = await world.ask(address, case.request(more))
    assert (refused.status, refused.without_id(words(refused))) == (400, text)
    assert (await world.ask(address, case.request())).status == case.good


@pytest.mark.parametrize("case", PLAIN, ids=names)
async def test_a_rebound_name(world: AgentWorld, tmp_path: Path, case: Case) -> None:
    address = await open_case(world, case, tmp_path)
    for target, host in ((f"{case.target}&resource={ARM}", "evil.example"), (f"http://evil.example{case.target}", "localhost")):
        refused = await world.ask(address, get(target, f"Host: {host}", *case.headers))
        assert refused.status == 400
        assert "names a host that is not served here" in words(refused)


@pytest.mark.parametrize("case", PLAIN, ids=names)
@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_other_methods(world: AgentWorld, tmp_path: Path, case: Case, method: str) -> None:
    address = await open_case(world, case, tmp_path)
    refused = await world.ask(address, case.request(method=method))
    allowed = "GET, POST" if case is SHELL else "GET"
    assert (refused.status, refused.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize("case", PLAIN, ids=names)
async def test_other_paths_and_versions(world: AgentWorld, tmp_path: Path, case: Case) -> None:
    address = await open_case(world, case, tmp_path)
    assert (await world.ask(address, case.request(target="/metadata/instance?api-version=2021-02-01"))).status == 404
    if case is not SHELL:
        refused = await world.ask(address, case.request(target=case.target.replace("20", "19") + f"&resource={ARM}"))
        assert (refused.status, "api-version" in words(refused)) == (400, True)


@pytest.mark.parametrize("case", PLAIN, ids=names)
@pytest.mark.parametrize("query", ["", "&resource=", f"&resource={ARM}&resource={ARM}"])
async def test_no_one_resource(world: AgentWorld, tmp_path: Path, case: Case, query: str) -> None:
    address = await open_case(world, case, tmp_path)
    refused = await world.ask(address, case.request(target=case.target + query))
    assert (refused.status, "resource" in words(refused)) == (400, True)


@pytest.mark.parametrize("case", PLAIN, ids=names)
async def test_what_cannot_be_read(world: AgentWorld, tmp_path: Path, case: Case) -> None:
    address = await open_case(world, case, tmp_path)
    refused = await world.ask(address, b"NONSENSE\r\n\r\n")
    assert (refused.status, refused.headers["connection"]) == (400, "close")
    long = await world.ask(address, case.request("X: " + "x" * 20000))
    assert long.status == 431


# Secrets


@pytest.mark.parametrize("case", BY_SECRET, ids=names)
@pytest.mark.parametrize("value", [None, "", f"{SECRET}x", SECRET[:-1], SECRET.upper(), "wrong"])
async def test_without_the_secret(world: AgentWorld, tmp_path: Path, case: Case, value: str | None) -> None:
    address = await open_case(world, case, tmp_path)
    header = case.headers[0].partition(":")[0]
    refused = await world.ask(address, case.request(headers=[] if value is None else [f"{header}: {value}"]))
    assert (refused.status, refused.without_id(words(refused))) == (401, f"The {header} header is missing or wrong")
    twice = await world.ask(address, case.request(case.headers[0]))
    assert twice.status == 401
    assert (await world.ask(address, case.request())).status == 200


@pytest.mark.parametrize("dialect", [Dialect.APP_SERVICE_2017, Dialect.MACHINE_LEARNING, Dialect.SERVICE_FABRIC, Dialect.ARC])
async def test_a_listener_lacks_nothing_that_its_dialect_needs(world: AgentWorld, dialect: Dialect) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        with pytest.raises(ValueError, match="needs"):
            await world.agent.listen(sock, host=VM, dialect=dialect)


@pytest.mark.parametrize("case", [ARC, SHELL], ids=names)
@pytest.mark.parametrize("headers", [[], ["Metadata: false"], ["Metadata: true", "Metadata: true"], ["X-Metadata: true"]])
async def test_without_metadata(world: AgentWorld, tmp_path: Path, case: Case, headers: list[str]) -> None:
    address = await open_case(world, case, tmp_path)
    refused = await world.ask(address, case.request(headers=headers))
    assert (refused.status, refused.without_id(words(refused))) == (400, "Required metadata header not specified")
    assert empty(tmp_path)


# Selectors


@pytest.mark.parametrize("case", [LEGACY, LEARNING], ids=names)
@pytest.mark.parametrize("query", [f"object_id={SHARED.principal_id}", f"mi_res_id={SHARED.resource_id}"])
async def test_2017_knows_client_ids_only(world: AgentWorld, tmp_path: Path, case: Case, query: str) -> None:
    world.server.hosts[VM.key] = [SYSTEM, SHARED]
    address = await open_case(world, case, tmp_path)
    refused = await world.ask(address, case.request(target=f"{case.target}&resource={ARM}&{query}"))
    assert (refused.status, "clientid" in words(refused)) == (400, True)
    target = f"{case.target}&resource={ARM}&clientid={SHARED.client_id}"
    assert (await world.ask(address, case.request(target=target))).json["client_id"] == SHARED.client_id


@pytest.mark.parametrize("case", [LEGACY, LEARNING], ids=names)
async def test_an_empty_client_id_names_nothing(world: AgentWorld, tmp_path: Path, case: Case) -> None:
    world.server.hosts[VM.key] = [SYSTEM, SHARED]
    address = await open_case(world, case, tmp_path)
    given = await world.ask(address, case.request(target=f"{case.target}&resource={ARM}&clientid="))
    assert given.json["client_id"] == SYSTEM.client_id
    refused = await world.ask(address, case.request(target=f"{case.target}&resource={ARM}&clientid=&object_id="))
    assert refused.status == 400


@pytest.mark.parametrize("case", [LEGACY, LEARNING], ids=names)
async def test_another_hosts_identity(world: AgentWorld, tmp_path: Path, case: Case) -> None:
    world.server.hosts[OTHER_VM.key] = [SECOND]
    address = await open_case(world, case, tmp_path)
    refused = await world.ask(address, case.request(target=f"{case.target}&resource={ARM}&clientid={SECOND.client_id}"))
    assert refused.status == 400
    assert "found for" in words(refused)


async def test_only_machine_learning_has_a_default_beside_the_system_assigned_identity(
    world: AgentWorld, tmp_path: Path
) -> None:
    world.server.hosts[VM.key] = [SHARED]
    statuses = [(await world.ask(await open_case(world, case, tmp_path), case.request())).status for case in (LEGACY, LEARNING)]
    assert statuses == [400, 200]
    assert await world.agent.default_identity(VM) == SHARED.client_id


@pytest.mark.parametrize("identities", [[], [SHARED, SECOND]])
async def test_no_default_identity(world: AgentWorld, identities: list[Known]) -> None:
    world.server.hosts[VM.key] = identities
    assert await world.agent.default_identity(VM) is None


@pytest.mark.parametrize("name", ["client_id", "object_id", "principal_id", "msi_res_id", "mi_res_id", "resource_id"])
async def test_shells_name_no_identity(world: AgentWorld, tmp_path: Path, name: str) -> None:
    address = await open_case(world, SHELL, tmp_path)
    refused = await world.ask(address, SHELL.request(target=f"/oauth2/token?resource={ARM}&{name}={SYSTEM.client_id}"))
    assert (refused.status, refused.without_id(words(refused))) == (
        400,
        f"The parameter '{name}' is not supported: a shell has one identity",
    )


# Cloud Shell's form


def form(body: str, *headers: str, query: str = "") -> bytes:
    lines = ["Host: localhost", "Metadata: true", f"Content-Type: {FORM}", f"Content-Length: {len(body)}", *headers]
    return get(f"/oauth2/token{query}", *lines, method="POST") + body.encode()


async def test_a_form(world: AgentWorld, tmp_path: Path) -> None:
    address = await open_case(world, SHELL, tmp_path)
    answer = await world.ask(address, form("resource=https%3A%2F%2Fmanagement.azure.com%2F"))
    assert (answer.status, answer.json["resource"], answer.json["expires_in"]) == (200, ARM, "3600")


@pytest.mark.parametrize(
    ("body", "query"),
    [
        ("", ""),
        ("resource=", ""),
        ("resource=a&resource=b", ""),
        ("resource=a", "?resource=a"),
        ("resource=%zz", ""),
        ("resource=a%00", ""),
        ("resource=a&client_id=b", ""),
        ("&".join(f"a{number}=b" for number in range(40)), ""),
    ],
)
async def test_forms_that_are_refused(world: AgentWorld, tmp_path: Path, body: str, query: str) -> None:
    address = await open_case(world, SHELL, tmp_path)
    refused = await world.ask(address, form(body, query=query))
    assert (refused.status, refused.json["error"]["code"]) == (400, "InvalidRequest")


async def test_a_form_that_is_too_large(world: AgentWorld, tmp_path: Path) -> None:
    address = await open_case(world, SHELL, tmp_path)
    assert (await world.ask(address, form("resource=" + "a" * 20000))).status == 413


async def test_one_form_is_not_the_next_ones(world: AgentWorld, tmp_path: Path) -> None:
    client = await world.connect(await open_case(world, SHELL, tmp_path))
    await client.send(form(f"resource={ARM}") + form(""))
    assert [(await client.response()).status for _ in range(2)] == [200, 400]


# Service Fabric's TLS


async def fabric(world: AgentWorld) -> tuple[tuple[str, int], ssl.SSLContext]:
    authority = RunAuthority.create(SystemClock(), SystemEntropy(), domains=["localhost"])
    address = await world.open(Dialect.SERVICE_FABRIC, SECRET, tls=context_for(authority.issue(["localhost"])))
    return address, ssl.create_default_context(cadata=authority.ca_pem.decode())


@pytest.mark.parametrize(
    ("query", "headers", "status", "code"),
    [
        (f"&resource={ARM}", [], 400, "SecretHeaderNotFound"),
        (f"&resource={ARM}", ["Secret: wrong"], 404, "ManagedIdentityNotFound"),
        (f"&resource={ARM}", [f"Secret: {SECRET}", f"Secret: {SECRET}"], 404, "ManagedIdentityNotFound"),
        ("", [f"Secret: {SECRET}"], 400, "ArgumentNullOrEmpty"),
        (f"&resource={ARM}&client_id={SYSTEM.client_id}", [f"Secret: {SECRET}"], 400, "InvalidArgument"),
        (f"&resource={ARM}&principal_id={SYSTEM.principal_id}", [f"Secret: {SECRET}"], 400, "InvalidArgument"),
        (f"&resource={ARM}&principalId={SECOND.principal_id}", [f"Secret: {SECRET}"], 404, "ManagedIdentityNotFound"),
        (f"&resource={ARM}&xms_cc=%22", [f"Secret: {SECRET}"], 400, "InvalidArgument"),
    ],
)
async def test_service_fabric_refuses(world: AgentWorld, query: str, headers: list[str], status: int, code: str) -> None:
    client = await world.connect(*await fabric(world))
    await client.send(get(FABRIC + query, "Host: localhost", *headers))
    refused = await client.response()
    assert (refused.status, refused.json["error"]["code"]) == (status, code)
    await client.send(get(f"{FABRIC}&resource={ARM}&principalId={SYSTEM.principal_id}", "Host: localhost", f"Secret: {SECRET}"))
    assert (await client.response()).json["resource"] == ARM


async def test_service_fabric_without_tls(world: AgentWorld) -> None:
    address, _ = await fabric(world)
    client = await world.connect(address)
    await client.send(get(FABRIC, "Host: localhost", f"Secret: {SECRET}"))
    assert await client.ended()


# Tables


@pytest.mark.parametrize("kind", FailureKind)
@pytest.mark.parametrize("dialect", TABLES, ids=str)
def test_every_failure_has_words(dialect: Dialect, kind: FailureKind) -> None:
    answer = TABLES[dialect](Failure(kind, "a detail"), ID, NOW)
    status = int(answer.head.split(b" ")[1])
    assert 400 <= status <= 503
    assert f"x-ms-request-id: {ID}".encode() in answer.head
    assert words(Response(status, {}, answer.body))
    assert (status >= 500) == (kind.category in (Category.INTERNAL, Category.UNAVAILABLE) or kind is FailureKind.AGENT_UNKNOWN)


@pytest.mark.parametrize("render", TABLES.values(), ids=TABLES)
def test_what_is_inside_stays_inside(render: Render) -> None:
    assert b"secret detail" not in render(Failure(FailureKind.INTERNAL, "the secret detail"), ID, NOW).body


@pytest.mark.parametrize(
    ("kind", "dialect"),
    [
        ("Microsoft.Compute/virtualMachines", Dialect.IMDS),
        ("Microsoft.Compute/virtualMachineScaleSets/virtualMachines", Dialect.IMDS),
        ("microsoft.web/SITES", Dialect.APP_SERVICE),
        ("Microsoft.Web/sites/slots", Dialect.APP_SERVICE),
        ("Microsoft.App/containerApps", Dialect.APP_SERVICE),
        ("Microsoft.HybridCompute/machines", Dialect.ARC),
        ("Microsoft.ServiceFabric/managedClusters", Dialect.SERVICE_FABRIC),
        ("Microsoft.ServiceFabric/managedClusters/applications", Dialect.SERVICE_FABRIC),
        ("Microsoft.ServiceFabric/clusters/applications", Dialect.SERVICE_FABRIC),
        ("Microsoft.App/jobs", Dialect.APP_SERVICE),
        ("Microsoft.Automation/automationAccounts", Dialect.APP_SERVICE),
        ("Microsoft.MachineLearningServices/workspaces/onlineEndpoints", Dialect.MACHINE_LEARNING),
        ("Microsoft.MachineLearningServices/workspaces/computes", Dialect.MACHINE_LEARNING),
        ("Contoso.Toys/robots", Dialect.IMDS),
    ],
)
def test_the_dialect_of_a_type(kind: str, dialect: Dialect) -> None:
    assert default_dialect(kind) is dialect
    assert variables_dialect(kind) is (Dialect.APP_SERVICE if dialect is Dialect.IMDS else dialect)


def test_every_dialect_with_an_endpoint_has_a_place_inside() -> None:
    assert {*INSIDE_ADDRESSES, Dialect.WORKLOAD_IDENTITY} == set(Dialect)
