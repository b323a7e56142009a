"""Runs: workloads that were started as a resource, and what serves them until they end (design section 4).

Owns the lifetime. A run begins with the sockets that its launcher made inside a new network namespace (or with a loopback port of its
own) and ends when its process does, when it is revoked, or with the plane; everything that was opened for it is closed then. Does
not decide which identities a run may have: its listener names the resource, and the host agent does the rest. So a run whose resource
is deleted keeps its listeners, and they answer that there is no identity. A plane that stops takes its runs' listeners with it; their
processes go on without identity, and nothing outside their namespaces remains of them.
"""

from __future__ import annotations

import asyncio
import enum
import os
import socket
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from idplane.agent.api import HostAgentApi
from idplane.agent.network import NamespaceHandles, Network
from idplane.agent.opening import Certificates, EndpointWish, FileWish, open_endpoint, open_token_file
from idplane.agent.peers import Process
from idplane.agent.tunnel import Tunnel, proxy_variables
from idplane.agent.tunnels import Tunnels
from idplane.agent.workload_identity import Projection
from idplane.model.azure import PUBLIC_HOSTS
from idplane.model.dialects import TOKEN_FOLDER, Dialect
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject
from idplane.ports.world import Clock, Entropy

__all__ = [
    "Hosts",
    "Isolation",
    "NamespaceSockets",
    "Opened",
    "Process",
    "PublicNames",
    "PublicNamesServing",
    "Run",
    "Runs",
    "Surroundings",
    "WorkloadWish",
    "choose_host",
]

_MOST_RUNS = 512
_SECRET_BYTES = 32
_ID_BYTES = 6
_BACKLOG = 128
_MOST_CANDIDATES = 10


class Isolation(enum.StrEnum):
    """How a workload is told apart from everything else on the machine."""

    NAMESPACE = "namespace"
    """By its own network namespace."""
    ENVIRONMENT = "env"
    """By a secret in its environment only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A workload being served."""

    id: str
    resource: ResourceId
    dialect: Dialect
    isolation: Isolation
    network: bool
    """Whether it reaches beyond its own namespace."""
    pid: int | None
    """None for variables that were handed out without a process (`idplane env`)."""
    opened_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A new run, and what its launcher needs."""

    run: Run
    authority: bytes | None = None
    """The certificate authority, PEM, behind Azure's public names inside this run; None outside namespaces."""
    azure_names: bool = True
    """Whether Azure's public names lead to the plane inside."""
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    nameservers: tuple[str, ...] = ()
    """Resolvers for other names than ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadWish:
    """What a person chose for workload identity."""

    account: str | None = None
    """`namespace/name` of a service account, on clusters."""
    client_id: str | None = None
    """Of the identity to be; None for the one that trusts the workload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Where runs outside of namespaces find things."""

    authority: str
    """The plane's own, as programs on this machine reach it."""
    folder: Path
    """For files of runs; each gets one of its own below it."""
    azure_names: bool = True
    """Whether Azure's public names lead to the plane, inside runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceSockets:
    """What a launcher bound inside its namespace. `plane` is None when the plane's port is that of `https`."""

    endpoint: socket.socket | None
    """For tokens, where the run's dialect has it; None if it has no endpoint."""
    names_udp: socket.socket
    names_tcp: socket.socket
    https: socket.socket
    plane: socket.socket | None
    key_folder: int | None = None
    """Arc's folder inside, open; or that of workload identity's file."""
    callers: socket.socket | None = None
    """For telling who connects (`sockets.SocketTables`)."""

    def close(self) -> None:
        """Close those that nobody took over."""
        if self.key_folder is not None:
            os.close(self.key_folder)
        for one in (self.endpoint, self.names_udp, self.names_tcp, self.https, self.plane, self.callers):
            if one is not None:
                one.close()


class PublicNamesServing(Protocol):
    """The server as it is found inside one run."""

    @property
    def ca_pem(self) -> bytes:
        """The authority behind its certificates, which lives and dies with the run."""
        ...

    async def close(self) -> None:
        """Stop serving."""
        ...


class PublicNames(Certificates, Protocol):
    """Serves Azure's public names (and, on `plane`, the installation's own) over TLS; takes the sockets over."""

    async def open(self, https: socket.socket, plane: socket.socket | None, /) -> PublicNamesServing:
        """Start serving with a new certificate authority."""
        ...


class Hosts(Protocol):
    """Finds the resource that a person means."""

    async def resolve(self, text: str, /) -> ResourceId:
        """A full id or a unique name → the id of an existing resource; raises `Failure`. `choose_host` has the rules."""
        ...

    async def is_open(self, host: ResourceId, /) -> bool:
        """Whether no binding says which processes may use the resource's identities."""
        ...

    async def client(self, text: str, /) -> str:
        """The client id that is meant: itself, or that of the user-assigned identity with this id or name; raises `Failure`."""
        ...

    async def issuer(self, resource: ResourceId, account: str | None, /) -> JsonObject:
        """What a federated credential must name to trust a workload: `issuer`, `subject` and `audience`; raises `Failure`."""
        ...


def choose_host(text: str, named: Iterable[ResourceId]) -> ResourceId:
    """The one resource that a short name means, out of those that bear it. Pure.

    Raises `Failure` RESOURCE_NOT_FOUND for none, and CONFLICT for several, naming them.
    """
    found = sorted(set(named), key=lambda one: one.key)
    if not found:
        raise Failure(FailureKind.RESOURCE_NOT_FOUND, f"there is no resource named '{text[:200]}'", name=text[:200])
    if len(found) > 1:
        shown = ", ".join(str(one) for one in found[:_MOST_CANDIDATES])
        more = f" and {len(found) - _MOST_CANDIDATES} more" if len(found) > _MOST_CANDIDATES else ""
        raise Failure(
            FailureKind.CONFLICT, f"'{text[:200]}' may mean any of these; use a full id: {shown}{more}", name=text[:200]
        )
    return found[0]


class Runs:
    """All runs of one plane. Invariant: what a run opened is closed exactly once, whichever way it ends."""

    def __init__(
        self,
        *,
        agent: HostAgentApi,
        public: PublicNames,
        clock: Clock,
        entropy: Entropy,
        surroundings: Surroundings,
        network: Network | None = None,
    ) -> None:
        self._agent = agent
        self._surroundings = surroundings
        self._public = public
        self.clock = clock
        self._entropy = entropy
        self._network = network or Network()
        self.tunnels = Tunnels(entropy=entropy)
        self._open: dict[str, tuple[Run, AsyncExitStack]] = {}
        self._endings: set[asyncio.Task[None]] = set()

    def listing(self) -> tuple[Run, ...]:
        """The runs being served, oldest first."""
        return tuple(run for run, _ in self._open.values())

    async def open_namespace(
        self,
        resource: ResourceId,
        sockets: NamespaceSockets,
        process: Process,
        network: NamespaceHandles | None,
        *,
        dialect: Dialect = Dialect.IMDS,
        workload: WorkloadWish | None = None,
    ) -> Opened:
        """Serve a network namespace; takes over the sockets and the process' descriptor, even when it raises.

        Raises `Failure` UNAVAILABLE when a network was asked for and there is no program to make one, LIMIT_EXCEEDED, and as
        `opening` does.
        """
        run = self._new(resource, Isolation.NAMESPACE, dialect, pid=process.pid, network=network is not None)
        async with AsyncExitStack() as stack:
            stack.callback(os.close, process.descriptor)
            stack.callback(sockets.close)
            self._check_room()
            nameservers = await self._connect(stack, network)
            if sockets.endpoint is None:
                variables = await self._serve_file(stack, run, workload, folder=sockets.key_folder)
            else:
                variables = await self._serve_tokens(
                    stack, run, sockets.endpoint, key_folder=sockets.key_folder, callers=sockets.callers
                )
            await self._serve_names(stack, sockets, network=run.network)
            serving = await self._public.open(sockets.https, sockets.plane)
            stack.push_async_callback(serving.close)
            self._keep(run, stack, process)
            return Opened(
                run=run,
                authority=serving.ca_pem,
                azure_names=self._surroundings.azure_names,
                nameservers=nameservers,
                variables=variables,
            )

    async def open_environment(
        self,
        resource: ResourceId,
        process: Process | None,
        *,
        dialect: Dialect = Dialect.APP_SERVICE,
        workload: WorkloadWish | None = None,
    ) -> Opened:
        """Serve variables: a loopback port, and a secret where the dialect has one.

        Without a process they last until revoked, or as long as the plane. A process also gets a tunnel by which Azure's public names lead here; variables that are handed out do not, since whoever
        uses them would send all of their traffic through it. Raises as `opening` does, and LIMIT_EXCEEDED.
        """
        run = self._new(resource, Isolation.ENVIRONMENT, dialect, pid=process.pid if process else None, network=True)
        async with AsyncExitStack() as stack:
            if process is not None:
                stack.callback(os.close, process.descriptor)
            self._check_room()
            if dialect is Dialect.WORKLOAD_IDENTITY:
                variables = await self._serve_file(stack, run, workload)
            else:
                variables = await self._serve_tokens(stack, run, _loopback_socket(stack), process=process)
            authority = None
            if process is not None and self._surroundings.azure_names:
                authority, proxy = await self._serve_tunnel(stack, self._entropy.bytes(_SECRET_BYTES).hex())
                variables |= proxy
            self._keep(run, stack, process)
        return Opened(run=run, authority=authority, variables=variables)

    async def revoke(self, run_id: str) -> None:
        """End a run's service; its process goes on without identity. Raises `Failure(RESOURCE_NOT_FOUND)`."""
        if run_id not in self._open:
            raise Failure(FailureKind.RESOURCE_NOT_FOUND, f"there is no run '{run_id[:64]}'")
        await self._end(run_id)

    async def close(self) -> None:
        """End all runs and tunnels."""
        await self.tunnels.close()
        await asyncio.gather(*(self._end(run_id) for run_id in tuple(self._open)))
        await asyncio.gather(*self._endings)

    def _new(self, resource: ResourceId, isolation: Isolation, dialect: Dialect, *, pid: int | None, network: bool) -> Run:
        return Run(
            id=self._entropy.bytes(_ID_BYTES).hex(),
            resource=resource,
            dialect=dialect,
            isolation=isolation,
            network=network,
            pid=pid,
            opened_at=self.clock.now(),
        )

    def _check_room(self) -> None:
        if len(self._open) >= _MOST_RUNS:
            raise Failure(FailureKind.LIMIT_EXCEEDED, f"{_MOST_RUNS} runs are being served already")

    async def _connect(self, stack: AsyncExitStack, network: NamespaceHandles | None) -> tuple[str, ...]:
        if network is None:
            return ()
        link = await self._network.connect(network)
        stack.push_async_callback(link.close)
        return link.nameservers

    async def _serve_names(self, stack: AsyncExitStack, sockets: NamespaceSockets, *, network: bool) -> None:
        # dnspython takes a tenth of a second to import, which a plane without runs need not pay.
        from idplane.agent.names import Names, NameServer  # noqa: PLC0415 - as above

        names = Names(network=network, azure=self._surroundings.azure_names)
        server = await NameServer.open(sockets.names_udp, sockets.names_tcp, names)
        stack.push_async_callback(server.close)

    async def _serve_tokens(
        self,
        stack: AsyncExitStack,
        run: Run,
        sock: socket.socket,
        *,
        key_folder: int | None = None,
        callers: socket.socket | None = None,
        process: Process | None = None,
    ) -> dict[str, str]:
        wish = EndpointWish(
            host=run.resource,
            dialect=run.dialect,
            run_id=run.id,
            inside=run.isolation is Isolation.NAMESPACE,
            key_folder=key_folder,
            callers=callers,
            process=process,
        )
        return await open_endpoint(stack, sock, wish, agent=self._agent, certificates=self._public, entropy=self._entropy)

    async def _serve_file(
        self, stack: AsyncExitStack, run: Run, workload: WorkloadWish | None, *, folder: int | None = None
    ) -> dict[str, str]:
        inside = run.isolation is Isolation.NAMESPACE
        wanted = workload or WorkloadWish()
        file = FileWish(
            projection=Projection(host=run.resource, account=wanted.account, run_id=run.id),
            client_id=wanted.client_id,
            authority=f"https://{PUBLIC_HOSTS['authority'][0]}/"
            if inside and self._surroundings.azure_names
            else self._surroundings.authority,
            folder=Path(TOKEN_FOLDER) if inside else self._surroundings.folder / run.id,
            descriptor=folder,
        )
        return await open_token_file(stack, file, agent=self._agent)

    async def _serve_tunnel(self, stack: AsyncExitStack, secret: str) -> tuple[bytes, dict[str, str]]:
        https, sock = _loopback_socket(stack), _loopback_socket(stack)
        # Asked for before they are served: a listener owns its socket.
        inside, (address, port) = https.getsockname(), sock.getsockname()
        serving = await self._public.open(https, None)
        stack.push_async_callback(serving.close)
        tunnel = Tunnel(inside=inside, secret=secret)
        await tunnel.start(sock)
        stack.push_async_callback(tunnel.close)
        return serving.ca_pem, proxy_variables(address, port, secret)

    def _keep(self, run: Run, stack: AsyncExitStack, process: Process | None) -> None:
        kept = stack.pop_all()
        self._open[run.id] = (run, kept)
        if process is not None:
            loop = asyncio.get_running_loop()
            kept.callback(loop.remove_reader, process.descriptor)
            loop.add_reader(process.descriptor, self._process_ended, run.id)

    def _process_ended(self, run_id: str) -> None:
        task = asyncio.ensure_future(self._end(run_id))
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    async def _end(self, run_id: str) -> None:
        _, stack = self._open.pop(run_id, (None, None))
        if stack is not None:
            await stack.aclose()


def _loopback_socket(stack: AsyncExitStack) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    stack.callback(sock.close)
    sock.bind(("127.0.0.1", 0))
    sock.listen(_BACKLOG)
    return sock
