"""Why a host's own token endpoint refused: the request's form, its secret, or the process that asked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from idplane.explain.authority import who_may
from idplane.explain.commands import idplane, management
from idplane.explain.findings import Case, Findings
from idplane.explain.hosts import host_of
from idplane.explain.model import Fix, FixRequest, Step, StepKind, Verdict
from idplane.explain.unread import as_told, told
from idplane.model.bindings import Binding, binding_key
from idplane.model.calls import Workload
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject
from idplane.ports.collections import BINDINGS

__all__ = ["foreign_host", "forwarded", "header_missing", "not_bound", "resource_missing", "secret", "unproven"]

_VERSION: Final = "2026-11-01"
_READ: Final = "Idplane.Workloads/bindings/read"
_WRITE: Final = "Idplane.Workloads/bindings/write"
_NAME: Final = "from-refusal"
_WORDS: Final = {
    "user": "user",
    "group": "group",
    "run": "whether it was started by 'idplane run'",
    "cgroup": "cgroup",
    "systemdUnit": "systemd unit",
    "container": "container",
    "container.engine": "container engine",
    "container.id": "container",
    "container.pod": "pod",
    "executable": "executable",
    "executable.path": "executable",
    "executable.sha256": "executable's SHA-256",
    "executable.device": "executable's device number",
    "executable.inode": "executable's inode number",
}


async def header_missing(case: Case) -> Findings:
    """What shows that a request was meant: no browser and no proxy adds it by itself."""
    fix = Fix(text="Send the header 'Metadata: true' with the request")
    return told(case, StepKind.ENDPOINT, "Metadata: true", "the request lacks the header 'Metadata: true'", fix)


async def forwarded(case: Case) -> Findings:
    """A proxy stands in between, and would ask for whoever uses it."""
    fix = Fix(
        text="Ask the endpoint directly: take it out of the proxy's reach (NO_PROXY=169.254.169.254), and send no X-Forwarded-For"
    )
    return told(
        case, StepKind.ENDPOINT, "X-Forwarded-For", "the request came through a proxy, which the endpoint never serves", fix
    )


async def foreign_host(case: Case) -> Findings:
    """The Host header names something else."""
    fix = Fix(text="Ask under the address that the endpoint has, and leave the Host header to the client")
    return told(case, StepKind.ENDPOINT, "Host", "the Host header names a host that is not served there", fix)


async def secret(case: Case) -> Findings:
    """Whoever may ask was given a secret with the endpoint's address."""
    absent = case.fact("secret") == "absent"
    why = (
        "the request shows no secret" if absent else "the secret that the request shows is not the one that opens this endpoint"
    )
    fix = Fix(
        text="Send the secret that the program was started with: X-IDENTITY-HEADER, from the variable IDENTITY_HEADER of the same environment as IDENTITY_ENDPOINT"
    )
    return told(case, StepKind.ENDPOINT, "the endpoint's secret", why, fix)


async def resource_missing(case: Case) -> Findings:
    """What the token is to be for."""
    fix = Fix(text="Name what the token is for: add '&resource=https%3A%2F%2Fvault.azure.net', or the resource that is meant")
    return told(case, StepKind.REQUEST, "resource", "the request does not say what the token is for", fix)


async def unproven(case: Case) -> Findings:
    """Where a host has bindings, the agent must be able to tell which process asks."""
    fix = Fix(text="Ask from a process on the host itself, and keep the connection open until the answer is there")
    return told(
        case,
        StepKind.BINDING,
        "who asks",
        f"the agent could not tell which process asks: {case.refusal.detail.rstrip('.')}",
        fix,
    )


# Bindings -----------------------------------------------------------------------------------------------------------------


async def not_bound(case: Case) -> Findings:
    """Each binding of the host, and what the process did not show of it."""
    host = host_of(case)
    if host is None:
        return as_told(case)
    if not await case.sight.may(_READ, host):
        found = await case.tools.store.all(BINDINGS, where={"host_key": host.key})
        case.sight.hidden += len(found)
        return told(case, StepKind.BINDING, "the host's bindings", "no binding of the host admits the process that asked")
    bindings = [row.value for row in await case.tools.store.all(BINDINGS, where={"host_key": host.key})]
    unmet = _unmet(case)
    steps = tuple(_step(one, host, unmet.get(one.name, [])) for one in bindings)
    decided = Step(
        kind=StepKind.ABSENCE,
        verdict=Verdict.REFUSES,
        name="no binding that admits it",
        why=f"{_process(case.refusal.workload)} is admitted by no binding of '{host.name}'"
        if bindings
        else f"'{host.name}' has no bindings any more",
        scope=str(host),
    )
    return Findings(
        summary=f"{decided.why[0].upper()}{decided.why[1:]}, so it gets none of its identities.",
        decided=decided,
        considered=(*steps, decided),
        nearest=_nearest(steps, unmet),
        fixes=await _admitting(case, host) if bindings else (),
        now=None if bindings else "Whatever runs there gets its identities now: it has no bindings any more.",
    )


def _unmet(case: Case) -> dict[str, list[tuple[str, str, str]]]:
    """By binding: what it asks for, and what the process showed instead (`agent.bindings.refusing`)."""
    try:
        told = json.loads(case.fact("bindings") or "[]")
    except ValueError:  # an older agent's, or one that was cut off
        return {}
    found: dict[str, list[tuple[str, str, str]]] = {}
    for line in told if isinstance(told, list) else []:
        if isinstance(line, list) and len(line) == 4 and all(isinstance(one, str) for one in line):  # noqa: PLR2004 - as it is told
            found.setdefault(line[0], []).append((line[1], line[2], line[3]))
    return found


def _step(one: Binding, host: ResourceId, unmet: Sequence[tuple[str, str, str]]) -> Step:
    told = [_difference(*each) for each in unmet]
    return Step(
        kind=StepKind.BINDING,
        verdict=Verdict.MISSES,
        name=one.name,
        why="; ".join(told) or "does not admit the process",
        id=binding_key(host.key, one.name),
        scope=str(host),
    )


def _difference(selector: str, wanted: str, shown: str) -> str:
    what = _WORDS.get(selector, selector)
    own = f"the process's is '{shown}'" if shown else "the process has none"
    return f"its {what} is '{wanted}', {own}"


def _nearest(steps: Sequence[Step], unmet: dict[str, list[tuple[str, str, str]]]) -> Step | None:
    known = [one for one in steps if one.name in unmet]
    return min(known, key=lambda it: (len(unmet[it.name]), it.name), default=None)


def _process(one: Workload | None) -> str:
    if one is None:
        return "the process that asked"
    told = [
        one.executable and f"'{one.executable}'",
        one.uid is not None and f"user {one.uid}",
        one.systemd_unit and f"unit {one.systemd_unit}",
        one.container and f"container {one.container}",
    ]
    known = ", ".join(str(each) for each in told if each)
    return f"the process that asked ({known})" if known else "the process that asked"


async def _admitting(case: Case, host: ResourceId) -> tuple[Fix, ...]:
    """One more binding, for processes like the one that asked: by the most telling thing that is known of it."""
    one = case.refusal.workload
    rule = None if one is None else _rule(one)
    if rule is None:
        return ()
    words, processes = rule
    name = await _free_name(case, host)
    return (
        Fix(
            text=f"Admit processes like this one to the identities of {host.name}",
            command=idplane("binding", "add", str(host), name, *words),
            request=_put(host, name, processes),
            who_may=await who_may(case.sight, case.tools, _WRITE, host, gives_access=True),
        ),
    )


def _rule(one: Workload) -> tuple[tuple[str, ...], JsonObject] | None:
    if one.systemd_unit is not None:
        return ("--unit", one.systemd_unit), {"systemdUnit": one.systemd_unit}
    if one.container is not None and ":" in one.container:
        engine, _, identifier = one.container.partition(":")
        return ("--container-engine", engine, "--container-id", identifier), {"container": {"engine": engine, "id": identifier}}
    user = None if one.uid is None else str(one.uid)
    if one.executable is not None and user is not None and one.executable.startswith("/"):
        return ("--executable", one.executable, "--user", user), {"executable": {"path": one.executable}, "user": user}
    return None if user is None else (("--user", user), {"user": user})


async def _free_name(case: Case, host: ResourceId) -> str:
    for number in range(1, 100):
        name = _NAME if number == 1 else f"{_NAME}-{number}"
        if await case.tools.store.get(BINDINGS, binding_key(host.key, name)) is None:
            return name
    return _NAME


def _put(host: ResourceId, name: str, processes: JsonObject) -> FixRequest:
    path = f"{host}/providers/Idplane.Workloads/bindings/{name}"
    return management("PUT", path, _VERSION, {"properties": {"processes": processes}})
