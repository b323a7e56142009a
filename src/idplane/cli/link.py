"""The commands' end of the control socket (messages: `agent.control_wire`)."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from idplane.agent.control_wire import (
    CONTROL_SOCKET,
    HEADER_BYTES,
    PROTOCOL,
    body_length,
    control_address,
    decode,
    encode,
)
from idplane.cli.description import not_running
from idplane.cli.output import CommandError
from idplane.model.failure import Failure
from idplane.model.values import JsonObject

__all__ = ["ControlLink", "ask"]

_SECONDS = 40.0


class ControlLink:
    """A connection to the running plane, for one exchange. The plane has accepted this process when it is open."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    @classmethod
    def open(cls, folder: Path) -> ControlLink:
        """Connect; raises `CommandError` when no plane is running on `folder`, or it refuses this process."""
        link = cls(_connect(folder))
        try:
            if link._receive().get("protocol") != PROTOCOL:
                raise CommandError("the running plane is another version of idplane: stop it and start it again")
        except BaseException:
            link._connection.close()
            raise
        return link

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connection.close()

    def ask(self, request: JsonObject, descriptors: Mapping[str, int] | None = None) -> JsonObject:
        """The result; raises `CommandError` with the plane's own words."""
        named = descriptors or {}
        frame = encode({**request, "descriptors": list(named)})
        try:
            rest = frame[_send(self._connection, frame, list(named.values())) :]
            # Not an empty one: the answer may be here already, and the other end closed.
            if rest:
                self._connection.sendall(rest)
        except OSError as error:
            raise CommandError("the plane ended the conversation") from error
        result = self._receive().get("result")
        if not isinstance(result, dict):
            raise CommandError("the plane's answer makes no sense; is it another version?")
        return result

    def _receive(self) -> JsonObject:
        try:
            message = decode(self._exactly(body_length(self._exactly(HEADER_BYTES))))
        except TimeoutError as error:
            raise CommandError("the plane does not answer") from error
        except OSError as error:
            raise CommandError("the plane ended the conversation") from error
        except Failure as failure:
            raise CommandError("the plane's answer makes no sense; is it another version?") from failure
        if "failure" in message:
            refusal = message.get("refusal")
            raise CommandError(str(message.get("detail")), refusal=refusal if isinstance(refusal, str) else None)
        return message

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self._connection.recv(count - len(data))
            if not more:
                raise ConnectionResetError
            data += more
        return data


def ask(folder: Path, request: JsonObject) -> JsonObject:
    """One exchange without descriptors; raises `CommandError`."""
    with ControlLink.open(folder) as link:
        return link.ask(request)


def _send(connection: socket.socket, frame: bytes, descriptors: Sequence[int]) -> int:
    return socket.send_fds(connection, [frame], list(descriptors)) if descriptors else connection.send(frame)


def _connect(folder: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(_SECONDS)
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            connection.connect(control_address(folder / CONTROL_SOCKET, descriptor))
        finally:
            os.close(descriptor)
    except PermissionError as error:
        connection.close()
        raise CommandError(f"the plane on {folder} belongs to another user") from error
    except OSError as error:
        connection.close()
        raise not_running(folder) from error
    return connection
