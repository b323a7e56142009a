"""What must hold when all faults are over: nothing acknowledged is lost, nothing was given out without a record, nobody disagrees, nothing is left behind."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from faults.ledger import Ledger
from faults.recorder import Recorder
from faults.stage.installation import Installation
from faults.stage.network import left_over
from faults.stage.programs import Program, Sample, sample
from faults.stage.servers import idplane

__all__ = [
    "disagreements",
    "grown",
    "left_behind",
    "lost_writes",
    "troubles_in_logs",
    "unhealthy",
    "unrecorded_tokens",
    "zombies",
]

_MORE_DESCRIPTORS: Final = 40
_MORE_BYTES: Final = 48 * 1024 * 1024
_TRACEBACK: Final = re.compile(
    r"^Traceback \(most recent call last\)|\bis a bug\b|Task exception was never retrieved|was never awaited", re.MULTILINE
)
_TYPES: Final = {
    "Microsoft.ManagedIdentity/userAssignedIdentities": "2024-11-30",
    "Microsoft.Compute/virtualMachines": "2024-11-01",
    "Microsoft.Authorization/roleAssignments": "2022-04-01",
}


def _there(stage: Installation, **options: Any) -> set[str]:
    """Lower-case paths of everything of the written types in the group."""
    found = set()
    for kind, version in _TYPES.items():
        path = f"{stage.operator.group}/providers/{kind}?api-version={version}"
        found |= {str(one["id"]).lower() for one in stage.operator.listing(path, **options)}
    return found


def lost_writes(stage: Installation, ledger: Ledger) -> list[str]:
    """Writes that were acknowledged and are not there, or deletions whose path still is; and machines that were made by half."""
    found = ledger.differences(_there(stage))
    principals = {row[0] for row in stage.database.sql("select key from principals")}
    path = f"{stage.operator.group}/providers/Microsoft.Compute/virtualMachines"
    for machine in stage.operator.listing(path):
        identity = machine.get("identity") or {}
        if identity.get("principalId") not in principals:
            found.append(f"{machine['id']}: it has no principal")
    return found


def unrecorded_tokens(stage: Installation, records: Mapping[str, str]) -> list[str]:
    """Tokens, by their `uti`, that were given out and of which the sign-in log has no record."""
    logged = {row[0] for row in stage.database.sql("select token_id from sign_ins")}
    return [f"a token of {oid} with uti {uti} has no sign-in record" for uti, oid in records.items() if uti not in logged]


def disagreements(stage: Installation) -> list[str]:
    """What two servers answer differently, asked directly."""
    questions: Mapping[str, Callable[[Any], object]] = {
        "which resources there are": lambda server: sorted(_there(stage, at=server)),
        "which keys are published": lambda server: _keys(stage, server),
        "what the workloads may do": lambda server: _decisions(stage, server),
    }
    found = []
    for question, ask in questions.items():
        answers = [json.dumps(ask(server), sort_keys=True) for server in stage.servers]
        if len(set(answers)) > 1:
            found.append(f"the servers do not agree on {question}")
    return found


def _keys(stage: Installation, server: Any) -> object:
    path = f"/{stage.operator.plane['tenant_id']}/discovery/v2.0/keys"
    _, keys = stage.operator.request("GET", path, headers={}, at=server)
    return sorted(one["kid"] for one in keys["keys"])


def _decisions(stage: Installation, server: Any) -> object:
    path = f"{stage.operator.group}/providers/Microsoft.Authorization/permissions?api-version=2022-04-01"
    assignments = f"{stage.operator.group}/providers/Microsoft.Authorization/roleAssignments?api-version=2022-04-01"
    given = sorted((one["id"], one["properties"]["principalId"]) for one in stage.operator.listing(assignments, at=server))
    return [stage.operator.call("GET", path, at=server), given]


def unhealthy(stage: Installation) -> list[str]:
    """What the installation's own checks say: the database against its rules, and the logs against their tree."""
    server = stage.servers[0]
    config = str(server.folder / "server.toml")
    commands = {
        "idplane admin check": idplane("admin", "check", "--config", config),
        "idplane log verify": idplane("log", "verify", "--config", config),
    }
    found = []
    for name, command in commands.items():
        done = subprocess.run([*server.place.entering, *command], check=False, capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            found.append(f"{name}: {' | '.join((done.stderr + done.stdout).split(chr(10)))[:3000]}")
    return found


def grown(before: Mapping[str, Sample], stage: Installation) -> list[str]:
    """Our processes that hold many more descriptors, or much more memory, than before the faults."""
    found = []
    for program in stage.idplane_programs():
        now, then = sample(program.pid), before[program.name]
        if now is None:
            found.append(f"{program.name} has ended")
            continue
        if now.descriptors > then.descriptors + _MORE_DESCRIPTORS:
            found.append(f"{program.name} holds {now.descriptors} descriptors, {then.descriptors} before")
        if now.resident > then.resident + _MORE_BYTES:
            found.append(f"{program.name} holds {now.resident >> 20} MiB, {then.resident >> 20} MiB before")
    return found


def troubles_in_logs(logs: Path) -> Iterator[str]:
    """Tracebacks and their like, in anything that any program wrote."""
    for path in sorted(logs.iterdir()):
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        for found in _TRACEBACK.finditer(text):
            end = text[found.start() :].splitlines()[:40]
            yield f"{path.name}: {end[0]} ... {next((line for line in end[1:] if line and not line.startswith(' ')), '')}"


def zombies(programs: Iterator[Program]) -> list[str]:
    """Processes that have ended, and that those who started them have not let go."""
    parents = {program.pid: program.name for program in programs}
    ended = ((folder.name, _state(folder)) for folder in Path("/proc").iterdir() if folder.name.isdigit())
    return [
        f"{parents[state[1]]} has a zombie: process {number}"
        for number, state in ended
        if state and state[0] == "Z" and state[1] in parents
    ]


def _state(folder: Path) -> tuple[str, int] | None:
    try:
        # The name, in parentheses, may hold anything.
        state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return None
    return state, int(parent)


def left_behind(recorder: Recorder) -> list[str]:
    """Processes and namespaces that are still there when everything was ended."""
    found = [f"the namespace {name} is left" for name in left_over()]
    found += [f"{load.program.name} still runs" for load in recorder.loads if load.program.is_running()]
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != 1 and (state := _state(folder)) is not None and state[0] != "Z":
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if command:
                found.append(f"process {folder.name} is left: {command[:100]}")
    return found
