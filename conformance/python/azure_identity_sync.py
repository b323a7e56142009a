"""azure-identity, its synchronous clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from azure.identity import (
    CertificateCredential,
    ClientSecretCredential,
    DefaultAzureCredential,
    ManagedIdentityCredential,
)
from lines import Request, UnsupportedError, serve


def managed_identity(request: Request) -> Any:
    selector = request["selector"]
    if selector is None:
        return ManagedIdentityCredential()
    if selector["kind"] == "client_id":
        return ManagedIdentityCredential(client_id=selector["value"])
    return ManagedIdentityCredential(identity_config={selector["kind"]: selector["value"]})


def client_assertion(request: Request) -> Any:
    try:
        from azure.identity import ClientAssertionCredential  # noqa: PLC0415 - older versions do not have it
    except ImportError:
        raise UnsupportedError("this version has no ClientAssertionCredential") from None
    identity = managed_identity(request)
    return ClientAssertionCredential(
        request["tenant"],
        request["client_id"],
        lambda: str(identity.get_token(f"{request['assertion_resource']}/.default").token),
    )


def workload_identity(_: Request) -> Any:
    try:
        from azure.identity import WorkloadIdentityCredential  # noqa: PLC0415 - older versions do not have it
    except ImportError:
        raise UnsupportedError("this version has no WorkloadIdentityCredential") from None
    return WorkloadIdentityCredential()


CLIENTS: dict[str, Callable[[Request], Any]] = {
    "managed-identity": managed_identity,
    "default": lambda _: DefaultAzureCredential(),
    "workload-identity": workload_identity,
    "client-secret": lambda request: ClientSecretCredential(request["tenant"], request["client_id"], request["secret"]),
    "client-certificate": lambda request: CertificateCredential(
        request["tenant"], request["client_id"], certificate_path=request["certificate"]
    ),
    "client-assertion": client_assertion,
}


def answer(request: Request) -> tuple[str, float]:
    credential = CLIENTS[request["client"]](request)
    token = None
    for _ in range(request.get("times", 1)):
        token = credential.get_token(f"{request['resource']}/.default")
    assert token is not None
    return token.token, token.expires_on


if __name__ == "__main__":
    serve("azure-identity", answer)
