"""Network access for a run that asks for it: one user-mode network stack beside the plane, gone with the run.

pasta (from passt) or slirp4netns does the work, started from outside the namespace, so it is no child of the workload. Neither leads back
to this machine's own loopback services: a run reaches the plane by its own listeners only.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from idplane.model.failure import Failure, FailureKind

__all__ = ["Link", "NamespaceHandles", "Network", "pasta_command", "slirp4netns_command"]

_SECONDS = 10.0
_SLIRP_NAMESERVER = "10.0.2.3"
"""Where slirp4netns answers DNS (slirp4netns(1))."""
_PASTA_NAMESERVER = "169.254.53.53"
"""An address of our choosing that pasta takes queries for the machine's resolver at."""
_NONE_FOUND = (
    "a run can have a network only where pasta (package passt) or slirp4netns is installed; use --no-network or install one"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceHandles:
    """Open descriptors of a run's user and network namespaces; the opener closes them."""

    user: int
    network: int


class Link:
    """A running network stack."""

    def __init__(self, process: asyncio.subprocess.Process, nameservers: tuple[str, ...], held: int | None = None) -> None:
        """`held` is a descriptor that the stack ends with, so that it does not outlive a plane that was killed."""
        self._process = process
        self._held = held
        self.nameservers = nameservers

    async def close(self) -> None:
        """End it."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        if self._held is not None:
            os.close(self._held)
            self._held = None
        await self._process.wait()


class Network:
    """Starts a network stack for a namespace. `find` looks a program up, as `shutil.which` does."""

    def __init__(self, find: Callable[[str], str | None] = shutil.which) -> None:
        self._find = find

    async def connect(self, handles: NamespaceHandles) -> Link:
        """Give the namespace a way out; raises `Failure(UNAVAILABLE)` where no program for it is installed or it fails."""
        if (program := self._find("slirp4netns")) is not None:
            return await _start_slirp4netns(program, handles)
        if (program := self._find("pasta")) is not None:
            return await _start_pasta(program, handles)
        raise Failure(FailureKind.UNAVAILABLE, _NONE_FOUND)


def slirp4netns_command(program: str, handles: NamespaceHandles, *, ready: int, end: int) -> list[str]:
    """`ready` gets a byte when the interface is up; the program ends when the other side of `end` closes."""
    return [
        program,
        "--configure",
        "--mtu=65520",
        "--disable-host-loopback",
        "--netns-type=path",
        f"--userns-path=/proc/self/fd/{handles.user}",
        f"--ready-fd={ready}",
        f"--exit-fd={end}",
        f"/proc/self/fd/{handles.network}",
        "tap0",
    ]


def pasta_command(program: str, handles: NamespaceHandles, *, ready: int) -> list[str]:
    """`ready` gets the process id when the interface is up. As root, pasta would become nobody and could not join the namespace."""
    return [
        program,
        "--foreground",
        "--quiet",
        "--stderr",
        "--config-net",
        "--no-map-gw",
        "--no-netns-quit",
        *("--tcp-ports", "none", "--udp-ports", "none", "--tcp-ns", "none", "--udp-ns", "none"),
        *("--dns-forward", _PASTA_NAMESERVER),
        *("--runas", f"{os.getuid()}:{os.getgid()}"),
        *("--pid", f"/proc/self/fd/{ready}"),
        *("--userns", f"/proc/self/fd/{handles.user}"),
        *("--netns", f"/proc/self/fd/{handles.network}"),
    ]


async def _start_slirp4netns(program: str, handles: NamespaceHandles) -> Link:
    end, held = os.pipe()
    try:
        process = await _start(handles, end, lambda ready: slirp4netns_command(program, handles, ready=ready, end=end))
    except BaseException:
        os.close(held)
        raise
    finally:
        os.close(end)
    return Link(process, (_SLIRP_NAMESERVER,), held)


async def _start_pasta(program: str, handles: NamespaceHandles) -> Link:
    process = await _start(handles, None, lambda ready: pasta_command(program, handles, ready=ready))
    return Link(process, (_PASTA_NAMESERVER,))


async def _start(
    handles: NamespaceHandles, end: int | None, command: Callable[[int], Sequence[str]]
) -> asyncio.subprocess.Process:
    """Start a program and wait until it says that it is ready."""
    read, write = os.pipe()
    passed = [one for one in (handles.user, handles.network, write, end) if one is not None]
    try:
        process = await asyncio.create_subprocess_exec(
            *command(write),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=passed,
        )
    except OSError as error:
        os.close(read)
        raise Failure(FailureKind.UNAVAILABLE, f"the run's network could not be started: {error.strerror}") from error
    finally:
        os.close(write)
    if not await _is_ready(read):
        raise Failure(FailureKind.UNAVAILABLE, f"the run's network could not be started: {await _last_words(process)}")
    return process


async def _is_ready(read: int) -> bool:
    """Whether something was written to the pipe before it closed or time ran out; closes the descriptor."""
    loop = asyncio.get_running_loop()
    readable: asyncio.Future[None] = loop.create_future()
    loop.add_reader(read, _wake, readable)
    try:
        async with asyncio.timeout(_SECONDS):
            await readable
        return os.read(read, 64) != b""
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(read)
        os.close(read)


def _wake(readable: asyncio.Future[None]) -> None:
    if not readable.done():
        readable.set_result(None)


async def _last_words(process: asyncio.subprocess.Process) -> str:
    """The last line that a failed program wrote."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    _, errors = await process.communicate()
    lines = errors.decode(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "the program ended without a word"
