"""Must-show 1: the stock tracker is refused, granted, and loses everything with its machine. Real processes, Azure's own SDK."""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.stories.planes import Up
from tests.stories.workloads import Owner, Witness, Workload, require_namespaces

from idplane.cli import stories
from idplane.jose import parse

TRACKER = str(Path(stories.__file__).with_name("stock_tracker.py"))
VAULT = "GET contoso-stock.vault.azure.net /secrets/database-password/"
IMDS = "GET 169.254.169.254 /metadata/identity/oauth2/token"


@pytest.fixture
def owner(up: Up) -> Owner:
    require_namespaces()
    return Owner(up)


def held(up: Up, *, by: str) -> dict[str, int]:
    """What the store keeps of a principal, read from its file as it lies there."""
    file = up.data / "idplane.sqlite"
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as store:
        tables = ("principals", "credentials", "role_assignments", "identity_assignments")
        return {table: _count(store, table, by) for table in tables}


def _count(store: sqlite3.Connection, table: str, text: str) -> int:
    (count,) = store.execute(f"select count(*) from {table} where instr(doc, ?) > 0", (text,)).fetchone()
    return int(count)


def test_refused_then_granted_then_gone(owner: Owner, tmp_path: Path) -> None:
    up = owner.up
    machine = owner.machine("stock-vm")
    principal = machine["identity"]["principalId"]
    vault = owner.vault("contoso-stock", database_password="Wr1te0nly-Vau1t")
    witness = Witness(tmp_path / "requests")

    with Workload(up.data, "stock-vm", [sys.executable, TRACKER], **witness.environment) as tracker:
        assert tracker.hear() == "ready"
        said = tracker.say()
        assert said.startswith("refused 403 ")
        assert "Action: 'Microsoft.KeyVault/vaults/secrets/getSecret/action'" in said
        assert f"oid={principal}" in said
        assert f"{vault}/secrets/database-password".lower() in said
        assert witness.since() == [VAULT, IMDS, VAULT]  # the challenge, the token, the refusal

        assignment = owner.grant(principal, "Key Vault Secrets User", vault)
        assert tracker.say() == "ok Wr•••••••••••••"
        assert witness.since() == [VAULT]  # the same token at once: no wait, no retry, no new token
        assert held(up, by=principal) == {
            "principals": 1,
            "credentials": 1,
            "role_assignments": 1,
            "identity_assignments": 1,
        }

        kept = _token(up)
        assert owner.vault_request("GET", "contoso-stock", "database-password", token=kept)[0] == 200
        owner.call("DELETE", machine["id"])

        said = tracker.say()
        assert said.startswith("refused token "), said
        assert "Identity not found (refusal id " in said
        assert witness.since() == [VAULT, IMDS]  # the old token is refused, and there is no other

    assert owner.vault_request("GET", "contoso-stock", "database-password", token=kept)[0] == 401
    assert owner.ask("GET", machine["id"])[0] == 404
    assert owner.ask("GET", assignment)[0] == 404
    listed = owner.call("GET", f"{vault}/providers/Microsoft.Authorization/roleAssignments")["value"]
    assert principal not in {one["properties"]["principalId"] for one in listed}
    assert not any(held(up, by=principal).values())
    _check_sign_ins(owner, principal, machine, parse(kept).claims)
    _check_activity(owner, machine, assignment)


def _token(up: Up) -> str:
    """The machine's token, as its owner can get it from outside."""
    shown = up.cli("token", "--as", "stock-vm", "--resource", "https://vault.azure.net", "--json")
    token: str = json.loads(shown.stdout)["access_token"]
    return token


def _check_sign_ins(owner: Owner, principal: str, machine: Any, claims: Any) -> None:
    mine = [event for event in owner.log("signins") if event["servicePrincipalId"] == principal]
    # The program's one token, and the one that was asked for beside it after the role had evicted the first.
    assert [event["status"]["errorCode"] for event in mine] == [0, 0]
    assert mine[-1]["uniqueTokenIdentifier"] == claims["uti"]
    for event in mine:
        assert event["servicePrincipalName"] == "stock-vm"
        assert event["signInEventTypes"] == ["managedIdentity"]
        assert event["resourceDisplayName"] == "Azure Key Vault"
        assert event["managedServiceIdentity"]["msiType"] == "systemAssigned"
        assert event["azureResourceId"].lower() == machine["id"].lower()


def _check_activity(owner: Owner, machine: Any, assignment: str) -> None:
    told = [
        (event["operationName"]["value"].lower(), event["resourceId"].lower(), event["status"]["value"], event["claims"]["oid"])
        for event in owner.log("activity")
    ]
    expected = [
        ("Microsoft.Compute/virtualMachines/write", machine["id"]),
        ("Microsoft.Authorization/roleAssignments/write", assignment),
        ("Microsoft.Compute/virtualMachines/delete", machine["id"]),
    ]
    places = [
        told.index((operation.lower(), resource.lower(), "Succeeded", owner.principal_id)) for operation, resource in expected
    ]
    assert places == sorted(places)
