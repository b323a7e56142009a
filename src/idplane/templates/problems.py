"""What is wrong with a template, in Resource Manager's words, and where in it.

The words may hold `AT` once: the place where Azure says ` at line '3' and column '7'`. Whoever has the text of the template knows
the line; everyone else leaves it out.
"""

from __future__ import annotations

from typing import TypeAlias

from idplane.model.failure import Failure, FailureKind

__all__ = ["AT", "Path", "TemplateProblem"]

AT = "\x00"
"""Stands for the position. No request can hold this character."""
Path: TypeAlias = tuple[str | int, ...]
"""Members and indexes from the template's root."""


class TemplateProblem(Exception):  # noqa: N818 - what the template has, not what the program does
    """A template, a parameter or an expression that cannot be used. `code` is Azure's."""

    def __init__(self, words: str, *, code: str = "InvalidTemplate", path: Path = ()) -> None:
        super().__init__(words.replace(AT, ""))
        self.words = words
        self.code = code
        self.path = path

    @property
    def plain(self) -> str:
        """The words without a position."""
        return self.words.replace(AT, "")

    def failure(self, position: tuple[int, int] | None = None) -> Failure:
        """The failure that a caller is told, with line and column where they are known."""
        at = f" at line '{position[0]}' and column '{position[1]}'" if position else ""
        words = self.words.replace(AT, at)
        if self.code == "InvalidTemplate" and not words.startswith(("Deployment template", "Unable to process")):
            words = f"Deployment template validation failed: '{words}'."
        return Failure(FailureKind.TEMPLATE_INVALID, words, code=self.code)
