"""Command lines that work when they are pasted, the same changes as requests, and the ids that both name."""

from __future__ import annotations

import json
import shlex

from idplane.explain.model import FixRequest, Link, LinkKind
from idplane.model.ids import ResourceId
from idplane.model.roles import DenyAssignment, RoleAssignment
from idplane.model.values import JsonObject

__all__ = ["assignment_link", "az", "below", "deny_link", "graph", "idplane", "management", "rest"]


def az(*words: str) -> str:
    """A line for the Azure CLI, signed in to this installation."""
    return shlex.join(("idplane", "az", *words))


def idplane(*words: str) -> str:
    """A line for the installation's own command."""
    return shlex.join(("idplane", *words))


def rest(request: FixRequest) -> str:
    """A request to Resource Manager as a line, for changes that the Azure CLI has no words for."""
    body = ("--body", json.dumps(request.body, separators=(",", ":"))) if request.body is not None else ()
    return az("rest", "--method", request.method.lower(), "--url", request.path, *body)


def management(method: str, scope: ResourceId | str, version: str, body: JsonObject | None = None) -> FixRequest:
    """A request to Resource Manager."""
    return FixRequest(api="management", method=method, path=f"{scope}?api-version={version}", body=body)


def graph(method: str, path: str, body: JsonObject | None = None, *, version: str = "v1.0") -> FixRequest:
    """A request to Graph; `path` from behind the version."""
    return FixRequest(api="graph", method=method, path=f"/{version}{path}", body=body)


def below(scope: ResourceId | str, extension: str) -> str:
    """The id of an extension resource, such as `Microsoft.Authorization/locks/keep`, at a scope."""
    return f"{'' if str(scope) == '/' else scope}/providers/{extension}"


def assignment_link(one: RoleAssignment) -> Link:
    """Where a role assignment is shown."""
    return Link(kind=LinkKind.ASSIGNMENT, ref=below(one.scope, f"Microsoft.Authorization/roleAssignments/{one.id}"))


def deny_link(one: DenyAssignment) -> Link:
    """Where a deny assignment is shown."""
    return Link(kind=LinkKind.DENY, ref=below(one.scope, f"Microsoft.Authorization/denyAssignments/{one.id}"))
