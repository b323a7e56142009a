"""Azure's own validator on traffic of every operation that its descriptions tell of, in both directions: answers and refusals."""

from __future__ import annotations

import json
import os
import subprocess
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from clients.descriptions import SPECIFICATIONS, Operation, operations
from clients.traffic import Exchange, Wire, written
from clients.wire_authorization import authorization
from clients.wire_deployments import deployments, management_group_deployments
from clients.wire_identities import identities
from clients.wire_logs import logs
from clients.wire_reasons import NOT_EXERCISED, NOT_REFUSED, excused
from clients.wire_resources import resources
from tests.stories.planes import Up

pytestmark = pytest.mark.xdist_group("wire")
_PARTS = (identities, authorization, resources, deployments, management_group_deployments, logs)


@dataclass(frozen=True, slots=True)
class Traffic:
    exchanges: list[Exchange]
    folder: Path
    index: list[dict[str, Any]]

    def of(self) -> dict[str, list[Exchange]]:
        """The exchanges of each operation."""
        found: dict[str, list[Exchange]] = defaultdict(list)
        for exchange in self.exchanges:
            for operation, _ in exchange.operations():
                found[operation.key].append(exchange)
        return found


@pytest.fixture(scope="module")
def traffic(unlimited: Up, tmp_path_factory: pytest.TempPathFactory) -> Traffic:
    wire = Wire(unlimited)
    for part in _PARTS:
        part(wire)
    _by_others(wire)
    folder = tmp_path_factory.mktemp("traffic")
    (folder / "exchanges").mkdir()
    exchanges = [one for one in wire.transport.exchanges if any(one.operations())]
    return Traffic(exchanges, folder, written(exchanges, folder / "exchanges"))


@pytest.fixture(scope="module")
def findings(traffic: Traffic) -> list[dict[str, Any]]:
    return _validated(traffic.folder, traffic.index)


def _command_prefers(operation: Operation) -> bool:
    """Whether the command takes traffic for this operation's: of two that are the same on the wire it takes the narrower."""
    wider = operation.name.endswith(("AtScope", "ForScope", "ForResource")) and not operation.name.startswith("Tags_")
    return operation.has_a_namespace and not wider and operation.key not in NOT_EXERCISED


def _by_others(wire: Wire) -> None:
    """Each operation once more, by somebody who may do nothing, and by nobody."""
    machine = f"{wire.subscription}/resourceGroups/msi/providers/Microsoft.Compute/virtualMachines/vm"
    token = wire.token_of(machine)
    asked: dict[str, Exchange] = {}
    for exchange in wire.transport.exchanges:
        for operation, _ in exchange.operations():
            if "default" in operation.definition["responses"]:
                asked.setdefault(operation.key, exchange)
    for one in {id(exchange): exchange for exchange in asked.values()}.values():
        wire.again(one, token)
        assert wire.again(one, "nobody") == 401


def test_every_operation_is_served(traffic: Traffic) -> None:
    served = {key for key, exchanges in traffic.of().items() if any(not one.refused for one in exchanges)}
    missing = {one.key for one in operations()} - served
    assert not missing ^ set(NOT_EXERCISED), "\n".join(sorted(missing ^ set(NOT_EXERCISED)))


def test_every_operation_refuses_in_its_own_words(traffic: Traffic) -> None:
    """Not only those whom it does not know: who asks for something wrong is told so."""
    told = {key for key, exchanges in traffic.of().items() if any(one.refused and one.status != 401 for one in exchanges)}
    missing = {one.key for one in operations()} - told - set(NOT_EXERCISED)
    assert not missing ^ set(NOT_REFUSED), "\n".join(sorted(missing ^ set(NOT_REFUSED)))


def test_the_validator_finds_no_error(findings: list[dict[str, Any]]) -> None:
    """Each exchange, by every operation that it is an instance of."""
    found = [one for one in findings if excused(one) is None]
    assert sorted({f"{one['operation']}: {one['code']} {one['message']} at {one['where']}" for one in found}) == []


def test_the_command_finds_no_error(traffic: Traffic, findings: list[dict[str, Any]], oav: Path) -> None:
    """`oav validate-traffic` as it is, on every exchange whose operation it finds by itself; it knows no exceptions."""
    excepted = {one["file"] for one in findings}
    chosen = traffic.folder / "command"
    chosen.mkdir()
    for exchange, file in zip(traffic.exchanges, sorted((traffic.folder / "exchanges").iterdir()), strict=True):
        if exchange.known_to_the_command and str(file) not in excepted:
            (chosen / file.name).hardlink_to(file)
    report = traffic.folder / "report.json"
    ended = subprocess.run(
        [oav, "validate-traffic", chosen, SPECIFICATIONS, "--jsonReport", report, "--report", chosen.with_suffix(".html")],
        env={**os.environ, "HOME": str(traffic.folder)},  # where it writes logs
        capture_output=True,
        text=True,
        check=False,
    )
    told = json.loads(report.read_text())
    assert told["errors"] == []
    assert "Undefined operation" not in ended.stdout
    assert ended.returncode == 0, ended.stdout[-5000:]
    left = {f"{one['spec']} {name}" for one in told["unCoveredOperationsList"] for name in one["operationIds"]}
    wanted = {f"{SPECIFICATIONS / one.description} {one.name}" for one in operations() if _command_prefers(one)}
    assert not left & wanted, "\n".join(sorted(left & wanted))


def test_the_validator_finds_what_is_wrong(traffic: Traffic) -> None:
    """The tests above would fail: an answer with a member too many, one too few and one of a wrong form."""
    one = next(one for one in traffic.index if one["operation"] == "UserAssignedIdentities_Get")
    document = json.loads(Path(one["file"]).read_text())
    body = document["liveResponse"]["body"]
    body["more"] = 1
    body["properties"]["clientId"] = "x"
    del body["location"]
    spoilt = traffic.folder / "spoilt.json"
    spoilt.write_text(json.dumps(document))
    found = _validated(traffic.folder, [{**one, "file": str(spoilt)}])
    assert {one["code"] for one in found} == {
        "OBJECT_ADDITIONAL_PROPERTIES",
        "INVALID_FORMAT",
        "OBJECT_MISSING_REQUIRED_PROPERTY",
    }


def _validated(folder: Path, index: list[dict[str, Any]]) -> list[dict[str, Any]]:
    (folder / "index.json").write_text(json.dumps(index))
    program = Path(__file__).parent / "oav" / "validate.js"
    command = ["node", program, SPECIFICATIONS, folder / "index.json", folder / "found.json"]
    subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True)
    found: list[dict[str, Any]] = json.loads((folder / "found.json").read_text())
    return found
