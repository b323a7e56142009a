"""The process of `idplane up`: a data folder, a plane over it, and everything that lives as long as the process."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path

from idplane import __version__
from idplane.agent.control import ControlServer
from idplane.agent.runs import Runs, Surroundings
from idplane.audit.retention import keep_log
from idplane.bootstrap.collector import HttpCollector, header_words
from idplane.bootstrap.folder import open_custody, usable
from idplane.bootstrap.inside import PlaneHosts, PlanePublicNames
from idplane.bootstrap.log_export import LogExport
from idplane.bootstrap.log_keeping import CHECKPOINT_FILE
from idplane.bootstrap.operator import OPERATOR_FILE, OperatorKey, write_private_file, write_public_file
from idplane.bootstrap.plane import Plane
from idplane.bootstrap.process import (
    CA_FILE,
    DESCRIPTION_FILE,
    PlaneInfo,
    PortTaken,
    allow_many_descriptors,
    stop_signal,
    until_told_to_stop,
)
from idplane.bootstrap.seed import allow_private_issuers, trust_operator
from idplane.bootstrap.settings import UpSettings, environment
from idplane.bootstrap.world import SystemClock, SystemEntropy, World
from idplane.model.portal import CODE_BYTES, new_link
from idplane.ports.collections import ACTIVITY, PORTAL_LINKS, PRINCIPALS, SIGN_INS
from idplane.ports.store import ABSENT, Batch, Put
from idplane.store.datafolder import DataFolder
from idplane.store.sqlite import SqliteStore

__all__ = ["CA_FILE", "CONTROL_SOCKET", "DESCRIPTION_FILE", "PlaneInfo", "PortTaken", "serve"]

CONTROL_SOCKET = "control.sock"
RUNS_FOLDER = "runs"


async def serve(settings: UpSettings, ready: Callable[[PlaneInfo, str | None], None]) -> None:
    """Run a plane until SIGINT or SIGTERM. `ready` is told of it, and of a link that signs the first user in, if there is to be one.

    Raises `DataFolderProblem` and `PortTaken` for what a person can mend.
    """
    stop = stop_signal()
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(DataFolder.open(settings.data))
        sock = stack.enter_context(_bind(settings.port))
        allow_many_descriptors()
        clock, entropy = SystemClock(), SystemEntropy()
        with usable(folder):
            store = await SqliteStore.open(folder.database, clock=clock)
            stack.push_async_callback(store.close)
            custody = await open_custody(folder, store, entropy, complete=(folder.path / CA_FILE).exists())
            world = World(clock=clock, entropy=entropy, store=store, custody=custody, profile=settings.profile)
            # Beside the plane's own first key: making an RSA key takes 45 ms, at times 200.
            certificate = asyncio.get_running_loop().run_in_executor(None, _operator_certificate, folder.path, world)
            stack.callback(certificate.cancel)
            plane = await Plane.open(world, checkpoint_file=folder.path / CHECKPOINT_FILE)
            stack.push_async_callback(plane.close)
            await trust_operator(world, plane.server.installation.operator, await certificate)
            for log, keep in ((ACTIVITY, settings.keep_activity), (SIGN_INS, settings.keep_sign_ins)):
                if keep is not None:
                    await keep_log(store, log.name, keep)
            await allow_private_issuers(world, plane.server.installation.tenant.id, settings.private_issuers)
            write_public_file(folder.path / CA_FILE, plane.server.tls.ca_pem)
            plane.server.certificates.publish = partial(write_public_file, folder.path / CA_FILE)
            listener = await plane.server.listen(sock)
            stack.push_async_callback(listener.close)
        port = sock.getsockname()[1]
        surroundings = Surroundings(authority=f"{_base(port)}/", folder=_empty(folder.path / RUNS_FOLDER))
        public = PlanePublicNames(plane.server, port=port)
        runs = Runs(agent=plane.agent, public=public, clock=clock, entropy=entropy, surroundings=surroundings)
        stack.push_async_callback(runs.close)
        control = ControlServer(path=folder.path / CONTROL_SOCKET, agent=plane.agent, runs=runs, hosts=PlaneHosts(plane.server))
        await control.start()
        stack.push_async_callback(control.close)

        info = _describe(plane, folder.path, port=port)
        description = folder.path / DESCRIPTION_FILE
        with usable(folder):
            write_private_file(description, json.dumps(asdict(info), indent=2).encode())
        stack.callback(description.unlink, missing_ok=True)
        ready(info, await _link(plane, info) if settings.portal_link else None)
        await until_told_to_stop(_duties(plane, _export(settings, world)), stop)


def _bind(port: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port), backlog=512)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(f"port {port} is taken by another program: stop it, or choose another with --port") from error
        raise PortTaken(f"port {port} cannot be listened on: {error.strerror}") from error
    except OverflowError as error:
        raise PortTaken(f"{port} is not a port: choose one from 0 to 65535") from error


def _operator_certificate(folder: Path, world: World) -> bytes:
    """The certificate of the operator's key file, which is made anew when it is missing, holds no key, or is not valid now."""
    path = folder / OPERATOR_FILE
    try:
        key = OperatorKey.from_pem(path.read_bytes())
    except (FileNotFoundError, ValueError):
        key = None
    if key is None or not key.valid_at(world.clock.now()):
        key = OperatorKey.create(world.clock, world.entropy)
        write_private_file(path, key.pem())
    return key.certificate


def _base(port: int) -> str:
    return "https://localhost" if port == 443 else f"https://localhost:{port}"  # noqa: PLR2004 - the default port of https


def _empty(runs: Path) -> Path:
    """Without what a process that was killed left behind."""
    shutil.rmtree(runs, ignore_errors=True)
    return runs


def _describe(plane: Plane, folder: Path, *, port: int) -> PlaneInfo:
    base = _base(port)
    return PlaneInfo(
        ready=True,
        arm=base,
        authority=base,
        graph=base,
        portal=f"{base}/portal",
        ca_file=str(folder / CA_FILE),
        tenant_id=plane.server.installation.tenant.id,
        subscription_id=plane.server.installation.subscription.id,
        operator_client_id=plane.server.installation.operator.client_id,
        vault_suffix=base.removeprefix("https://").replace("localhost", "vault.localhost"),
        port=port,
        pid=os.getpid(),
        profile=plane.server.world.profile.name,
        version=__version__,
    )


async def _link(plane: Plane, info: PlaneInfo) -> str | None:
    """A link that signs the tenant's first user in; None when that user was deleted or disabled."""
    world, installation = plane.server.world, plane.server.installation
    user = await world.store.get(PRINCIPALS, installation.user_id)
    if user is None or not user.value.enabled:
        return None
    secret = world.entropy.bytes(CODE_BYTES)
    link, code = new_link(user.value, secret, made_by=installation.operator.id, now=world.clock.now())
    await world.store.commit(Batch.of(Put(collection=PORTAL_LINKS, value=link, expect=ABSENT)))
    return f"{info.portal}/sign-in#{code}"


def _export(settings: UpSettings, world: World) -> LogExport | None:
    if settings.otlp_endpoint is None:
        return None
    headers = header_words(environment().get("OTEL_EXPORTER_OTLP_HEADERS", ""))
    return LogExport(store=world.store, clock=world.clock, collector=HttpCollector(settings.otlp_endpoint, headers))


async def _duties(plane: Plane, export: LogExport | None) -> None:
    exports = () if export is None else (export.run("activity"), export.run("signins"))
    await asyncio.gather(plane.server.duties(), *exports)
