"""Request targets, taken apart once: path and query as the token endpoints need them (MIE sections 0, 1.2 and 1.5).

Tolerant exactly where real clients are sloppy: a trailing slash, a second leading slash, any case of the path, absolute-form
targets through a proxy, raw `:` and `/` in values, any parameter order and spelling of a selector. Nothing in a path is decoded,
so that no spelling of another path reaches a route.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote_plus

from idplane.agent.identities import Selector, SelectorKind
from idplane.model.failure import Failure, FailureKind

__all__ = ["Target", "client_id_only", "parse_form", "parse_selector", "parse_target", "refuse_selectors"]

_ABSOLUTE = re.compile(rb"http://([^/?#@]+)(.*)", re.IGNORECASE | re.DOTALL)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PLAIN_PATH = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@/-]*")
_MAX_PARAMETERS = 32
_MAX_VALUE = 2048
_SELECTORS = {
    "client_id": SelectorKind.CLIENT_ID,
    "clientid": SelectorKind.CLIENT_ID,
    "object_id": SelectorKind.OBJECT_ID,
    "principal_id": SelectorKind.OBJECT_ID,
    "principalid": SelectorKind.OBJECT_ID,
    "msi_res_id": SelectorKind.RESOURCE_ID,
    "mi_res_id": SelectorKind.RESOURCE_ID,
    "msi-res-id": SelectorKind.RESOURCE_ID,
    "resource_id": SelectorKind.RESOURCE_ID,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A request target. `authority` is there for the absolute form only; `path` is lower case, without a slash at its end."""

    authority: bytes | None
    path: str
    parameters: Mapping[str, str]
    """Names in lower case, values percent-decoded."""


def parse_target(raw: bytes) -> Target:
    """Take a target apart; raises `Failure` PATH_NOT_FOUND for tricks in the path, INVALID_PARAMETER for a bad query."""
    absolute = _ABSOLUTE.fullmatch(raw)
    authority = absolute[1].lower() if absolute else None
    path, _, query = (absolute[2] if absolute else raw).partition(b"?")
    return Target(authority=authority, path=_path(path), parameters=_parameters(query))


def parse_selector(parameters: Mapping[str, str]) -> Selector | None:
    """The identity that is asked for; raises `Failure(SELECTOR_REPEATED)` for more than one."""
    found = [(name, kind) for name, kind in _SELECTORS.items() if name in parameters]
    if len(found) > 1:
        names = ", ".join(name for name, _ in found)
        raise Failure(FailureKind.SELECTOR_REPEATED, f"Only one identity may be named in a request, got: {names}")
    return Selector(found[0][1], parameters[found[0][0]]) if found else None


def parse_form(body: bytes) -> Mapping[str, str]:
    """The members of an `application/x-www-form-urlencoded` body, by the rules for queries."""
    return _parameters(body)


def client_id_only(parameters: Mapping[str, str]) -> Selector | None:
    """As `parse_selector` where identities go by their client id alone; raises `Failure(INVALID_PARAMETER)` for another name.

    An empty one names nothing: Go's SDKs send `clientid=$DEFAULT_IDENTITY_CLIENT_ID` when none is meant, also without that variable.
    """
    selector = parse_selector(parameters)
    if selector == Selector(SelectorKind.CLIENT_ID, ""):
        return None
    if selector is not None and selector.kind is not SelectorKind.CLIENT_ID:
        raise Failure(FailureKind.INVALID_PARAMETER, "Identities are named by 'clientid' here, not by object or resource id")
    return selector


def refuse_selectors(parameters: Mapping[str, str], why: str, *, allowed: frozenset[str] = frozenset()) -> None:
    """For dialects where the platform has chosen the identity: naming one is refused, since another might be meant."""
    found = sorted(_SELECTORS.keys() & parameters.keys() - allowed)
    if found:
        raise Failure(FailureKind.INVALID_PARAMETER, f"The parameter '{found[0]}' is not supported: {why}")


def _path(raw: bytes) -> str:
    path = raw.decode("latin-1").lower()
    if path.startswith("//"):  # msal4j with a host override asks so (MIE section 1.5)
        path = path[1:]
    segments = path.removesuffix("/").split("/")
    odd = any(segment in {"", ".", ".."} for segment in segments[1:])
    if not path.startswith("/") or odd or _PLAIN_PATH.fullmatch(path) is None:
        raise Failure(FailureKind.PATH_NOT_FOUND, "There is nothing at this path")
    return "/".join(segments)


def _parameters(raw: bytes) -> dict[str, str]:
    parameters: dict[str, str] = {}
    pairs = [pair for pair in raw.split(b"&") if pair]
    if len(pairs) > _MAX_PARAMETERS:
        raise Failure(FailureKind.INVALID_PARAMETER, "Too many query parameters")
    for pair in pairs:
        name, _, value = pair.partition(b"=")
        key = _decoded(name).lower()
        if key in parameters:
            raise Failure(FailureKind.INVALID_PARAMETER, f"Query parameter '{key[:64]}' is repeated")
        parameters[key] = _decoded(value)
    return parameters


def _decoded(raw: bytes) -> str:
    refused = Failure(FailureKind.INVALID_PARAMETER, "The query is malformed")
    try:
        text = raw.decode()
        if _BAD_ESCAPE.search(text) or "#" in text:
            raise refused
        value = unquote_plus(text, errors="strict")
    except UnicodeDecodeError as error:
        raise refused from error
    if len(value) > _MAX_VALUE or not value.isprintable():
        raise refused
    return value
