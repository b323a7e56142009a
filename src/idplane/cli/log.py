"""`idplane log`: the two logs as Azure's own APIs show them, once or as they grow."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from idplane.bootstrap.world import SystemClock
from idplane.cli import log_export, log_tree
from idplane.cli.log_reading import (
    ACTIVITY,
    SIGN_INS,
    Follower,
    LogKind,
    Reader,
    follow_log,
    parse_since,
    until_interrupted,
)
from idplane.cli.options import data_option, inner_data_option, json_option, since_option
from idplane.cli.output import say_columns, say_json
from idplane.model.values import JsonObject

__all__ = ["COLUMNS", "caller_words", "command"]

_SHOWN_DIGITS = 12
"""Of a container's id, as its engine shows it."""


def _activity_columns(event: JsonObject) -> Sequence[str]:
    status, detail = _inner(event, "status", "value"), _inner(event, "subStatus", "value")
    outcome = f"{status} ({detail})" if detail else status
    return (
        _clock_time(event.get("eventTimestamp")),
        outcome,
        _inner(event, "operationName", "value"),
        _inner(event, "claims", "name") or str(event.get("caller") or "-"),
        str(event.get("resourceId") or ""),
    )


def _sign_in_columns(event: JsonObject) -> Sequence[str]:
    failed = _inner(event, "status", "errorCode") not in {"", "0"}
    outcome = f"refused {_inner(event, 'status', 'errorCode')}" if failed else "issued"
    identity = event.get("managedServiceIdentity")
    kind = str(identity.get("msiType") or "") if isinstance(identity, dict) else ""
    reason = _inner(event, "status", "failureReason").split("\r\n")[0] if failed else ""
    return (
        _clock_time(event.get("createdDateTime")),
        outcome,
        str(
            event.get("servicePrincipalName")
            or event.get("userPrincipalName")
            or event.get("appDisplayName")
            or event.get("appId")
            or _host_name(event)
        ),
        str(event.get("appDisplayName") or "") if event.get("userId") else kind if kind != "none" else "",
        str(event.get("resourceDisplayName") or event.get("resourceId") or event.get("@idplane.resource") or ""),
        caller_words(event.get("@idplane.workload")),
        reason,
    )


def caller_words(workload: object) -> str:
    """The asking process: its number, what it executes, and the unit, container or run that it belongs to.

    Its paths are whatever it chose, so nothing in them may act on a terminal.
    """
    facts = workload if isinstance(workload, dict) else {}
    engine, _, container = str(facts.get("container") or "").partition(":")
    run = facts.get("runId")
    place = facts.get("systemdUnit") or (f"{engine}:{container[:_SHOWN_DIGITS]}" if container else run and f"run:{run}")
    executable = str(facts.get("executable") or "").removesuffix(" (deleted)").rpartition("/")[2]
    words = " ".join(str(one) for one in (facts.get("pid"), executable, place) if one)
    return "".join(one if one.isprintable() else "?" for one in words)


def _host_name(event: JsonObject) -> str:
    """Of the machine, where nobody knows which of its identities was meant."""
    return str(event.get("azureResourceId") or "").rpartition("/")[2] or "-"


_KINDS = {"activity": ACTIVITY, "signins": SIGN_INS}
COLUMNS: dict[LogKind, Callable[[JsonObject], Sequence[str]]] = {
    ACTIVITY: _activity_columns,
    SIGN_INS: _sign_in_columns,
}


_EXAMPLES = """\b
Examples:
  idplane log signins --follow
  idplane log activity --since 10m --json
  idplane log export activity --since 7d > activity.jsonl
"""


@click.group("log", epilog=_EXAMPLES)
@data_option
@click.pass_context
def command(context: click.Context, *, data: Path) -> None:
    """Read what was done (activity) or which tokens were issued and refused (signins), or hand either on (export).

    Nobody can rewrite either unnoticed: `verify` tells, best with a checkpoint that was kept elsewhere (`checkpoint --save`).
    """
    context.obj = data


def _shown_by(name: str, words: str) -> None:
    """The command that shows one log."""

    @command.command(name, help=words, epilog=_EXAMPLES)
    @inner_data_option
    @since_option
    @click.option(
        "--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="At most this many, the newest ones."
    )
    @click.option("--follow", "-f", is_flag=True, help="Then wait for more, until Ctrl-C.")
    @json_option
    def show(*, data: Path, since: str, limit: int, follow: bool, as_json: bool) -> None:
        clock = SystemClock()
        reader = Reader(data, _KINDS[name], clock)
        begin = parse_since(since, clock.now())
        follower = Follower(_KINDS[name], begin)
        events = follower.start(tuple(itertools.islice(reader.read(begin), limit)))
        if not follow and as_json:
            say_json(events)
            return
        _show(events, _KINDS[name], as_json=as_json)
        if follow:
            until_interrupted(follow_log(reader, follower, clock, lambda more: _show(more, reader.kind, as_json=as_json)))


_shown_by("activity", "What was done, oldest first. With --json a list; with --json --follow one event on each line.")
_shown_by("signins", "Which tokens were issued and refused, oldest first. With --json a list; with --follow too, lines.")


def _show(events: Sequence[JsonObject], kind: LogKind, *, as_json: bool) -> None:
    if as_json:
        for event in events:
            say_json(event)
    else:
        say_columns([COLUMNS[kind](event) for event in events])


def _inner(event: JsonObject, name: str, member: str) -> str:
    """A member of a member, which Azure's logs like: `{"value": ..., "localizedValue": ...}`."""
    outer = event.get(name)
    value = outer.get(member) if isinstance(outer, dict) else outer
    return "" if value is None else str(value)


def _clock_time(value: object) -> str:
    return str(value)[:19].replace("T", " ")


for _one in (log_export.command, *log_tree.COMMANDS):
    command.add_command(_one)
