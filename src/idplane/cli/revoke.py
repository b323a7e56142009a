"""`idplane revoke`: the tokens that were issued to an identity, to a host, or in the tenant are dead at once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from idplane.cli.client import PlaneClient
from idplane.cli.description import PlaneDescription, read_plane
from idplane.cli.operator import ARM_RESOURCE, operator_access
from idplane.cli.options import data_option, json_option
from idplane.cli.output import say_json
from idplane.cli.paging import id_of, pages
from idplane.model.ids import is_guid
from idplane.model.values import JsonObject

__all__ = ["command"]

_API_VERSION = "2026-11-01"
_LIST_VERSION = "2021-04-01"

_EXAMPLES = """\b
Examples:
  idplane revoke front-end
  idplane revoke stock-vm
  idplane revoke 5f0c1b7e-3f0f-4a57-9b52-6d2b8f2b0d11
  idplane revoke --tenant
"""


@click.command("revoke", epilog=_EXAMPLES, short_help="Make tokens that were issued worth nothing, at once.")
@click.argument("target", required=False)
@click.option("--tenant", is_flag=True, help="All tokens of the tenant, the operator's own among them.")
@data_option
@json_option
def command(*, target: str | None, tenant: bool, data: Path, as_json: bool) -> None:
    """Revoke the tokens of TARGET.

    TARGET is a user-assigned identity (all of its tokens, everywhere), a resource that bears identities (those that it got for them), or
    any principal by its object id. A resource is named by its full id, or its name if that is unique.

    Whoever is still entitled gets new tokens at once. To take the entitlement away, delete, unassign or disable instead.
    """
    if tenant is (target is not None):
        raise click.UsageError("say one of TARGET and --tenant")
    plane = read_plane(data)
    client = PlaneClient(Path(plane.ca_file))
    token = operator_access(data, plane, client, ARM_RESOURCE)
    body: JsonObject | None = None
    scope, said = "", "the tenant"
    if target is not None and is_guid(target):
        body, said = {"principalId": target}, target
    elif target is not None:
        scope = said = target if target.startswith("/") else id_of(target, _resources(client, plane, token), "resource")
    url = f"{plane.arm}{scope}/providers/Idplane.Authority/revokeTokens?api-version={_API_VERSION}"
    client.send("POST", url, token=token, body=body)
    if as_json:
        say_json({"revoked": said})
    else:
        click.echo(f"revoked the tokens of {said}")


def _resources(client: PlaneClient, plane: PlaneDescription, token: str) -> Iterable[JsonObject]:
    return pages(client, f"{plane.arm}/subscriptions/{plane.subscription_id}/resources?api-version={_LIST_VERSION}", token)
