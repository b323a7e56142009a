"""The `idplane` command. Commands are imported when they are called, since each `idplane run` waits for what is imported here."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import click

from idplane.cli.output import CommandError
from idplane.model.failure import Failure

__all__ = ["COMMANDS", "idplane", "main"]

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "up": "Run a plane on this machine, until Ctrl-C.",
        "server": "Run a server of an installation over PostgreSQL, one of any number.",
        "agent": "Run the agent of this host, or ask how it is.",
        "admin": "Look after an installation of servers: operators.",
        "demo": "Watch the whole story: a machine gets an identity, uses it, loses it.",
        "run": "Run a command as a resource, with its managed identities.",
        "env": "Print the variables that give a program a resource's identities.",
        "federate": "Let an identity trust what runs as a resource, or tell what it would have to trust.",
        "az": "Run the Azure CLI against this plane, signed in as the operator.",
        "token": "Get a token, as the operator or as a resource.",
        "portal": "Print a link that signs you in to the portal.",
        "approve": "Let a program that showed a code sign in as a user.",
        "keys": "List, rotate, taint and revoke the keys that sign tokens and certificates.",
        "binding": "Say which processes of a resource may use its identities.",
        "revoke": "Make tokens that were issued worth nothing, at once.",
        "enroll": "Say which machines become hosts of a resource.",
        "agents": "See the machines that are hosts, and ban or remove one.",
        "explain": "Tell why something was refused, or whether it would be.",
        "log": "Read what was done (activity) and which tokens were issued (signins).",
        "status": "Tell whether a plane is running, and where.",
        "hosts": "Print the lines that make vault names resolve outside of runs.",
        "version": "Print the version.",
    }
)
"""Name → what `idplane --help` says; the module `idplane.cli.{name}` has the command as `command`."""


class _Commands(click.Group):
    """Looks commands up by module name, and words failures that no command expected."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return [name for name in COMMANDS if importlib.util.find_spec(f"idplane.cli.{name}") is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command = importlib.import_module(f"idplane.cli.{cmd_name}").command
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name]) for name in self.list_commands(ctx)])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Failure as failure:
            raise CommandError(failure.detail or failure.kind.name.lower().replace("_", " ")) from failure


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def idplane() -> None:
    """Managed identities for anything you run: Azure's wire formats, your own machines.

    Start with `idplane demo`, or with `idplane up` and what it tells you.
    """


def main() -> None:
    """What the installed script calls."""
    idplane(prog_name="idplane")
