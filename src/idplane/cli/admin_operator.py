"""`idplane admin operator`: a folder from which commands reach the installation's servers as its operator."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path

import click

from idplane.cli.options import json_option
from idplane.cli.output import CommandError, say_json

__all__ = ["command"]


@click.command("operator")
@click.option("--config", type=click.Path(path_type=Path), required=True, metavar="FILE", help="A server's settings file.")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="The folder to make.")
@click.option("--replace", is_flag=True, help="Trust no earlier operator's key any more.")
@json_option
def command(*, config: Path, out: Path, replace: bool, as_json: bool) -> None:
    """Make a folder with a new operator's key (operator.pem), ca.pem and plane.json.

    `idplane token --operator --data DIR`, `idplane az --data DIR` and the others then work from any machine that reaches the servers.
    """
    from idplane.bootstrap.admission import OperatorFolderTaken, make_operator_folder  # noqa: PLC0415 - takes long to import
    from idplane.bootstrap.server_settings import read_server_settings  # noqa: PLC0415 - as above

    settings = read_server_settings(config)
    try:
        made = asyncio.run(make_operator_folder(settings, out.expanduser().absolute(), replace=replace))
    except OperatorFolderTaken as taken:
        raise CommandError(str(taken)) from taken
    if as_json:
        say_json(asdict(made))
        return
    click.echo(f"{made.ca_file.removesuffix('ca.pem')}: use it as --data; whoever reads operator.pem owns the installation")
