"""The stored form of a record: compact JSON of the frozen dataclass, decoded back by its declared type.

Evolution rule: members may be added with a default, never renamed or removed; unknown members are ignored, so an older program
reads what a newer one wrote. Resource ids are stored as their segments, bytes as base64, instants as RFC 3339 in UTC, enums by
value; members typed `object` pass through as plain JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from idplane.model.failure import Failure, FailureKind

__all__ = ["decoder", "encode"]

T = TypeVar("T")

_ENCODER = msgspec.json.Encoder()


def encode(value: object) -> str:
    """The JSON text of a record; raises `Failure(INVALID_PARAMETER)` for text, numbers or nesting that JSON cannot hold."""
    try:
        return _ENCODER.encode(value).decode()
    except (ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise Failure(FailureKind.INVALID_PARAMETER, "a value cannot be stored") from error


def decoder(record: type[T]) -> Callable[[str | bytes], T]:
    """What turns stored text into records of this type; it raises `Failure(UNAVAILABLE)` for text that is not such a record."""
    decode = msgspec.json.Decoder(record).decode

    def read(text: str | bytes) -> T:
        try:
            return decode(text)
        except (msgspec.MsgspecError, ValueError) as error:
            raise Failure(FailureKind.UNAVAILABLE, f"a stored {record.__name__} cannot be read") from error

    return read
