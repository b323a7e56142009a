"""The control socket: how commands on this machine reach the running plane (messages: `control_wire`).

A Unix socket in the data folder, which only its owner may enter; on top of that the peer's uid must be ours or root's, and the peer
must live in our user namespace. The last is what keeps a workload that was started as one resource from opening a run as another: it
has the same uid and sees the same files, but it can never come back to this namespace.

One connection is one exchange, bounded in time, size and number. Every refusal is a `Failure`, worded for the person at the terminal.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import os
import socket
import stat
import struct
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias, assert_never

from idplane.agent.answers import REFUSAL_ID
from idplane.agent.api import HostAgentApi, TokenAnswer
from idplane.agent.control_wire import (
    HEADER_BYTES,
    MAX_DESCRIPTORS,
    PROTOCOL,
    body_length,
    control_address,
    decode,
    encode,
    text,
)
from idplane.agent.identities import Selector, SelectorKind
from idplane.agent.network import NamespaceHandles
from idplane.agent.peers import Peer, Process, peer_of
from idplane.agent.runs import Hosts, Isolation, NamespaceSockets, Opened, Run, Runs, WorkloadWish
from idplane.agent.sockets import is_elsewhere, is_tables_socket
from idplane.model.dialects import INSIDE_ADDRESSES, Dialect, default_dialect, variables_dialect
from idplane.model.failure import Failure, FailureKind
from idplane.model.values import JsonObject

__all__ = ["ControlServer", "Operation", "Peer", "refusal_of"]

_SECONDS = 10.0
_OPEN_SECONDS = 30.0
"""Opening a run may have to start a network."""
_CONNECTIONS = 64
_PAUSE_SECONDS = 0.5
_BACKLOG = 64
_log = logging.getLogger("idplane.agent.control")


class Operation(enum.StrEnum):
    """What a command can ask for."""

    RUN = "run"
    ENVIRONMENT = "env"
    TOKEN = "token"
    RESOLVE = "resolve"
    ISSUER = "issuer"
    RUNS = "runs"
    REVOKE = "revoke"
    TUNNEL = "tunnel"
    STATUS = "status"


def refusal_of(peer: Peer, own_uid: int) -> str | None:
    """Why a peer may not use this socket; None if it may. Pure."""
    if peer.uid not in {own_uid, 0}:
        return "this plane belongs to another user"
    if not peer.same_namespace:
        return "a process inside a run or a container may not control the plane"
    return None


class ControlServer:
    """Serves the socket at `path` from `start` to `close`. The caller holds the folder's lock: a file left there is stale."""

    def __init__(
        self, *, path: Path, runs: Runs, hosts: Hosts, agent: HostAgentApi, status: Callable[[], JsonObject] = dict
    ) -> None:
        """`status` is what the process says of itself."""
        self._path = path
        self._status = status
        self._runs = runs
        self._hosts = hosts
        self._agent = agent
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepting: asyncio.Task[None] | None = None
        self._socket: socket.socket | None = None

    async def start(self) -> None:
        """Bind and accept; raises `Failure(UNAVAILABLE)` when the folder takes no socket."""
        try:
            self._socket = _bind(self._path)
        except OSError as error:
            raise Failure(
                FailureKind.UNAVAILABLE, f"no control socket can be made at {self._path}: {error.strerror}"
            ) from error
        self._accepting = asyncio.create_task(self._accept(self._socket))

    async def close(self) -> None:
        """Stop accepting, drop exchanges that are under way, remove the socket. Runs are not ended: `Runs.close` does that."""
        if self._socket is None or self._accepting is None:
            return
        tasks = [self._accepting, *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._socket.close()
        self._path.unlink(missing_ok=True)
        self._socket = None

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError as error:  # out of descriptors, or a command that gave up: neither is a reason to stop listening
                _log.warning("a command could not be accepted: %s", error.strerror)
                await self._runs.clock.sleep(_PAUSE_SECONDS)
                continue
            if len(self._tasks) >= _CONNECTIONS:
                connection.close()
                continue
            task = asyncio.create_task(self._serve(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: socket.socket) -> None:
        with connection, ExitStack() as descriptors:
            channel = _Channel(connection, descriptors)
            try:
                async with asyncio.timeout(_OPEN_SECONDS):
                    await channel.send(await self._exchange(channel))
            except (TimeoutError, ConnectionError):
                return

    async def _exchange(self, channel: _Channel) -> JsonObject:
        try:
            with contextlib.ExitStack() as held:
                peer, pidfd = peer_of(channel.socket, held)
                refusal = refusal_of(peer, os.getuid())
                if refusal is not None:
                    raise Failure(FailureKind.FORBIDDEN, refusal)
                await channel.send({"protocol": PROTOCOL})
                async with asyncio.timeout(_SECONDS):
                    request = await channel.receive()
                return {"result": await self._perform(request, channel, Process(pid=peer.pid, descriptor=pidfd))}
        except Failure as failure:
            told = {"failure": failure.kind.name, "detail": failure.detail or failure.kind.name.lower().replace("_", " ")}
            return told | ({"refusal": failure.data[REFUSAL_ID]} if REFUSAL_ID in failure.data else {})
        except (TimeoutError, ConnectionError):
            raise
        except Exception:  # noqa: BLE001 - the last line of defence: a bug must not leave the command waiting
            _log.exception("bug in a control exchange")
            return {"failure": FailureKind.INTERNAL.name, "detail": "an internal error occurred; the plane's log tells more"}

    async def _perform(self, request: JsonObject, channel: _Channel, process: Process) -> JsonObject:
        try:
            operation = Operation(text(request, "operation"))
        except ValueError as error:
            raise Failure(
                FailureKind.INVALID_PARAMETER, "this plane does not know the operation; is it another version?"
            ) from error
        match operation:
            case Operation.RUN:
                return _opened(await self._open_run(request, channel, process))
            case Operation.ENVIRONMENT:
                return _opened(await self._open_variables(request))
            case Operation.RESOLVE | Operation.ISSUER:
                return await self._found(request, issuer=operation is Operation.ISSUER)
            case Operation.TOKEN | Operation.TUNNEL:
                return await self._given(operation, request, process)
            case Operation.STATUS | Operation.RUNS | Operation.REVOKE:
                return await self._managed(operation, request)
            case _:
                assert_never(operation)

    async def _managed(self, operation: Operation, request: JsonObject) -> JsonObject:
        """What the process says of itself, what it serves, and an end to one of those."""
        if operation is Operation.STATUS:
            return self._status()
        if operation is Operation.RUNS:
            return {"runs": [await self._listed(run) for run in self._runs.listing()]}
        await self._runs.revoke(text(request, "id"))
        return {}

    async def _listed(self, run: Run) -> JsonObject:
        return {**_described(run), "open": await self._hosts.is_open(run.resource)}

    async def _given(self, operation: Operation, request: JsonObject, process: Process) -> JsonObject:
        """What is the asking process' own: a token in its name, or a tunnel that ends with it."""
        if operation is Operation.TOKEN:
            return await self._token(request, process)
        owned = Process(pid=process.pid, descriptor=os.dup(process.descriptor))
        return {"variables": await self._runs.tunnels.open(owned)}

    async def _open_variables(self, request: JsonObject) -> Opened:
        resource = await self._hosts.resolve(text(request, "resource"))
        dialect = _dialect(request, variables_dialect(resource.type))
        workload = await self._workload(request)
        return await self._runs.open_environment(resource, None, dialect=dialect, workload=workload)

    async def _open_run(self, request: JsonObject, channel: _Channel, process: Process) -> Opened:
        resource = await self._hosts.resolve(text(request, "resource"))
        named = _named_descriptors(request, channel.received)
        _dialect(request, Dialect.IMDS)  # a bad one is refused before anything is owned
        workload = await self._workload(request)
        owned = Process(pid=process.pid, descriptor=os.dup(process.descriptor))
        if request.get("isolation") == Isolation.ENVIRONMENT.value:
            return await self._runs.open_environment(
                resource, owned, dialect=_dialect(request, variables_dialect(resource.type)), workload=workload
            )
        with ExitStack() as unless_opened:
            unless_opened.callback(os.close, owned.descriptor)
            dialect = _dialect(request, default_dialect(resource.type))
            sockets = _run_sockets(named, dialect)
            unless_opened.callback(sockets.close)
            handles = _namespace_handles(named)
            unless_opened.pop_all()
        return await self._runs.open_namespace(resource, sockets, owned, handles, dialect=dialect, workload=workload)

    async def _found(self, request: JsonObject, *, issuer: bool) -> JsonObject:
        """A resource with its dialect, or with what its workloads' own tokens say."""
        resource = await self._hosts.resolve(text(request, "resource"))
        if issuer:
            return await self._hosts.issuer(resource, (await self._workload(request)).account)
        return {"resource": str(resource), "dialect": default_dialect(resource.type).value}

    async def _workload(self, request: JsonObject) -> WorkloadWish:
        account, identity = (text(request, name) if request.get(name) is not None else None for name in ("account", "identity"))
        return WorkloadWish(account=account, client_id=await self._hosts.client(identity) if identity is not None else None)

    async def _token(self, request: JsonObject, process: Process) -> JsonObject:
        resource = await self._hosts.resolve(text(request, "resource"))
        answer = await self._agent.token(resource, _selector(request), text(request, "audience"), process)
        return _token_response(answer, round(self._runs.clock.now().timestamp()))


class _Channel:
    """One connection's frames. Received descriptors are closed with the exchange; who keeps one duplicates it."""

    def __init__(self, connection: socket.socket, descriptors: ExitStack) -> None:
        connection.setblocking(False)
        self.socket = connection
        self.received: list[int] = []
        self._descriptors = descriptors

    async def send(self, message: JsonObject) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, encode(message))

    async def receive(self) -> JsonObject:
        header = await self._exactly(HEADER_BYTES)
        return decode(await self._exactly(body_length(header)))

    async def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            data += await self._some(count - len(data))
        return bytes(data)

    async def _some(self, most: int) -> bytes:
        while True:
            try:
                return self._received(most)
            except BlockingIOError:
                await _readable(self.socket)

    def _received(self, most: int) -> bytes:
        space = socket.CMSG_SPACE(MAX_DESCRIPTORS * struct.calcsize("i"))
        data, ancillary, flags, _ = self.socket.recvmsg(most, space, socket.MSG_CMSG_CLOEXEC)
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                count = len(content) // struct.calcsize("i")
                for (descriptor,) in struct.iter_unpack("i", content[: count * struct.calcsize("i")]):
                    self._descriptors.callback(os.close, descriptor)
                    self.received.append(descriptor)
        if flags & socket.MSG_CTRUNC or len(self.received) > MAX_DESCRIPTORS:
            raise Failure(FailureKind.INVALID_PARAMETER, "too many descriptors came with the message")
        if not data:
            raise ConnectionResetError("the command went away")
        return data


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(sock, _wake, ready)
    try:
        await ready
    finally:
        loop.remove_reader(sock)


def _bind(path: Path) -> socket.socket:
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        listener.bind(control_address(path, descriptor))
        path.chmod(0o600)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    finally:
        os.close(descriptor)
    return listener


def _named_descriptors(request: JsonObject, received: list[int]) -> Mapping[str, int]:
    names = request.get("descriptors", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Failure(FailureKind.INVALID_PARAMETER, "'descriptors' must be a list of texts")
    if len(names) != len(received) or len(set(names)) != len(names):
        raise Failure(FailureKind.INVALID_PARAMETER, "the descriptors do not match their names")
    return dict(zip(names, received, strict=True))


_Expected: TypeAlias = tuple[socket.SocketKind, str, int | None]
_EXPECTED: Mapping[str, _Expected] = {
    "names_udp": (socket.SOCK_DGRAM, "168.63.129.16", 53),
    "names_tcp": (socket.SOCK_STREAM, "168.63.129.16", 53),
    "https": (socket.SOCK_STREAM, "127.0.0.1", 443),
    "plane": (socket.SOCK_STREAM, "127.0.0.1", None),
}


def _dialect(request: JsonObject, default: Dialect) -> Dialect:
    """The dialect that was asked for by name, else the default; raises `Failure(INVALID_PARAMETER)`."""
    if request.get("dialect") is None:
        return default
    try:
        return Dialect(text(request, "dialect"))
    except ValueError as error:
        raise Failure(FailureKind.INVALID_PARAMETER, f"there is no such dialect; there are: {', '.join(Dialect)}") from error


def _run_sockets(named: Mapping[str, int], dialect: Dialect) -> NamespaceSockets:
    """The launcher's sockets, each checked to be what its name says and to lie in another network namespace than ours."""
    expected: Mapping[str, _Expected] = _EXPECTED
    if dialect in INSIDE_ADDRESSES:
        expected = {**_EXPECTED, "endpoint": (socket.SOCK_STREAM, *INSIDE_ADDRESSES[dialect])}
    with ExitStack() as unless_complete:
        sockets = {
            name: _checked_socket(name, named[name], what, unless_complete) for name, what in expected.items() if name in named
        }
        missing = expected.keys() - sockets.keys() - {"plane"}
        if missing:
            raise Failure(FailureKind.INVALID_PARAMETER, f"the launcher sent no {min(missing)} socket")
        folder = _key_folder(named) if dialect in {Dialect.ARC, Dialect.WORKLOAD_IDENTITY} else None
        callers = _tables_socket(named, sockets["https"], unless_complete)
        unless_complete.pop_all()
    return NamespaceSockets(
        key_folder=folder,
        endpoint=sockets.get("endpoint"),
        names_udp=sockets["names_udp"],
        names_tcp=sockets["names_tcp"],
        https=sockets["https"],
        plane=sockets.get("plane"),
        callers=callers,
    )


def _tables_socket(named: Mapping[str, int], endpoint: socket.socket, unless_complete: ExitStack) -> socket.socket | None:
    """The socket that tells who connects to the endpoint; a launcher that sends none opens a run in which nobody can be told."""
    if "callers" not in named:
        return None
    try:
        sock = _duplicated(named["callers"])
        unless_complete.callback(sock.close)
        fits = is_tables_socket(sock, endpoint)
    except OSError as error:
        raise Failure(FailureKind.INVALID_PARAMETER, "the callers descriptor is no usable socket") from error
    if not fits:
        raise Failure(FailureKind.INVALID_PARAMETER, "the callers socket is not what a run may have")
    return sock


def _key_folder(named: Mapping[str, int]) -> int:
    """A copy of the descriptor of the folder that Arc's keys, or a workload's token, go into."""
    descriptor = named.get("key_folder")
    if descriptor is None or not stat.S_ISDIR(os.fstat(descriptor).st_mode):
        raise Failure(FailureKind.INVALID_PARAMETER, "the launcher sent no folder for keys")
    return os.dup(descriptor)


def _checked_socket(name: str, descriptor: int, expected: _Expected, unless_complete: ExitStack) -> socket.socket:
    kind, address, port = expected
    try:
        sock = _duplicated(descriptor)
        unless_complete.callback(sock.close)
        bound = sock.getsockname()
        listening = kind is socket.SOCK_DGRAM or sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        fits = (sock.family, sock.type) == (socket.AF_INET, kind) and bound == (address, bound[1] if port is None else port)
        elsewhere = is_elsewhere(sock, unknown=True)
    except OSError as error:
        raise Failure(FailureKind.INVALID_PARAMETER, f"the {name} descriptor is no usable socket") from error
    if not (fits and listening and elsewhere):
        raise Failure(FailureKind.INVALID_PARAMETER, f"the {name} socket is not what a run may have")
    sock.setblocking(False)
    return sock


def _duplicated(descriptor: int) -> socket.socket:
    copy = os.dup(descriptor)
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise


def _namespace_handles(named: Mapping[str, int]) -> NamespaceHandles | None:
    if "network_namespace" not in named:
        return None
    kinds = {name: str(Path(f"/proc/self/fd/{named[name]}").readlink()) for name in named if name.endswith("_namespace")}
    if not (kinds.get("user_namespace", "").startswith("user:") and kinds["network_namespace"].startswith("net:")):
        raise Failure(FailureKind.INVALID_PARAMETER, "the namespace descriptors are none")
    return NamespaceHandles(user=named["user_namespace"], network=named["network_namespace"])


def _selector(request: JsonObject) -> Selector | None:
    found = [Selector(kind, text(request, kind.value)) for kind in SelectorKind if kind.value in request]
    if len(found) > 1:
        raise Failure(FailureKind.SELECTOR_REPEATED, "name one identity, not several")
    return found[0] if found else None


def _described(run: Run) -> JsonObject:
    return {
        "id": run.id,
        "resource": str(run.resource),
        "dialect": run.dialect.value,
        "isolation": run.isolation.value,
        "network": run.network,
        "pid": run.pid,
        "openedAt": run.opened_at.isoformat(),
    }


def _opened(opened: Opened) -> JsonObject:
    return {
        **_described(opened.run),
        "authority": opened.authority.decode("ascii") if opened.authority is not None else None,
        "variables": dict(opened.variables),
        "nameservers": list(opened.nameservers),
        "azureNames": opened.azure_names,
    }


def _token_response(answer: TokenAnswer, now: int) -> JsonObject:
    """As a metadata endpoint words it (MIE section 1.3): numbers as texts, `expires_in` before `expires_on`."""
    expires = round(answer.expires_at.timestamp())
    return {
        "access_token": answer.access_token,
        "client_id": answer.client_id,
        "expires_in": str(max(0, expires - now)),
        "expires_on": str(expires),
        "not_before": str(round(answer.not_before.timestamp())),
        "resource": answer.resource,
        "token_type": answer.token_type,
    }
