"""A plane in a thread, and agents of hosts that join it over TLS from this process, whose duties a test runs by hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from idplane.agent.attestors import attestor_of
from idplane.agent.process import AgentOptions, AgentProcess
from idplane.agent.remote import ServerAddress
from idplane.agent.settings import EndpointTable
from idplane.bootstrap.world import SystemClock, SystemEntropy
from idplane.model.ids import ResourceId
from idplane.providers.workload_types import VERSIONS
from idplane.testing.local import LocalPlane
from idplane.testing.values import HostResource

VAULT = "https://vault.azure.net"


@dataclass
class HostWorld:
    plane: LocalPlane
    vm: HostResource
    folder: Path

    def __post_init__(self) -> None:
        """What hosts are given to trust is the plane's authority as it is now."""
        self.ca_file.write_bytes(self.plane.ca_file.read_bytes())

    @property
    def ca_file(self) -> Path:
        return self.folder / "given-ca.pem"

    def enrollment(self, action: str = "", body: Any = None, *, method: str = "POST") -> Any:
        path = f"{self.vm.id}/providers/Idplane.Workloads/enrollments/join{action}"
        return self.plane.call(method, path, body, api_version=VERSIONS[-1]).body

    def join_token(self) -> Path:
        """A token in a file, good once."""
        self.enrollment("", {"properties": {"method": "token"}}, method="PUT")
        path = self.folder / "join-token"
        path.write_text(self.enrollment("/issueToken", {"expiresInSeconds": 600})["token"])
        path.chmod(0o600)
        return path

    def host_key(self) -> str:
        """An SSH host key that the machine is enrolled by, as `--join` names it."""
        key = ed25519.Ed25519PrivateKey.generate()
        path = self.folder / "ssh_host_ed25519_key"
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        path.chmod(0o600)
        public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        path.with_suffix(".pub").write_text(public)
        self.enrollment("", {"properties": {"method": "ssh", "publicKey": public}}, method="PUT")
        return f"ssh:{path}"

    def agents(self, agent_id: str, action: str) -> None:
        self.plane.call(
            "POST", f"{self.vm.id}/providers/Idplane.Workloads/agents/{agent_id}/{action}", api_version=VERSIONS[-1]
        )

    def remove(self, agent_id: str) -> None:
        path = f"{self.vm.id}/providers/Idplane.Workloads/agents/{agent_id}"
        self.plane.call("DELETE", path, api_version=VERSIONS[-1])

    def options(
        self, name: str = "agent", *, join: str | None = None, endpoints: tuple[EndpointTable, ...] = ()
    ) -> AgentOptions:
        return AgentOptions(
            servers=(ServerAddress.parse(self.plane.url),),
            data=self.folder / name,
            ca=self.ca_file,
            attestor=attestor_of(join) if join else None,
            endpoints=endpoints,
        )

    @asynccontextmanager
    async def agent(
        self, name: str = "agent", *, join: str | None = None, endpoints: tuple[EndpointTable, ...] = ()
    ) -> AsyncIterator[AgentProcess]:
        options = self.options(name, join=join, endpoints=endpoints)
        process = await AgentProcess.open(options, clock=SystemClock(), entropy=SystemEntropy())
        try:
            yield process
        finally:
            await process.close()

    @asynccontextmanager
    async def joined(self, name: str = "agent", *, endpoints: tuple[EndpointTable, ...] = ()) -> AsyncIterator[AgentProcess]:
        async with self.agent(name, join=f"token:{self.join_token()}", endpoints=endpoints) as process:
            yield process

    async def token(self, process: AgentProcess) -> str:
        host = ResourceId.parse(process.renewal.state.hosts[0])
        return (await process.agent.token(host, None, VAULT)).access_token


async def imds(port: int) -> tuple[int, dict[str, Any]]:
    """One request for a token, as a workload makes it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    target = f"/metadata/identity/oauth2/token?api-version=2018-02-01&resource={VAULT}"
    writer.write(f"GET {target} HTTP/1.1\r\nHost: 169.254.169.254\r\nMetadata: true\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), json.loads(body)
