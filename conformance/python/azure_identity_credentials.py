"""azure-identity's credentials, which are made alike in its synchronous package and in its asynchronous one."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from lines import Request, UnsupportedError

__all__ = ["credential", "managed_identity", "newer"]


def credential(package: ModuleType, request: Request) -> Any:
    """What asks by itself: every client but the one that shows another's token."""
    match request["client"]:
        case "managed-identity":
            return managed_identity(package, request)
        case "default":
            return package.DefaultAzureCredential()
        case "workload-identity":
            return newer(package, "WorkloadIdentityCredential")()
        case "client-secret":
            return package.ClientSecretCredential(request["tenant"], request["client_id"], request["secret"])
        case "client-certificate":
            return package.CertificateCredential(
                request["tenant"], request["client_id"], certificate_path=request["certificate"]
            )
        case other:
            raise UnsupportedError(f"azure-identity has no client '{other}'")


def managed_identity(package: ModuleType, request: Request) -> Any:
    selector = request["selector"]
    if selector is None:
        return package.ManagedIdentityCredential()
    if selector["kind"] == "client_id":
        return package.ManagedIdentityCredential(client_id=selector["value"])
    return package.ManagedIdentityCredential(identity_config={selector["kind"]: selector["value"]})


def newer(package: ModuleType, name: str) -> Any:
    """A class that older versions do not have."""
    found = getattr(package, name, None)
    if found is None:
        raise UnsupportedError(f"this version has no {name}")
    return found
