"""`idplane version`."""

from __future__ import annotations

import platform

import click

from idplane import __version__
from idplane.cli.options import json_option
from idplane.cli.output import say_json

__all__ = ["command"]


@click.command("version")
@json_option
def command(*, as_json: bool) -> None:
    """Print the version."""
    if as_json:
        say_json({"version": __version__, "python": platform.python_version()})
    else:
        click.echo(f"idplane {__version__}")
