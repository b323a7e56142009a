"""`idplane agents`: the machines that are hosts, through Resource Manager as the operator."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from idplane.cli.options import data_option, json_option
from idplane.cli.output import CommandError, say_json
from idplane.cli.tables import say_members, say_table
from idplane.cli.workload_plane import WorkloadPlane
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject

__all__ = ["command"]

_TYPE = "Idplane.Workloads/agents"
_SHORTEST = 4
_EXAMPLES = """\b
Examples:
  idplane agents list
  idplane agents show 6f1c
  idplane agents ban 6f1c
  idplane agents remove 6f1c

An agent is named by its id, or by as many of its first characters as tell it from others. All take --data and --json.
"""


@click.group("agents", epilog=_EXAMPLES)
def command() -> None:
    """See the machines that are hosts, and ban or remove one."""


@command.command("list", short_help="List the machines that are hosts.")
@click.argument("host", required=False)
@data_option
@json_option
def _list(*, host: str | None, data: Path, as_json: bool) -> None:
    """List the machines that are hosts of HOST, a resource's full id or unique name; without it, all."""
    plane = WorkloadPlane.open(data)
    found = plane.list(plane.resolve(host) if host is not None else None, _TYPE)
    if as_json:
        say_json(found)
    elif not found:
        click.echo("there are no agents")
    else:
        say_table(("AGENT", "HOST", "STATE", "METHOD", "LAST SEEN", "FROM"), [_row(one) for one in found])


@command.command("show", short_help="Show one machine.")
@click.argument("agent")
@data_option
@json_option
def _show(*, agent: str, data: Path, as_json: bool) -> None:
    """Show what AGENT has proved, when it was seen, and whether it is served."""
    plane = WorkloadPlane.open(data)
    found = _one(plane, agent)
    if as_json:
        say_json(found)
        return
    properties = _object(found.get("properties"))
    seen = _object(properties.get("lastSeen"))
    members: list[tuple[str, object]] = [
        ("agent", found.get("name")),
        ("host", _host(found)),
        ("state", properties.get("state")),
        ("because", properties.get("stateReason")),
        ("method", properties.get("method")),
        *((f"fact {name}", value) for name, value in _object(properties.get("facts")).items()),
        ("serves", properties.get("hosts")),
        ("enrolled", properties.get("enrolledAt")),
        ("renewed", properties.get("renewedAt")),
        ("addresses", properties.get("addresses")),
        ("last seen", seen.get("at")),
        ("from", seen.get("address")),
        ("version", seen.get("version")),
    ]
    say_members([(name, _text(value)) for name, value in members if value])


@command.command("ban", short_help="Refuse a machine whatever it asks for, from now on.")
@click.argument("agent")
@data_option
@json_option
def _ban(*, agent: str, data: Path, as_json: bool) -> None:
    """Refuse AGENT whatever it asks for. Its certificates for identities end with that, and it drops what it holds."""
    _act(data, agent, "ban", "is banned", as_json=as_json)


@command.command("unban", short_help="Serve a banned machine again.")
@click.argument("agent")
@data_option
@json_option
def _unban(*, agent: str, data: Path, as_json: bool) -> None:
    """Serve AGENT again. A locked one can't be: remove it, and let its machine join anew."""
    _act(data, agent, "unban", "is served again", as_json=as_json)


@command.command("remove", short_help="End a machine's being a host.")
@click.argument("agent")
@data_option
@json_option
def _remove(*, agent: str, data: Path, as_json: bool) -> None:
    """End AGENT. Its machine may join again as long as an enrollment admits it: ban it if it must not."""
    plane = WorkloadPlane.open(data)
    found = _one(plane, agent)
    plane.delete(_host(found), _TYPE, str(found.get("name")))
    if as_json:
        say_json({"removed": found.get("name"), "host": str(_host(found))})
        return
    click.echo(f"removed {found.get('name')}, which was a host of {_host(found).name}")


def _act(data: Path, agent: str, word: str, done: str, *, as_json: bool) -> None:
    plane = WorkloadPlane.open(data)
    found = _one(plane, agent)
    after = plane.act(_host(found), _TYPE, str(found.get("name")), word, {})
    if as_json:
        say_json(after)
        return
    click.echo(f"{found.get('name')} {done}")


def _one(plane: WorkloadPlane, text: str) -> JsonObject:
    """The agent that a person means, by its id, the beginning of that, or its resource id."""
    text = text.rpartition("/")[2]
    if len(text) < _SHORTEST:
        raise CommandError(f"name the agent by at least {_SHORTEST} characters of its id")
    found = [one for one in plane.list(None, _TYPE) if str(one.get("name")).startswith(text.lower())]
    if not found:
        raise CommandError(f"there is no agent '{text}'")
    if len(found) > 1:
        raise CommandError(f"'{text}' may mean any of these: {', '.join(str(one.get('name')) for one in found)}")
    return found[0]


def _row(found: JsonObject) -> tuple[str, ...]:
    properties = _object(found.get("properties"))
    seen = _object(properties.get("lastSeen"))
    return (
        str(found.get("name")),
        _host(found).name,
        str(properties.get("state")),
        str(properties.get("method")),
        _text(seen.get("at") or properties.get("renewedAt") or properties.get("enrolledAt")),
        _text(seen.get("address") or properties.get("addresses")),
    )


def _host(found: JsonObject) -> ResourceId:
    return ResourceId.parse(str(found.get("id"))).scope


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value or "")
