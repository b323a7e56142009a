"""`idplane federate`: what a workload's own token says, and the credential that makes an identity trust it."""

from __future__ import annotations

import re
from pathlib import Path

import click

from idplane.cli.client import PlaneClient
from idplane.cli.description import read_plane
from idplane.cli.link import ask
from idplane.cli.operator import ARM_RESOURCE, operator_access
from idplane.cli.options import account_option, data_option, json_option, resource_option
from idplane.cli.output import CommandError, say_columns, say_json
from idplane.cli.paging import id_of, pages
from idplane.model.values import JsonObject

__all__ = ["command"]

_API_VERSION = "2024-11-30"
_IDENTITIES = "Microsoft.ManagedIdentity/userAssignedIdentities"
_MOST_NAME = 100

_EXAMPLES = """\b
Examples:
  idplane federate --as my-cluster --service-account shop/cart
  idplane federate --as my-cluster --service-account shop/cart cart-identity
"""


@click.command("federate", epilog=_EXAMPLES)
@data_option
@resource_option
@account_option
@click.option("--name", metavar="NAME", help="Of the federated credential.  [default: after the resource and the account]")
@json_option
@click.argument("identity", required=False)
def command(*, data: Path, resource: str, account: str | None, name: str | None, as_json: bool, identity: str | None) -> None:
    """Make the user-assigned IDENTITY (a resource id, or a unique name) trust what runs as a resource, for `--dialect workload-identity`.

    Without IDENTITY, tell what any federated credential must name for that: issuer, subject and audience.
    """
    asked: JsonObject = {"operation": "issuer", "resource": resource}
    trust = ask(data, asked if account is None else {**asked, "account": account})
    if identity is None:
        _say(trust, as_json=as_json)
        return
    made = _make(data, identity, name or _name(resource, account), trust)
    _say({"id": made["id"], **trust}, as_json=as_json)


def _name(resource: str, account: str | None) -> str:
    """3 to 120 characters of those that such names are made of."""
    words = (resource.rstrip("/").rpartition("/")[2], account or "")
    plain = "-".join(filter(None, (re.sub(r"[^a-zA-Z0-9]+", "-", word).strip("-") for word in words)))
    return f"run-{plain}"[:_MOST_NAME]


def _make(data: Path, identity: str, name: str, trust: JsonObject) -> JsonObject:
    plane = read_plane(data)
    client = PlaneClient(Path(plane.ca_file))
    token = operator_access(data, plane, client, ARM_RESOURCE)
    types = f"{plane.arm}/subscriptions/{plane.subscription_id}/providers/{_IDENTITIES}?api-version={_API_VERSION}"
    target = identity if identity.startswith("/") else id_of(identity, pages(client, types, token), "user-assigned identity")
    if f"/providers/{_IDENTITIES}/".lower() not in target.lower():
        raise CommandError(f"{target} is no user-assigned identity")
    url = f"{plane.arm}{target}/federatedIdentityCredentials/{name}?api-version={_API_VERSION}"
    properties = {"issuer": trust["issuer"], "subject": trust["subject"], "audiences": [trust["audience"]]}
    return client.send("PUT", url, token=token, body={"properties": properties}).body


def _say(document: JsonObject, *, as_json: bool) -> None:
    if as_json:
        say_json(document)
    else:
        say_columns([(name, str(value)) for name, value in document.items()])
