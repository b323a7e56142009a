"""Conditions of role assignments (ABAC 2.0): read once, asked by the decision.

`condition_syntax` reads the text, `condition_nodes` is what it becomes, `condition_operators` compares.
"""

from __future__ import annotations

import functools

from idplane.model.roles import AccessCall
from idplane.rbac.condition_nodes import Made, Node
from idplane.rbac.condition_syntax import MAX_CONDITION, ConditionProblem, read_condition

__all__ = ["CONDITION_VERSION", "MAX_CONDITION", "ConditionProblem", "Made", "comparisons", "meets", "read_condition"]

CONDITION_VERSION = "2.0"
"""The only version of the language."""

_KEPT = 1024


def meets(call: AccessCall, condition: str) -> bool:
    """Whether the call meets a condition; what is no condition, or hangs on something absent, is never met."""
    node = _compiled(condition)
    return node is not None and node.holds(call) is True


def comparisons(call: AccessCall, condition: str) -> tuple[Made, ...]:
    """Every comparison that a condition makes of a call, in the order in which they are written; none of what is no condition."""
    node = _compiled(condition)
    heard: list[Made] = []
    if node is not None:
        node.holds(call, heard.append)
    return tuple(heard)


@functools.lru_cache(maxsize=_KEPT)
def _compiled(text: str) -> Node | None:
    """The same text always means the same, so what it means is kept."""
    try:
        return read_condition(text)
    except ConditionProblem:
        return None
