"""What .NET takes from an answer (MIE sections 1.3, 1.6 and 7.4); whatever it would misread raises `AstrayError`."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

from wire import Answer, AstrayError, RefusedError

__all__ = ["Token", "application_token", "application_words", "json_object", "managed_identity_token"]

_YEAR_2001 = 978307200


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What the application gets."""

    value: str = field(repr=False)
    expires_on: int


def json_object(answer: Answer) -> dict[str, Any]:
    """The body, with its members in their order."""
    try:
        decoded = json.loads(answer.body)
    except ValueError as error:
        raise AstrayError(f"{answer.status}: the body is no JSON: {answer.body[:200]!r}") from error
    if not isinstance(decoded, dict):
        raise AstrayError(f"{answer.status}: the body is no JSON object")
    return decoded


def managed_identity_token(answer: Answer) -> Token:
    """MSAL.NET's `ManagedIdentityResponse`; raises `RefusedError` with its words for any status but 200."""
    said = json_object(answer)
    if answer.status != 200:
        raise RefusedError(f"managed_identity_request_failed: {answer.status}: {_words(said)}")
    _texts(said, "access_token", "token_type", "resource")
    if said["token_type"].lower() != "bearer":
        raise AstrayError(f"the token's type is {said['token_type']}")
    times = [name for name in said if name in {"expires_in", "expires_on"}]
    if not times or times[-1] != "expires_on":
        raise AstrayError("of expires_in and expires_on .NET keeps the last, and its older versions know expires_on only")
    return Token(value=said["access_token"], expires_on=_instant(said["expires_on"]))


def _instant(written: Any) -> int:
    if isinstance(written, bool) or not isinstance(written, str | int) or not str(written).isdecimal():
        raise AstrayError(f"expires_on is {written!r}, which is no time")
    seconds = int(written)
    return seconds if seconds >= _YEAR_2001 else int(time.time()) + seconds


def _words(said: dict[str, Any]) -> str:
    """MSAL.NET reads flat members, each a text; only if that fails it looks for a nested `error` with `code` and `message`."""
    nested = said.get("error")
    if isinstance(nested, dict):
        flat = {name: nested.get(name) for name in ("code", "message")}
    else:
        lowered = {name.lower(): value for name, value in said.items()}
        flat = {name: lowered.get(name) for name in ("error", "message", "error_description", "correlationid")}
    found = {name: value for name, value in flat.items() if value is not None}
    if not found or not all(isinstance(value, str) for value in found.values()):
        raise AstrayError(f"an error without words for .NET: {said}")
    return ", ".join(found.values())


def application_token(answer: Answer) -> Token:
    """MSAL.NET's `MsalTokenResponse`."""
    said = json_object(answer)
    if answer.status != 200:
        raise RefusedError(application_words(answer.status, said))
    _texts(said, "access_token", "token_type")
    if (
        said["token_type"] != "Bearer"
        or type(said.get("expires_in")) is not int
        or type(said.get("ext_expires_in", 0)) is not int
    ):
        raise AstrayError("the token's type or lifetime is not what .NET takes")
    return Token(value=said["access_token"], expires_on=int(time.time()) + said["expires_in"])


def application_words(status: int, said: dict[str, Any]) -> str:
    """The error that an application sees."""
    _texts(said, "error", "error_description")
    codes = said.get("error_codes", [])
    if not isinstance(codes, list) or not all(type(code) is int for code in codes):
        raise AstrayError("error_codes is no array of numbers")
    return f"{said['error']}: {status}: {said['error_description'].splitlines()[0]}"


def _texts(said: dict[str, Any], *names: str) -> None:
    wrong = [name for name in names if not isinstance(said.get(name), str) or not said[name]]
    if wrong:
        raise AstrayError(f"no text in {', '.join(wrong)}")
