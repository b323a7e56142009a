"""A control server with a stand-in for the host agent and the real public names' certificates, in a thread of the test process."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from idplane.agent.api import Dialect, TokenAnswer
from idplane.agent.control import ControlServer
from idplane.agent.identities import Selector
from idplane.agent.opening import ServerCertificate
from idplane.agent.peers import Process
from idplane.agent.runs import Runs, Surroundings, choose_host
from idplane.agent.workload_identity import ProjectedToken, Projection, TokenFiles, TrustingClient
from idplane.bootstrap.world import SystemClock, SystemEntropy
from idplane.keys import RunAuthority, TlsIdentity
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject
from idplane.ports.store import Change

T = TypeVar("T")

_GROUP = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/"
VM_A = ResourceId.parse(f"{_GROUP}one/providers/Microsoft.Compute/virtualMachines/vm-a")
VM_B = ResourceId.parse(f"{_GROUP}one/providers/Microsoft.Compute/virtualMachines/vm-b")
TWIN = ResourceId.parse(f"{_GROUP}two/providers/Microsoft.Compute/virtualMachines/vm-b")
PLANE_PORT = 18443
NOWHERE = Surroundings(authority="https://nowhere.example/", folder=Path("/nowhere"))


@dataclass
class FakeListening:
    address: tuple[str, int]
    server: asyncio.Server | None = None
    requests: int = 0

    def is_open(self) -> bool:
        return self.server is not None and self.server.is_serving()

    async def close(self) -> None:
        assert self.server is not None
        self.server.close()

    def count(self) -> None:
        self.requests += 1


@dataclass
class FakeAgent:
    """Answers every request with the resource and run that the listener belongs to."""

    open: list[FakeListening] = field(default_factory=list)
    token_files: TokenFiles = field(default_factory=lambda: TokenFiles(issue=_project, clock=SystemClock()))

    async def listen(  # noqa: PLR0913 - as HostAgentApi has it
        self,
        sock: socket.socket,
        /,
        *,
        host: ResourceId,
        dialect: Dialect,
        secret: str | None = None,
        run_id: str | None = None,
        require_metadata: bool = True,  # noqa: ARG002 - as above
        names: Collection[str] = (),  # noqa: ARG002 - as above
        tls: ssl.SSLContext | None = None,
        key_folder: int | None = None,  # noqa: ARG002 - as above
        callers: socket.socket | None = None,  # noqa: ARG002 - as above
        process: Process | None = None,  # noqa: ARG002 - as above
    ) -> FakeListening:
        answer = {"host": str(host), "dialect": dialect.value, "run": run_id, "secret": secret}
        listening = FakeListening(sock.getsockname())
        listening.server = await asyncio.start_server(_http(answer, listening.count), sock=sock, ssl=tls)
        self.open.append(listening)
        return listening

    async def token(
        self, host: ResourceId, selector: Selector | None, resource: str, process: Process | None = None
    ) -> TokenAnswer:
        assert process is not None
        if selector is not None or host != VM_A:
            raise Failure(FailureKind.IDENTITY_NOT_FOUND, "Identity not found")
        now = SystemClock().now()
        return TokenAnswer(
            access_token="e30.e30.", client_id="c", resource=resource, not_before=now, expires_at=now + timedelta(hours=1)
        )

    async def default_identity(self, host: ResourceId) -> str | None:
        return "the-default" if host == VM_A else None

    def apply(self, changes: Sequence[Change]) -> None: ...

    async def follow(self) -> None: ...

    async def close(self) -> None: ...


async def _project(projection: Projection, /) -> ProjectedToken:
    if projection.host != VM_A:
        raise Failure(FailureKind.INVALID_PARAMETER, "this host has no issuer")
    now = SystemClock().now()
    return ProjectedToken(
        token=f"token of {projection.account or 'default'}",
        issuer="https://issuer.example",
        subject="s",
        tenant_id="the-tenant",
        issued_at=now,
        expires_at=now + timedelta(hours=1),
        trusted_by=(TrustingClient(client_id="the-client", name="shared", managed=True),),
    )


def _http(answer: Mapping[str, object], count: Callable[[], None] = lambda: None) -> Any:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        count()
        try:
            await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            writer.close()
            return
        body = json.dumps(answer).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    return serve


def tls_context(identity: TlsIdentity) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(identity.key_pem + identity.certificate_chain_pem)
        file.flush()
        context.load_cert_chain(file.name)
    return context


@dataclass
class FakeServing:
    ca_pem: bytes
    servers: list[asyncio.Server]

    async def close(self) -> None:
        for server in self.servers:
            server.close()


class FakePublicNames:
    def certificate(self, names: Sequence[str], /) -> ServerCertificate:
        authority = RunAuthority.create(SystemClock(), SystemEntropy(), domains=["localhost"])
        return ServerCertificate(context=tls_context(authority.issue(names[:1])), thumbprint="AB" * 20)

    async def open(self, https: socket.socket, plane: socket.socket | None, /) -> FakeServing:
        authority = RunAuthority.create(SystemClock(), SystemEntropy())
        context = tls_context(authority.issue(["login.microsoftonline.com", "*.vault.azure.net"]))
        servers = [await asyncio.start_server(_http({"served": "azure"}), sock=https, ssl=context)]
        if plane is not None:
            servers.append(await asyncio.start_server(_http({"served": "plane"}), sock=plane))
        return FakeServing(authority.ca_pem, servers)


class FakeHosts:
    async def client(self, text: str, /) -> str:
        return f"client-of-{text}"

    async def issuer(self, resource: ResourceId, account: str | None, /) -> JsonObject:
        return {"issuer": f"https://issuer.example{resource}", "subject": account or "default", "audience": "exchange"}

    async def resolve(self, text: str, /) -> ResourceId:
        known = (VM_A, VM_B, TWIN)
        if text.startswith("/"):
            return choose_host(text, (one for one in known if one == ResourceId.parse(text)))
        return choose_host(text, (one for one in known if one.name == text.lower()))

    async def is_open(self, host: ResourceId, /) -> bool:
        return host == VM_A


class RunWorld:
    """The running stand-in, and ways to start commands against it."""

    def __init__(self, folder: Path, loop: asyncio.AbstractEventLoop) -> None:
        self.folder = folder
        self.loop = loop
        self.agent = FakeAgent()
        self.runs = Runs(
            agent=self.agent,
            public=FakePublicNames(),
            clock=SystemClock(),
            entropy=SystemEntropy(),
            surroundings=Surroundings(authority=f"https://localhost:{PLANE_PORT}/", folder=folder / "runs"),
        )
        self.control = ControlServer(path=folder / "control.sock", runs=self.runs, hosts=FakeHosts(), agent=self.agent)

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-c", "from idplane.cli.main import main; main()", *arguments]

    def idplane(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        name, *rest = arguments
        return subprocess.run(
            self.command(name, "--data", str(self.folder), *rest),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **{"stdin": subprocess.DEVNULL, **options},
        )

    def run(self, *command: str, resource: str = "vm-a", **options: Any) -> subprocess.CompletedProcess[str]:
        return self.idplane("run", "--as", resource, "--", *command, **options)

    def start(self, *command: str, resource: str = "vm-a", **options: Any) -> subprocess.Popen[str]:
        arguments = self.command("run", "--data", str(self.folder), "--as", resource, "--", *command)
        return subprocess.Popen(arguments, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options)

    def wait_until(self, condition: Any) -> None:
        async def poll() -> None:
            clock = SystemClock()
            while not condition():
                await clock.sleep(0.01)

        self.call(asyncio.wait_for(poll(), 10))


@contextmanager
def run_world(folder: Path) -> Iterator[RunWorld]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = RunAuthority.create(SystemClock(), SystemEntropy())
    (folder / "ca.pem").write_bytes(authority.ca_pem)
    document = dict.fromkeys(("arm", "authority", "graph"), f"https://localhost:{PLANE_PORT}")
    document |= dict.fromkeys(("tenant_id", "subscription_id", "operator_client_id"), "11111111-1111-1111-1111-111111111111")
    document |= {"ca_file": str(folder / "ca.pem"), "vault_suffix": f"vault.localhost:{PLANE_PORT}"}
    (folder / "plane.json").write_text(json.dumps({**document, "port": PLANE_PORT, "ready": True, "pid": os.getpid()}))
    (folder / "operator.pem").write_text("the operator's key")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    world = RunWorld(folder, loop)
    try:
        world.call(world.control.start())
        yield world
        world.call(world.control.close())
        world.call(world.runs.close())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
