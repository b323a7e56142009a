"""The instance document: what `/metadata/instance` shows of a host, whole or in parts, as JSON or as text (MIE section 1.8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from idplane.agent.identities import HostDescription
from idplane.agent.replies import JSON, TEXT
from idplane.model.failure import Failure, FailureKind

__all__ = ["VERSIONS", "instance_document", "part", "rendered"]

VERSIONS = (
    "2017-03-01",
    "2017-04-02",
    "2017-08-01",
    "2017-10-01",
    "2017-12-01",
    "2018-02-01",
    "2018-04-02",
    "2018-10-01",
    "2019-02-01",
    "2019-03-11",
    "2019-04-30",
    "2019-06-01",
    "2019-06-04",
    "2019-08-01",
    "2019-08-15",
    "2019-11-01",
    "2020-06-01",
    "2020-07-15",
    "2020-09-01",
    "2020-10-01",
    "2020-12-01",
    "2021-01-01",
    "2021-02-01",
    "2021-03-01",
    "2021-05-01",
    "2021-08-01",
    "2021-10-01",
    "2021-11-01",
    "2021-11-15",
    "2021-12-13",
    "2023-07-01",
    "2023-11-15",
    "2024-03-15",
    "2024-07-17",
    "2025-04-07",
)
"""The documented versions, oldest first."""


def instance_document(host: HostDescription) -> Mapping[str, object]:
    """The whole document. Network interfaces belong to the machine beneath, which is not described."""
    return {"compute": host.compute, "network": {"interface": []}}


def part(document: object, path: Sequence[str]) -> object:
    """What lies at a path of member names (without case) and indexes; raises `Failure(PATH_NOT_FOUND)`."""
    for step in path:
        document = _member(document, step)
    return document


def rendered(value: object, wish: str | None) -> tuple[bytes, str]:
    """A part in the wished format with its media type; raises `Failure(INVALID_PARAMETER)`.

    A single value exists as text only; of an object or a list, text shows what is in it, a slash after what can be entered.
    """
    wish = (wish or "json").lower()
    leaf = isinstance(value, str)
    if wish not in {"json", "text"}:
        raise Failure(FailureKind.INVALID_PARAMETER, "The format is neither json nor text")
    if wish == "json":
        if leaf:
            raise Failure(FailureKind.INVALID_PARAMETER, "A single value is served with format=text")
        return msgspec.json.encode(value), JSON
    return (str(value) if leaf else "\n".join(_entries(value))).encode(), TEXT


def _member(document: object, step: str) -> object:
    missing = Failure(FailureKind.PATH_NOT_FOUND, "There is nothing at this path")
    if isinstance(document, Mapping):
        for name, value in document.items():
            if name.lower() == step.lower():
                return value
    elif isinstance(document, list | tuple) and step.isascii() and step.isdigit() and int(step) < len(document):
        return document[int(step)]
    raise missing


def _entries(value: object) -> list[str]:
    if isinstance(value, Mapping):
        return [name if isinstance(inner, str) else f"{name}/" for name, inner in value.items()]
    if isinstance(value, list | tuple):
        return [str(index) if isinstance(inner, str) else f"{index}/" for index, inner in enumerate(value)]
    return [str(value)]
