"""Federated credentials: whose tokens a principal accepts as proof of itself (control-plane.md section 7.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

from idplane.model.directory import CredentialKind
from idplane.model.expressions import LANGUAGE_VERSION, parse_expression
from idplane.model.failure import Failure, FailureKind

__all__ = ["NAME_RULE", "ClaimsExpression", "FederatedCredential", "Trust", "federated_key"]

NAME_RULE: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]{2,119}")
"""3 to 120 letters, digits, `-` and `_`, starting with a letter or digit; compared without case."""
_MAX_TEXT: Final = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimsExpression:
    """A condition on several claims, in the language of `model.expressions`."""

    value: str
    language_version: int = LANGUAGE_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What a federated credential says: tokens of this issuer, for this audience, of this subject or satisfying this expression.

    Everything is compared character by character; nothing but the expression has wildcards.
    """

    issuer: str
    audiences: tuple[str, ...]
    subject: str | None = None
    expression: ClaimsExpression | None = None

    @property
    def audience(self) -> str:
        """The one audience."""
        return self.audiences[0]

    def check(self) -> None:
        """Raises `Failure(INVALID_PARAMETER)` unless it keeps the rules that Resource Manager and Graph have in common."""
        if len(self.audiences) != 1:
            raise _refused("audiences", "Federated identity credentials must have exactly one audience.")
        for name, text in (("issuer", self.issuer), ("subject", self.subject), ("audiences", self.audience)):
            if text is not None and not (text.strip() and len(text) <= _MAX_TEXT):
                raise _refused(name, f"The property 'properties.{name}' must have 1 to {_MAX_TEXT} characters.")
        if not _is_issuer(self.issuer):
            raise _refused("issuer", "The property 'properties.issuer' must be an absolute URL without query and fragment.")
        if (self.subject is None) == (self.expression is None):
            raise _refused(
                "subject",
                "Exactly one of the properties 'properties.subject' and 'properties.claimsMatchingExpression' is needed.",
            )
        if self.expression is not None:
            _check_expression(self.expression)


@dataclass(frozen=True, slots=True, kw_only=True)
class FederatedCredential:
    """A trust under a name, which is its own within its principal."""

    id: str
    principal_id: str
    name: str
    trust: Trust
    created_at: datetime
    description: str = ""

    @property
    def key(self) -> str:
        """Where it is stored."""
        return federated_key(self.principal_id, self.name)

    @property
    def kind(self) -> CredentialKind:
        """What the sign-in log calls it."""
        return CredentialKind.FEDERATED


def federated_key(principal_id: str, name: str) -> str:
    """The key of a principal's credential with that name."""
    return f"{principal_id}/{name.lower()}"


def _is_issuer(text: str) -> bool:
    try:
        parts = urlsplit(text)
        plain = parts.username is None and parts.password is None and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
    printable = text.isascii() and text.isprintable() and " " not in text
    return (
        printable and plain and parts.scheme in ("https", "http") and bool(parts.hostname) and not ("?" in text or "#" in text)
    )


def _check_expression(expression: ClaimsExpression) -> None:
    if expression.language_version != LANGUAGE_VERSION:
        raise _refused(
            "claimsMatchingExpression.languageVersion",
            f"The property 'properties.claimsMatchingExpression.languageVersion' must be {LANGUAGE_VERSION}.",
        )
    parse_expression(expression.value)


def _refused(name: str, words: str) -> Failure:
    target = f"properties.{name}"
    return Failure(FailureKind.INVALID_PARAMETER, words, target=target, parameter=target)
