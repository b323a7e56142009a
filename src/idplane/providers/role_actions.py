"""Permission blocks in bodies: what an action of a custom role or deny assignment may look like."""

from __future__ import annotations

import re

from idplane.model.failure import Failure, FailureKind
from idplane.model.roles import Permission
from idplane.model.values import JsonObject
from idplane.providers.fields import Fields
from idplane.rbac.namespaces import is_known_namespace

__all__ = ["read_permission", "render_permission"]

# Bounds of our own where Azure names none.
_ACTIONS_LIMIT = 2048
_ACTION_LENGTH = 512

_ACTION = re.compile(r"(?P<namespace>[A-Za-z0-9.*-]+)(?:/[A-Za-z0-9_.$*-]+)*/(?P<verb>[A-Za-z0-9_.$*-]+)")
_VERBS = frozenset({"read", "write", "delete", "action"})
_CODES = {"actions": "InvalidActionOrNotAction", "notActions": "InvalidActionOrNotAction"}
_DATA_CODE = "InvalidDataActionOrNotDataAction"


def read_permission(block: Fields) -> Permission:
    """One block; raises `Failure(INVALID_PARAMETER)`, for an action that can be none with Azure's codes."""
    if block.has("condition"):
        raise block.refuse("condition", "is not supported: conditions on permissions are not evaluated by this server")

    def actions(name: str) -> tuple[str, ...]:
        found = block.texts(name, limit=_ACTIONS_LIMIT, length=_ACTION_LENGTH)
        for one in found:
            _check(one, _CODES.get(name, _DATA_CODE))
        return found

    return Permission(
        actions=actions("actions"),
        not_actions=actions("notActions"),
        data_actions=actions("dataActions"),
        not_data_actions=actions("notDataActions"),
    )


def render_permission(permission: Permission) -> JsonObject:
    """A permission block as clients read it."""
    return {
        "actions": list(permission.actions),
        "notActions": list(permission.not_actions),
        "dataActions": list(permission.data_actions),
        "notDataActions": list(permission.not_data_actions),
    }


def _check(action: str, code: str) -> None:
    """Wildcards may stand anywhere; without one, an action ends in one of four words."""
    if action == "*":
        return
    found = _ACTION.fullmatch(action)
    if found is None or ("*" not in action and found["verb"].lower() not in _VERBS):
        raise _refused(f"'{action}' does not match any of the actions supported by the providers.", code)
    if "*" not in found["namespace"] and not is_known_namespace(found["namespace"]):
        words = "The resource provider referenced in the action is not returned in the list of providers from Azure Resource Manager."
        raise _refused(words, code)


def _refused(words: str, code: str) -> Failure:
    return Failure(FailureKind.INVALID_PARAMETER, words, code=code)
