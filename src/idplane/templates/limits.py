"""Bounds of a template and of the work that evaluating it may cost.

The numbers that Azure documents (template limits of Azure Resource Manager) are its own; the others keep hostile input cheap.
"""

from __future__ import annotations

from idplane.templates.problems import TemplateProblem

__all__ = [
    "MAX_DEPTH",
    "MAX_EXPRESSION",
    "MAX_NESTING",
    "MAX_OUTPUTS",
    "MAX_OUTPUT_TEXT",
    "MAX_PARAMETERS",
    "MAX_RANGE",
    "MAX_RESOURCES",
    "MAX_TEXT",
    "MAX_VARIABLES",
    "Budget",
]

MAX_PARAMETERS = 256
MAX_VARIABLES = 512
MAX_RESOURCES = 10_000
"""Resources of one template, copies counted; also the count of a single copy loop. Azure's own limit, 800, is the profile's."""
MAX_OUTPUTS = 64
MAX_OUTPUT_TEXT = 4 * 1024 * 1024
"""Characters of all outputs as JSON."""
MAX_EXPRESSION = 24_576
"""Characters of one expression."""
MAX_NESTING = 5
"""Deployments inside deployments."""
MAX_RANGE = 10_000
"""Numbers that `range` may make."""
MAX_DEPTH = 64
"""Calls, indexes and brackets inside one another in an expression; objects and arrays inside one another in a value."""
MAX_TEXT = 1024 * 1024
"""Characters of a string that a function may make: a quarter of the largest template."""
_WORK = 1_500_000


class Budget:
    """What evaluating one template may cost, in values looked at or made; it is spent as work is done and never comes back."""

    __slots__ = ("_left",)

    def __init__(self, work: int = _WORK) -> None:
        self._left = work

    def spend(self, amount: int = 1) -> None:
        """Account for work; raises `TemplateProblem` when there was too much of it."""
        self._left -= amount
        if self._left < 0:
            raise TemplateProblem("The template is too large or too expensive to evaluate.", code="TemplateTooExpensive")

    def made(self, value: object, depth: int = 0) -> None:
        """Account for a value that a function made, however often the same part stands in it."""
        if depth > MAX_DEPTH:
            raise TemplateProblem(f"A value is nested deeper than {MAX_DEPTH} levels.")
        if isinstance(value, str):
            if len(value) > MAX_TEXT:
                raise TemplateProblem(f"A string of the template is longer than {MAX_TEXT} characters.")
            self.spend(1 + len(value) // 16)
        elif isinstance(value, dict):
            self.spend(1 + len(value))
            for item in value.values():
                self.made(item, depth + 1)
        elif isinstance(value, list):
            self.spend(1 + len(value))
            for item in value:
                self.made(item, depth + 1)
        else:
            self.spend()
