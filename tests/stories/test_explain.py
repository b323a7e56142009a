"""`idplane explain` against a plane as a user starts it: from a refusal to the command that helps."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result
from tests.stories.planes import Up

from idplane.cli.main import idplane

pytestmark = pytest.mark.wide

_READ = "Microsoft.Resources/subscriptions/resourceGroups/read"
_UNKNOWN = "00000000-0000-4000-8000-00000000dead"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    running = Up(tmp_path_factory.mktemp("plane") / "data")
    group = f"/subscriptions/{running.info['subscription_id']}/resourceGroups/web"
    running.arm("PUT", f"{group}?api-version=2024-11-01", {"location": "westeurope"})
    body = {"location": "westeurope", "identity": {"type": "SystemAssigned"}, "properties": {}}
    status, answer = running.arm("PUT", f"{group}/providers/Microsoft.Compute/virtualMachines/vm?api-version=2025-04-01", body)
    assert status in (200, 201), answer
    yield running
    running.stop()


def does(up: Up, *words: str) -> Result:
    return CliRunner().invoke(idplane, [*words, "--data", str(up.data)])


def test_a_command_that_is_refused_names_the_one_that_tells_why(up: Up) -> None:
    ended = does(up, "token", "--as", "vm", "--resource", "api://nowhere")
    assert ended.exit_code == 1
    found = re.search(r"^    why: (idplane) (explain) ([0-9a-f-]{36})$", ended.stderr, re.MULTILINE)
    assert found is not None, ended.stderr
    told = does(up, found[2], found[3])
    assert told.exit_code == 0, told.output
    assert told.stdout.startswith("Refused  400 AUDIENCE_UNKNOWN  by the token service")
    assert "api://nowhere" in told.stdout
    document = json.loads(does(up, "explain", found[3].upper(), "--json").stdout)
    assert document["refusalId"] == found[3]
    assert document["explanation"]["refusalId"] == found[3]


def test_what_the_agent_refuses_itself(up: Up) -> None:
    ended = does(up, "token", "--as", "vm", "--client-id", _UNKNOWN, "--resource", "https://vault.azure.net")
    assert "why: idplane explain " in ended.stderr
    told = does(up, "explain", ended.stderr.split()[-1])
    assert told.exit_code == 0, told.output
    assert "IDENTITY_NOT_FOUND" in told.stdout


def test_the_newest(up: Up) -> None:
    does(up, "token", "--as", "vm", "--resource", "api://newest")
    listed = does(up, "explain", "--recent", "1")
    assert "api://newest" in listed.stdout
    (one,) = json.loads(does(up, "explain", "--recent", "1", "--json").stdout)
    assert one["refusalId"] in listed.stdout


def test_beforehand(up: Up) -> None:
    asked = ("explain", "--as", "vm", "--action", _READ, "--scope", f"/subscriptions/{up.info['subscription_id']}")
    refused = does(up, *asked)
    assert refused.exit_code == 3
    assert refused.stdout.startswith("It would be refused\n")
    principal = json.loads(does(up, "token", "--as", "vm", "--resource", "https://management.azure.com", "--json").stdout)
    assert principal
    body = {
        "properties": {
            "roleDefinitionId": "/providers/Microsoft.Authorization/roleDefinitions/acdd72a7-3385-48ef-bd42-f606fba81ae7",
            "principalId": json.loads(does(up, *asked, "--json").stdout)["who"][0]["link"]["ref"],
        }
    }
    path = f"/subscriptions/{up.info['subscription_id']}/providers/Microsoft.Authorization/roleAssignments/{_UNKNOWN}"
    assert up.arm("PUT", f"{path}?api-version=2022-04-01", body)[0] == 201
    allowed = does(up, *asked)
    assert (allowed.exit_code, allowed.stdout.splitlines()[0]) == (0, "It would be allowed")
    assert does(up, "explain", "--as", "vm", "--action", _READ, "--scope", "/").exit_code == 3


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((), 2),
        ((_UNKNOWN, "--recent", "3"), 2),
        (("--as", "vm"), 2),
        (("--action", _READ), 2),
        (("--as", "vm", "--principal", "x", "--action", _READ), 2),
        ((_UNKNOWN, "--scope", "/"), 2),
        (("--recent", "0"), 2),
        (("no-id",), 1),
        ((_UNKNOWN,), 1),
        (("--as", "nobody", "--action", _READ), 1),
        (("--as", "vm", "--action", _READ, "--scope", "/nonsense"), 1),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(up: Up, words: tuple[str, ...], code: int) -> None:
    ended = does(up, "explain", *words)
    assert ended.exit_code == code, ended.output
    assert "Traceback" not in ended.output
