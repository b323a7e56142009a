"""The process of `idplane server`: one of any number of stateless servers over one PostgreSQL database. Straight-line."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path

import msgspec

from idplane import __version__
from idplane.audit.retention import keep_log
from idplane.bootstrap.certificate_files import CertificateFiles
from idplane.bootstrap.health import Health
from idplane.bootstrap.leases import Leases
from idplane.bootstrap.log_keeping import CHECKPOINT_FILE
from idplane.bootstrap.logs import configure_logs
from idplane.bootstrap.observed import listen_privately
from idplane.bootstrap.operator import write_public_file
from idplane.bootstrap.portal import provider_of
from idplane.bootstrap.process import (
    CA_FILE,
    DESCRIPTION_FILE,
    PlaneInfo,
    PortTaken,
    allow_many_descriptors,
    stop_signal,
    until_told_to_stop,
)
from idplane.bootstrap.seed import allow_private_issuers
from idplane.bootstrap.server import ReplicaLimits, Server
from idplane.bootstrap.server_health import server_health
from idplane.bootstrap.server_settings import ServerSettings
from idplane.bootstrap.server_world import open_world, operable
from idplane.bootstrap.settings_file import SettingsProblem
from idplane.ports.collections import ACTIVITY, SIGN_INS
from idplane.web.origins import Origins
from idplane.web.serving import Listener

__all__ = ["certified_names", "describe", "make_folder", "origins_of", "publish", "serve_replica"]

_BACKLOG = 1024
_LOST = float("inf")


async def serve_replica(settings: ServerSettings, ready: Callable[[PlaneInfo], None]) -> None:
    """Run a server until SIGINT or SIGTERM. Raises `SettingsProblem` and `PortTaken` for what a person can mend."""
    stop = stop_signal()
    async with AsyncExitStack() as stack:
        with operable(settings):
            _log_as_set(settings)
            make_folder(settings.data, mode=0o755)
            files = CertificateFiles.of(settings)
            sock = stack.enter_context(_bind(*settings.listen))
            allow_many_descriptors()
            world = await open_world(settings, stack)
            port = sock.getsockname()[1]
            origins = origins_of(settings, port)
            server = await Server.open(
                world,
                names=certified_names(origins),
                limits=limits_of(settings),
                checkpoint_file=settings.data / CHECKPOINT_FILE,
                anchors=files.authority if files else None,
                provider=provider_of(settings.provider(), world),
            )
            stack.push_async_callback(server.close)
            await _settle(settings, server)
            shown = files.identity if files else None
            listener = await server.listen(sock, origins=origins, identity=shown, proxies=settings.proxies)
            stack.push_async_callback(listener.close)
            health = await _shown(settings, server, listener, stack)
            info = describe(settings, server, settings.data, port=port)
            publish(settings, server, info)
            server.certificates.authority = files.authority if files else None
            server.certificates.publish = partial(write_public_file, settings.data / CA_FILE)
            stack.callback(_withdraw, settings.data)
        ready(info)
        leaving = asyncio.ensure_future(_announce(stop, server, listener, health))
        stack.callback(leaving.cancel)
        await until_told_to_stop(_duties(settings, server), stop)
        await leaving
        await _drain(settings, server, listener)


async def _announce(stop: asyncio.Event, server: Server, listener: Listener, health: Health) -> None:
    """As soon as the process is told to stop, the balancer and the clients are told that it goes."""
    await stop.wait()
    health.drain()
    listener.drain()
    server.end_waiting()


def _log_as_set(settings: ServerSettings) -> None:
    table = settings.tables.log
    file = None if table.file is None else str(settings.path(table.file))
    configure_logs(msgspec.structs.replace(table, file=file))


async def _shown(settings: ServerSettings, server: Server, listener: Listener, stack: AsyncExitStack) -> Health:
    """What probes ask, on the private listener if there is one."""
    freshness, telemetry = server.world.store.freshness, server.world.telemetry
    health = server_health(server, freshness=freshness, bound=settings.tables.replica.staleness_seconds)
    listen = settings.tables.health.listen
    if listen is None:
        return health
    from idplane.bootstrap.survey import Survey  # noqa: PLC0415 - needs the extra that metrics need
    from idplane.bootstrap.telemetry import ProcessTelemetry  # noqa: PLC0415 - as above

    assert isinstance(telemetry, ProcessTelemetry)
    survey = Survey(server, telemetry, freshness=freshness, connections=lambda: {"public": listener.connections})
    try:
        await listen_privately(listen, health, survey.metrics, stack)
    except ValueError as problem:
        raise SettingsProblem(f"{settings.file}: {problem}") from problem
    return health


def make_folder(path: Path, *, mode: int) -> None:
    """Make a folder and those above it, unless they are there. Raises `OSError`."""
    path.mkdir(mode=mode, parents=True, exist_ok=True)


async def _duties(settings: ServerSettings, server: Server) -> None:
    world = server.world
    leases = Leases(
        store=world.store, clock=world.clock, holder=world.entropy.guid(), length=settings.tables.replica.lease_seconds
    )
    await asyncio.gather(server.duties(leases), _end_when_lost(settings, server))


async def _end_when_lost(settings: ServerSettings, server: Server) -> None:
    """A process that has missed changes for good must not go on with what it remembers; whoever supervises it starts it anew."""
    while server.world.store.freshness() != _LOST:
        await server.world.clock.sleep(1.0)
    raise SettingsProblem(
        f"{settings.file}: the database's feed of changes does not go on from where this server was: start it again"
    )


async def _drain(settings: ServerSettings, server: Server, listener: Listener) -> None:
    """End without a failed request. A second signal ends it at once."""
    hurry = stop_signal()
    waiting = asyncio.ensure_future(_leave(settings, server, listener))
    told = asyncio.ensure_future(hurry.wait())
    try:
        await asyncio.wait({waiting, told}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (waiting, told):
            task.cancel()
        await asyncio.gather(waiting, told, return_exceptions=True)


async def _leave(settings: ServerSettings, server: Server, listener: Listener) -> None:
    """Until the balancer has seen that this server goes, whoever comes is served; then nobody new is."""
    table = settings.tables.replica
    await server.world.clock.sleep(table.notice_seconds)
    await asyncio.gather(listener.finish(table.drain_seconds), server.manager.settle(table.drain_seconds))


def limits_of(settings: ServerSettings) -> ReplicaLimits:
    """What the settings say of one server among several."""
    table = settings.tables.replica
    return ReplicaLimits(staleness=table.staleness_seconds, feed_rows=table.feed_rows)


def origins_of(settings: ServerSettings, port: int) -> Origins:
    """What the settings call the installation."""
    table = settings.tables.server
    return Origins.public(table.public_url, names=table.names, port=port)


def describe(settings: ServerSettings, server: Server, folder: Path, *, port: int) -> PlaneInfo:
    """What commands need to find the installation from a folder with its `ca.pem`."""
    base = settings.tables.server.public_url.rstrip("/")
    origin = origins_of(settings, port).match(base.removeprefix("https://"))
    assert origin is not None
    return PlaneInfo(
        ready=True,
        arm=base,
        authority=base,
        graph=base,
        portal=f"{base}/portal",
        ca_file=str(folder / CA_FILE),
        tenant_id=server.installation.tenant.id,
        subscription_id=server.installation.subscription.id,
        operator_client_id=server.installation.operator.client_id,
        vault_suffix=origin.vault_domain,
        port=port,
        pid=os.getpid(),
        profile=server.world.profile.name,
        version=__version__,
    )


def publish(settings: ServerSettings, server: Server, info: PlaneInfo) -> None:
    """Write `ca.pem` and `plane.json` beside each other, which names the former relative to itself. Raises `OSError`."""
    authority = settings.tables.tls.authority
    pem = server.tls.ca_pem if authority is None else settings.path(authority).read_bytes()
    folder = Path(info.ca_file).parent
    write_public_file(folder / CA_FILE, pem)
    write_public_file(folder / DESCRIPTION_FILE, json.dumps({**asdict(info), "ca_file": CA_FILE}, indent=2).encode())


def _withdraw(folder: Path) -> None:
    """Remove the description, unless another process on the same folder has written its own since."""
    path = folder / DESCRIPTION_FILE
    try:
        mine = json.loads(path.read_bytes()).get("pid") == os.getpid()
    except (OSError, ValueError, AttributeError):
        return
    if mine:
        path.unlink(missing_ok=True)


async def _settle(settings: ServerSettings, server: Server) -> None:
    table = settings.tables.server
    for log, keep in ((ACTIVITY, table.keep_activity), (SIGN_INS, table.keep_sign_ins)):
        if keep is not None:
            await keep_log(server.world.store, log.name, keep)
    await allow_private_issuers(server.world, server.installation.tenant.id, table.private_issuers)


def certified_names(origins: Origins) -> tuple[str, ...]:
    """The names beyond the machine's own that the installation's authority has to be good for."""
    return tuple(name for name in origins.tls_names if not name.startswith("*.") and name not in Origins.local(1).tls_names)


def _bind(host: str, port: int) -> socket.socket:
    """A socket that other servers of this machine may share (SO_REUSEPORT): the next one is up before this one goes."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG, reuse_port=True)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(f"port {port} is taken by another program: stop it, or set another one as server.listen") from error
        raise PortTaken(f"{host}:{port} cannot be listened on: {error.strerror}") from error
