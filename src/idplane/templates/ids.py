"""Resource ids as templates build them: from a type and the names that its segments need."""

from __future__ import annotations

from idplane.templates.builtin import Arguments
from idplane.templates.kinds import HELP
from idplane.templates.problems import TemplateProblem

__all__ = ["at_group", "at_subscription", "at_tenant", "extension_of", "interleaved", "normalized", "typed"]

_GROUPS = "/providers/microsoft.resources/resourcegroups/"


def typed(given: Arguments, *, most_before: int) -> tuple[list[str], str, list[str]]:
    """The arguments ahead of the type (subscription, group), the type and the names; raises `TemplateProblem`."""
    texts = [given.text(at) for at in range(len(given))]
    at = next((at for at, text in enumerate(texts) if "/" in text), None)
    if at is None or at > most_before:
        raise given.refuse("a fully qualified resource type such as 'Microsoft.Web/sites' is needed.")
    kind, names = texts[at].strip("/"), [part for name in texts[at + 1 :] for part in name.split("/")]
    wanted = kind.count("/")
    if len(names) != wanted or not all(names):
        words = f"the type '{kind}' requires '{wanted}' resource name argument(s)."
        usage = HELP.format(name=given.function.lower())
        raise TemplateProblem(f"Unable to evaluate template language function '{given.function}': {words} {usage}")
    return texts[:at], kind, names


def interleaved(kind: str, names: list[str]) -> str:
    """`Microsoft.Web/sites/slots` with two names: `Microsoft.Web/sites/a/slots/b`."""
    namespace, *types = kind.split("/")
    pairs = [part for pair in zip(types, names, strict=True) for part in pair]
    return "/".join((namespace, *pairs))


def at_tenant(kind: str, names: list[str]) -> str:
    """`/providers/...`."""
    return f"/providers/{interleaved(kind, names)}"


def at_subscription(subscription: str, kind: str, names: list[str]) -> str:
    """`/subscriptions/{id}/providers/...`."""
    return f"/subscriptions/{subscription}{at_tenant(kind, names)}"


def at_group(subscription: str, group: str, kind: str, names: list[str]) -> str:
    """`/subscriptions/{id}/resourceGroups/{name}/providers/...`."""
    return f"/subscriptions/{subscription}/resourceGroups/{group}{at_tenant(kind, names)}"


def extension_of(scope: str, kind: str, names: list[str]) -> str:
    """`{scope}/providers/...`."""
    return f"{scope.rstrip('/')}{at_tenant(kind, names)}"


def normalized(identifier: str) -> str:
    """Resource groups have two spellings in templates: as resources of Microsoft.Resources, and as the scopes that they are."""
    at = identifier.lower().find(_GROUPS)
    if at > 0 and identifier.lower().startswith("/subscriptions/") and identifier[:at].count("/") == 2:  # noqa: PLR2004 - /subscriptions/{id}
        return f"{identifier[:at]}/resourceGroups/{identifier[at + len(_GROUPS) :]}"
    return identifier
