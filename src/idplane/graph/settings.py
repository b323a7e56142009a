"""Members of applications and service principals that this plane only keeps for their clients: read, checked for their kind, merged. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from idplane.graph.shapes import EntityType
from idplane.model.failure import Failure, FailureKind
from idplane.model.values import JsonObject
from idplane.providers.fields import Fields

__all__ = ["merged", "require_known", "require_settable"]

_MAX_ITEMS: Final = 1200
_MAX_TEXT: Final = 4096


def merged(old: JsonObject, body: JsonObject, defaults: JsonObject) -> JsonObject:
    """The settings after a PATCH: members whose names are in `defaults` and whose kind fits the default there.

    Members of an object that are not mentioned stay; null takes a member back to its default.
    """
    fields = Fields(body)
    found = dict(old)
    for name in body:
        if name not in defaults:
            continue
        value = body[name]
        if value is None:
            found.pop(name, None)
        else:
            _require_kind(fields, name, defaults[name])
            found[name] = _overlaid(found.get(name), value)
    return found


def require_settable(body: JsonObject, entity: EntityType, settable: Collection[str], shown: JsonObject) -> None:
    """Raises `Failure(INVALID_PARAMETER)` for members that the type has not, and for those that nobody sets unless they say what is `shown`."""
    require_known(body, *entity.properties)
    for name, value in body.items():
        if name in entity.properties and name not in settable and value is not None and value != shown.get(name):
            words = f"Property '{name}' is read-only and cannot be set"
            raise Failure(FailureKind.INVALID_PARAMETER, words, code="Request_BadRequest")


def require_known(body: JsonObject, *known: str) -> None:
    """Raises `Failure(INVALID_PARAMETER)` for a member that is none of these; annotations pass."""
    for name in body:
        if name not in known and not name.startswith("@") and "@odata." not in name:
            words = f"Invalid property '{name[:100]}'"
            raise Failure(FailureKind.INVALID_PARAMETER, words, code="Request_BadRequest")


def _require_kind(fields: Fields, name: str, default: object) -> None:
    match default:
        case bool():
            fields.flag(name)
        case Mapping():
            fields.inner(name)
        case list() | tuple():
            fields.items(name, limit=_MAX_ITEMS)
        case _:
            fields.text(name, limit=_MAX_TEXT)


def _overlaid(old: object, new: object) -> object:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return {**old, **{name: _overlaid(old.get(name), value) for name, value in new.items()}}
    return new
