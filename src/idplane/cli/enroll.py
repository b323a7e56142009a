"""`idplane enroll`: which machines become hosts of a resource, through Resource Manager as the operator."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import click

from idplane.cli.options import data_option, json_option
from idplane.cli.output import CommandError, say_json
from idplane.cli.workload_plane import WorkloadPlane

__all__ = ["command"]

_TYPE = "Idplane.Workloads/enrollments"
_TOKEN = "join"
_MAX_EXPIRY = 24 * 60
_EXAMPLES = """\b
Examples:
  idplane enroll token stock-vm --out /run/join-token
"""


@click.group("enroll", epilog=_EXAMPLES)
def command() -> None:
    """Say which machines become hosts of a resource."""


@command.command("token", short_help="Make a join token: it lets one machine become a host of a resource, once.")
@click.argument("host")
@data_option
@click.option("--name", default=_TOKEN, show_default=True, help="The enrollment that it is for; made when it is not there.")
@click.option(
    "--minutes",
    type=click.IntRange(1, _MAX_EXPIRY),
    default=60,
    show_default=True,
    help="How long it can be used.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write it to a new file that only you can read.",
)
@json_option
def _token(*, host: str, data: Path, name: str, minutes: int, out: Path | None, as_json: bool) -> None:
    """Make a join token for HOST, a resource's full id or unique name. It is shown once and kept nowhere."""
    plane = WorkloadPlane.open(data)
    resource = plane.resolve(host)
    if name.lower() not in plane.names(resource, _TYPE):
        plane.write(resource, _TYPE, name, {"properties": {"method": "token"}})
    made = plane.act(resource, _TYPE, name, "issueToken", {"expiresInSeconds": minutes * 60})
    if out is not None:
        _store(out, str(made.get("token")))
        made = {member: value for member, value in made.items() if member != "token"} | {"file": str(out)}
    if as_json:
        say_json(made)
    elif out is not None:
        click.echo(f"{out} lets one machine become a host of {resource.name}, until {made.get('expiresAt')}")
    else:
        click.echo(str(made.get("token")))
        click.echo(f"lets one machine become a host of {resource.name}, until {made.get('expiresAt')}", err=True)


def _store(path: Path, token: str) -> None:
    """A new file with mode 0600; raises `CommandError` rather than write over one."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with contextlib.closing(os.fdopen(descriptor, "w")) as file:
            file.write(token + "\n")
    except FileExistsError as error:
        raise CommandError(f"{path} is there already") from error
    except OSError as error:
        raise CommandError(f"{path} can't be written: {error.strerror}") from error
