"""`idplane env`: variables that give any program on this machine a resource's identities."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

import click

from idplane.bootstrap.settings import environment
from idplane.cli.description import read_plane
from idplane.cli.launch import OTHER_TOKEN_SOURCES
from idplane.cli.link import ask
from idplane.cli.options import data_option, dialect_option, json_option, workload_choice, workload_options
from idplane.cli.output import CommandError, say_columns, say_json
from idplane.cli.trust import bundle_with, kept_trust, read_system_bundle
from idplane.model.values import JsonObject

__all__ = ["command", "dotenv_lines", "shell_lines"]


_EXAMPLES = """\b
Examples:
  eval "$(idplane env --as stock-vm)"
  idplane env --as stock-vm --format dotenv > .env
  idplane env --as stock-vm --dialect service-fabric
"""


@click.command("env", epilog=_EXAMPLES)
@data_option
@click.option("--as", "resource", metavar="RESOURCE", help="The resource's full id, or its name if that is unique.")
@dialect_option(
    "Whose variables: app-service, which the Azure SDKs of all languages honour, app-service-2017, machine-learning and"
    " service-fabric come with a secret; arc with files in /var/opt/azcmagent/tokens, for a plane that runs as root;"
    " workload-identity comes with a file below the data folder;"
    " imds and cloud-shell have none, so any process on this machine that finds the port gets the tokens."
    "  [default: as the resource's type has it; app-service for machines]"
)
@workload_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["shell", "dotenv"]),
    default="shell",
    show_default=True,
    help="shell: for eval. dotenv: NAME=value lines, for compose files and IDEs.",
)
@click.option("--list", "list_open", is_flag=True, help="List what is being served, by runs too.")
@click.option("--revoke", metavar="ID", help="Stop serving what an earlier call printed; --list has the ids.")
@json_option
def command(  # noqa: PLR0913 - click passes each option by itself
    *,
    data: Path,
    resource: str | None,
    dialect: str | None,
    account: str | None,
    identity: str | None,
    form: str,
    list_open: bool,
    revoke: str | None,
    as_json: bool,
) -> None:
    """Print variables with which any program on this machine gets tokens as a resource, until revoked or the plane stops.

    Whoever knows them has the resource's identities: prefer `idplane run` where it works.
    """
    if sum((resource is not None, list_open, revoke is not None)) != 1:
        raise click.UsageError("say one of --as RESOURCE, --list and --revoke ID")
    if list_open:
        _list(data, as_json=as_json)
    elif revoke is not None:
        ask(data, {"operation": "revoke", "id": revoke})
        _say_revoked(revoke, as_json=as_json)
    else:
        choice = workload_choice(dialect, account, identity)
        _open(data, {"resource": resource, "dialect": dialect, **choice}, form, as_json=as_json)


def shell_lines(variables: Mapping[str, str]) -> list[str]:
    """What a POSIX shell evaluates: other token sources go, these come."""
    unset = " ".join(name for name in OTHER_TOKEN_SOURCES if name not in variables)
    return [f"unset {unset}", *(f"export {name}={shlex.quote(value)}" for name, value in variables.items())]


def dotenv_lines(variables: Mapping[str, str]) -> list[str]:
    """NAME=value as compose files read it; double quotes only where a value needs them."""
    return [f"{name}={value if _is_plain(value) else _quoted(value)}" for name, value in variables.items()]


def _is_plain(value: str) -> bool:
    return all(character.isalnum() or character in "/:._-" for character in value)


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return f'"{escaped}"'


def _open(data: Path, asked: JsonObject, form: str, *, as_json: bool) -> None:
    plane = read_plane(data)
    opened = ask(data, {**asked, "operation": "env"})
    given = opened.get("variables")
    if not isinstance(given, dict):
        raise CommandError("the plane's answer makes no sense; is it another version?")
    base = environment()
    bundle = bundle_with(read_system_bundle(base), Path(plane.ca_file).read_bytes())
    variables = {**given, **kept_trust(data, bundle, base)}
    if as_json:
        say_json({"id": opened["id"], "resource": opened["resource"], "variables": variables})
        return
    for line in shell_lines(variables) if form == "shell" else dotenv_lines(variables):
        click.echo(line)


def _list(data: Path, *, as_json: bool) -> None:
    runs = ask(data, {"operation": "runs"}).get("runs")
    found: list[JsonObject] = runs if isinstance(runs, list) else []
    if as_json:
        say_json(found)
        return
    rows = [(str(run["id"]), str(run["isolation"]), str(run["pid"] or "-"), str(run["resource"])) for run in found]
    say_columns([("ID", "ISOLATION", "PROCESS", "RESOURCE"), *rows])


def _say_revoked(run_id: str, *, as_json: bool) -> None:
    if as_json:
        say_json({"revoked": run_id})
    else:
        click.echo(f"revoked {run_id}")
