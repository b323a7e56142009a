"""The `$filter` of sign-in logs: the subset of OData that Graph's own examples use (control-plane.md section 8.1). Pure.

filter     = condition *( "and" condition )
condition  = "createdDateTime" ( "ge" | "gt" | "le" | "lt" ) instant
           | ( "servicePrincipalId" | "appId" | "correlationId" ) "eq" 'guid'
           | "status/errorCode" "eq" number
           | "signInEventTypes/any(" x ":" x "eq" 'type' *( "or" x "eq" 'type' ) ")"
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from idplane.model.failure import Failure, FailureKind
from idplane.ports.collections import microseconds

__all__ = ["EVERY_INTERACTIVE", "SignInFilter", "parse_sign_in_filter"]

_MAX_LENGTH: Final = 2048
_CONDITION: Final = re.compile(
    r"\s*(?P<name>[A-Za-z]+(?:/[A-Za-z]+)?)\s+(?P<operator>eq|ge|gt|le|lt)\s+(?P<value>'[^']{0,200}'|[^\s()']{1,200})\s*"
)
_ANY: Final = re.compile(r"\s*signInEventTypes/any\(\s*(?P<variable>[A-Za-z]\w{0,20})\s*:\s*(?P<body>[^()]{1,400})\)\s*")
_TYPE: Final = re.compile(r"(?P<variable>[A-Za-z]\w{0,20})\s+eq\s+'(?P<type>[A-Za-z]{1,30})'")
_AND: Final = re.compile(r"and(?=\s)")
_OR: Final = re.compile(r"\s+or\s+")

_COLUMNS: Final = {"serviceprincipalid": "principal_id", "appid": "client_id", "correlationid": "correlation_id"}
_USER_TYPES: Final = frozenset({"interactiveUser", "nonInteractiveUser"})
_PRINCIPAL_TYPES: Final = frozenset({"servicePrincipal", "managedIdentity"})
_BY_LOWER: Final = {name.lower(): name for name in _USER_TYPES | _PRINCIPAL_TYPES}
_INT32: Final = 1 << 31


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInFilter:
    """A parsed filter: bounds on the time in microseconds, equal columns, and the kinds of sign-ins."""

    since: int | None = None
    until: int | None = None
    """Exclusive."""
    where: tuple[tuple[str, str | int], ...] = ()
    event_types: frozenset[str] = frozenset({"interactiveUser"})
    """Without a condition on it Graph shows interactive sign-ins of users only."""


EVERY_INTERACTIVE: Final = SignInFilter()
"""What no filter means."""


def parse_sign_in_filter(text: str) -> SignInFilter:
    """Parse a `$filter`; raises `Failure(INVALID_FILTER)` for anything outside the grammar above."""
    if len(text) > _MAX_LENGTH:
        raise _refused("the filter is too long")
    found = SignInFilter()
    kinds = False
    at = 0
    while True:
        some = _ANY.match(text, at)
        matched = some or _CONDITION.match(text, at)
        if matched is None:
            raise _refused(f"the filter is not understood at '{text[at : at + 40]}'")
        if some is not None:
            if kinds:
                raise _refused("the filter holds more than one condition on signInEventTypes")
            kinds = True
            found = replace(found, event_types=_event_types(some["variable"], some["body"]))
        else:
            found = _with(found, matched["name"].lower(), matched["operator"], matched["value"])
        at = matched.end()
        if at == len(text):
            return found
        joined = _AND.match(text, at)
        if joined is None:
            raise _refused(f"the filter is not understood at '{text[at : at + 40]}'")
        at = joined.end()


def _with(found: SignInFilter, name: str, operator: str, value: str) -> SignInFilter:
    if name == "createddatetime":
        return _bounded(found, operator, value)
    if operator != "eq":
        raise _refused(f"the filter compares '{name}' with '{operator}', which is not supported")
    if name in _COLUMNS and value.startswith("'"):
        return _equal(found, _COLUMNS[name], value[1:-1].lower())
    if name == "status/errorcode" and value.isascii() and value.isdigit() and int(value) < _INT32:
        return _equal(found, "error_code", int(value))
    raise _refused(f"the filter's condition on '{name}' is not supported")


def _equal(found: SignInFilter, column: str, value: str | int) -> SignInFilter:
    if column in dict(found.where):
        raise _refused("the filter holds more than one condition on the same property")
    return replace(found, where=(*found.where, (column, value)))


def _bounded(found: SignInFilter, operator: str, value: str) -> SignInFilter:
    at = _instant(value)
    match operator:
        case "ge" | "gt":
            since = at + (operator == "gt")
            return replace(found, since=since if found.since is None else max(since, found.since))
        case "le" | "lt":
            until = at + (operator == "le")
            return replace(found, until=until if found.until is None else min(until, found.until))
        case _:
            raise _refused("the filter compares 'createdDateTime' for equality, which is not supported")


def _instant(value: str) -> int:
    try:
        at = datetime.fromisoformat(value)
        if at.tzinfo is not None:
            return microseconds(at)
    except (ValueError, OverflowError):
        pass
    raise _refused(f"'{value}' is not an instant such as 2026-01-31T12:00:00Z")


def _event_types(variable: str, body: str) -> frozenset[str]:
    types: set[str] = set()
    for part in _OR.split(body.strip()):
        matched = _TYPE.fullmatch(part)
        name = _BY_LOWER.get(matched["type"].lower()) if matched and matched["variable"] == variable else None
        if name is None:
            raise _refused("the filter's condition on signInEventTypes is not supported")
        types.add(name)
    if types & _USER_TYPES and types & _PRINCIPAL_TYPES:
        raise _refused("sign-ins of users and of service principals cannot be mixed in one filter")
    return frozenset(types)


def _refused(detail: str) -> Failure:
    return Failure(FailureKind.INVALID_FILTER, detail)
