"""Claims-matching expressions of federated credentials, language version 1: a strict parser and a linear matcher. Pure.

    expression = comparison *( "and" comparison )
    comparison = "claims" "[" text "]" ( "eq" / "matches" ) text
    text       = "'" characters without "'" "'"

In the pattern of `matches`, `*` stands for any characters and `?` for exactly one; both sides are compared whole and with case.
Microsoft describes the language by examples only ("Flexible federated identity credentials (preview)"); the grammar above is what
those examples have in common. What they leave open is refused: `or`, `not`, parentheses, escapes, other quotes, words in capitals.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final

from idplane.model.failure import Failure, FailureKind
from idplane.model.values import JsonObject

__all__ = ["LANGUAGE_VERSION", "MAX_EXPRESSION", "Comparison", "Operator", "holds", "parse_expression", "wildcard_match"]

LANGUAGE_VERSION: Final = 1
MAX_EXPRESSION: Final = 600
"""Characters, as of every text of a federated credential."""
_MAX_VALUE: Final = 2048
_TOKEN: Final = re.compile(r"\s*(?:(claims|and|eq|matches)\b|(\[|\])|'([^']*)')")


class Operator(enum.StrEnum):
    """How a claim is compared."""

    EQ = "eq"
    MATCHES = "matches"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One condition on one claim."""

    claim: str
    operator: Operator
    value: str

    def holds(self, claims: JsonObject) -> bool:
        """Whether the claim is a string that satisfies the condition; an absent claim satisfies none."""
        actual = claims.get(self.claim)
        if not isinstance(actual, str) or len(actual) > _MAX_VALUE:
            return False
        return actual == self.value if self.operator is Operator.EQ else wildcard_match(self.value, actual)


def parse_expression(text: str) -> tuple[Comparison, ...]:
    """The conditions, all of which must hold; raises `Failure(INVALID_PARAMETER)` with the place of what is wrong."""
    if not text.strip() or len(text) > MAX_EXPRESSION:
        raise _refused(f"it must have 1 to {MAX_EXPRESSION} characters")
    words = _Words(text)
    found = [_comparison(words)]
    while not words.ended():
        words.take("and")
        found.append(_comparison(words))
    return tuple(found)


def holds(comparisons: tuple[Comparison, ...], claims: JsonObject) -> bool:
    """Whether the claims satisfy every condition."""
    return all(one.holds(claims) for one in comparisons)


def wildcard_match(pattern: str, text: str) -> bool:
    """Whether `text` as a whole fits `pattern`. Steps: at most the product of the lengths, whoever chose them."""
    at = place = 0
    star, resume = -1, 0
    while place < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, resume = at, place
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", text[place]):
            at, place = at + 1, place + 1
        elif star >= 0:
            resume += 1
            at, place = star + 1, resume
        else:
            return False
    return pattern[at:].strip("*") == ""


class _Words:
    """The text's tokens, taken one after the other."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def ended(self) -> bool:
        return not self._text[self._at :].strip()

    def take(self, *expected: str) -> str:
        """The next token, which must be one of these."""
        found = self._next()
        if found is None or found.group(3) is not None or (word := found.group(1) or found.group(2)) not in expected:
            raise _refused(f"{' or '.join(map(repr, expected))} is expected at position {self._at}")
        self._at = found.end()
        return word

    def quoted(self) -> str:
        """The next token, which must be a text in quotes."""
        found = self._next()
        if found is None or not found.group(3):
            raise _refused(f"a text in single quotes is expected at position {self._at}")
        self._at = found.end()
        return found.group(3)

    def _next(self) -> re.Match[str] | None:
        return _TOKEN.match(self._text, self._at)


def _comparison(words: _Words) -> Comparison:
    words.take("claims")
    words.take("[")
    claim = words.quoted()
    words.take("]")
    operator = Operator(words.take(*Operator))
    return Comparison(claim, operator, words.quoted())


def _refused(why: str) -> Failure:
    return Failure(
        FailureKind.INVALID_PARAMETER,
        f"The claims matching expression is not valid: {why}.",
        target="properties.claimsMatchingExpression.value",
        parameter="properties.claimsMatchingExpression.value",
    )
