"""Opening a token source in any dialect: its secret, certificate and files, and the variables by which clients find it (MIE sections 1.5 to 6)."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, assert_never

from idplane.agent.api import HostAgentApi
from idplane.agent.appservice import APP_SERVICE_PATH
from idplane.agent.arc import ARC_PATH
from idplane.agent.arc_keys import key_folder
from idplane.agent.cloudshell import CLOUD_SHELL_PATH
from idplane.agent.peers import Process
from idplane.agent.servicefabric import SERVICE_FABRIC_PATH
from idplane.agent.workload_identity import TOKEN_FILE, Projection, client_for
from idplane.model.dialects import Dialect
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.ports.world import Entropy

__all__ = ["Certificates", "EndpointWish", "FileWish", "ServerCertificate", "open_endpoint", "open_token_file"]

_SECRET_BYTES = 32
_OWN_NAMES = ("localhost", "127.0.0.1")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCertificate:
    """A certificate of this machine's own, ready to serve with."""

    context: ssl.SSLContext
    thumbprint: str
    """SHA-1 of the leaf, upper-case hex: how Service Fabric's clients know it."""


class Certificates(Protocol):
    """Makes certificates that workloads trust."""

    def certificate(self, names: Sequence[str], /) -> ServerCertificate:
        """A new one for these names."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointWish:
    """What is to be opened."""

    host: ResourceId
    dialect: Dialect
    run_id: str | None = None
    inside: bool = False
    """In a namespace, where fixed addresses are real and IMDS needs no variable."""
    key_folder: int | None = None
    """The namespace's folder for Arc's keys; None for this machine's own."""
    callers: socket.socket | None = None
    """For telling who connects, in a namespace."""
    process: Process | None = None
    """The process that it is opened for, outside of one."""
    secret: str | None = field(default=None, repr=False)
    """What opens it, where it has to be the same as before; None for a new one."""
    names: tuple[str, ...] = ()
    """Further Host header values that it answers to."""
    address: str = "127.0.0.1"
    """By which its clients reach it, outside of namespaces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Door:
    """What the variables of an open endpoint are made of."""

    port: int
    secret: str = field(repr=False)
    thumbprint: str = ""
    default_identity: str | None = None


async def open_endpoint(
    stack: AsyncExitStack,
    sock: socket.socket,
    wish: EndpointWish,
    *,
    agent: HostAgentApi,
    certificates: Certificates,
    entropy: Entropy,
) -> dict[str, str]:
    """Serve `sock` until the stack ends; the variables that lead to it.

    Raises `Failure(UNAVAILABLE)` for Arc where there is no folder for its keys, and what `HostAgentApi.default_identity` raises.
    """
    secret = wish.secret or entropy.bytes(_SECRET_BYTES).hex()
    served = certificates.certificate((*_OWN_NAMES, *wish.names)) if wish.dialect is Dialect.SERVICE_FABRIC else None
    folder = wish.key_folder
    if wish.dialect is Dialect.ARC and folder is None:
        folder = stack.enter_context(key_folder())
    learning = wish.dialect is Dialect.MACHINE_LEARNING
    listening = await agent.listen(
        sock,
        host=wish.host,
        dialect=wish.dialect,
        secret=secret,
        run_id=wish.run_id,
        names=wish.names,
        tls=served.context if served else None,
        key_folder=folder,
        callers=wish.callers,
        process=wish.process,
    )
    stack.push_async_callback(listening.close)
    door = _Door(
        port=listening.address[1],
        secret=secret,
        thumbprint=served.thumbprint if served else "",
        default_identity=await agent.default_identity(wish.host) if learning else None,
    )
    return _variables(wish, door)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileWish:
    """What is to be kept in a file, for workload identity."""

    projection: Projection
    client_id: str | None
    """Of the identity or application that it is for; None for the one that trusts it."""
    authority: str
    """Where clients exchange it."""
    folder: Path
    """As the workload sees it."""
    descriptor: int | None = None
    """The open folder, where that is another one than this process sees; stays its caller's."""


async def open_token_file(stack: AsyncExitStack, wish: FileWish, *, agent: HostAgentApi) -> dict[str, str]:
    """Keep a file until the stack ends; the variables by which clients find it, and the authority.

    Raises `Failure(UNAVAILABLE)` where no file can be, and what `TokenFiles.open` and `client_for` raise.
    """
    folder = wish.descriptor if wish.descriptor is not None else stack.enter_context(_private_folder(wish.folder))
    token, close = await agent.token_files.open(wish.projection, folder)
    stack.push_async_callback(close)
    return {
        "AZURE_CLIENT_ID": wish.client_id or client_for(wish.projection.host, token),
        "AZURE_TENANT_ID": token.tenant_id,
        "AZURE_FEDERATED_TOKEN_FILE": str(wish.folder / TOKEN_FILE),
        "AZURE_AUTHORITY_HOST": wish.authority,
    }


@contextmanager
def _private_folder(path: Path) -> Iterator[int]:
    """A folder of its own for one file, gone with it."""
    try:
        path.mkdir(mode=0o700, parents=True)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise Failure(FailureKind.UNAVAILABLE, f"the folder {path} can't be made: {error.strerror}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)
        with contextlib.suppress(OSError):
            path.rmdir()


def _variables(wish: EndpointWish, door: _Door) -> dict[str, str]:
    """What a process needs; bare host and port, lower case, since clients are particular (MIE section 1.5)."""
    host = "localhost" if wish.inside else wish.address
    base = f"http://{host}:{door.port}"
    match wish.dialect:
        case Dialect.IMDS:
            found = {} if wish.inside else {"AZURE_POD_IDENTITY_AUTHORITY_HOST": base}
        case Dialect.APP_SERVICE:
            found = {"IDENTITY_ENDPOINT": base + APP_SERVICE_PATH, "IDENTITY_HEADER": door.secret}
        case Dialect.APP_SERVICE_2017:
            found = {"MSI_ENDPOINT": base + APP_SERVICE_PATH, "MSI_SECRET": door.secret}
        case Dialect.ARC:
            found = {"IDENTITY_ENDPOINT": base + ARC_PATH, "IMDS_ENDPOINT": base}
        case Dialect.SERVICE_FABRIC:
            found = {
                "IDENTITY_ENDPOINT": f"https://{host}:{door.port}{SERVICE_FABRIC_PATH}",
                "IDENTITY_HEADER": door.secret,
                "IDENTITY_SERVER_THUMBPRINT": door.thumbprint,
                "IDENTITY_API_VERSION": "2019-07-01-preview",
            }
        case Dialect.CLOUD_SHELL:
            # MSAL's own way looks for the fixed address, which exists inside only.
            shell = {"AZUREPS_HOST_ENVIRONMENT": "cloud-shell/1.0"} if wish.inside else {}
            found = {"MSI_ENDPOINT": base + CLOUD_SHELL_PATH, **shell}
        case Dialect.MACHINE_LEARNING:
            default = {"DEFAULT_IDENTITY_CLIENT_ID": door.default_identity} if door.default_identity else {}
            found = {"MSI_ENDPOINT": base + APP_SERVICE_PATH, "MSI_SECRET": door.secret, **default}
        case Dialect.WORKLOAD_IDENTITY:
            raise ValueError("workload identity has no endpoint")
        case _:
            assert_never(wish.dialect)
    return found
