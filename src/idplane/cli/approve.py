"""`idplane approve`: let a program that showed a code sign in as a user, or refuse it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import click

from idplane.cli.client import PlaneClient
from idplane.cli.description import read_plane
from idplane.cli.operator import ARM_RESOURCE, operator_access
from idplane.cli.options import data_option, json_option
from idplane.cli.output import CommandError, say_json
from idplane.model.values import JsonObject

__all__ = ["command"]

_API_VERSION = "2026-11-01"
_OPENID = frozenset({"openid", "profile", "email", "offline_access"})


@click.command("approve", short_help="Let a program that showed a code sign in as a user.")
@click.argument("code")
@click.option(
    "--as", "user", metavar="USER", help="The user's name or object id.  [default: the tenant's first user, admin@...]"
)
@click.option("--deny", is_flag=True, help="Refuse instead.")
@data_option
@json_option
def command(*, code: str, user: str | None, deny: bool, data: Path, as_json: bool) -> None:
    """Let the program that showed CODE sign in as a user of this plane, as `az login --use-device-code` asks for.

    Approve only what you started yourself: whoever showed the code can do what the user can, until the sign-in is ended.
    """
    if deny and user is not None:
        raise click.UsageError("--as is for approving")
    if not code.replace("-", "").replace(" ", "").isalnum():
        raise click.UsageError("a code is made of letters and digits")
    plane = read_plane(data)
    client = PlaneClient(Path(plane.ca_file))
    token = operator_access(data, plane, client, ARM_RESOURCE)
    base = f"{plane.arm}/providers/Idplane.Directory/deviceCodes/{quote(code)}"

    def post(word: str, body: JsonObject) -> Mapping[str, object]:
        answer = client.send("POST", f"{base}/{word}?api-version={_API_VERSION}", token=token, body=body).body
        properties = answer.get("properties")
        if not isinstance(properties, dict):
            raise CommandError("the plane's answer does not say what was asked for")
        return properties

    asked = post("show", {})
    if not as_json:
        click.echo(_in_words(asked))
    settled = post("deny", {}) if deny else post("approve", {} if user is None else {"user": user})
    if as_json:
        say_json(settled)
    elif deny:
        click.echo("denied")
    else:
        click.echo(f"approved: it signs in as {settled.get('user')}")


def _in_words(asked: Mapping[str, object]) -> str:
    wanted = " ".join(one for one in str(asked.get("scope")).split() if one not in _OPENID) or "to know who you are"
    address = f" from {asked['clientAddress']}" if asked.get("clientAddress") else ""
    program = f"{asked.get('clientName')} ({asked.get('clientId')})"
    return f"{program} asked{address} at {asked.get('requestedAt')} for {wanted}"
