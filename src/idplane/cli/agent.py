"""`idplane agent`: the agent of a host, in the foreground; and how it is."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from idplane.bootstrap.settings import environment
from idplane.cli.link import ask
from idplane.cli.options import json_option
from idplane.cli.output import CommandError, say_columns, say_json
from idplane.model.values import JsonObject

if TYPE_CHECKING:
    from idplane.agent.process import AgentOptions
    from idplane.agent.settings import AgentSettings

__all__ = ["command"]

_REFUSED = 4
_NOT_RUNNING = 3
_EXAMPLES = """\b
Examples:
  idplane agent --server https://id.example.com --ca ca.pem --join token:join-token --data /var/lib/idplane-agent
  idplane agent --config /etc/idplane-agent/agent.toml
  idplane agent --example > agent.toml
  idplane agent status --data /var/lib/idplane-agent
"""


def _folder(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Path | None:
    if value is not None and not value.strip():
        raise click.BadParameter("the folder's name is empty")
    return Path(value).expanduser().absolute() if value else None


_data = click.option("--data", metavar="DIR", callback=_folder, help="The agent's state folder, private to its user.")


@click.group("agent", invoke_without_command=True, epilog=_EXAMPLES)
@click.option(
    "--server", "servers", metavar="URL", multiple=True, help="A server, https://name[:port]; may be given several times."
)
@click.option("--ca", metavar="FILE", help="The authority behind the servers' certificates, PEM.")
@click.option(
    "--join",
    metavar="METHOD",
    help="How this host proves what it is: token:FILE, x509:CERT,KEY, ssh:KEYFILE, tpm[:DEVICE], oidc:FILE.",
)
@_data
@click.option(
    "--config", metavar="FILE", help="Settings (TOML): endpoints and whatever else; --example prints an annotated file."
)
@click.option("--example", is_flag=True, help="Print annotated settings.")
@json_option
@click.pass_context
def command(  # noqa: PLR0913 - click passes each option by itself
    context: click.Context,
    *,
    servers: tuple[str, ...],
    ca: str | None,
    join: str | None,
    data: Path | None,
    config: str | None,
    example: bool,
    as_json: bool,
) -> None:
    """Run the agent of this host until SIGTERM: join, keep the host's certificate, serve tokens to its workloads.

    With --join the host joins if it has not joined yet, or when its certificate has run out. Exit code 4 when the servers refuse the
    agent and the settings say to end then.
    """
    if context.invoked_subcommand is not None:
        return
    if example:
        from idplane.agent.settings import EXAMPLE  # noqa: PLC0415 - only to print it

        click.echo(EXAMPLE, nl=False)
        return
    _run(_Given(servers=servers, ca=ca, join=join, data=data, config=config), as_json=as_json)


@command.command("status")
@click.option("--data", metavar="DIR", callback=_folder, required=True, help="The agent's state folder.")
@json_option
def status(*, data: Path, as_json: bool) -> None:
    """Tell how the agent is. Exit code 3 when none is running, 4 when the servers refuse it."""
    from idplane.agent.state import StateDamaged, load_state  # noqa: PLC0415 - what serves workloads need not load commands

    try:
        document: JsonObject = {"running": True, **ask(data, {"operation": "status"})}
    except CommandError as error:
        document = {"running": False, "reason": error.message.replace("plane", "agent")}
        with contextlib.suppress(OSError, StateDamaged):
            if (state := load_state(data)) is not None:
                document = {**document, "agentId": state.agent_id, "certificateUntil": state.not_after.isoformat()}
    if as_json:
        say_json(document)
    else:
        say_columns([(name, _shown(value)) for name, value in document.items() if value is not None and value != []])
    if not document["running"]:
        raise click.exceptions.Exit(_NOT_RUNNING)
    if document.get("refused"):
        raise click.exceptions.Exit(_REFUSED)


def _shown(value: object) -> str:
    if isinstance(value, list):
        return "; ".join(" ".join(map(str, one.values())) if isinstance(one, dict) else str(one) for one in value)
    return str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """The command line."""

    servers: tuple[str, ...]
    ca: str | None
    join: str | None
    data: Path | None
    config: str | None


def _options(given: _Given) -> tuple[AgentOptions, AgentSettings]:
    """The command line over the settings, and these; raises `CommandError`."""
    from idplane.agent.attestors import attestor_of  # noqa: PLC0415 - as in `_run`
    from idplane.agent.process import AgentOptions  # noqa: PLC0415 - as in `_run`
    from idplane.agent.remote import ServerAddress  # noqa: PLC0415 - as in `_run`
    from idplane.agent.settings import AgentSettings, SettingsProblem, read_settings  # noqa: PLC0415 - as in `_run`

    try:
        settings = read_settings(Path(given.config)) if given.config else AgentSettings()
    except SettingsProblem as problem:
        raise CommandError(str(problem)) from problem
    table = settings.agent
    servers, joining, ca = given.servers or table.servers, given.join or table.join, given.ca or table.ca
    data = given.data or (Path(table.data).expanduser().absolute() if table.data else None)
    if not servers or data is None:
        raise CommandError("an agent needs --server and --data, or settings that say both")
    if joining is not None and ca is None:
        raise CommandError(
            "joining needs --ca: the authority behind the servers' certificates, as the installation's ca.pem has it"
        )
    try:
        options = AgentOptions(
            servers=tuple(ServerAddress.parse(one) for one in servers),
            data=data,
            ca=Path(ca).expanduser().absolute() if ca else None,
            attestor=attestor_of(joining) if joining else None,
            host=table.host,
            ends_when_refused=table.when_refused == "exit",
            endpoints=settings.endpoint,
        )
    except ValueError as error:
        raise CommandError(str(error)) from error
    return options, settings


def _run(given: _Given, *, as_json: bool) -> None:
    # What takes longest to import comes after the options were found to be wrong or right.
    from idplane.agent.process import JoinProblem, Refused  # noqa: PLC0415 - see above
    from idplane.agent.serving import EndpointProblem  # noqa: PLC0415 - see above
    from idplane.agent.state import StateProblem  # noqa: PLC0415 - see above
    from idplane.bootstrap.logs import configure_logs  # noqa: PLC0415 - see above
    from idplane.bootstrap.telemetry_settings import LogSection  # noqa: PLC0415 - see above
    from idplane.model.failure import Failure  # noqa: PLC0415 - see above

    options, settings = _options(given)
    configure_logs(LogSection(format=settings.log.format, level=settings.log.level))
    health = settings.health.listen if settings.health else None
    try:
        asyncio.run(_serve(options, health, as_json=as_json))
    except Refused as refused:
        raise CommandError(str(refused), exit_code=_REFUSED) from refused
    except (JoinProblem, StateProblem, EndpointProblem) as problem:
        raise CommandError(str(problem)) from problem
    except Failure as failure:
        raise CommandError(failure.detail or failure.kind.name.lower()) from failure
    except ValueError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{error.filename or 'a file or address'}: {(error.strerror or '').lower()}") from error


async def _serve(options: AgentOptions, health: str | None, *, as_json: bool) -> None:
    from idplane.agent.process import AgentProcess, Watching  # noqa: PLC0415 - as in `_run`
    from idplane.bootstrap.world import SystemClock, SystemEntropy  # noqa: PLC0415 - as in `_run`

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    clock, entropy = SystemClock(), SystemEntropy()
    watching, telling = Watching(), AsyncExitStack()
    if health is not None:
        from idplane.bootstrap.agent_health import watched  # noqa: PLC0415 - for those who ask for it

        watching = watched(clock, entropy, telling)
    opening = loop.create_task(AgentProcess.open(options, clock=clock, entropy=entropy, watching=watching))
    stopping = loop.create_task(stop.wait())
    await asyncio.wait({opening, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not opening.done():
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        return
    try:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(telling)
            process = opening.result()
            stack.push_async_callback(process.close)
            if health is not None:
                from idplane.bootstrap.agent_health import serve_health  # noqa: PLC0415 - for those who ask for it

                await serve_health(stack, process, health, watching.telemetry)
            gc.freeze()  # what was loaded stays, and need not be looked through again
            _say_ready(process.status(), as_json=as_json)
            running = loop.create_task(process.run())
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    finally:
        stopping.cancel()


def _say_ready(document: JsonObject, *, as_json: bool) -> None:
    if as_json:
        say_json({"ready": True, **document})
    else:
        until = datetime.fromisoformat(str(document["certificateUntil"]))
        click.echo(f"agent {document['agentId']} is up; its certificate is good until {until:%Y-%m-%d %H:%M:%S} UTC")
    _notify("READY=1")


def _notify(words: str) -> None:
    """Tell systemd, if it started this process (sd_notify(3))."""
    address = environment().get("NOTIFY_SOCKET", "")
    if address[:1] in {"/", "@"}:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock, contextlib.suppress(OSError):
            sock.sendto(words.encode(), "\0" + address[1:] if address[0] == "@" else address)
