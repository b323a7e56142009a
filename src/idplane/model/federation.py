"""Federated credentials: whose tokens a principal accepts as proof of itself (control-plane.md section 7.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

from idplane.model.directory import CredentialKind
from idplane.model.expressions import LANGUAGE_VERSION, parse_expression
from idplane.model.failure import Failure, FailureKind

__all__ = ["NAME_RULE", "ClaimsExpression", "FederatedCredential", "Trust", "check_neighbours", "federated_key"]

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
    """A trust under a name, which is its own within its principal or application."""

    id: str
    principal_id: str
    """Empty for a credential of an application, which proves all of its service principals."""
    name: str
    trust: Trust
    created_at: datetime
    description: str = ""
    application_id: str | None = None
    """Object id of the application whose credential it is."""

    @property
    def owner(self) -> str:
        """Object id of what it belongs to: a service principal or an application."""
        return self.principal_id or self.application_id or ""

    @property
    def key(self) -> str:
        """Where it is stored."""
        return federated_key(self.owner, self.name)

    @property
    def kind(self) -> CredentialKind:
        """What the sign-in log calls it."""
        return CredentialKind.FEDERATED


def federated_key(owner: str, name: str) -> str:
    """The key of a principal's or application's credential with that name."""
    return f"{owner}/{name.lower()}"


def check_neighbours(
    wanted: FederatedCredential, others: Sequence[FederatedCredential], *, limit: int | None, whose: str
) -> None:
    """What holds among the credentials of one owner: issuer and subject together are unique, and there may be a limit.

    `others` are the owner's, the earlier form of `wanted` among them if there is one. Raises `Failure(INVALID_PARAMETER | LIMIT_EXCEEDED)`.
    """
    neighbours = [one for one in others if one.key != wanted.key]
    trust = wanted.trust
    same = (trust.issuer, trust.subject)
    if trust.subject is not None and any((one.trust.issuer, one.trust.subject) == same for one in neighbours):
        words = f"Issuer and subject combination already exists for this {whose}."
        raise Failure(FailureKind.INVALID_PARAMETER, words, code="BadRequest", conflict="issuer")
    if limit is not None and len(neighbours) == len(others) and len(others) >= limit:
        words = f"Too many Federated Identity Credentials: a {whose} can have at most {limit}."
        raise Failure(FailureKind.LIMIT_EXCEEDED, words, code="BadRequest")


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
