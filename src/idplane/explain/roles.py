"""Which roles hold an action, the least of them first, and what a role that does not hold it says."""

from __future__ import annotations

import functools
from typing import Final

from idplane.model.roles import Permission, RoleDefinition
from idplane.rbac import BUILT_IN_ROLES
from idplane.rbac.rules import Rules

__all__ = ["breadth", "holders", "rules_of", "why_not"]

_KEPT: Final = 1024
_READ: Final = "/read"
_HARMLESS: Final = ("microsoft.insights/alertrules/", "microsoft.support/", "microsoft.resources/deployments/")
"""What nearly every built-in role may do beside what it is for."""
_EVERYTHING: Final = 1_000_000
"""Actions that `*` stands for, about; each word ahead of the first star leaves a tenth of them."""


@functools.lru_cache(maxsize=_KEPT)
def rules_of(permissions: tuple[Permission, ...]) -> Rules:
    """A role's permissions, ready to be asked. The same permissions always mean the same."""
    return Rules(permissions)


@functools.lru_cache(maxsize=_KEPT)
def holders(action: str, *, data: bool) -> tuple[RoleDefinition, ...]:
    """The built-in roles that hold an action, those first that hold the least beside it.

    For what only reads, roles that only read are less than any other, however many things they read: nobody who must look at a resource
    group means 'Monitoring Metrics Publisher', which may look at groups on its way to write elsewhere.
    """
    found = [one for one in BUILT_IN_ROLES.values() if rules_of(one.permissions).hold(action, data=data)]
    reads = action.lower().endswith(_READ)
    return tuple(sorted(found, key=lambda it: (reads and not _only_reads(it), breadth(it), it.name)))


def _only_reads(role: RoleDefinition) -> bool:
    patterns = (one for block in role.permissions for one in (*block.actions, *block.data_actions))
    return all(one.lower().endswith(_READ) or one.lower().startswith(_HARMLESS) for one in patterns)


def breadth(role: RoleDefinition) -> int:
    """How much a role gives: its patterns, each for about as many actions as it stands for."""
    return sum(_reach(pattern) for block in role.permissions for pattern in (*block.actions, *block.data_actions))


def _reach(pattern: str) -> int:
    ahead, star, _ = pattern.partition("*")
    return 1 if not star else max(10, _EVERYTHING // 10 ** ahead.count("/"))


def why_not(role: RoleDefinition, action: str, *, data: bool) -> str:
    """Why a role does not hold an action: which pattern takes it back, or that it holds nothing of the kind."""
    for one in rules_of(role.permissions).listings(action, data=data):
        if one.taken is not None:
            members = ("dataActions", "notDataActions") if data else ("actions", "notActions")
            return f"lists it ('{one.given}' in {members[0]}) and takes it back ('{one.taken}' in {members[1]})"
    if data and not any(one.data_actions for one in role.permissions):
        return "holds control actions only, and this is a data action"
    if not data and not any(one.actions for one in role.permissions):
        return "holds data actions only, and this is a control action"
    return "does not hold the action"
