"""What a program's answer is worth: tokens are verified as a resource would, with a library that is not ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import jwt
from tests.stories.planes import Up, send

from conformance.cells import CELLS, Outcome
from conformance.estate import RESOURCE, Estate, Identity

__all__ = ["Finding", "Judge"]

_EXPIRY_SECONDS = 30
"""How far the expiry that an SDK tells may lie from the token's: those that compute it use their own clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What came of a cell, and in which words."""

    outcome: Outcome
    detail: str = ""


class Judge:
    """Knows the plane's keys."""

    def __init__(self, estate: Estate) -> None:
        self._estate = estate
        self._keys = jwt.PyJWKSet.from_dict(_published_keys(estate.up, estate.tenant_id))
        self._issuer = f"https://sts.windows.net/{estate.tenant_id}/"

    def judge(self, cell: str, host: str, answer: Mapping[str, Any] | None, *, asked: int | None = None) -> Finding:
        """One answer, or that there was none; `asked` is how often the endpoint was, if that was counted."""
        found = self._judge(cell, host, answer)
        if asked is None or found.outcome is not Outcome.OK or asked == 1:
            return found
        return Finding(outcome=Outcome.REPEATED if asked else Outcome.WRONG, detail=f"the endpoint was asked {asked} times")

    def _judge(self, cell: str, host: str, answer: Mapping[str, Any] | None) -> Finding:
        if answer is None:
            return Finding(outcome=Outcome.WRONG, detail="no answer")
        match answer:
            case {"token": str(token)}:
                return self._judge_token(cell, host, token, answer.get("expires_on"))
            case {"error": str(words)}:
                return Finding(outcome=Outcome.REFUSED, detail=words)
            case {"unsupported": str(words)}:
                return Finding(outcome=Outcome.UNSUPPORTED, detail=words)
        return Finding(outcome=Outcome.WRONG, detail=f"an answer that makes no sense: {json.dumps(answer)[:200]}")

    def _judge_token(self, cell: str, host: str, token: str, expires_on: Any) -> Finding:
        meant, default = self._estate.meant(CELLS[cell], host), self._estate.default(host)
        try:
            claims = self._verified(token)
        except (jwt.PyJWTError, KeyError) as error:
            return Finding(outcome=Outcome.WRONG, detail=f"{type(error).__name__}: {error}")
        if meant is not None and claims["oid"] == meant.object_id:
            wrong, expiry = _mismatch(claims, meant), _expiry_mismatch(claims, expires_on)
            found = Finding(outcome=Outcome.NO_EXPIRY if expiry else Outcome.OK, detail=expiry)
        elif default is not None and claims["oid"] == default.object_id:
            wrong, found = _mismatch(claims, default), Finding(outcome=Outcome.IGNORED)
        else:
            wrong, found = f"the token of {claims['oid']}", Finding(outcome=Outcome.WRONG)
        return Finding(outcome=Outcome.WRONG, detail=wrong) if wrong else found

    def _verified(self, token: str) -> dict[str, Any]:
        key = self._keys[jwt.get_unverified_header(token)["kid"]]
        required = ["aud", "iss", "iat", "nbf", "exp", "oid", "sub", "tid", "appid"]
        claims: dict[str, Any] = jwt.decode(
            token, key, algorithms=["RS256"], audience=RESOURCE, issuer=self._issuer, options={"require": required}
        )
        return claims


def _published_keys(up: Up, tenant_id: str) -> Any:
    with closing(up.connect()) as connection:
        status, keys = send(connection, "GET", f"/{tenant_id}/discovery/v2.0/keys", None, {})
    if status != 200:
        raise RuntimeError(f"the plane's keys: {status} {keys}")
    return keys


def _mismatch(claims: Mapping[str, Any], identity: Identity) -> str:
    """What else in a token is not the identity's; empty if nothing."""
    resource = None if identity.resource_id is None else identity.resource_id.lower()
    found = {
        "sub": (claims["sub"], identity.object_id),
        "appid": (claims["appid"], identity.client_id),
        "xms_mirid": (str(claims["xms_mirid"]).lower() if "xms_mirid" in claims else None, resource),
        "lifetime": (claims["exp"] - claims["nbf"], identity.seconds),
    }
    return ", ".join(f"its {name} is {is_}, not {should}" for name, (is_, should) in found.items() if is_ != should)


def _expiry_mismatch(claims: Mapping[str, Any], expires_on: Any) -> str:
    if expires_on is not None and abs(float(expires_on) - claims["exp"]) <= _EXPIRY_SECONDS:
        return ""
    return f"the caller is told {expires_on}, and the token expires at {claims['exp']}"
