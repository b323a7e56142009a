"""The claims of users' tokens: access tokens as Entra's of either version, and the id token (control-plane.md section 3). Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from idplane.jose import b64url
from idplane.model.values import JsonObject
from idplane.sts.claims import TokenFacts, further_claims, role_claims, time_claims

__all__ = ["UserFacts", "id_claims", "user_access_claims"]

_PUBLIC = "0"
"""The strength of a client that proved nothing."""
_KNOWN_USER = "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserFacts:
    """What a user's token says beside what every token says."""

    client_id: str
    session_id: str
    names: tuple[str, ...]
    """For `scp`."""


def user_access_claims(facts: TokenFacts, user: UserFacts) -> JsonObject:
    """The access token, in the form that the resource takes."""
    return _version_2(facts, user) if facts.audience.token_version == 2 else _version_1(facts, user)  # noqa: PLR2004 - its own name


def id_claims(facts: TokenFacts, user: UserFacts) -> JsonObject:
    """The id token: who signed in, for the client itself. It opens nothing here: it is for no resource and names no session."""
    tenant = facts.tenant
    return {
        "aud": user.client_id,
        "iss": tenant.issuer_v2,
        **time_claims(facts),
        "aio": facts.opaque.aio,
        **_person(facts),
        "rh": facts.opaque.rh,
        "sub": _pairwise(facts, user.client_id),
        "tid": tenant.id,
        "uti": facts.opaque.uti,
        "ver": "2.0",
    }


def _version_1(facts: TokenFacts, user: UserFacts) -> dict[str, object]:
    tenant, details = facts.tenant, facts.principal.user
    sign_in_name = facts.principal.caller_name
    names = {"family_name": details.surname, "given_name": details.given_name} if details else {}
    return {
        "aud": facts.resource,
        "iss": tenant.issuer_v1,
        **time_claims(facts),
        "acr": _KNOWN_USER,
        "aio": facts.opaque.aio,
        "appid": user.client_id,
        "appidacr": _PUBLIC,
        **{name: value for name, value in names.items() if value},
        "idtyp": "user",
        "name": facts.principal.display_name,
        "oid": facts.principal.id,
        "rh": facts.opaque.rh,
        **role_claims(facts),
        "scp": " ".join(user.names),
        "sid": user.session_id,
        "sub": _pairwise(facts, facts.audience.client_id),
        "tid": tenant.id,
        "unique_name": sign_in_name,
        "upn": sign_in_name,
        "uti": facts.opaque.uti,
        "ver": "1.0",
        **further_claims(facts),
    }


def _version_2(facts: TokenFacts, user: UserFacts) -> dict[str, object]:
    tenant = facts.tenant
    return {
        "aud": facts.audience.client_id,
        "iss": tenant.issuer_v2,
        **time_claims(facts),
        "aio": facts.opaque.aio,
        "azp": user.client_id,
        "azpacr": _PUBLIC,
        "idtyp": "user",
        **_person(facts),
        "rh": facts.opaque.rh,
        **role_claims(facts),
        "scp": " ".join(user.names),
        "sid": user.session_id,
        "sub": _pairwise(facts, facts.audience.client_id),
        "tid": tenant.id,
        "uti": facts.opaque.uti,
        "ver": "2.0",
        **further_claims(facts),
    }


def _person(facts: TokenFacts) -> dict[str, object]:
    person = facts.principal
    return {"name": person.display_name, "oid": person.id, "preferred_username": person.caller_name}


def _pairwise(facts: TokenFacts, application: str) -> str:
    """A user is another `sub` to each application (OpenID Connect Core section 8.1); `oid` is the same to all."""
    return b64url(hashlib.sha256(f"{facts.tenant.id}/{application}/{facts.principal.id}".encode()).digest())
