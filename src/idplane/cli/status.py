"""`idplane status`: whether a plane is running on a data folder, where, and which of the resources that it serves are open to all."""

from __future__ import annotations

from pathlib import Path

import click

from idplane.cli.binding_words import OPEN
from idplane.cli.client import PlaneClient
from idplane.cli.description import read_document
from idplane.cli.link import ask
from idplane.cli.options import data_option, json_option
from idplane.cli.output import CommandError, say_columns, say_json
from idplane.model.values import JsonObject

__all__ = ["command", "current_status"]

_SECONDS = 5.0
_NOT_RUNNING = 3
_UNBOUND = "unbound"


@click.command("status")
@data_option
@json_option
def command(*, data: Path, as_json: bool) -> None:
    """Tell whether a plane is running, and where. Exit code 3 when none is.

    Names the resources that are being served and have no binding (`idplane binding`).
    """
    document = current_status(data)
    if as_json:
        say_json(document)
    elif document["ready"]:
        say_columns([(name, str(value)) for name, value in document.items() if name != _UNBOUND])
        for host in _texts(document.get(_UNBOUND)):
            click.echo(f"{host.rpartition('/')[2]}: {OPEN}")
    else:
        click.echo(f"not running: {document['reason']}")
    if not document["ready"]:
        raise click.exceptions.Exit(_NOT_RUNNING)


def current_status(data: Path) -> JsonObject:
    """The plane's description with `ready: true`, or `ready: false` with a reason.

    A plane is believed only when something at its address holds the installation's certificate: the file alone may be what a killed
    process left behind, and the port may be another program's by now.
    """
    try:
        document = read_document(data)
        client = PlaneClient(Path(str(document.get("ca_file"))), seconds=_SECONDS)
        client.request("GET", f"{document.get('authority')}/{document.get('tenant_id')}/.well-known/openid-configuration")
    except CommandError as error:
        return {"ready": False, "data": str(data), "reason": error.message}
    return {**document, "ready": True, "data": str(data), _UNBOUND: _unbound(data)}


def _unbound(data: Path) -> list[str] | None:
    """The resources that runs and handed-out variables are served for and that have no binding; None if that can't be told."""
    try:
        runs = ask(data, {"operation": "runs"}).get("runs")
    except CommandError:
        return None
    served = [run for run in runs if isinstance(run, dict)] if isinstance(runs, list) else []
    return sorted({str(run.get("resource")) for run in served if run.get("open") is True})


def _texts(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []
