"""What the activity log says of an attempt beside its outcome: the bodies that it may show, and what else went. Pure.

Bodies are shown of types that declare which members hold nothing secret (`ResourceType.logged`), and of those members only. What a
refusal says is shown of every type: failures are safe to show by their contract.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from idplane.arm.bodies import encode_object, parse_object
from idplane.arm.registry import InstanceRoute, Registry, Verb
from idplane.arm.requests import Attempt
from idplane.model.failure import Failure
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject
from idplane.ports.collections import RESOURCES
from idplane.ports.store import Batch, Delete

__all__ = ["details", "removed", "status_message"]

_MAX_TEXT = 8192
"""Characters of one member; the longest that is legal is a role assignment's condition."""


def details(attempt: Attempt, *, answer: object = None, error: JsonObject | None = None) -> Mapping[str, str]:
    """Further properties of the event: `requestbody` (Azure's casing), `responseBody` and `statusMessage`, each JSON, where there is one."""
    found: dict[str, str] = {}
    if error is not None:
        found["statusMessage"] = status_message(error)
    route = attempt.route
    if not isinstance(route, InstanceRoute) or not route.type.logged:
        return found
    shown = _shown(_sent(attempt), route.type.logged)
    if shown:
        found["requestbody"] = json.dumps({"id": str(route.id), "properties": shown})
    shown = _shown(answer, route.type.logged)
    if shown:
        found["responseBody"] = json.dumps({"id": str(route.id), "properties": shown})
    return found


def status_message(error: JsonObject) -> str:
    """A refusal as the event's `statusMessage`: the answer's own envelope."""
    return encode_object({"error": error}).decode()


def removed(attempt: Attempt, batch: Batch, registry: Registry) -> Iterator[tuple[ResourceId, str]]:
    """What a delete took along, each with the action that would have deleted it alone. Ids are keys: the casing went with the record."""
    if attempt.verb is not Verb.DELETE:
        return
    for one in batch.operations:
        if isinstance(one, Delete) and one.collection.name == RESOURCES.name and one.key != attempt.route.id.key:
            identifier = ResourceId.parse(one.key)
            declared = registry.type(identifier.type)
            if declared is not None:
                yield identifier, declared.permission(Verb.DELETE.word)


def _sent(attempt: Attempt) -> object:
    if attempt.verb not in (Verb.PUT, Verb.PATCH):
        return None
    try:
        return parse_object(attempt.request.body)
    except Failure:
        return None


def _shown(body: object, members: tuple[str, ...]) -> dict[str, str]:
    """The declared members of a body's `properties` that are texts, whole or not at all."""
    properties = body.get("properties") if isinstance(body, Mapping) else None
    values = properties if isinstance(properties, Mapping) else {}
    return {name: value for name in members if isinstance(value := values.get(name), str) and len(value) <= _MAX_TEXT}
