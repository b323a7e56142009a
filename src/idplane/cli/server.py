"""`idplane server`: run one of an installation's servers over PostgreSQL."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from idplane.cli.options import json_option
from idplane.cli.output import CommandError, say_json

if TYPE_CHECKING:
    from idplane.bootstrap.process import PlaneInfo

__all__ = ["command"]

_EXAMPLES = """\b
Examples:
  idplane server --example > server.toml
  idplane server --config server.toml
"""


@click.command("server", epilog=_EXAMPLES)
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="The settings file (TOML).")
@click.option("--database", metavar="URL", help="Instead of the address in the settings file; must not hold a password.")
@click.option("--example", is_flag=True, help="Print a settings file that explains every setting, and end.")
@json_option
def command(*, config: Path | None, database: str | None, example: bool, as_json: bool) -> None:
    """Run one server of an installation: any number of them share a PostgreSQL database, behind any TCP balancer.

    SIGTERM ends it without a failed request. With --json, one line when it is ready.
    """
    # The server's imports take longest; wrong options should not wait for them.
    from idplane.bootstrap.server_settings import example as text  # noqa: PLC0415 - see above
    from idplane.bootstrap.server_settings import read_server_settings  # noqa: PLC0415 - see above
    from idplane.bootstrap.settings_file import SettingsProblem  # noqa: PLC0415 - see above

    if example:
        click.echo(text(), nl=False)
        return
    if config is None:
        raise click.UsageError("say --config FILE; --example prints one")
    try:
        settings = read_server_settings(config, database=database)

        from idplane.bootstrap.process import PortTaken  # noqa: PLC0415 - see above
        from idplane.bootstrap.replica import serve_replica  # noqa: PLC0415 - see above

        def ready(info: PlaneInfo) -> None:
            if as_json:
                say_json({**asdict(info), "data": str(settings.data)})
            else:
                click.echo(
                    f"idplane server is ready on port {info.port}, as {info.arm} (profile {info.profile}); data in {settings.data}"
                )

        try:
            asyncio.run(serve_replica(settings, ready))
        except PortTaken as problem:
            raise CommandError(str(problem)) from problem
    except SettingsProblem as problem:
        raise CommandError(str(problem)) from problem
