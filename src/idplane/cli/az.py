"""`idplane az`: the Azure CLI, unmodified, against this plane (control-plane.md section 2).

    find az → bring its configuration folder up to date → a tunnel for names below localhost → exec

What runs is the installed `az`: its exit code, streams, signals and words are its own.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

import click

from idplane.bootstrap.settings import environment
from idplane.cli.azure_cli import AzureCliHome
from idplane.cli.description import read_plane
from idplane.cli.launch import become, through_tunnel
from idplane.cli.link import ask
from idplane.cli.options import data_option, json_option
from idplane.cli.output import CommandError, say_json
from idplane.cli.trust import bundle_with, kept_bundle, read_system_bundle
from idplane.model.values import JsonObject

__all__ = ["command", "setup_lines"]

_SETUP = "setup"
_ABSENT = (
    "the Azure CLI is not installed: 'pipx install azure-cli' installs it (or see https://aka.ms/azure-cli),"
    " and --az names one that is not on PATH"
)

_EXAMPLES = """\b
Examples:
  idplane az group create --name demo --location westeurope
  idplane az identity create --name app --resource-group demo
  eval "$(idplane az setup)"
"""


@click.command(
    "az",
    context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True},
    epilog=_EXAMPLES,
)
@data_option
@click.option("--az", "program", metavar="FILE", help="The Azure CLI to run.  [default: az, as PATH finds it]")
@json_option
@click.argument("arguments", metavar="[ARG]...", nargs=-1, type=click.UNPROCESSED)
def command(*, data: Path, program: str | None, as_json: bool, arguments: tuple[str, ...]) -> None:
    """Run the installed Azure CLI against this plane, signed in as the operator.

    Its configuration is in the data folder; yours is neither read nor changed. Whom you sign in instead, with
    `idplane az login`, stays signed in.

    `idplane az setup` prints the same as commands for a shell (--json: as JSON).
    """
    plane = read_plane(data)
    base = environment()
    bundle = kept_bundle(data, bundle_with(read_system_bundle(base), Path(plane.ca_file).read_bytes()))
    home = AzureCliHome(data=data, plane=plane, bundle=bundle)
    if arguments == (_SETUP,):
        _say_setup(home, as_json=as_json)
        return
    if as_json:
        raise click.UsageError("--json is for 'idplane az setup': az's own option for it is --output json")
    az = _installed(program, base)
    variables = through_tunnel(base, _tunnel(data))
    home.prepare(az, variables)
    become([az, *arguments], home.environment(variables))


def setup_lines(home: AzureCliHome) -> list[str]:
    """What a POSIX shell runs to have `az` itself against the plane."""
    exports = [_export(name, value) for name, value in home.variables().items()]
    calls = [shlex.join(["az", *call]) for call in (home.register(), home.sign_in())]
    active = [_export(name, value) for name, value in home.active().items()]
    vaults = "# Names of vaults lead nowhere until 'idplane hosts --install' has written them down."
    return [*exports, calls[0], *active, calls[1], vaults]


def _tunnel(data: Path) -> dict[str, str]:
    """The variables of a tunnel that lasts as long as this process, whatever it becomes; raises `CommandError`."""
    given = ask(data, {"operation": "tunnel"}).get("variables")
    return {str(name): str(value) for name, value in given.items()} if isinstance(given, dict) else {}


def _export(name: str, value: str) -> str:
    return f"export {name}={shlex.quote(value)}"


def _say_setup(home: AzureCliHome, *, as_json: bool) -> None:
    if as_json:
        variables: JsonObject = {**home.variables(), **home.active()}
        say_json({"variables": variables, "commands": [["az", *home.register()], ["az", *home.sign_in()]]})
    else:
        click.echo("\n".join(setup_lines(home)))


def _installed(program: str | None, base: Mapping[str, str]) -> str:
    """The program to run; raises `CommandError` when there is none."""
    found = shutil.which(program or "az", path=base.get("PATH"))
    if found is None:
        raise CommandError(f"{program} is not a program" if program else _ABSENT, exit_code=127)
    return found
