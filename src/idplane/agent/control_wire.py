"""The control socket's messages: what the commands and the running plane say to each other on one machine.

A frame is a length (4 bytes, big-endian) and that many bytes of JSON; sockets travel beside it as SCM_RIGHTS. One exchange:

    server → {"protocol": 1}                     once the peer was found to be acceptable; a launcher changes namespaces after it
    client → {"operation": ..., ...} + sockets
    server → {"result": {...}} or {"failure": kind, "detail": text[, "refusal": id]}

Standard library only, and no asyncio: `idplane run` imports it before every workload. Members may be added; one is never given another
meaning, and a change that an older side would misread raises the protocol number.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

from idplane.model.failure import Failure, FailureKind
from idplane.model.values import JsonObject

__all__ = [
    "CONTROL_SOCKET",
    "HEADER_BYTES",
    "MAX_DESCRIPTORS",
    "MAX_MESSAGE",
    "PROTOCOL",
    "body_length",
    "control_address",
    "decode",
    "encode",
    "text",
]

CONTROL_SOCKET = "control.sock"
PROTOCOL = 1
HEADER_BYTES = 4
MAX_MESSAGE = 256 * 1024
MAX_DESCRIPTORS = 12
_LONGEST_PATH = 100
"""`sun_path` holds 108 bytes on Linux and 104 elsewhere."""


def encode(message: JsonObject) -> bytes:
    """One frame."""
    body = json.dumps(message, ensure_ascii=True, separators=(",", ":")).encode("ascii")
    if len(body) > MAX_MESSAGE:
        raise Failure(FailureKind.BODY_TOO_LARGE, "the message is too large")
    return struct.pack(">I", len(body)) + body


def body_length(header: bytes) -> int:
    """How many bytes follow a header; raises `Failure(BODY_TOO_LARGE)`."""
    (length,) = struct.unpack(">I", header)
    if length > MAX_MESSAGE:
        raise Failure(FailureKind.BODY_TOO_LARGE, "the message is too large")
    return int(length)


def decode(body: bytes) -> JsonObject:
    """The object in a frame's body; raises `Failure(MALFORMED_BODY)`."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Failure(FailureKind.MALFORMED_BODY, "the message is not JSON") from error
    if not isinstance(value, dict):
        raise Failure(FailureKind.MALFORMED_BODY, "the message is not a JSON object")
    return value


def text(message: JsonObject, name: str) -> str:
    """A member that must be a text; raises `Failure(INVALID_PARAMETER)`."""
    value = message.get(name)
    if not isinstance(value, str):
        raise Failure(FailureKind.INVALID_PARAMETER, f"'{name}' must be a text")
    return value


def control_address(path: Path, folder_descriptor: int) -> str:
    """The address of the socket at `path`. One too long is reached through its open folder's descriptor, as only Linux can."""
    whole = str(path)
    if len(whole.encode("utf-8", "surrogateescape")) <= _LONGEST_PATH:
        return whole
    return f"/proc/self/fd/{folder_descriptor}/{path.name}"
