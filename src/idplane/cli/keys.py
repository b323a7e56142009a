"""`idplane keys`: the installation's keys, and what is done to them by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from idplane.cli.client import PlaneClient
from idplane.cli.description import PlaneDescription, read_plane
from idplane.cli.operator import ARM_RESOURCE, operator_access
from idplane.cli.options import data_option, inner_data_option, json_option
from idplane.cli.output import CommandError, say_columns, say_json
from idplane.cli.paging import pages
from idplane.model.values import JsonObject

__all__ = ["command"]

_API_VERSION: Final = "2026-11-01"
_PURPOSES: Final = ("token", "credential-authority", "tls-authority", "log")
_TAINTED: Final = {
    "token": "every token that it signed is refused at once, and nothing brings the key back",
    "credential-authority": "every certificate that it issued is refused at once: agents that have not renewed since its successor signs"
    " must be enrolled again",
    "tls-authority": "listeners show certificates of its successor at once: whoever has not got the new ca.pem reaches no server",
    "log": "no checkpoint that it signed proves anything any more: whoever verifies the log needs the new key (idplane log keys),"
    " and only checkpoints kept elsewhere tell what the log was before",
}
_REVOKED: Final = "every token issued until now, by whichever key, is refused at once; whoever is entitled gets new ones"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plane:
    """A running plane and the right to ask it."""

    description: PlaneDescription
    client: PlaneClient
    token: str

    @classmethod
    def reach(cls, data: Path) -> _Plane:
        description = read_plane(data)
        client = PlaneClient(Path(description.ca_file))
        return cls(description=description, client=client, token=operator_access(data, description, client, ARM_RESOURCE))

    def keys(self) -> list[JsonObject]:
        return list(pages(self.client, self._url(""), self.token))

    def act(self, name: str, action: str, body: JsonObject | None = None) -> JsonObject:
        return self.client.send("POST", self._url(f"/{name}/{action}"), token=self.token, body=body or {}).body

    def _url(self, rest: str) -> str:
        return f"{self.description.arm}/providers/Idplane.Security/keys{rest}?api-version={_API_VERSION}"


@click.group("keys")
@data_option
@click.pass_context
def command(context: click.Context, *, data: Path) -> None:
    """List, rotate, taint and revoke the keys that sign tokens and certificates."""
    context.obj = data


@command.command("list")
@inner_data_option
@json_option
def _list(*, data: Path, as_json: bool) -> None:
    """List every key: what for, its state, since and until when, and when the last of what it signed ends."""
    found = _Plane.reach(data).keys()
    if as_json:
        say_json({"keys": found})
        return
    heads = ("KEY", "PURPOSE", "STATE", "SIGNS", "SINCE", "UNTIL", "LAST SIGNED ENDS")
    say_columns([heads, *(_row(str(one["name"]), _properties(one)) for one in found)])


@command.command("rotate")
@click.argument("purpose", type=click.Choice(_PURPOSES), default="token")
@click.option(
    "--now", "at_once", is_flag=True, help="Do not wait until everybody who has to know the next key has heard of it."
)
@inner_data_option
@json_option
def _rotate(*, purpose: str, at_once: bool, data: Path, as_json: bool) -> None:
    """Let the next key of PURPOSE (token unless you say) take over. What earlier ones signed stays good.

    The next tls-authority is published first, for 14 days: agents and ca.pem have it when it begins to sign.
    """
    plane = _Plane.reach(data)
    before = _active(plane.keys(), purpose)
    plane.act(before, "rotate", {"now": True} if at_once else None)
    found = plane.keys()
    after = _active(found, purpose)
    waiting = next((one for one in found if after == before and _is_prepared(one, purpose)), None)
    if waiting is None:
        _say({"purpose": purpose, "before": before, "active": after}, f"{after} signs; {before} has retired", as_json=as_json)
        return
    following, at = str(waiting["name"]), _properties(waiting).get("until")
    told = {"purpose": purpose, "before": before, "active": after, "next": following, "signsFrom": at}
    _say(told, f"{following} is published, and signs from {at} on; until then {before} does", as_json=as_json)


@command.command("taint")
@click.argument("key")
@click.option("--yes", is_flag=True, help="Do not ask.")
@inner_data_option
@json_option
def _taint(*, key: str, yes: bool, data: Path, as_json: bool) -> None:
    """Let KEY count for nothing any more, with all that it signed: its private part is in the wrong hands."""
    plane = _Plane.reach(data)
    _confirm(key, _TAINTED.get(_purpose(plane.keys(), key), "it counts for nothing any more"), yes=yes)
    plane.act(key, "taint")
    _say({"tainted": key}, f"{key} is tainted", as_json=as_json)


@command.command("revoke")
@click.argument("key")
@click.option("--yes", is_flag=True, help="Do not ask.")
@inner_data_option
@json_option
def _revoke(*, key: str, yes: bool, data: Path, as_json: bool) -> None:
    """Taint the token-signing KEY, and let every token that was issued until now be refused, whichever key signed it."""
    plane = _Plane.reach(data)
    _purpose(plane.keys(), key)
    _confirm(key, _REVOKED, yes=yes)
    plane.act(key, "revoke")
    _say({"revoked": key}, f"{key} is revoked, with every token issued until now", as_json=as_json)


def _confirm(key: str, consequences: str, *, yes: bool) -> None:
    if not yes:
        click.confirm(f"{key}: {consequences}. Go on?", abort=True, err=True)


def _active(found: Sequence[JsonObject], purpose: str) -> str:
    for one in found:
        properties = _properties(one)
        if properties.get("purpose") == purpose and properties.get("signs"):
            return str(one["name"])
    raise CommandError(f"no key signs as {purpose}: taint the one that should, which makes another")


def _is_prepared(one: JsonObject, purpose: str) -> bool:
    properties = _properties(one)
    return properties.get("purpose") == purpose and properties.get("state") == "prepared"


def _purpose(found: Sequence[JsonObject], key: str) -> str:
    for one in found:
        if one.get("name") == key:
            return str(_properties(one).get("purpose"))
    raise CommandError(f"there is no key '{key}': idplane keys list shows them")


def _row(name: str, properties: JsonObject) -> tuple[str, ...]:
    times = (
        str(properties.get(one) or "-").partition(".")[0].removesuffix("Z") for one in ("since", "until", "lastSignedEnds")
    )
    return name, str(properties.get("purpose")), str(properties.get("state")), "yes" if properties.get("signs") else "", *times


def _properties(one: JsonObject) -> JsonObject:
    properties = one.get("properties")
    return properties if isinstance(properties, dict) else {}


def _say(told: JsonObject, words: str, *, as_json: bool) -> None:
    if as_json:
        say_json(told)
    else:
        click.echo(words)
