"""`idplane portal`: a link that signs a person in to the portal, once."""

from __future__ import annotations

from html import escape
from pathlib import Path
from urllib.parse import quote

import click

from idplane.bootstrap.operator import write_private_file
from idplane.cli.client import PlaneClient
from idplane.cli.description import read_plane
from idplane.cli.operator import ARM_RESOURCE, operator_access
from idplane.cli.options import data_option, json_option
from idplane.cli.output import CommandError, say_json

__all__ = ["command"]

_API_VERSION = "2026-11-01"
_FIRST = "first"
_PAGE = "open-portal.html"
_LEADS_ON = '<!doctype html><meta http-equiv="refresh" content="0;url={}"><title>idplane</title>\n'


@click.command("portal", short_help="Print a link that signs you in to the portal.")
@click.option(
    "--as", "user", metavar="USER", help="The user's name or object id.  [default: the tenant's first user, admin@...]"
)
@click.option("--open", "opens", is_flag=True, help="Open it in the browser instead of printing it.")
@data_option
@json_option
def command(*, user: str | None, opens: bool, data: Path, as_json: bool) -> None:
    """Print a link that signs a person in to the portal: it counts once, for fifteen minutes.

    Whoever opens it is that user there until the sign-in ends. Give it to nobody else.
    """
    if opens and as_json:
        raise click.UsageError("--open prints nothing that --json could shape")
    plane = read_plane(data)
    client = PlaneClient(Path(plane.ca_file))
    token = operator_access(data, plane, client, ARM_RESOURCE)
    url = f"{plane.arm}/providers/Idplane.Directory/portalLinks/{quote(user or _FIRST, safe='')}/create?api-version={_API_VERSION}"
    made = client.send("POST", url, token=token, body={}).body.get("properties")
    if not isinstance(made, dict) or not isinstance(made.get("link"), str):
        raise CommandError("the plane's answer holds no link")
    if as_json:
        say_json(made)
    elif opens:
        _open(data, made["link"], str(made.get("user")))
    else:
        click.echo(made["link"])


def _open(data: Path, link: str, user: str) -> None:
    # By way of a file that only this user can read: what a program is started with, every user of the machine can.
    page = data / _PAGE
    write_private_file(page, _LEADS_ON.format(escape(link)).encode())
    if click.launch(page.as_uri()) != 0:
        raise CommandError("no browser could be started: print the link instead, without --open")
    click.echo(f"opened, as {user}", err=True)
