"""What the body of a binding says, checked: whom it admits, and to which identities. Pure.

Strict on purpose. A member that is misspelled, or a fact that can never hold, would leave a binding that admits others than its author
meant, or nobody; so both are refused. Everything here raises `Failure(INVALID_PARAMETER)` with the member's path.
"""

from __future__ import annotations

import re
from typing import Final

from idplane.model.bindings import SYSTEM_ASSIGNED, ContainerEngine, ContainerRule, ExecutableRule, ProcessRule
from idplane.model.failure import Failure
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject
from idplane.providers.fields import Fields
from idplane.providers.identity_block import IDENTITY_RESOURCE

__all__ = ["MOST_IDENTITIES", "binding_rule"]

MOST_IDENTITIES: Final = 64
"""Identities that one binding names."""
_MAX_PATH: Final = 4095
_MAX_NAME: Final = 255
_MAX_ID: Final = 2**32 - 2
"""The highest user or group: the number after it stands for none (chown(2))."""
_ENVELOPE: Final = ("id", "name", "type", "etag", "systemData", "location")
"""What clients send back, or send with every resource, and what says nothing here."""
_FACTS: Final = ("user", "group", "executable", "systemdUnit", "cgroup", "container", "run")
_ACCOUNT: Final = re.compile(r"[^\s\x00-\x1f\x7f:/,+~-][^\s\x00-\x1f\x7f:/,]*")
_UNIT: Final = re.compile(r"[A-Za-z0-9:_.\\@-]+\.(?:service|scope)")
_DIGEST: Final = re.compile(r"[0-9a-fA-F]{64}")
_POD: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}", re.IGNORECASE)
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f]")


def binding_rule(body: JsonObject) -> tuple[tuple[str, ...], ProcessRule]:
    """The identities that are named, none for all of the host's, and the processes that are meant."""
    properties = Fields(body).only(*_ENVELOPE, "properties").inner("properties")
    properties.only("identities", "processes", "provisioningState")
    return _identities(properties), _processes(properties.inner("processes"), properties)


def _identities(properties: Fields) -> tuple[str, ...]:
    names = tuple(map(str.strip, properties.texts("identities", limit=MOST_IDENTITIES)))
    if properties.has("identities") and not names:
        raise properties.refuse("identities", "must name at least one identity; leave it out to mean all that the host has")
    found: dict[str, str] = {}
    for at, name in enumerate(names):
        identity = SYSTEM_ASSIGNED if name.lower() == SYSTEM_ASSIGNED.lower() else _user_assigned(properties, at, name)
        if identity.lower() in found:
            raise properties.refuse(f"identities[{at}]", "names an identity that is named before it")
        found[identity.lower()] = identity
    return tuple(found.values())


def _user_assigned(properties: Fields, at: int, name: str) -> str:
    words = f"must be '{SYSTEM_ASSIGNED}' or the resource id of a user-assigned identity"
    try:
        identifier = ResourceId.parse(name)
    except Failure as failure:
        raise properties.refuse(f"identities[{at}]", words) from failure
    if identifier.resource_group is None or identifier.type.lower() != IDENTITY_RESOURCE.lower():
        raise properties.refuse(f"identities[{at}]", words)
    return str(identifier)


def _processes(facts: Fields, properties: Fields) -> ProcessRule:
    facts.only(*_FACTS)
    if not any(facts.has(name) for name in _FACTS):
        raise properties.refuse(
            "processes", f"must give at least one fact of the processes that are meant: {', '.join(_FACTS)}"
        )
    return ProcessRule(
        user=_account(facts, "user"),
        group=_account(facts, "group"),
        executable=_executable(facts.inner("executable")) if facts.has("executable") else None,
        systemd_unit=_unit(facts),
        cgroup=_path(facts, "cgroup", root=True),
        container=_container(facts.inner("container")) if facts.has("container") else None,
        run=facts.flag("run"),
    )


def _account(facts: Fields, name: str) -> str | None:
    """A user's or group's name or number, the number as text."""
    value = facts.values.get(name)
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len(str(_MAX_ID)):
        number = int(value)
    elif isinstance(value, str) and len(value) <= _MAX_NAME and _ACCOUNT.fullmatch(value) and not value.isdigit():
        return value
    else:
        raise facts.refuse(name, f"must be the name of a {name}, or its number")
    if not 0 <= number <= _MAX_ID:
        raise facts.refuse(name, f"must be a number from 0 to {_MAX_ID}, or the name of a {name}")
    return str(number)


def _executable(given: Fields) -> ExecutableRule:
    given.only("path", "device", "inode", "sha256")
    if not any(given.has(name) for name in given.values):
        raise given.refuse("path", "is required here, unless 'inode' or 'sha256' is given")
    device, inode = given.integer("device"), given.integer("inode")
    if (device is None) is not (inode is None):
        raise given.refuse("inode" if inode is None else "device", "is required here: device and inode name a file together")
    for name, number in (("device", device), ("inode", inode)):
        if number is not None and number < 0:
            raise given.refuse(name, "must not be negative")
    return ExecutableRule(path=_path(given, "path"), device=device, inode=inode, sha256=_hexadecimal(given, "sha256"))


def _container(given: Fields) -> ContainerRule:
    given.only("engine", "id", "pod")
    if not any(given.has(name) for name in given.values):
        raise given.refuse("engine", "is required here, unless 'id' or 'pod' is given")
    engine = _engine(given)
    pod = given.text("pod", limit=_MAX_NAME)
    if pod is not None and _POD.fullmatch(pod) is None:
        raise given.refuse("pod", "must be a pod's uid (metadata.uid)")
    if pod is not None and engine not in (None, ContainerEngine.KUBERNETES):
        raise given.refuse("pod", f"can only be given for {ContainerEngine.KUBERNETES}")
    return ContainerRule(engine=engine, id=_hexadecimal(given, "id"), pod=pod.lower() if pod is not None else None)


def _engine(given: Fields) -> ContainerEngine | None:
    text = given.text("engine", limit=_MAX_NAME)
    try:
        return ContainerEngine(text.lower()) if text is not None else None
    except ValueError as error:
        raise given.refuse("engine", f"must be one of {', '.join(ContainerEngine)}") from error


def _hexadecimal(given: Fields, name: str) -> str | None:
    """A SHA-256, or a container's full id, which has the same form."""
    text = given.text(name, limit=_MAX_NAME)
    if text is not None and _DIGEST.fullmatch(text) is None:
        raise given.refuse(name, "must have 64 hexadecimal digits")
    return text.lower() if text is not None else None


def _unit(facts: Fields) -> str | None:
    text = facts.text("systemdUnit", limit=_MAX_NAME)
    if text is not None and _UNIT.fullmatch(text) is None:
        raise facts.refuse("systemdUnit", "must be the whole name of a service or scope, such as 'app.service'")
    return text


def _path(given: Fields, name: str, *, root: bool = False) -> str | None:
    """An absolute path that means what it spells: no empty, `.` or `..` segments, and no slash at its end."""
    text = given.text(name, limit=_MAX_PATH)
    if text is None or (root and text == "/"):
        return text
    head, *segments = text.split("/")
    if head or not segments or any(one in {"", ".", ".."} for one in segments) or _UNPRINTABLE.search(text):
        raise given.refuse(name, "must be an absolute path without '.', '..' or repeated slashes")
    return text
