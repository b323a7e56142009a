"""Command lines that work when they are pasted, and the same changes as requests."""

from __future__ import annotations

import json
import shlex

from idplane.explain.model import FixRequest
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject

__all__ = ["az", "graph", "idplane", "management", "rest"]


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
