"""The api-versions that a test plane's verbs speak."""

from __future__ import annotations

from idplane.providers import PROVIDERS

__all__ = ["version_for"]

_VERSIONS = {
    "microsoft.resources": "2024-11-01",
    "microsoft.compute": "2024-11-01",
    "microsoft.managedidentity": "2024-11-30",
    "microsoft.keyvault": "2023-07-01",
    "microsoft.authorization": "2022-04-01",
    "microsoft.management": "2023-04-01",
}


def version_for(path: str) -> str:
    """The api-version that the verbs use: for types without a settled one, the newest that is no preview."""
    _, provider, rest = path.lower().rpartition("/providers/")
    namespace, *words = rest.split("/") if provider else ("microsoft.resources",)
    if namespace in _VERSIONS:
        return _VERSIONS[namespace]
    kind = "/".join((namespace, *words[::2]))
    versions = next((one.api_versions for each in PROVIDERS for one in each.types if one.name.lower() == kind), ("none",))
    return next((version for version in versions if "preview" not in version), versions[0])
