"""Who asked and what for, as far as the record of a refusal says."""

from __future__ import annotations

from collections.abc import Iterable

from idplane.explain.findings import Case
from idplane.explain.model import Fact, Link, LinkKind
from idplane.model.calls import Workload
from idplane.model.refusals import Refusal

__all__ = ["what_was_asked", "who_asked"]


async def who_asked(case: Case) -> tuple[Fact, ...]:
    """The caller, the process where it is known, and where it asked from."""
    return tuple(_lines(_who(case.refusal)))


def what_was_asked(case: Case) -> tuple[Fact, ...]:
    """The request, and the right that it took."""
    return tuple(_lines(_what(case.refusal)))


def _who(one: Refusal) -> Iterable[tuple[str, str | None, LinkKind | None]]:
    name = one.caller_name or (one.client_id if one.principal_id is None else "")
    yield ("caller" if one.proved else "claims to be"), name or one.principal_id, None
    yield "object id", one.principal_id, LinkKind.PRINCIPAL
    yield "client id", one.client_id, None
    yield "host", one.host, LinkKind.SCOPE
    yield from _process(one.workload) if one.workload is not None else ()
    yield "address", one.client_address, None
    yield "program", one.user_agent, None
    yield "sign-in", one.sign_in_id, LinkKind.SIGN_IN


def _process(one: Workload) -> Iterable[tuple[str, str | None, LinkKind | None]]:
    yield "process", None if one.pid is None else str(one.pid), None
    yield "executable", one.executable, None
    yield "user", None if one.uid is None else str(one.uid), None
    yield "group", None if one.gid is None else str(one.gid), None
    yield "unit", one.systemd_unit, None
    yield "cgroup", one.cgroup, None
    yield "container", one.container, None
    yield "run", one.run_id, None
    yield "binding", one.binding, None


def _what(one: Refusal) -> Iterable[tuple[str, str | None, LinkKind | None]]:
    yield "request", f"{one.method} {one.url}".strip(), None
    yield "dialect", one.dialect, None
    yield "token for", one.resource, None
    yield ("data action" if one.data else "action"), one.action, None
    yield "scope", one.scope, LinkKind.SCOPE
    yield "answer", one.detail, None
    yield "times", str(one.count) if one.count > 1 else None, None


def _lines(lines: Iterable[tuple[str, str | None, LinkKind | None]]) -> Iterable[Fact]:
    for label, value, kind in lines:
        if value:
            yield Fact(label=label, value=value, link=None if kind is None else Link(kind=kind, ref=value))
