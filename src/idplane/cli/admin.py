"""`idplane admin`: what is done to an installation of servers itself, by whoever holds its database and custody."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType

import click

from idplane.cli.output import CommandError

__all__ = ["SUBCOMMANDS", "command"]

SUBCOMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "rewrap": "Seal everything in the database anew, with the key that the settings name first.",
        "operator": "Make a folder with which commands act as the installation's operator.",
        "backup": "Write everything that the database holds to one file.",
        "restore": "Put a backup into an empty database, of either kind.",
        "check": "Tell whether what the database holds agrees with itself.",
    }
)
"""Name → what `idplane admin --help` says; the module `idplane.cli.admin_{name}` has the command as `command`."""


class _Subcommands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        if cmd_name not in SUBCOMMANDS:
            return None
        found = importlib.import_module(f"idplane.cli.admin_{cmd_name}").command
        return found if isinstance(found, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        with formatter.section("Commands"):
            formatter.write_dl(list(SUBCOMMANDS.items()))

    def invoke(self, ctx: click.Context) -> object:
        from idplane.bootstrap.settings_file import SettingsProblem  # noqa: PLC0415 - only who comes here waits for it

        try:
            return super().invoke(ctx)
        except SettingsProblem as problem:
            raise CommandError(str(problem)) from problem


@click.group("admin", cls=_Subcommands)
def command() -> None:
    """Look after an installation of servers: with its settings file, its database and its custody.

    `backup`, `restore` and `check` are for the data folder of `idplane up`, too, and take --json.
    """
