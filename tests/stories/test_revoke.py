"""`idplane revoke` against a plane as a user starts it: it names what is meant, does it at once, and refuses what it can't mean."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result
from tests.stories.planes import Up

from idplane.cli.main import idplane

ARM = "https://management.azure.com"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    running = Up(tmp_path_factory.mktemp("plane") / "data")
    group = f"/subscriptions/{running.info['subscription_id']}/resourceGroups/web"
    running.arm("PUT", f"{group}?api-version=2024-11-01", {"location": "westeurope"})
    machine = f"{group}/providers/Microsoft.Compute/virtualMachines/vm"
    body = {"location": "westeurope", "identity": {"type": "SystemAssigned"}, "properties": {}}
    status, answer = running.arm("PUT", f"{machine}?api-version=2025-04-01", body)
    assert status in (200, 201), answer
    yield running
    running.stop()


def does(up: Up, *words: str) -> Result:
    return CliRunner().invoke(idplane, [*words, "--data", str(up.data)])


def token(up: Up) -> str:
    ended = does(up, "token", "--as", "vm", "--resource", ARM, "--json")
    assert ended.exit_code == 0, ended.output
    found = json.loads(ended.stdout)
    return str(found["access_token"])


def counts(up: Up, text: str) -> bool:
    return up.arm("GET", "/tenants?api-version=2022-12-01", token=text)[0] == 200


@pytest.mark.parametrize("words", [["vm"], ["--tenant"], ["--json", "vm"]])
def test_tokens_are_dead_and_others_are_had_at_once(up: Up, words: list[str]) -> None:
    held = token(up)
    assert counts(up, held)
    ended = does(up, "revoke", *words)
    assert ended.exit_code == 0, ended.output
    assert "revoked" in ended.stdout
    assert not counts(up, held)
    assert counts(up, token(up))


def test_what_it_cannot_mean_is_refused_in_a_sentence(up: Up) -> None:
    for words, code in (
        (["revoke"], 2),
        (["revoke", "vm", "--tenant"], 2),
        (["revoke", "nobody"], 1),
        (["revoke", "11111111-1111-4111-8111-111111111111"], 1),
        (["revoke", "/subscriptions/x/resourceGroups/none"], 1),
    ):
        ended = does(up, *words)
        assert ended.exit_code == code, ended.output
        assert "Traceback" not in ended.output
        assert ended.stderr.strip()
