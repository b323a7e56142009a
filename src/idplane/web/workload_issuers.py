"""Discovery documents of the hosts' own issuers (OpenID Connect Discovery 1.0; `model.workload_issuers`).

    GET {issuer}.well-known/openid-configuration
    GET {issuer}openid/v1/jwks

The same paths are served under every name of the server. The issuer that a document names is always the one in the tokens; where its keys
are, it says in terms of the name that it was asked under.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, unquote, urlsplit

from idplane.model.failure import Failure, FailureKind
from idplane.model.values import JsonObject
from idplane.model.workload_issuers import issuer_of, named_at
from idplane.ports.collections import RESOURCES, SUBSCRIPTIONS
from idplane.ports.store import Store
from idplane.web.http import HttpRequest

__all__ = ["JWKS", "issuer_document", "issuer_path"]

JWKS: Final = "openid/v1/jwks"
_CONFIGURATION: Final = ".well-known/openid-configuration"


def issuer_path(path: str) -> tuple[str, str] | None:
    """The issuer's own part of a path, up to its last slash, and which document is meant; None for other paths."""
    for document in (_CONFIGURATION, JWKS):
        if path.endswith(f"/{document}") and "/providers/" in path:
            return path.removesuffix(document), document
    return None


async def issuer_document(store: Store, request: HttpRequest, base: str) -> JsonObject:
    """The configuration of the issuer at this path; raises `Failure(PATH_NOT_FOUND)` when there is no such issuer (any more)."""
    named = named_at(base)
    if named is not None:
        subscription = await store.get(SUBSCRIPTIONS, named.resource.subscription or "")
        found = await store.get(RESOURCES, named.resource.key)
        issuer = issuer_of(found.value, subscription.value.tenant_id) if found and subscription else None
        if issuer is not None and unquote(urlsplit(issuer).path) == base:
            return {
                "issuer": issuer,
                "jwks_uri": f"{request.origin.authority}{quote(base)}{JWKS}",
                "response_types_supported": ("id_token",),
                "subject_types_supported": ("public",),
                "id_token_signing_alg_values_supported": ("RS256",),
            }
    raise Failure(FailureKind.PATH_NOT_FOUND, "there is no such issuer")
