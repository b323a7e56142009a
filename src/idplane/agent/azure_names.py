"""The public host names that idplane stands for inside a run. Apart from `names`, so that a launcher can read them without a DNS library."""

from __future__ import annotations

__all__ = ["AZURE_NAMES", "AZURE_SUFFIXES"]

AZURE_NAMES = frozenset(
    {
        "graph.microsoft.com",
        "login.microsoft.com",
        "login.microsoftonline.com",
        "login.windows.net",
        "management.azure.com",
        "management.core.windows.net",
        "sts.windows.net",
    }
)
"""Names that are served as they are."""
AZURE_SUFFIXES = ("vault.azure.net", "localhost")
"""Domains whose every name is served; `localhost` for `{vault}.vault.localhost`, which glibc does not resolve by itself."""
