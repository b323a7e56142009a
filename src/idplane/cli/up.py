"""`idplane up`: run a plane in the foreground, and say what to do with it."""

from __future__ import annotations

import asyncio
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from idplane.bootstrap.settings import DEFAULT_PORT, UpSettings, environment
from idplane.cli.options import data_option, json_option
from idplane.cli.output import CommandError, say_json
from idplane.model.profile import PROFILES

if TYPE_CHECKING:
    from idplane.bootstrap.up import PlaneInfo

__all__ = ["command", "ready_screen"]

_LARGEST_PORT = 65535


def _days(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse what is no length of time before a plane is started."""
    if value is not None and value not in ("forever", "profile") and not re.fullmatch(r"[1-9]\d{0,4}d?", value, re.ASCII):
        raise click.BadParameter(f"'{value}' is neither a number of days nor 'forever' nor 'profile'")
    return value


@click.command("up")
@data_option
@click.option(
    "--port",
    type=click.IntRange(0, _LARGEST_PORT),
    default=DEFAULT_PORT,
    show_default=True,
    help="The port of https://localhost; 0 takes any free one.",
)
@click.option(
    "--profile",
    type=click.Choice(sorted(PROFILES)),
    default="azure",
    show_default=True,
    help="azure: Azure's limits and lifetimes. open: without those that are only Azure's.",
)
@click.option(
    "--no-rates",
    is_flag=True,
    help="The profile's limits, and none of its rates: for tests that ask faster than Azure would answer.",
)
@click.option(
    "--private-issuer",
    "private_issuers",
    metavar="URL",
    multiple=True,
    help="An issuer of federated tokens that may be asked over http and at a private address; may be given several times.",
)
@click.option(
    "--keep-activity",
    metavar="DAYS",
    callback=_days,
    help="Keep the activity log so long from now on: a number of days, `forever`, or `profile` (azure: 90 days).",
)
@click.option(
    "--keep-signins",
    "keep_sign_ins",
    metavar="DAYS",
    callback=_days,
    help="The same for the sign-in log (azure: 30 days).",
)
@click.option(
    "--otlp-endpoint",
    metavar="URL",
    help="Hand both logs on to the OpenTelemetry collector there (OTLP/HTTP, JSON). Headers: OTEL_EXPORTER_OTLP_HEADERS.",
)
@json_option
def command(  # noqa: PLR0913 - one parameter for each option
    *,
    data: Path,
    port: int,
    profile: str,
    no_rates: bool,
    private_issuers: tuple[str, ...],
    keep_activity: str | None,
    keep_sign_ins: str | None,
    otlp_endpoint: str | None,
    as_json: bool,
) -> None:
    """Run a plane on this machine, until Ctrl-C: identities, tokens, roles, vaults and logs, kept in the data folder.

    With --json, one line when it is ready: the same document that `idplane status --json` prints.
    """
    # The server's imports take longest; wrong options should not wait for them.
    from idplane.bootstrap.collector import HttpCollector, header_words  # noqa: PLC0415 - see above
    from idplane.bootstrap.up import PortTaken, serve  # noqa: PLC0415 - see above
    from idplane.store.datafolder import DataFolderProblem  # noqa: PLC0415 - see above

    # A link that signs in is for a person who looks at it, and not for a file that keeps what was printed.
    shown = not as_json and sys.stdout.isatty()

    def ready(info: PlaneInfo, link: str | None) -> None:
        if as_json:
            say_json({**asdict(info), "data": str(data)})
        else:
            click.echo(ready_screen(info, data, link))

    if otlp_endpoint is not None:
        try:
            HttpCollector(otlp_endpoint, header_words(environment().get("OTEL_EXPORTER_OTLP_HEADERS", "")))
        except ValueError as error:
            raise click.BadParameter(str(error)) from error
    settings = UpSettings(
        data=data,
        port=port,
        portal_link=shown,
        profile=PROFILES[profile].without_rates() if no_rates else PROFILES[profile],
        private_issuers=private_issuers,
        keep_activity=keep_activity,
        keep_sign_ins=keep_sign_ins,
        otlp_endpoint=otlp_endpoint,
    )
    try:
        asyncio.run(serve(settings, ready))
    except (PortTaken, DataFolderProblem) as problem:
        raise CommandError(str(problem)) from problem


def ready_screen(info: PlaneInfo, data: Path, link: str | None) -> str:
    """What to do next. Names files, never what is in them. `link` signs in to the portal once."""
    portal = f"{link}   {click.style('once, within 15 minutes', dim=True)}" if link else "idplane portal prints a link to it"
    heading = click.style("idplane is up", bold=True, fg="green")
    mark = click.style("$", dim=True)
    return f"""\
{heading} at {click.style(info.arm, bold=True)} (profile {info.profile}); Ctrl-C stops it, and nothing is lost.

  data          {data}
  portal        {portal}
  authority     {info.ca_file}
  tenant        {info.tenant_id}
  subscription  {info.subscription_id}

Try next, in another terminal:

  {mark} idplane token --operator --resource https://management.azure.com   {click.style("who you are here", dim=True)}
  {mark} idplane az group list                      {click.style("the Azure CLI, signed in as the operator", dim=True)}
  {mark} idplane portal --open                      {click.style("the same with a mouse", dim=True)}
  {mark} idplane run --as MY-VM -- python app.py    {click.style("code as a machine, with its identities and nothing else", dim=True)}
  {mark} idplane log signins --follow               {click.style("every token, as it is issued", dim=True)}
"""
