"""The endpoints that a settings file asks for: bound at the start, open as long as the agent runs, with the files by which clients find them.

What needs the server before it can open (a default identity, a workload's own token) is tried until it works; everything else listens at
once, and answers in its dialect's words while the server can't be reached.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from idplane.agent.backoff import Backoff
from idplane.agent.host import HostAgent
from idplane.agent.local_certificates import LocalCertificates
from idplane.agent.opening import EndpointWish, FileWish, open_endpoint, open_token_file
from idplane.agent.own_hosts import OwnHosts
from idplane.agent.settings import EndpointTable
from idplane.agent.workload_identity import Projection
from idplane.model.dialects import Dialect
from idplane.model.failure import Failure
from idplane.model.ids import ResourceId
from idplane.ports.world import Clock, Entropy

__all__ = ["EndpointProblem", "Endpoints", "Surroundings"]

_SECRET_BYTES: Final = 32
_LARGEST_SECRET: Final = 1024
_FILE_MODE: Final = 0o640
"""For the owner, and the group that a unit or an administrator gives such a file."""
_LATER: Final = frozenset({Dialect.MACHINE_LEARNING, Dialect.WORKLOAD_IDENTITY})
_log = logging.getLogger("idplane.agent")


class EndpointProblem(Exception):  # noqa: N818 - it is what the person at the terminal reads
    """Why an endpoint can't be served; its text is one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What endpoints are opened with."""

    agent: HostAgent
    hosts: OwnHosts
    certificates: LocalCertificates
    authority: str
    """Where workloads exchange tokens of their own; ends in a slash."""
    clock: Clock
    entropy: Entropy


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """An endpoint that is being served."""

    resource: ResourceId
    dialect: Dialect
    where: str


class Endpoints:
    """All configured endpoints, until `close`."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._around = surroundings
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self.open: list[Open] = []

    @property
    def waiting(self) -> bool:
        """Whether one of them still needs a server before it can open."""
        return any(not task.done() for task in self._tasks)

    async def start(self, tables: Sequence[EndpointTable]) -> None:
        """Open them; raises `EndpointProblem` for what a person has to mend."""
        for table in tables:
            resource = self._resource(table)
            if table.dialect in _LATER:
                self._tasks.append(asyncio.get_running_loop().create_task(self._until_open(table, resource)))
            else:
                try:
                    await self._serve(table, resource)
                except Failure as failure:
                    raise EndpointProblem(f"the {table.dialect.value} endpoint can't be opened: {failure.detail}") from failure

    async def close(self) -> None:
        """Stop serving all."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    def _resource(self, table: EndpointTable) -> ResourceId:
        if table.resource is not None:
            return ResourceId.parse(table.resource)
        try:
            return self._around.hosts.only()
        except Failure as failure:
            raise EndpointProblem(f"the {table.dialect.value} endpoint names no resource: {failure.detail}") from failure

    async def _until_open(self, table: EndpointTable, resource: ResourceId) -> None:
        backoff = Backoff(entropy=self._around.entropy, first=1.0, most=30.0)
        told = False
        while True:
            try:
                await self._serve(table, resource)
            except (Failure, EndpointProblem) as problem:
                if not told:
                    _log.warning("%s for %s can't be opened yet: %s", table.dialect.value, resource, problem)
                told = True
            else:
                return
            await self._around.clock.sleep(backoff.pause())

    async def _serve(self, table: EndpointTable, resource: ResourceId) -> None:
        async with AsyncExitStack() as stack:
            if table.dialect is Dialect.WORKLOAD_IDENTITY:
                where, variables = await self._file(stack, table, resource)
            else:
                where, variables = await self._endpoint(stack, table, resource)
            if table.env_file is not None:
                _write(Path(table.env_file), "".join(f"{name}={value}\n" for name, value in variables.items()))
            self._stack.push_async_callback(stack.pop_all().aclose)
        self.open.append(Open(resource=resource, dialect=table.dialect, where=where))

    async def _endpoint(
        self, stack: AsyncExitStack, table: EndpointTable, resource: ResourceId
    ) -> tuple[str, Mapping[str, str]]:
        sock = _bound(table)
        stack.callback(sock.close)
        address, port = sock.getsockname()[:2]
        wish = EndpointWish(
            host=resource,
            dialect=table.dialect,
            secret=_kept_secret(table, self._around.entropy),
            names=table.names,
            address=f"[{address}]" if ":" in address else address,
        )
        around = self._around
        variables = await open_endpoint(
            stack, sock, wish, agent=around.agent, certificates=around.certificates, entropy=around.entropy
        )
        return f"{address}:{port}", variables

    async def _file(self, stack: AsyncExitStack, table: EndpointTable, resource: ResourceId) -> tuple[str, Mapping[str, str]]:
        folder = table.token_folder or ""
        wish = FileWish(
            projection=Projection(host=resource, account=table.service_account),
            client_id=table.client_id,
            authority=self._around.authority,
            folder=Path(folder),
            descriptor=stack.enter_context(_kept_folder(Path(folder))),
        )
        return folder, await open_token_file(stack, wish, agent=self._around.agent)


@contextmanager
def _kept_folder(path: Path) -> Iterator[int]:
    """A configured folder for one token file, open. It may be there already: an agent that was killed takes nothing away."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise EndpointProblem(f"the folder {path} can't be made: {(error.strerror or '').lower()}") from error
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise EndpointProblem(f"the folder {path} belongs to another user, or others may write into it")
        yield descriptor
    finally:
        os.close(descriptor)
        with contextlib.suppress(OSError):
            path.rmdir()


def _bound(table: EndpointTable) -> socket.socket:
    family = socket.AF_INET6 if ipaddress.ip_address(table.address).version == 6 else socket.AF_INET  # noqa: PLR2004 - IPv6
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((table.address, table.port))
    except OSError as error:
        sock.close()
        raise EndpointProblem(_bind_words(table, error)) from error
    return sock


def _bind_words(table: EndpointTable, error: OSError) -> str:
    where = f"{table.address} port {table.port}"
    match error.errno:
        case errno.EADDRNOTAVAIL:
            return f"no interface has the address {table.address}: ip addr add {table.address}/32 dev lo"
        case errno.EACCES:
            return f"{where} needs a right that this user lacks: CAP_NET_BIND_SERVICE, or another port"
        case errno.EADDRINUSE:
            return f"{where} is taken by another program"
        case _:
            return f"{where} can't be listened on: {(error.strerror or '').lower()}"


def _kept_secret(table: EndpointTable, entropy: Entropy) -> str | None:
    """The secret that clients were given earlier, or a new one that is kept; None where nothing is to be kept."""
    if table.secret_file is None:
        return None
    path = Path(table.secret_file)
    try:
        with path.open("r", encoding="ascii") as file:
            found = file.read(_LARGEST_SECRET).strip()
    except FileNotFoundError:
        found = ""
    except (OSError, UnicodeDecodeError) as error:
        raise EndpointProblem(f"{path} can't be read") from error
    if found:
        return found
    made = entropy.bytes(_SECRET_BYTES).hex()
    _write(path, made + "\n")
    return made


def _write(path: Path, content: str) -> None:
    """Whole or not at all; raises `EndpointProblem`."""
    new = path.with_name(f".{path.name}.new")
    try:
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(new, flags, _FILE_MODE), "w", encoding="ascii") as file:
            os.fchmod(file.fileno(), _FILE_MODE)
            file.write(content)
        new.replace(path)
    except OSError as error:
        raise EndpointProblem(f"{path} can't be written: {(error.strerror or '').lower()}") from error
