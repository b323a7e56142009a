"""Whether a federated credential means a token: member by member, character by character. Pure."""

from __future__ import annotations

from idplane.model.expressions import holds, parse_expression
from idplane.model.federation import FederatedCredential
from idplane.model.values import JsonObject

__all__ = ["differences"]


def differences(credential: FederatedCredential, claims: JsonObject, audiences: frozenset[str]) -> tuple[str, ...]:
    """The members in which a credential differs from a token; none when it matches."""
    trust = credential.trust
    found: list[str] = []
    if trust.issuer != claims.get("iss"):
        found.append("issuer")
    if trust.expression is None:
        if trust.subject != claims.get("sub"):
            found.append("subject")
    elif not holds(parse_expression(trust.expression.value), claims):
        found.append("claimsMatchingExpression")
    if trust.audience not in audiences:
        found.append("audience")
    return tuple(found)
