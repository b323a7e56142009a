"""azure-identity, its asynchronous clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from azure.identity.aio import (
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


def workload_identity(_: Request) -> Any:
    try:
        from azure.identity.aio import WorkloadIdentityCredential  # noqa: PLC0415 - older versions do not have it
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
}


async def ask(credential: Any, resource: str, times: int = 1) -> Any:
    async with credential:
        token = None
        for _ in range(times):
            token = await credential.get_token(f"{resource}/.default")
        return token


async def by_assertion(request: Request) -> Any:
    try:
        from azure.identity.aio import ClientAssertionCredential  # noqa: PLC0415 - older versions do not have it
    except ImportError:
        raise UnsupportedError("this version has no ClientAssertionCredential") from None
    # Its callback can't wait, so the assertion is fetched before.
    assertion = (await ask(managed_identity(request), request["assertion_resource"])).token
    return await ask(ClientAssertionCredential(request["tenant"], request["client_id"], lambda: assertion), request["resource"])


def answer(request: Request) -> tuple[str, float]:
    if request["client"] == "client-assertion":
        token = asyncio.run(by_assertion(request))
    else:
        # Made inside the loop: older versions of its transport look for a running one.
        async def made() -> Any:
            return await ask(CLIENTS[request["client"]](request), request["resource"], request.get("times", 1))

        token = asyncio.run(made())
    return token.token, token.expires_on


if __name__ == "__main__":
    serve("azure-identity", answer)
