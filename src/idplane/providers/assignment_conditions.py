"""What a role assignment's condition may say, and what conditions of others may look at when one is written or deleted.

`Microsoft.Authorization/roleAssignments` has three attributes: `RoleDefinitionId`, `PrincipalId` and `PrincipalType`. A write has
them as `@Request`, from the body; a delete as `@Resource`, from what is stored. The principal's type is the directory's, whatever
the body says: a delegate who may give roles to service principals cannot call a user one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from idplane.arm.declare import Question
from idplane.model.attributes import NO_ATTRIBUTES, Attributes, AttributeValue
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import is_guid
from idplane.model.roles import RoleAssignment
from idplane.model.values import JsonObject
from idplane.ports.collections import PRINCIPALS, ROLE_ASSIGNMENTS
from idplane.providers.fields import Fields
from idplane.rbac.conditions import CONDITION_VERSION, MAX_CONDITION, ConditionProblem, read_condition

__all__ = ["StatedCondition", "attributes_of_request", "attributes_of_stored", "role_id_of", "stated_condition"]

_PREFIX = "microsoft.authorization/roleassignments:"
_ROLE_ID = re.compile(r"(?:/.*)?/providers/Microsoft\.Authorization/roleDefinitions/([^/]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class StatedCondition:
    """The condition of a body, checked; both are None when there is none."""

    text: str | None = None
    version: str | None = None


def role_id_of(text: str) -> str | None:
    """The GUID at the end of a role definition's id, in lower case; None for what is no such id."""
    found = _ROLE_ID.fullmatch(text)
    return found[1].lower() if found is not None and is_guid(found[1]) else None


def stated_condition(fields: Fields) -> StatedCondition:
    """The condition in a body's properties; raises `Failure(INVALID_PARAMETER)` with what is wrong in it, and where.

    An empty text is none: it is how clients that leave nulls away lift one.
    """
    version = fields.text("conditionVersion")
    text = fields.text("condition", limit=MAX_CONDITION)
    if not text:
        return StatedCondition()
    if version and version != CONDITION_VERSION:
        raise _invalid(f"the condition version must be '{CONDITION_VERSION}'", fields.path("conditionVersion"))
    try:
        read_condition(text)
    except ConditionProblem as problem:
        raise _invalid(str(problem), fields.path("condition")) from problem
    return StatedCondition(text, CONDITION_VERSION)


def _invalid(words: str, target: str) -> Failure:
    return Failure(
        FailureKind.INVALID_PARAMETER,
        f"The given role assignment condition is invalid: {words}.",
        code="RoleAssignmentConditionInvalid",
        target=target,
    )


async def attributes_of_request(question: Question) -> Attributes:
    """The attributes of a request to a role assignment whose caller has not been let in yet."""
    if question.verb == "write":
        return Attributes(request=await _requested(question))
    if question.verb == "delete":
        stored = await question.store.get(ROLE_ASSIGNMENTS, question.id.name.lower())
        if stored is not None and (stored.value.tenant_id, stored.value.scope_key) == (
            question.tenant_id,
            question.id.scope.key,
        ):
            return attributes_of_stored(stored.value)
    return NO_ATTRIBUTES


def attributes_of_stored(one: RoleAssignment) -> Attributes:
    """What conditions may look at when this assignment is deleted."""
    return Attributes(resource=_named(one.role_id, one.principal_id, one.principal_type))


async def _requested(question: Question) -> dict[str, tuple[AttributeValue, ...]]:
    properties = question.body.get("properties")
    stated: JsonObject = properties if isinstance(properties, dict) else {}
    role, principal = stated.get("roleDefinitionId"), stated.get("principalId")
    role_id = role_id_of(role) if isinstance(role, str) else None
    principal_id = principal.lower() if isinstance(principal, str) and is_guid(principal) else None
    found = await question.store.get(PRINCIPALS, principal_id) if principal_id is not None else None
    known = found is not None and found.value.tenant_id == question.tenant_id
    return _named(role_id, principal_id, found.value.type.rbac_type if found is not None and known else None)


def _named(role_id: str | None, principal_id: str | None, principal_type: str | None) -> dict[str, tuple[AttributeValue, ...]]:
    stated = {"roledefinitionid": role_id, "principalid": principal_id, "principaltype": principal_type}
    return {f"{_PREFIX}{name}": (value,) for name, value in stated.items() if value is not None}
