"""The authority's public documents: openid-configuration in its two forms, and instance discovery. Pure.

Only what exists is listed, with one exception: `authorization_endpoint`, without which MSAL refuses the whole document
(managed-identity-endpoints.md section 7.3).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import SplitResult, urlsplit

from idplane.model.directory import Tenant
from idplane.model.failure import Failure, FailureKind
from idplane.model.values import JsonObject
from idplane.sts.grants import GRANTS, USER_GRANTS
from idplane.web.http import Origin

__all__ = ["configuration_v1", "configuration_v2", "instance_discovery"]

_AUTHENTICATION: Final = ("client_secret_post", "private_key_jwt", "client_secret_basic", "tls_client_auth")
_ASSERTION_ALGORITHMS: Final = ("RS256", "PS256", "ES256")
_CLAIMS_V1: Final = (
    "aud", "iss", "iat", "nbf", "exp", "aio", "appid", "appidacr", "idp", "idtyp", "oid", "rh", "roles", "sub", "tid", "uti", "ver",
)  # fmt: skip
_CLAIMS_V2: Final = (
    "aud", "iss", "iat", "nbf", "exp", "aio", "azp", "azpacr", "idtyp", "name", "oid", "preferred_username", "rh", "roles", "scp", "sid",
    "sub", "tid", "uti", "ver",
)  # fmt: skip
_ANY_TENANT: Final = "{tenantid}"

_API_VERSIONS: Final = frozenset({"1.0", "1.1"})
# Network name, cache name and aliases of Azure's clouds, as clients expect the metadata to pair them (section 7.2).
_CLOUDS: Final[tuple[tuple[str, str, tuple[str, ...]], ...]] = (
    (
        "login.microsoftonline.com",
        "login.windows.net",
        ("login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net"),
    ),
    (
        "login.partner.microsoftonline.cn",
        "login.partner.microsoftonline.cn",
        ("login.partner.microsoftonline.cn", "login.chinacloudapi.cn"),
    ),
    (
        "login.microsoftonline.us",
        "login.microsoftonline.us",
        ("login.microsoftonline.us", "login.usgovcloudapi.net"),
    ),
    ("login-us.microsoftonline.com", "login-us.microsoftonline.com", ("login-us.microsoftonline.com",)),
    ("login.microsoftonline.de", "login.microsoftonline.de", ("login.microsoftonline.de",)),
)
_AZURE_HOSTS: Final = frozenset(alias for _, _, aliases in _CLOUDS for alias in aliases)


def configuration_v2(tenant: Tenant | None, origin: Origin, name: str) -> JsonObject:
    """The v2 document of a tenant, or of `name` (`common`, `organizations`) when it is None.

    Its issuer is on the origin that was asked, since JS and Go refuse any other; what tokens carry is the tenant's own setting.
    """
    base = f"{origin.authority}/{tenant.id if tenant else name}"
    return {
        "token_endpoint": f"{base}/oauth2/v2.0/token",
        "token_endpoint_auth_methods_supported": _AUTHENTICATION,
        "token_endpoint_auth_signing_alg_values_supported": _ASSERTION_ALGORITHMS,
        "jwks_uri": f"{base}/discovery/v2.0/keys",
        "response_modes_supported": (),
        "subject_types_supported": ("pairwise",),
        "id_token_signing_alg_values_supported": ("RS256",),
        "response_types_supported": (),
        "grant_types_supported": (*GRANTS, *sorted(USER_GRANTS)),
        "scopes_supported": ("openid", "profile", "email", "offline_access", ".default"),
        "issuer": f"{origin.authority}/{tenant.id if tenant else _ANY_TENANT}/v2.0",
        "request_uri_parameter_supported": False,
        "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
        "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
        "tls_client_certificate_bound_access_tokens": True,
        "introspection_endpoint": f"{base}/oauth2/v2.0/introspect",
        "introspection_endpoint_auth_methods_supported": (*_AUTHENTICATION, "Bearer"),
        "claims_supported": _CLAIMS_V2,
        **_cloud(tenant, origin),
    }


def configuration_v1(tenant: Tenant | None, origin: Origin, name: str) -> JsonObject:
    """The v1 document; its issuer is the one that version 1 tokens carry."""
    base = f"{origin.authority}/{tenant.id if tenant else name}"
    return {
        "token_endpoint": f"{base}/oauth2/token",
        "token_endpoint_auth_methods_supported": _AUTHENTICATION,
        "token_endpoint_auth_signing_alg_values_supported": _ASSERTION_ALGORITHMS,
        "jwks_uri": f"{base}/discovery/keys",
        "response_modes_supported": (),
        "subject_types_supported": ("pairwise",),
        "id_token_signing_alg_values_supported": ("RS256",),
        "response_types_supported": (),
        "grant_types_supported": tuple(GRANTS),
        "scopes_supported": (),
        "issuer": tenant.issuer_v1 if tenant else f"https://sts.windows.net/{_ANY_TENANT}/",
        "authorization_endpoint": f"{base}/oauth2/authorize",
        "introspection_endpoint": f"{base}/oauth2/v2.0/introspect",
        "claims_supported": _CLAIMS_V1,
        **_cloud(tenant, origin),
    }


def _cloud(tenant: Tenant | None, origin: Origin) -> dict[str, object]:
    graph = urlsplit(origin.graph).netloc
    return {
        "tenant_region_scope": "WW" if tenant else None,
        "cloud_instance_name": urlsplit(origin.authority).netloc,
        "cloud_graph_host_name": graph,
        "msgraph_host": graph,
    }


def instance_discovery(endpoint: str | None, api_version: str | None, origin: Origin) -> JsonObject:
    """Whether an authority is one to be trusted: this one under any of its names, or one of Azure's (section 7.2).

    Raises `Failure(MISSING_PARAMETER)`, `Failure(INVALID_PARAMETER)` for an unknown api-version, `Failure(INSTANCE_UNKNOWN)`.
    """
    if endpoint is None:
        raise Failure(FailureKind.MISSING_PARAMETER, "the request names no authority", parameter="authorization_endpoint")
    if (api_version or "1.0") not in _API_VERSIONS:
        raise Failure(FailureKind.INVALID_PARAMETER, "the api-version is neither 1.0 nor 1.1", parameter="api-version")
    asked = _https(endpoint)
    tenant = asked.path.removeprefix("/").partition("/")[0]
    # MSAL Python asks for the name without the port, and goes where the answer says.
    named = asked.netloc.lower()
    host = next((one for one in sorted(origin.also) if one.rpartition(":")[0] == named), named)
    own = urlsplit(origin.authority).netloc.lower()
    if not tenant or host not in _AZURE_HOSTS | {own} | origin.also:
        raise Failure(FailureKind.INSTANCE_UNKNOWN, "the authority is not known")
    found = {"tenant_discovery_endpoint": f"https://{host}/{tenant}/v2.0/.well-known/openid-configuration"}
    if api_version != "1.1":
        return found
    return {**found, "api-version": "1.1", "metadata": _metadata(host if host in origin.also else own)}


def _https(endpoint: str) -> SplitResult:
    refused = Failure(FailureKind.INSTANCE_UNKNOWN, "the authority is not an https URL")
    try:
        asked = urlsplit(endpoint)
        _ = asked.port  # raises for a port that is no number
    except ValueError as error:
        raise refused from error
    if asked.scheme != "https" or asked.username is not None or not asked.netloc.isascii():
        raise refused
    return asked


def _metadata(own: str) -> tuple[Mapping[str, object], ...]:
    clouds = tuple(
        {"preferred_network": network, "preferred_cache": cache, "aliases": aliases} for network, cache, aliases in _CLOUDS
    )
    if own in _AZURE_HOSTS:
        return clouds
    # MSAL Python looks itself up without the port, the others with it.
    bare = own.rpartition(":")[0] if own.rpartition(":")[2].isdigit() else own
    aliases = tuple(dict.fromkeys((own, bare)))
    return (*clouds, {"preferred_network": own, "preferred_cache": own, "aliases": aliases})
