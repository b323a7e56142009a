"""The story itself: what the owner does, what the programs see, and what must be true for it to be told."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

from idplane.cli.output import CommandError
from idplane.cli.stories.cast import Cast, Program
from idplane.cli.stories.stage import Stage

__all__ = ["perform"]

_GROUP = "contoso"
_LOCATION = "westeurope"
_VAULT = "contoso-stock"
_SECRET = "database-password"
_FRONT_ENDS = tuple(f"front-end-{number}" for number in range(1, 11))
_MACHINE = "Microsoft.Compute/virtualMachines"
_SOURCE = """\
vault = SecretClient("https://contoso-stock.vault.azure.net", ManagedIdentityCredential())
...
password = vault.get_secret("database-password").value\
"""


def perform(cast: Cast, stage: Stage) -> None:
    """Tell the story; raises `CommandError` when it does not go as told."""
    start = perf_counter()
    principal, tracker = _a_machine_gets_an_identity(cast, stage)
    _refused_then_granted(cast, stage, principal, tracker)
    _ten_share_one(cast, stage)
    _what_the_log_says(cast, stage, principal)
    _deleted(cast, stage, principal, tracker)
    stage.good(f"told in {perf_counter() - start:.1f} s")


def _a_machine_gets_an_identity(cast: Cast, stage: Stage) -> tuple[str, Program]:
    stage.scene("A virtual machine gets an identity of its own")
    cast.call("PUT", cast.id(_GROUP), {"location": _LOCATION})
    machine = _create_machine(cast, "stock-vm", {"type": "SystemAssigned"})
    principal = str(machine["identity"]["principalId"])
    tracker = cast.program("stock-vm", "stock_tracker.py")
    stage.change("stock-vm created, system-assigned identity on", f"principal {principal}")
    properties = {"tenantId": cast.plane.tenant_id, "sku": {"family": "A", "name": "standard"}, "enableRbacAuthorization": True}
    vault = cast.id(_GROUP, "Microsoft.KeyVault/vaults", _VAULT)
    cast.call("PUT", vault, {"location": _LOCATION, "properties": properties})
    cast.grant(cast.operator_principal(), "Key Vault Secrets Officer", vault)
    cast.set_secret(_VAULT, _SECRET, "Wr1te0nly-Vau1t")
    stage.change(f"the owner puts {_SECRET} into the vault {_VAULT}")
    stage.code(_SOURCE)
    _expect(tracker.hear(), "ready")
    stage.good("stock_tracker.py runs on stock-vm", "unmodified Azure SDK, production URLs, no configuration, no secret")
    return principal, tracker


def _refused_then_granted(cast: Cast, stage: Stage, principal: str, tracker: Program) -> None:
    stage.scene("It has a token, and no permission")
    said = _expect(tracker.poke(), "refused 403")
    stage.bad("403 Forbidden", _missing(said))
    vault = cast.id(_GROUP, "Microsoft.KeyVault/vaults", _VAULT)
    stage.scene("It gets exactly one role")
    cast.grant(principal, "Key Vault Secrets User", vault)
    granted = perf_counter()
    stage.change(f"role assignment: Key Vault Secrets User, for stock-vm, on {_VAULT}")
    said = _expect(tracker.poke(), "ok")
    elapsed = (perf_counter() - granted) * 1000
    stage.good(f"{_SECRET} = {said.removeprefix('ok ')}", f"same process, {elapsed:.0f} ms after the grant, no retry")


def _ten_share_one(cast: Cast, stage: Stage) -> None:
    stage.scene("Ten front ends share one user-assigned identity")
    shared = cast.id(_GROUP, "Microsoft.ManagedIdentity/userAssignedIdentities", "front-end")
    principal = cast.call("PUT", shared, {"location": _LOCATION})["properties"]["principalId"]
    block = {"type": "UserAssigned", "userAssignedIdentities": {shared: {}}}
    for name in _FRONT_ENDS:
        _create_machine(cast, name, block)
    cast.grant(principal, "Reader", cast.id(_GROUP))
    stage.change("identity front-end created, given one role, and assigned to ten machines")
    answers = _ask_front_ends(cast)
    if answers != [f"ok {principal}"] * len(_FRONT_ENDS):
        raise CommandError(f"the front ends did not share one identity: {answers}")
    stage.good("ten machines, ten processes, one principal", principal)
    cast.call("PATCH", cast.id(_GROUP, _MACHINE, _FRONT_ENDS[2]), {"identity": {"type": "None"}})
    stage.change(f"taken off {_FRONT_ENDS[2]}")
    answers = _ask_front_ends(cast)
    without = [name for name, answer in zip(_FRONT_ENDS, answers, strict=True) if not answer.startswith("ok")]
    if without != [_FRONT_ENDS[2]]:
        raise CommandError(f"taking the identity off one machine changed others: {answers}")
    stage.bad(f"{_FRONT_ENDS[2]}: {answers[2].removeprefix('refused ')}", "the other nine go on")


def _ask_front_ends(cast: Cast) -> list[str]:
    with ThreadPoolExecutor(len(_FRONT_ENDS)) as threads:
        return list(threads.map(lambda name: cast.program(name, "front_end.py").hear(), _FRONT_ENDS))


def _what_the_log_says(cast: Cast, stage: Stage, principal: str) -> None:
    stage.scene("Every token is on record before it leaves")
    rows = [
        (
            str(event["createdDateTime"])[11:19],
            str(event["servicePrincipalName"]),
            str(event["resourceDisplayName"]),
            str(event["clientCredentialType"]),
            "success" if event["status"]["errorCode"] == 0 else str(event["status"]["failureReason"]),
        )
        for event in cast.sign_ins(principal)
    ]
    if not rows:
        raise CommandError("the sign-in log is empty")
    stage.table(("time", "identity", "asked for", "credential", "result"), rows)


def _deleted(cast: Cast, stage: Stage, principal: str, tracker: Program) -> None:
    stage.scene("The machine is deleted, and everything that it was goes with it")
    kept = cast.token_of("stock-vm")
    if kept is None or cast.try_token(kept) != 200:  # noqa: PLR2004 - HTTP OK
        raise CommandError("stock-vm got no token while it existed")
    machine = cast.id(_GROUP, _MACHINE, "stock-vm")
    cast.call("DELETE", machine)
    stage.change("stock-vm deleted")
    said = tracker.poke()
    if not said.startswith("refused") or "Identity not found" not in said:
        raise CommandError(f"the program of a deleted machine went on: {said}")
    stage.bad("the running program", "its token is refused, and it gets no other: Identity not found")
    status = cast.try_token(kept)
    assignments: Any = cast.call("GET", f"{cast.id(_GROUP)}/providers/Microsoft.Authorization/roleAssignments")["value"]
    left = [one for one in assignments if one["properties"]["principalId"] == principal]
    if status != 401 or left:  # noqa: PLR2004 - HTTP Unauthorized
        raise CommandError(f"something of the deleted machine is left: HTTP {status}, {left}")
    stage.bad("a token that somebody kept", f"{status} Unauthorized, although it has not expired")
    stage.bad("service principal, certificate, role assignments", "gone")


def _create_machine(cast: Cast, name: str, identity: object) -> Any:
    return cast.call("PUT", cast.id(_GROUP, _MACHINE, name), {"location": _LOCATION, "identity": identity, "properties": {}})


def _expect(said: str, start: str) -> str:
    if not said.startswith(start):
        raise CommandError(f"the program should have said '{start}', and said: {said}")
    return said


def _missing(said: str) -> str:
    """The part of Key Vault's refusal that names what is missing."""
    return next((part.strip() for part in said.split(" / ") if part.strip().startswith("Action:")), said)
