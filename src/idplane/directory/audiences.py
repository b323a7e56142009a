"""Which resource application a resource string means (managed-identity-endpoints.md section 9).

Three sources, in this order: Azure's well-known resources, the plane's own addresses, and the tenant's registered applications.
Strings are compared without case and without one final slash; the token keeps the string as it was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from idplane.model.directory import ResourceApplication
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import is_guid
from idplane.ports.collections import APPLICATIONS
from idplane.ports.store import Store

__all__ = [
    "AUDIENCE_URIS",
    "GRAPH",
    "KEY_VAULT",
    "LOCAL_HOSTS",
    "RESOURCE_MANAGER",
    "WELL_KNOWN",
    "Audiences",
    "WellKnown",
    "audience_key",
    "hosts_of",
]

_MAX_LENGTH = 1024
_HTTPS_HOST = re.compile(r"https://([a-z0-9.-]+|\[[0-9a-f:]+\])(?::[0-9]{1,5})?")
_GRAPH_ID = "00000003-0000-0000-c000-000000000000"


@dataclass(frozen=True, slots=True, kw_only=True)
class WellKnown:
    """One of Azure's own resource applications with the strings that name it.

    `suffixes` are the hosts below which every account has a resource string of its own, such as `https://acme.blob.core.windows.net`.
    """

    application: ResourceApplication
    uris: tuple[str, ...]
    suffixes: tuple[str, ...] = ()


def _known(name: str, client_id: str, *uris: str, suffixes: tuple[str, ...] = (), token_version: int = 1) -> WellKnown:
    return WellKnown(
        application=ResourceApplication(client_id=client_id, display_name=name, token_version=token_version),
        uris=uris,
        suffixes=suffixes,
    )


_MANAGEMENT: Final = _known(
    "Windows Azure Service Management API",
    "797f4846-ba00-4fd7-ba43-dac1f8f63013",
    "https://management.azure.com",
    "https://management.core.windows.net",
    "https://management.core.usgovcloudapi.net",
    "https://management.usgovcloudapi.net",
    "https://management.core.chinacloudapi.cn",
    "https://management.chinacloudapi.cn",
)
_GRAPH: Final = _known("Microsoft Graph", _GRAPH_ID, "https://graph.microsoft.com")
_VAULT: Final = _known(
    "Azure Key Vault",
    "cfa8b339-82a2-471a-a3c9-0fc0be7a4093",
    "https://vault.azure.net",
    "https://vault.usgovcloudapi.net",
    "https://vault.azure.cn",
)
# The one well-known resource whose tokens are of version 2 (managed-identity-endpoints.md section 6.4).
_EXCHANGE: Final = _known(
    "AzureADTokenExchange",
    "fb60f99c-7a34-4190-8149-302f77469936",
    "api://AzureADTokenExchange",
    "api://AzureADTokenExchangeUSGov",
    "api://AzureADTokenExchangeChina",
    token_version=2,
)

WELL_KNOWN: Final[tuple[WellKnown, ...]] = (
    _MANAGEMENT,
    _GRAPH,
    _VAULT,
    _EXCHANGE,
    _known("Windows Azure Active Directory", "00000002-0000-0000-c000-000000000000", "https://graph.windows.net"),
    _known(
        "Azure Storage",
        "e406a681-f3d4-42a8-90b6-c2b029497af1",
        "https://storage.azure.com",
        suffixes=tuple(f".{service}.core.windows.net" for service in ("blob", "queue", "table", "file", "dfs")),
    ),
    _known("Azure SQL Database", "022907d3-0f1b-48f7-badc-1ba6abab6d66", "https://database.windows.net"),
    _known("Azure OSSRDBMS Database", "123cd850-d9df-40bd-94d5-c9f07b7fa203", "https://ossrdbms-aad.database.windows.net"),
    _known(
        "Azure Cosmos DB",
        "a232010e-820c-4083-83bb-3ace5fc29d0b",
        "https://cosmos.azure.com",
        suffixes=(".documents.azure.com",),
    ),
    _known("Azure Cache for Redis", "acca5fbb-b7e4-4009-81f1-37e38fd66d78", "https://redis.azure.com"),
    _known(
        "Microsoft.ServiceBus",
        "80a10ef9-8168-493d-abf9-3297c4ef6e3c",
        "https://servicebus.azure.net",
        suffixes=(".servicebus.windows.net",),
    ),
    _known("Microsoft.EventHubs", "80369ed6-5f11-4dd9-bef3-692475845e77", "https://eventhubs.azure.net"),
    _known("Microsoft.EventGrid", "4962773b-9cdb-44cf-a8bf-237846a00ab7", "https://eventgrid.azure.net"),
    _known(
        "Azure App Configuration", "35ffadb3-7fc1-497e-b61b-381d28e744cc", "https://azconfig.io", suffixes=(".azconfig.io",)
    ),
    _known("Azure Container Registry", "6a0ec4d3-30cb-4a83-91c0-ae56bc0e3d26", "https://containerregistry.azure.net"),
    _known("Azure Kubernetes Service AAD Server", "6dae42f8-4368-4678-94ff-3960e28e3630"),
    _known("Azure Key Vault Managed HSM", "589d5083-6f11-4d30-a62a-a4b316a14abf", "https://managedhsm.azure.net"),
    _known("Azure Data Lake", "e9f49c6b-5ce5-44c8-925d-015017e9f7ad", "https://datalake.azure.net"),
    _known("Microsoft Cognitive Services", "7d312290-28c8-473c-a0ed-8e53749b6d6d", "https://cognitiveservices.azure.com"),
    _known("Log Analytics API", "ca7f3f0b-7d91-482c-8e09-c5d840d0eac5", "https://api.loganalytics.io"),
    _known("Microsoft Azure Batch", "ddbf3205-c6bd-46ae-8127-60eb93363864", "https://batch.core.windows.net"),
    _known("AzureDatabricks", "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d"),
)

RESOURCE_MANAGER: Final = _MANAGEMENT.application
GRAPH: Final = _GRAPH.application
KEY_VAULT: Final = _VAULT.application


def audience_key(resource: str) -> str:
    """What resource strings are compared by: lower case, without one final slash."""
    return resource.lower().removesuffix("/")


AUDIENCE_URIS: Final[Mapping[str, tuple[str, ...]]] = {
    it.application.client_id: (it.application.client_id, *it.uris, *(f"{uri}/" for uri in it.uris)) for it in WELL_KNOWN
}
"""By client id: every `aud` under which a well-known resource knows itself; a surface adds its own address."""

_BY_KEY: Final[Mapping[str, ResourceApplication]] = {
    key: it.application for it in WELL_KNOWN for key in (it.application.client_id, *map(audience_key, it.uris))
}
_BY_SUFFIX: Final[Mapping[str, ResourceApplication]] = {suffix: it.application for it in WELL_KNOWN for suffix in it.suffixes}


_PLANE: Final = replace(RESOURCE_MANAGER, roles_of=_GRAPH_ID)

LOCAL_HOSTS: Final[Mapping[str, ResourceApplication]] = {
    "localhost": _PLANE,
    "127.0.0.1": _PLANE,
    "[::1]": _PLANE,
    "vault.localhost": KEY_VAULT,
}
"""The plane's own names on one machine. Resource Manager and Graph share an address, which means the first, with the caller's
Graph roles in the token.
"""


def hosts_of(names: Iterable[str]) -> Mapping[str, ResourceApplication]:
    """The plane's own names where it has further ones (host names and addresses without ports): each of them, and its vaults' domain."""
    lower = [f"[{name}]" if ":" in name else name.lower() for name in names]
    return {**dict.fromkeys(lower, _PLANE), **{f"vault.{name}": KEY_VAULT for name in lower}, **LOCAL_HOSTS}


class Audiences:
    """The lookup of resource strings; holds the plane's own host names, which are known only where it runs."""

    def __init__(self, *, store: Store, own_hosts: Mapping[str, ResourceApplication] = LOCAL_HOSTS) -> None:
        """`own_hosts` are lower case and without a port: which listener a token is for, its audience says word for word."""
        self._store = store
        self._own_hosts = own_hosts

    async def resolve(self, resource: str, *, tenant_id: str) -> ResourceApplication:
        """The application that `resource` names in a tenant; raises `Failure(AUDIENCE_UNKNOWN)`.

        A resource is a URI or a client id (managed-identity-endpoints.md section 9.3).
        """
        if 0 < len(resource) <= _MAX_LENGTH:
            key = audience_key(resource)
            found = _BY_KEY.get(key) or self._by_host(key) or await self._registered(key, tenant_id)
            if found is not None:
                return found
        shown = resource[:200]
        raise Failure(FailureKind.AUDIENCE_UNKNOWN, f"the resource '{shown}' is not known in the tenant", resource=shown)

    def _by_host(self, key: str) -> ResourceApplication | None:
        host = _host(key)
        if host is None:
            return None
        account, dot, domain = host.partition(".")
        return self._own_hosts.get(host) or (_BY_SUFFIX.get(dot + domain) if account else None)

    async def _registered(self, key: str, tenant_id: str) -> ResourceApplication | None:
        # A client id, bare or as the default identifier URI, is a column; other URIs are looked for among the tenant's applications.
        client_id = key.removeprefix("api://")
        where = {"tenant_id": tenant_id} | ({"client_id": client_id} if is_guid(client_id) else {})
        for row in await self._store.all(APPLICATIONS, where=where):
            application = row.value
            if key == application.client_id or key in map(audience_key, application.identifier_uris):
                return ResourceApplication(
                    client_id=application.client_id,
                    display_name=application.display_name,
                    token_version=application.token_version,
                )
        return None


def _host(key: str) -> str | None:
    """The host of an https URL without a path, in any port; None for any other key."""
    matched = _HTTPS_HOST.fullmatch(key)
    return matched[1] if matched else None
