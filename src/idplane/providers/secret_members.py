"""Members of resources' properties that hold secrets: taken, never given back, and so not kept at all.

Azure hides each behind an action of its own or shows it to nobody. Nothing here could use them, and what is not stored can't leak.
"""

from __future__ import annotations

from collections.abc import Mapping

from idplane.model.values import JsonObject

__all__ = ["without_secrets"]

_HELD_BACK = frozenset(
    {
        "accesskey",
        "administratorloginpassword",
        "adminpassword",
        "appsettings",
        "clientsecret",
        "connectionstrings",
        "customdata",
        "password",
        "primarykey",
        "protectedsettings",
        "secondarykey",
        "secret",
        "securevalue",
        "sharedkey",
        "storageaccountkey",
        "workspacekey",
    }
)
_NAMED_SECRETS = "secrets"
"""A list of objects whose `value` is the secret (Microsoft.App); names and references are not."""


def without_secrets(properties: JsonObject) -> JsonObject:
    """The properties less every secret member, at any depth; names compare without case."""
    return {
        name: _named_secrets(value) if name.lower() == _NAMED_SECRETS else _cleaned(value)
        for name, value in properties.items()
        if name.lower() not in _HELD_BACK
    }


def _cleaned(value: object) -> object:
    if isinstance(value, Mapping):
        return without_secrets(value)
    if isinstance(value, list | tuple):
        return [_cleaned(one) for one in value]
    return value


def _named_secrets(value: object) -> object:
    if not isinstance(value, list | tuple):
        return _cleaned(value)
    kept = [{name: one for name, one in each.items() if name.lower() != "value"} for each in value if isinstance(each, Mapping)]
    return [without_secrets(one) for one in kept]
