"""The issuers of workloads' own tokens: one for each host resource, as each AKS cluster is one (MIE section 6.1). Pure.

    https://{location}.oic.prod-aks.azure.com/{tenant}/{generation}{resource id}/      clusters of AKS
    https://{location}.oic.prod-arc.azure.com/{tenant}/{generation}{resource id}/      every other host

The host and the first two segments are as Azure has them. That the resource's id follows makes an issuer its own proof: it is read
back into the resource, and nothing about it is stored. The generation comes from the moment at which the resource was made, so that
what trusted a resource does not trust a later one of the same name. Issuers do not name the address of the server, which may
change; inside a run they lead to it all the same.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from idplane.model.azure import ISSUER_DOMAINS
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId, is_guid, normalize_location
from idplane.model.resources import Resource

__all__ = [
    "EXCHANGE_AUDIENCE",
    "LONGEST",
    "SHORTEST",
    "USUAL",
    "NamedIssuer",
    "issuer_named",
    "issuer_of",
    "named_at",
    "subject_of",
]

EXCHANGE_AUDIENCE: Final = "api://AzureADTokenExchange"
USUAL, SHORTEST, LONGEST = 3600, 600, 86400
"""Seconds that a workload's token lives: as asked between the bounds, which are Kubernetes' and AKS'."""

_AKS: Final = "microsoft.containerservice/managedclusters"
_CLUSTERS: Final = frozenset({_AKS, "microsoft.kubernetes/connectedclusters"})
_NAMESPACE: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_ACCOUNT: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_DEFAULT_ACCOUNT: Final = "default/default"


@dataclass(frozen=True, slots=True)
class NamedIssuer:
    """An issuer as it is written: which tenant's it claims to be, and which resource's."""

    tenant_id: str
    resource: ResourceId


def issuer_of(resource: Resource, tenant_id: str) -> str | None:
    """The issuer of what runs on a resource; None for a cluster whose `oidcIssuerProfile` is not enabled."""
    aks = resource.type.lower() == _AKS
    if aks and not _is_enabled(resource):
        return None
    label = re.sub(r"[^a-z0-9]", "", normalize_location(resource.location or "")) or "global"
    generation = uuid.uuid5(uuid.NAMESPACE_URL, f"{resource.id.key}#{resource.created_at.isoformat()}")
    return f"https://{label}.{ISSUER_DOMAINS[0 if aks else 1]}/{tenant_id}/{generation}{quote(str(resource.id))}/"


def issuer_named(text: str) -> NamedIssuer | None:
    """What an issuer says of itself, to be compared with `issuer_of` that resource; None for one of another form."""
    scheme, _, rest = text.partition("://")
    host, _, path = rest.partition("/")
    if scheme != "https" or host.partition(".")[2] not in ISSUER_DOMAINS:
        return None
    return named_at(unquote(path))


def named_at(path: str) -> NamedIssuer | None:
    """The same for the path of an issuer's address, decoded."""
    tenant_id, _, rest = path.strip("/").partition("/")
    generation, _, identifier = rest.partition("/")
    if not (is_guid(tenant_id) and is_guid(generation)):
        return None
    try:
        resource = ResourceId.parse(f"/{identifier}")
    except Failure:
        return None
    # Without a resource it is the issuer of a real cluster, which is as good a one as any outside.
    return NamedIssuer(tenant_id.lower(), resource) if resource.namespace is not None else None


def subject_of(resource: ResourceId, account: str | None) -> str:
    """Whom a token speaks for: on clusters a service account (`namespace/name`), elsewhere the resource, under its own id.

    Raises `Failure(INVALID_PARAMETER)` for what is no service account, or for one on a resource that has none.
    """
    if resource.type.lower() not in _CLUSTERS:
        if account is not None:
            raise Failure(FailureKind.INVALID_PARAMETER, f"only clusters have service accounts, and '{resource}' is none")
        return str(resource)
    namespace, _, name = (account or _DEFAULT_ACCOUNT).partition("/")
    if _NAMESPACE.fullmatch(namespace) is None or _ACCOUNT.fullmatch(name) is None:
        shown = (account or "")[:100]
        raise Failure(FailureKind.INVALID_PARAMETER, f"'{shown}' is no service account: write NAMESPACE/NAME, in lower case")
    return f"system:serviceaccount:{namespace}:{name}"


def _is_enabled(cluster: Resource) -> bool:
    profile = cluster.properties.get("oidcIssuerProfile")
    return isinstance(profile, Mapping) and profile.get("enabled") is True
