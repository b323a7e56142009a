"""Reading the request's words for what the token shall be for and hold: `scope`, `resource` and `claims` (MIE section 9.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, assert_never

import msgspec

from idplane.model.failure import Failure, FailureKind
from idplane.sts.requests import Endpoint, TokenRequest

__all__ = ["GRAPH_RESOURCE", "declared_capabilities", "requested_resource", "resource_of_scope"]

GRAPH_RESOURCE: Final = "https://graph.microsoft.com"
"""What a scope without a resource means."""

_DEFAULT: Final = ".default"
_ABOUT_THE_USER: Final = frozenset({"openid", "profile", "email", "offline_access"})
"""OpenID Connect's own scopes. MSAL for Go and Java ask for them with client credentials, too, where there is no user to tell about."""
_MAX_CLAIMS: Final = 8 * 1024
_MAX_CAPABILITIES: Final = 8
_MAX_CAPABILITY: Final = 32


def requested_resource(request: TokenRequest) -> str:
    """The resource of a client-credentials request, in the endpoint's own spelling.

    Raises `Failure(MISSING_PARAMETER)` when neither is there, `Failure(SCOPE_INVALID)` for a scope of another form.
    """
    if request.audience is None:
        raise Failure(FailureKind.MISSING_PARAMETER, "the request names no resource", parameter=request.endpoint.value)
    match request.endpoint:
        case Endpoint.V1:
            return request.audience
        case Endpoint.V2:
            return resource_of_scope(request.audience)
        case _:
            assert_never(request.endpoint)


def resource_of_scope(scope: str) -> str:
    """`{resource}/.default` to the resource: exactly one slash goes, so `https://vault.azure.net//.default` keeps its final slash.

    Client credentials get whatever was granted beforehand, hence `/.default` and one resource; anything else is
    `Failure(SCOPE_INVALID)`. OpenID Connect's own scopes beside it mean nothing here.
    """
    scopes = [one for one in scope.split() if one not in _ABOUT_THE_USER]
    if len(scopes) == 1:
        if scopes[0].lower() == _DEFAULT:
            return GRAPH_RESOURCE
        resource, slash, last = scopes[0].rpartition("/")
        if slash and resource and last.lower() == _DEFAULT:
            return resource
    shown = scope[:200]
    raise Failure(FailureKind.SCOPE_INVALID, f"the scope '{shown}' is not one resource followed by /.default", scope=shown)


def declared_capabilities(claims: str | None) -> tuple[str, ...]:
    """The client capabilities in the `claims` parameter, such as `CP1`, in the client's own case (MIE section 6.2).

    Everything else in it is a wish that this service has no use for. Raises `Failure(INVALID_PARAMETER)` unless it is a JSON
    object within bounds.
    """
    if claims is None:
        return ()
    wanted = _decoded(claims)
    values = _member(_member(_member(wanted, "access_token"), "xms_cc"), "values")
    if not isinstance(values, list):
        return ()
    return tuple(it for it in values[:_MAX_CAPABILITIES] if isinstance(it, str) and 0 < len(it) <= _MAX_CAPABILITY)


def _decoded(claims: str) -> Mapping[str, object]:
    refused = Failure(FailureKind.INVALID_PARAMETER, "the parameter 'claims' is not a JSON object", parameter="claims")
    if len(claims) > _MAX_CLAIMS:
        raise refused
    try:
        decoded = msgspec.json.decode(claims, type=dict[str, object])
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
        raise refused from error
    return decoded


def _member(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, Mapping) else None
