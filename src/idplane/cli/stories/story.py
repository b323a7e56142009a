"""The story itself: what the owner does, what the programs see, and what must be true for it to be told."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from idplane.bootstrap.world import SystemClock
from idplane.cli.output import CommandError
from idplane.cli.stories.cast import Cast, Program
from idplane.cli.stories.stage import Stage

__all__ = ["perform"]

_CLOCK = SystemClock()
_GROUP = "contoso"
_LOCATION = "westeurope"
_VAULT = "contoso-stock"
_SECRET = "database-password"
_SHOWN_SIGN_INS = 5
_FRONT_ENDS = tuple(f"front-end-{number}" for number in range(1, 11))
_MACHINE = "Microsoft.Compute/virtualMachines"
_SOURCE = """\
credential = ManagedIdentityCredential()
vault = SecretClient("https://contoso-stock.vault.azure.net", credential)
password = vault.get_secret("database-password").value\
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _StockMachine:
    """The machine that the story is about, with the programs on it."""

    principal: str
    tracker: Program
    """The stock tracker: Azure's SDK and a vault."""
    probe: Program
    """Asks the metadata endpoint anew each time, with nothing kept."""


def perform(cast: Cast, stage: Stage) -> None:
    """Tell the story; raises `CommandError` when it does not go as told."""
    start = _CLOCK.monotonic()
    stage.curtain(cast.plane.arm, namespaces=cast.namespaces)
    machine = _a_machine_gets_an_identity(cast, stage)
    _refused(cast, stage, machine)
    _granted(cast, stage, machine)
    _ten_share_one(cast, stage)
    _what_the_log_says(cast, stage)
    _deleted(cast, stage, machine)
    stage.end(_CLOCK.monotonic() - start)


def _a_machine_gets_an_identity(cast: Cast, stage: Stage) -> _StockMachine:
    stage.scene("A virtual machine gets an identity of its own")
    cast.call("PUT", cast.id(_GROUP), {"location": _LOCATION})
    machine = _create_machine(cast, "stock-vm", {"type": "SystemAssigned"})
    principal = str(machine["identity"]["principalId"])
    tracker, probe = cast.program("stock-vm", "stock_tracker.py"), cast.program("stock-vm", "front_end.py")
    stage.change("stock-vm created with a system-assigned identity", f"principal {principal}")
    properties = {"tenantId": cast.plane.tenant_id, "sku": {"family": "A", "name": "standard"}, "enableRbacAuthorization": True}
    vault = cast.id(_GROUP, "Microsoft.KeyVault/vaults", _VAULT)
    cast.call("PUT", vault, {"location": _LOCATION, "properties": properties})
    cast.grant(cast.operator_principal(), "Key Vault Secrets Officer", vault)
    cast.set_secret(_VAULT, _SECRET, "Wr1te0nly-Vau1t")
    stage.change(f"vault {_VAULT} created; its owner puts {_SECRET} into it")
    _expect(tracker.hear(), "ready")
    stage.good("stock_tracker.py runs on stock-vm", "Azure's SDK, production URLs; no configuration, no secret:")
    stage.code(_SOURCE)
    return _StockMachine(principal=principal, tracker=tracker, probe=probe)


def _refused(cast: Cast, stage: Stage, machine: _StockMachine) -> None:
    stage.scene("It has a token, and no permission")
    said = _expect(machine.tracker.poke(), "refused 403")
    stage.bad("403 Forbidden", f"missing: {_missing(said)}")
    refusal = said.split()[2]
    told = cast.explained(refusal)
    if not told["fixes"]:
        raise CommandError(f"the refusal {refusal} has no remedy: {told}")
    stage.answer(f"idplane explain {refusal}", str(told["summary"]), str(told["fixes"][0]["text"]))


def _granted(cast: Cast, stage: Stage, machine: _StockMachine) -> None:
    stage.scene("It gets exactly one role")
    cast.grant(machine.principal, "Key Vault Secrets User", cast.id(_GROUP, "Microsoft.KeyVault/vaults", _VAULT))
    granted = _CLOCK.monotonic()
    stage.change("role assignment", f"Key Vault Secrets User, for stock-vm, on {_VAULT}")
    said = _expect(machine.tracker.poke(), "ok")
    elapsed = (_CLOCK.monotonic() - granted) * 1000
    stage.good(f"{_SECRET} = {said.removeprefix('ok ')}", f"{elapsed:.0f} ms after the grant; same process, no retry")


def _ten_share_one(cast: Cast, stage: Stage) -> None:
    stage.scene("Ten front ends share one user-assigned identity")
    shared = cast.id(_GROUP, "Microsoft.ManagedIdentity/userAssignedIdentities", "front-end")
    identity = cast.call("PUT", shared, {"location": _LOCATION})["properties"]
    principal = identity["principalId"]
    block = {"type": "UserAssigned", "userAssignedIdentities": {shared: {}}}
    for name in _FRONT_ENDS:
        _create_machine(cast, name, block)
    cast.grant(principal, "Reader", cast.id(_GROUP))
    stage.change("identity front-end created, given one role, assigned to ten machines")
    programs = [cast.program(name, "front_end.py", identity["clientId"]) for name in _FRONT_ENDS]
    answers = [program.poke() for program in programs]
    if answers != [f"ok {principal}"] * len(_FRONT_ENDS):
        raise CommandError(f"the front ends did not share one identity: {answers}")
    stage.good("ten machines, ten processes, one principal", principal)
    out = len(_FRONT_ENDS) // 3
    cast.call("PATCH", cast.id(_GROUP, _MACHINE, _FRONT_ENDS[out]), {"identity": {"type": "None"}})
    stage.change(f"taken off {_FRONT_ENDS[out]}")
    answers = [program.poke() for program in programs]
    refused = [index for index, answer in enumerate(answers) if not answer.startswith("ok")]
    if refused != [out]:
        raise CommandError(f"taking the identity off one machine changed others: {answers}")
    stage.bad(f"{_FRONT_ENDS[out]}: {answers[out].removeprefix('refused ')}", "the other nine go on")


def _what_the_log_says(cast: Cast, stage: Stage) -> None:
    stage.scene("Every token is on record before it leaves")
    rows = [
        (
            str(event["createdDateTime"])[11:19],
            str(event["servicePrincipalName"]),
            str(event["azureResourceId"]).rpartition("/")[2],
            str(event["resourceDisplayName"]),
            "success" if event["status"]["errorCode"] == 0 else str(event["status"]["failureReason"]),
        )
        for event in cast.sign_ins(_SHOWN_SIGN_INS)
    ]
    if not rows:
        raise CommandError("the sign-in log is empty")
    stage.table(("time", "identity", "on", "asked for", "result"), rows)


def _deleted(cast: Cast, stage: Stage, machine: _StockMachine) -> None:
    stage.scene("The machine is deleted, and everything that it was goes with it")
    _expect(machine.probe.poke(), "ok")
    cast.call("DELETE", cast.id(_GROUP, _MACHINE, "stock-vm"))
    stage.change("stock-vm deleted")
    # The vault refuses the token that it holds, whereupon Azure's SDK asks for another one; that it fails there shows both.
    _expect(machine.tracker.poke(), "refused token")
    stage.bad("401 Unauthorized", "the token that stock_tracker.py still holds is dead")
    said = _expect(machine.probe.poke(), "refused").removeprefix("refused ")
    stage.bad(said, "and it gets no other")
    assignments: Any = cast.call("GET", f"{cast.id(_GROUP)}/providers/Microsoft.Authorization/roleAssignments")["value"]
    if any(one["properties"]["principalId"] == machine.principal for one in assignments):
        raise CommandError("a role assignment of the deleted machine is left")
    stage.good("service principal, certificate and role assignments are gone")


def _create_machine(cast: Cast, name: str, identity: object) -> Any:
    return cast.call("PUT", cast.id(_GROUP, _MACHINE, name), {"location": _LOCATION, "identity": identity, "properties": {}})


def _expect(said: str, start: str) -> str:
    if not said.startswith(start):
        raise CommandError(f"the program should have said '{start}', and said: {said}")
    return said


def _missing(said: str) -> str:
    """The part of Key Vault's refusal that names what is missing."""
    found = re.search(r"Action: '?([^\s']+)", said)
    return found[1] if found else said
