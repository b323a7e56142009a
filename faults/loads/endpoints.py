"""The token endpoints' dialects as their clients know them: what is asked, what is an answer, and what is a refusal to try again at. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from faults.loads.http import Answer
from faults.outcomes import Result

__all__ = ["DIALECTS", "AskedFor", "Dialect", "Heard", "claims_of", "heard"]

_IMDS = "http://169.254.169.254"
_TRY_AGAIN = frozenset({429, 503, 504})
_BEST_BEFORE = 60
"""Seconds that a token must still live when it is given out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedFor:
    """What a client wants."""

    resource: str
    identity: str
    """Object id that must be in the token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What an answer is worth."""

    result: Result
    detail: str = ""
    token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One dialect, from the variables that its clients have."""

    name: str
    url: Callable[[Mapping[str, str]], str]
    version: str
    secret: Callable[[Mapping[str, str]], dict[str, str]] = lambda _: {"Metadata": "true"}
    refusal: Callable[[Mapping[str, Any]], object] = lambda body: body.get("error")
    """What is in a refusal of this dialect's form."""
    challenged: bool = False
    form: bool = False

    def request(self, variables: Mapping[str, str], resource: str) -> tuple[str, str, dict[str, str], bytes]:
        """Method, target, headers and body."""
        url = urlsplit(self.url(variables))
        headers = {"Host": url.netloc, **self.secret(variables)}
        if self.form:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            return "POST", url.path, headers, urlencode({"resource": resource}).encode()
        return "GET", f"{url.path}?{urlencode({'api-version': self.version, 'resource': resource})}", headers, b""


def _named(name: str) -> Callable[[Mapping[str, str]], str]:
    return lambda variables: variables[name]


def _header(header: str, name: str) -> Callable[[Mapping[str, str]], dict[str, str]]:
    return lambda variables: {header: variables[name]}


def _imds(variables: Mapping[str, str]) -> str:
    return variables.get("AZURE_POD_IDENTITY_AUTHORITY_HOST", _IMDS) + "/metadata/identity/oauth2/token"


def _message(name: str) -> Callable[[Mapping[str, Any]], object]:
    return lambda body: body.get(name)


DIALECTS: Mapping[str, Dialect] = {
    one.name: one
    for one in (
        Dialect(name="imds", url=_imds, version="2018-02-01"),
        Dialect(
            name="app-service",
            url=_named("IDENTITY_ENDPOINT"),
            version="2019-08-01",
            secret=_header("X-IDENTITY-HEADER", "IDENTITY_HEADER"),
            refusal=_message("message"),
        ),
        Dialect(
            name="app-service-2017",
            url=_named("MSI_ENDPOINT"),
            version="2017-09-01",
            secret=_header("Secret", "MSI_SECRET"),
            refusal=_message("Message"),
        ),
        Dialect(name="arc", url=_named("IDENTITY_ENDPOINT"), version="2020-06-01", challenged=True),
        Dialect(
            name="service-fabric",
            url=_named("IDENTITY_ENDPOINT"),
            version="2019-07-01-preview",
            secret=_header("Secret", "IDENTITY_HEADER"),
        ),
        Dialect(name="cloud-shell", url=_named("MSI_ENDPOINT"), version="", form=True),
        Dialect(
            name="machine-learning",
            url=_named("MSI_ENDPOINT"),
            version="2017-09-01",
            secret=_header("Secret", "MSI_SECRET"),
            refusal=_message("message"),
        ),
    )
}
"""All that have an endpoint; workload identity has a file instead."""


def claims_of(token: str) -> dict[str, Any]:
    """What a token says, unverified; nothing if it is none."""
    try:
        payload = token.split(".")[1]
        found = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def heard(answer: Answer, asked: AskedFor, now: float, refusal: Callable[[Mapping[str, Any]], object]) -> Heard:
    """What an answer is to whoever asked; `now` is the machine's own wall clock."""
    body = answer.json()
    if not isinstance(body, dict):
        return Heard(result=Result.BROKEN, detail=f"{answer.status}, not JSON")
    if answer.status == 200:
        return _token(body, asked, now)
    said = refusal(body)
    if not said or answer.status == 500:
        return Heard(result=Result.BROKEN, detail=f"{answer.status} {_short(body)}")
    result = Result.RETRY if answer.status in _TRY_AGAIN else Result.DENIED
    return Heard(result=result, detail=f"{answer.status} {_short(body)}")


def _short(body: Mapping[str, Any]) -> str:
    """The words of a refusal, which hold no secret by the design; `scan` holds them to it."""
    return json.dumps(body)[:180]


def _token(body: Mapping[str, Any], asked: AskedFor, now: float) -> Heard:
    token = str(body.get("access_token", ""))
    claims = claims_of(token)
    if claims.get("oid") != asked.identity:
        return Heard(result=Result.WRONG, detail="another identity's token", token=token)
    if str(claims.get("aud", "")).rstrip("/") != asked.resource.rstrip("/"):
        return Heard(result=Result.WRONG, detail="a token for another resource", token=token)
    if claims.get("exp", 0) < now + _BEST_BEFORE:
        return Heard(result=Result.WRONG, detail=f"a token that ends {now - claims.get('exp', 0):.0f} s ago", token=token)
    return Heard(result=Result.OK, token=token)
