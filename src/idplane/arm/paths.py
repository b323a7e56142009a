"""Request paths to targets: an instance, or a word behind a scope or an instance (a collection, an action or a view).

The grammar is syntax only; which word means what is the registry's business. Repeated and trailing slashes do not matter, and
neither does case (control-plane.md sections 1 and 4).
"""

from __future__ import annotations

from dataclasses import dataclass

from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ROOT, ResourceId

__all__ = ["InstanceTarget", "ProviderTarget", "Target", "WordTarget", "parse_target"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceTarget:
    """`{resource id}`: a subscription, a group or a resource."""

    id: ResourceId


@dataclass(frozen=True, slots=True, kw_only=True)
class WordTarget:
    """`{id}/{word}`: children of an instance or scope, an action on it, or a view of it."""

    id: ResourceId
    word: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderTarget:
    """`{scope}/providers/{namespace}[/{word}]`: a namespace's metadata, a collection of a top-level type, or a scope's action."""

    scope: ResourceId
    namespace: str
    word: str | None


_SUBSCRIPTION_DEPTH = 2
_GROUP_DEPTH = 4
"""Segments of a subscription's and a resource group's id."""

Target = InstanceTarget | WordTarget | ProviderTarget


def parse_target(path: str) -> Target:
    """What a path addresses; raises `Failure(INVALID_RESOURCE_ID | PATH_NOT_FOUND)`."""
    parts = [part for part in path.split("/") if part]
    if not parts:
        raise Failure(FailureKind.PATH_NOT_FOUND, "nothing is served here", path=path)
    if len(parts) > _GROUP_DEPTH and [parts[at].lower() for at in (0, 2, 4)] == [
        "subscriptions",
        "resourcegroups",
        "deployments",
    ]:
        # The operations of a group's deployments are still asked for without their namespace (control-plane.md section 5.7).
        parts[_GROUP_DEPTH:_GROUP_DEPTH] = ["providers", "Microsoft.Resources"]
    if len(parts) > 2 and [parts[at].lower() for at in (0, 2)] == ["subscriptions", "operationresults"]:  # noqa: PLR2004 - keyword, id, word
        # The ends of long-running operations are asked for without their namespace, too.
        parts[2:2] = ["providers", "Microsoft.Resources"]
    if len(parts) > _SUBSCRIPTION_DEPTH and [parts[at].lower() for at in (0, 2)] == ["subscriptions", "tagnames"]:
        # Predefined tags stand in their subscription without a namespace.
        parts[_SUBSCRIPTION_DEPTH:_SUBSCRIPTION_DEPTH] = ["providers", "Microsoft.Resources"]
    provider = _provider_target(parts)
    if provider is not None:
        return provider
    whole = _parsed(parts)
    if whole is not None:
        return InstanceTarget(id=whole)
    scope = _parsed(parts[:-1])
    if scope is None:
        # The refusal names the whole path.
        ResourceId.parse("/" + "/".join(parts))
        raise Failure(FailureKind.PATH_NOT_FOUND, "nothing is served here", path=path)
    _require_word(parts[-1])
    return WordTarget(id=scope, word=parts[-1])


def _provider_target(parts: list[str]) -> ProviderTarget | None:
    """`.../providers/{namespace}` and `.../providers/{namespace}/{word}`, where a namespace holds a dot."""
    for length in (2, 3):
        at = len(parts) - length
        if at >= 0 and parts[at].lower() == "providers" and "." in parts[at + 1]:
            scope = _parsed(parts[:at])
            if scope is None:
                return None
            for word in parts[at + 1 :]:
                _require_word(word)
            return ProviderTarget(scope=scope, namespace=parts[at + 1], word=parts[at + 2] if length > 2 else None)  # noqa: PLR2004 - with a word
    return None


def _require_word(word: str) -> None:
    """A word obeys the rule of any name; the id parser knows it."""
    ROOT.child("providers", "A.B", "c", word)


def _parsed(parts: list[str]) -> ResourceId | None:
    try:
        return ResourceId.parse("/" + "/".join(parts))
    except Failure:
        return None
