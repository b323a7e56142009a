"""`idplane token`: the token endpoint's answer for scripts, and what a token says for people. The token itself only with `--json`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import click

from idplane.cli.description import read_plane
from idplane.cli.link import ask
from idplane.cli.options import data_option, json_option
from idplane.cli.output import CommandError, say_columns, say_json
from idplane.model.values import JsonObject

__all__ = ["claim_rows", "command"]

_TIMES = frozenset({"iat", "nbf", "exp", "xms_tcdt"})
_MEANINGS: Mapping[str, str] = {
    "aud": "for whom",
    "iss": "who issued it",
    "oid": "principal id",
    "sub": "subject",
    "appid": "client id",
    "azp": "client id",
    "tid": "tenant",
    "iat": "issued at",
    "nbf": "not before",
    "exp": "expires",
    "idtyp": "kind of bearer",
    "roles": "application roles",
    "uti": "token id",
    "ver": "version",
    "xms_mirid": "managed identity",
    "xms_az_rid": "host",
}
_EXAMPLES = """\b
Examples:
  idplane token --as stock-vm --resource https://vault.azure.net
  idplane token --operator --resource https://management.azure.com --json
"""


@click.command("token", epilog=_EXAMPLES)
@data_option
@click.option("--operator", is_flag=True, help="As the owner of the data folder.")
@click.option("--as", "resource", metavar="RESOURCE", help="As a resource: its full id, or its name if that is unique.")
@click.option("--client-id", metavar="ID", help="With --as: the identity with this client id.")
@click.option("--object-id", metavar="ID", help="With --as: the identity with this principal id.")
@click.option("--identity", "resource_id", metavar="ID", help="With --as: the user-assigned identity with this resource id.")
@click.option("--resource", "audience", required=True, metavar="URI", help="What the token is for.")
@json_option
def command(  # noqa: PLR0913 - click passes each option by itself
    *,
    data: Path,
    operator: bool,
    resource: str | None,
    client_id: str | None,
    object_id: str | None,
    resource_id: str | None,
    audience: str,
    as_json: bool,
) -> None:
    """Get a token and show what it says; with --json, the token endpoint's whole answer, token included."""
    if operator == (resource is not None):
        raise click.UsageError("say one of --operator and --as RESOURCE")
    selectors = {"client_id": client_id, "object_id": object_id, "resource_id": resource_id}
    chosen = {name: value for name, value in selectors.items() if value is not None}
    if chosen and operator:
        raise click.UsageError("--client-id, --object-id and --identity go with --as")
    if len(chosen) > 1:
        raise click.UsageError("say one of --client-id, --object-id and --identity")
    if resource is None:
        answer = _as_operator(data, audience)
    else:
        answer = ask(data, {"operation": "token", "resource": resource, "audience": audience, **chosen})
    if as_json:
        say_json(answer)
    else:
        say_columns(claim_rows(_claims(answer)))


def claim_rows(claims: JsonObject) -> list[tuple[str, str, str]]:
    """Claim, meaning and value, in the token's order; times as people read them."""
    return [(name, _MEANINGS.get(name, ""), _shown(name, value)) for name, value in claims.items()]


def _shown(name: str, value: object) -> str:
    if name in _TIMES and isinstance(value, int | float):
        return f"{datetime.fromtimestamp(value, tz=UTC):%Y-%m-%d %H:%M:%S} UTC"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _as_operator(data: Path, audience: str) -> JsonObject:
    # HTTPS and keys take longer to import than asking as a resource takes in all.
    from idplane.cli.client import PlaneClient  # noqa: PLC0415 - see above
    from idplane.cli.operator import operator_token  # noqa: PLC0415 - see above

    plane = read_plane(data)
    return operator_token(data, plane, PlaneClient(Path(plane.ca_file)), audience)


def _claims(answer: JsonObject) -> JsonObject:
    from idplane.jose import parse  # noqa: PLC0415 - only to show a token

    token = answer.get("access_token")
    if not isinstance(token, str):
        raise CommandError("the plane's answer holds no token")
    return parse(token).claims
