"""The OAuth and OpenID authority: token endpoints, discovery, keys and instance discovery (managed-identity-endpoints.md section 7).

    POST /{tenant}/oauth2/v2.0/token    POST /{tenant}/oauth2/token              tokens; the first reads `scope`, the second `resource`
    GET  /{tenant}/v2.0/.well-known/openid-configuration   GET /{tenant}/.well-known/openid-configuration
    GET  /{tenant}/discovery/v2.0/keys  GET  /{tenant}/discovery/keys
    GET  /common/discovery/instance
    POST /{tenant}/oauth2/v2.0/devicecode  GET /common/oauth2/deviceauth          a user's sign-in begins, and the page that says how it goes on
    POST /{tenant}/oauth2/v2.0/introspect          whether a token counts (`introspection`)
    GET  /common/userrealm/{user}
    GET  /{tenant}/{generation}/{resource}/.well-known/openid-configuration   and /openid/v1/jwks: hosts' own issuers (`workload_issuers`)

A tenant is its GUID or its domain in any case; discovery, and what is about users, also answer for `common` and `organizations`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

import msgspec

from idplane.model.calls import Call
from idplane.model.directory import Tenant
from idplane.model.failure import Failure, FailureKind
from idplane.model.values import JsonObject
from idplane.ports.store import Store
from idplane.sts.device_codes import DeviceRequest, StartedDeviceCode
from idplane.sts.requests import Endpoint, IssuedToken, TokenRequest
from idplane.sts.tenants import ANY_TENANT, tenant_named
from idplane.web.discovery import configuration_v1, configuration_v2, instance_discovery
from idplane.web.http import HttpRequest, HttpResponse
from idplane.web.introspection import TokenInspector, introspection
from idplane.web.oauth_errors import NO_STORE, oauth_error
from idplane.web.sign_in_pages import approval_page, device_answer, user_realm
from idplane.web.token_form import device_request, token_request
from idplane.web.workload_issuers import JWKS, issuer_document, issuer_path

__all__ = ["AuthoritySurface", "KeyDocument", "TokenIssuer"]

_PUBLIC: Final = (("Cache-Control", "max-age=86400, private"), ("Access-Control-Allow-Origin", "*"))
# Shorter than any profile's lead between a key's publication and its first use, so that a cached document always holds the key.
_KEYS_PUBLIC: Final = (("Cache-Control", "max-age=3600, private"), ("Access-Control-Allow-Origin", "*"))
_USER_REALM: Final = "userrealm/"


class TokenIssuer(Protocol):
    """What the token endpoints need; `sts.TokenService` is one."""

    async def issue(self, request: TokenRequest, call: Call) -> IssuedToken:
        """A token whose sign-in record is durable."""
        ...


class DeviceAuthorization(Protocol):
    """What the device authorization endpoint needs; `sts.DeviceCodes` is one."""

    async def start(self, request: DeviceRequest, call: Call) -> StartedDeviceCode:
        """A request that waits for approval, once it is durable."""
        ...


class KeyDocument(Protocol):
    """What the keys endpoint needs; `keys.KeyRing` is one."""

    async def read(self) -> None:
        """Read the keys again, whatever the change feed told: what signs anywhere is in the answer."""
        ...

    def jwks(self) -> JsonObject:
        """The JWK Set of every key that live tokens may be signed with, and of the next one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Route:
    """What one path, below the tenant's segment, accepts and does."""

    method: str
    handle: Callable[[str, HttpRequest], Awaitable[HttpResponse]]


class AuthoritySurface:
    """The surface for every path that no other one claims."""

    def __init__(
        self,
        *,
        tokens: TokenIssuer,
        devices: DeviceAuthorization,
        ring: KeyDocument,
        store: Store,
        inspector: TokenInspector | None = None,
    ) -> None:
        """Without `inspector` nobody can ask of a token whether it counts."""
        self._tokens = tokens
        self._devices = devices
        self._ring = ring
        self._store = store
        self._routes: Mapping[str, _Route] = {
            "oauth2/v2.0/token": _Route(method="POST", handle=self._token_v2),
            "oauth2/token": _Route(method="POST", handle=self._token_v1),
            "oauth2/v2.0/devicecode": _Route(method="POST", handle=self._device_code),
            "oauth2/deviceauth": _Route(method="GET", handle=self._approval_page),
            "v2.0/.well-known/openid-configuration": _Route(method="GET", handle=self._configuration_v2),
            ".well-known/openid-configuration": _Route(method="GET", handle=self._configuration_v1),
            "discovery/v2.0/keys": _Route(method="GET", handle=self._keys),
            "discovery/keys": _Route(method="GET", handle=self._keys),
            "discovery/instance": _Route(method="GET", handle=self._instance),
        }
        if inspector is not None:
            self._routes = {
                **self._routes,
                "oauth2/v2.0/introspect": _Route(method="POST", handle=partial(introspection, inspector)),
            }

    async def handle(self, request: HttpRequest, /) -> HttpResponse:
        """Serve one request; raises `Failure(PATH_NOT_FOUND)`, `Failure(METHOD_NOT_ALLOWED)` and what the token service raises."""
        tenant, _, rest = request.path.removeprefix("/").partition("/")
        # An authority with a slash at its end is msal's own default: `/common//v2.0/.well-known/openid-configuration`.
        route = self._routes.get(rest.lstrip("/").lower())
        if route is None and rest.lstrip("/").lower().startswith(_USER_REALM):
            route = _Route(method="GET", handle=self._user_realm)
        if route is None and issuer_path(request.path) is not None:
            route = _Route(method="GET", handle=self._workload_issuer)
        if route is None or not tenant:
            raise Failure(FailureKind.PATH_NOT_FOUND, "there is no such endpoint")
        if request.method != route.method:
            raise Failure(
                FailureKind.METHOD_NOT_ALLOWED,
                f"the endpoint takes {route.method} requests only",
                allowed=route.method,
                method=request.method[:20],
            )
        return await route.handle(tenant, request)

    def refuse(self, failure: Failure, request: HttpRequest, /) -> HttpResponse:
        """Any failure, as an OAuth error with Entra's number."""
        return oauth_error(failure, request)

    async def _token_v2(self, tenant: str, request: HttpRequest) -> HttpResponse:
        token = await self._tokens.issue(token_request(tenant, request, Endpoint.V2), request.call)
        return _answer(
            {
                "token_type": "Bearer",
                "expires_in": token.expires_in,
                "ext_expires_in": token.expires_in,
                **_user_members(token),
                "access_token": token.access_token,
            }
        )

    async def _token_v1(self, tenant: str, request: HttpRequest) -> HttpResponse:
        """Entra's v1 endpoint answers with strings, and tells the instants and the resource too."""
        token = await self._tokens.issue(token_request(tenant, request, Endpoint.V1), request.call)
        return _answer(
            {
                "token_type": "Bearer",
                "expires_in": str(token.expires_in),
                "ext_expires_in": str(token.expires_in),
                "expires_on": str(int(token.expires_at.timestamp())),
                "not_before": str(int(token.not_before.timestamp())),
                "resource": token.resource,
                "access_token": token.access_token,
            }
        )

    async def _device_code(self, tenant: str, request: HttpRequest) -> HttpResponse:
        started = await self._devices.start(device_request(tenant, request), request.call)
        return _answer(device_answer(started, request.origin))

    async def _approval_page(self, tenant: str, _request: HttpRequest) -> HttpResponse:
        await self._tenant(tenant)
        return approval_page()

    async def _user_realm(self, tenant: str, request: HttpRequest) -> HttpResponse:
        await self._tenant(tenant)
        user = request.path.removeprefix("/").partition("/")[2].lstrip("/")[len(_USER_REALM) :]
        return _answer(user_realm(user, request.parameter("api-version"), request.origin))

    async def _configuration_v2(self, tenant: str, request: HttpRequest) -> HttpResponse:
        return _json(configuration_v2(await self._tenant(tenant), request.origin, tenant.lower()), _PUBLIC)

    async def _configuration_v1(self, tenant: str, request: HttpRequest) -> HttpResponse:
        return _json(configuration_v1(await self._tenant(tenant), request.origin, tenant.lower()), _PUBLIC)

    async def _keys(self, tenant: str, _request: HttpRequest) -> HttpResponse:
        await self._tenant(tenant)
        await self._ring.read()
        return _json(self._ring.jwks(), _KEYS_PUBLIC)

    async def _workload_issuer(self, _tenant: str, request: HttpRequest) -> HttpResponse:
        base, wanted = issuer_path(request.path) or ("", "")
        document = await issuer_document(self._store, request, base)
        if wanted != JWKS:
            return _json(document, _PUBLIC)
        await self._ring.read()
        return _json(self._ring.jwks(), _KEYS_PUBLIC)

    async def _instance(self, tenant: str, request: HttpRequest) -> HttpResponse:
        if tenant.lower() != "common":
            raise Failure(FailureKind.PATH_NOT_FOUND, "instance discovery is at /common/discovery/instance")
        document = instance_discovery(
            request.parameter("authorization_endpoint"), request.parameter("api-version"), request.origin
        )
        return _json(document, _PUBLIC)

    async def _tenant(self, name: str) -> Tenant | None:
        """The tenant that a discovery path names; None for the names that mean any."""
        return None if name.lower() in ANY_TENANT else await tenant_named(self._store, name)


def _user_members(token: IssuedToken) -> dict[str, str]:
    """What a user's answer holds beside: absent, not null, where there is none."""
    reply = token.user
    if reply is None:
        return {}
    members = {
        "scope": reply.scope,
        "refresh_token": reply.refresh_token,
        "id_token": reply.id_token,
        "client_info": reply.client_info,
    }
    return {name: value for name, value in members.items() if value is not None}


def _json(document: JsonObject, headers: tuple[tuple[str, str], ...]) -> HttpResponse:
    return HttpResponse(status=200, body=msgspec.json.encode(document), headers=headers)


def _answer(document: JsonObject) -> HttpResponse:
    return _json(document, NO_STORE)
