"""The claims of access tokens, exactly and in the order of Entra's (managed-identity-endpoints.md section 9.1 and 9.2). Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from idplane.jose import b64url, b64url_decode
from idplane.model.directory import MARK_BYTES, Principal, PrincipalType, ResourceApplication, Tenant
from idplane.model.ids import ResourceId
from idplane.model.resources import GENERATION_BYTES, IdentityAssignment
from idplane.model.values import JsonObject
from idplane.ports.world import Entropy

__all__ = [
    "BACKDATED",
    "Opaque",
    "Standing",
    "TokenFacts",
    "access_claims",
    "further_claims",
    "role_claims",
    "standing_of",
    "time_claims",
]

BACKDATED: Final = timedelta(minutes=5)
"""How far `iat` and `nbf` lie in the past, so that a consumer whose clock is slow accepts the token at once."""

_UTI_BYTES: Final = 16
_AIO_BYTES: Final = 36
_RH_BYTES: Final = 33
_BY_SECRET: Final = "1"
_BY_CERTIFICATE: Final = "2"


_GENERATION: Final = slice(0, GENERATION_BYTES)
_PRINCIPAL: Final = slice(GENERATION_BYTES, GENERATION_BYTES + MARK_BYTES)
_TENANT: Final = slice(GENERATION_BYTES + MARK_BYTES, GENERATION_BYTES + 2 * MARK_BYTES)
_PLACES: Final = (_GENERATION, _PRINCIPAL, _TENANT)
"""Where `aio` holds what a token stands under; the rest is random."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a token stands or falls with, as hex: each is replaced when what was issued under it shall die, and no clock is asked.

    The commit of a token's record requires the records that these were read from unchanged, so a token is issued either before a
    revocation, under the mark that it ends, or after it, under the new one.
    """

    generation: str = ""
    """Of the assignment to a host."""
    principal: str = ""
    tenant: str = ""

    @classmethod
    def of(cls, principal: Principal, tenant: Tenant, assignment: IdentityAssignment | None = None) -> Standing:
        """What stands now."""
        generation = assignment.generation if assignment else ""
        return cls(generation=generation, principal=principal.tokens_mark, tenant=tenant.tokens_mark)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opaque:
    """Values that mean nothing to anyone else; `uti` is unique and names the token in logs."""

    uti: str
    aio: str
    rh: str

    @classmethod
    def fresh(cls, entropy: Entropy, standing: Standing | None = None) -> Opaque:
        """New ones, from one draw; `aio` starts with what the token stands under."""
        drawn = entropy.bytes(_UTI_BYTES + _AIO_BYTES + _RH_BYTES)
        aio = bytearray(drawn[_UTI_BYTES : _UTI_BYTES + _AIO_BYTES])
        marks = (standing.generation, standing.principal, standing.tenant) if standing else ()
        for place, mark in zip(_PLACES, marks, strict=False):
            if mark:
                aio[place] = bytes.fromhex(mark)
        return cls(uti=b64url(drawn[:_UTI_BYTES]), aio=b64url(bytes(aio)), rh=f"1.{b64url(drawn[_UTI_BYTES + _AIO_BYTES :])}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFacts:
    """Everything that the claims are made of."""

    tenant: Tenant
    principal: Principal
    host: ResourceId | None
    """The host resource that a managed identity's token is for."""
    by_secret: bool
    """Whether the client showed a secret rather than a key."""
    audience: ResourceApplication
    resource: str
    """As asked."""
    capabilities: tuple[str, ...]
    opaque: Opaque
    issued_at: datetime
    expires_at: datetime
    roles: tuple[str, ...] = ()
    """Application roles of the audience that the principal holds."""
    bound_to: bytes | None = None
    """DER of the certificate without whose key the token is worth nothing."""


def standing_of(claims: JsonObject) -> Standing:
    """What `Opaque.fresh` put into a token's `aio`, or what is there by chance; raises `Failure(TOKEN_INVALID)` if it is no base64url."""
    text = claims.get("aio")
    aio = b64url_decode(text if isinstance(text, str) else "")
    return Standing(generation=aio[_GENERATION].hex(), principal=aio[_PRINCIPAL].hex(), tenant=aio[_TENANT].hex())


def access_claims(facts: TokenFacts) -> JsonObject:
    """The claims, in the form that the resource takes: version 2 if it says so, else version 1."""
    return _version_2(facts) if facts.audience.token_version == 2 else _version_1(facts)  # noqa: PLR2004 - its own name


def _version_1(facts: TokenFacts) -> dict[str, object]:
    principal, tenant = facts.principal, facts.tenant
    return {
        "aud": facts.resource,
        "iss": tenant.issuer_v1,
        **time_claims(facts),
        "aio": facts.opaque.aio,
        "appid": principal.client_id,
        "appidacr": _strength(facts),
        "idp": tenant.issuer_v1,
        "idtyp": "app",
        "oid": principal.id,
        "rh": facts.opaque.rh,
        **role_claims(facts),
        "sub": principal.id,
        "tid": tenant.id,
        "uti": facts.opaque.uti,
        "ver": "1.0",
        **further_claims(facts),
    }


def _version_2(facts: TokenFacts) -> dict[str, object]:
    principal, tenant = facts.principal, facts.tenant
    return {
        "aud": facts.audience.client_id,
        "iss": tenant.issuer_v2,
        **time_claims(facts),
        "aio": facts.opaque.aio,
        "azp": principal.client_id,
        "azpacr": _strength(facts),
        "idtyp": "app",
        "oid": principal.id,
        "rh": facts.opaque.rh,
        **role_claims(facts),
        "sub": principal.id,
        "tid": tenant.id,
        "uti": facts.opaque.uti,
        "ver": "2.0",
        **further_claims(facts),
    }


def time_claims(facts: TokenFacts) -> dict[str, object]:
    """When a token counts."""
    starts = int((facts.issued_at - BACKDATED).timestamp())
    return {"iat": starts, "nbf": starts, "exp": int(facts.expires_at.timestamp())}


def _strength(facts: TokenFacts) -> str:
    return _BY_SECRET if facts.by_secret else _BY_CERTIFICATE


def role_claims(facts: TokenFacts) -> dict[str, object]:
    """The roles that the holder has for the audience."""
    # Absent rather than empty when there are none.
    return {"roles": list(facts.roles)} if facts.roles else {}


def further_claims(facts: TokenFacts) -> dict[str, object]:
    """The claims whose names start with `xms_`, and what the token is bound to."""
    extensions: dict[str, object] = {}
    if facts.bound_to is not None:
        extensions["cnf"] = {"x5t#S256": b64url(hashlib.sha256(facts.bound_to).digest())}
    if facts.host is not None and not facts.principal.system_assigned:
        extensions["xms_az_rid"] = _claim_form(str(facts.host))
    if facts.capabilities:
        extensions["xms_cc"] = list(facts.capabilities)
    identity = _identity(facts)
    if identity is not None:
        extensions["xms_mirid"] = _claim_form(identity)
    extensions["xms_tcdt"] = int(facts.tenant.created_at.timestamp())
    return extensions


def _identity(facts: TokenFacts) -> str | None:
    if facts.principal.type is not PrincipalType.MANAGED_IDENTITY:
        return None
    return str(facts.host) if facts.principal.system_assigned and facts.host else facts.principal.resource_id


def _claim_form(resource_id: str) -> str:
    # Recorded tokens have this one keyword in lower case and everything else as the user wrote it.
    return resource_id.replace("/resourceGroups/", "/resourcegroups/", 1)
