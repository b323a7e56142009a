"""What every serving process does alike: signals, descriptors, and the document by which others find it."""

from __future__ import annotations

import asyncio
import resource
import signal
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

__all__ = [
    "CA_FILE",
    "DESCRIPTION_FILE",
    "PlaneInfo",
    "PortTaken",
    "allow_many_descriptors",
    "stop_signal",
    "until_told_to_stop",
]

CA_FILE = "ca.pem"
"""Written when all else is ready, so its presence says that a start was complete."""
DESCRIPTION_FILE = "plane.json"
_DESCRIPTORS = 8192


class PortTaken(Exception):  # noqa: N818 - it is what the person at the terminal reads
    """The port cannot be listened on; the text is one sentence that says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneInfo:
    """What others need to find a running plane; the content of `plane.json`. Holds nothing secret."""

    ready: bool
    arm: str
    authority: str
    graph: str
    portal: str
    ca_file: str
    tenant_id: str
    subscription_id: str
    operator_client_id: str
    vault_suffix: str
    port: int
    pid: int
    profile: str
    version: str


def allow_many_descriptors() -> None:
    """Connections are descriptors; the usual limit of 1024 is there for programs that use `select`, and this is none."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def stop_signal() -> asyncio.Event:
    """Set by SIGINT and SIGTERM, from the very start: one that comes early ends the start in good order."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


async def until_told_to_stop(work: Coroutine[Any, Any, None], stop: asyncio.Event) -> None:
    """Do the work until `stop` is set; work that ends by itself ends the waiting, too."""
    loop = asyncio.get_running_loop()
    duties = loop.create_task(work)
    waiting = loop.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait({duties, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if duties in done:
            duties.result()  # A bug in a duty ends the process with its traceback, rather than leave it half alive.
    finally:
        for task in (duties, waiting):
            task.cancel()
        await asyncio.gather(duties, waiting, return_exceptions=True)
