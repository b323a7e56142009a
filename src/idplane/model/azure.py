"""Azure's public host names: what the inside of a run resolves to this server, and what the server answers to there."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["ISSUER_DOMAINS", "PUBLIC_HOSTS", "VAULT_DOMAIN"]

PUBLIC_HOSTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "authority": ("login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net"),
        "management": ("management.azure.com", "management.core.windows.net"),
        "graph": ("graph.microsoft.com",),
    }
)
"""By the API that they serve; the first of each is the one that documents and challenges name."""

ISSUER_DOMAINS = ("oic.prod-aks.azure.com", "oic.prod-arc.azure.com")
"""Issuers of workloads' tokens are `{location}.` below these: of AKS clusters, and of everything else (`model.workload_issuers`)."""

VAULT_DOMAIN = "vault.azure.net"
"""Vaults are `{name}.vault.azure.net`."""
