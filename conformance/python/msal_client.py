"""msal: ManagedIdentityClient and ConfidentialClientApplication."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msal
import requests
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1
from lines import Request, UnsupportedError, serve

KINDS = {"client_id": "client_id", "object_id": "object_id", "resource_id": "resource_id"}
AZURE_CLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"


class RefusedError(Exception):
    """msal returns its errors."""


def identity(request: Request) -> Any:
    selector = request["selector"]
    if selector is None:
        return msal.SystemAssignedManagedIdentity()
    return msal.UserAssignedManagedIdentity(**{KINDS[selector["kind"]]: selector["value"]})


def managed_identity(request: Request, resource: str) -> dict[str, Any]:
    if "MSI_ENDPOINT" in os.environ and "MSI_SECRET" not in os.environ:
        return cloud_shell(request, resource)
    client = msal.ManagedIdentityClient(identity(request), http_client=requests.Session())
    found: dict[str, Any] = {}
    for _ in range(request.get("times", 1)):
        found = client.acquire_token_for_client(resource=resource)
    return found


def cloud_shell(request: Request, resource: str) -> dict[str, Any]:
    """As the Azure CLI asks there: this source belongs to a public client, which can name no identity."""
    if request["selector"] is not None:
        raise UnsupportedError("msal's way into Cloud Shell takes no identity")
    application = msal.PublicClientApplication(AZURE_CLI)
    found: dict[str, Any] = application.acquire_token_interactive([f"{resource}/.default"], prompt="none")
    return found


def confidential(request: Request, credential: Any) -> dict[str, Any]:
    host = os.environ.get("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com").rstrip("/")
    authority = f"{host}/{request['tenant']}"
    application = msal.ConfidentialClientApplication(request["client_id"], client_credential=credential, authority=authority)
    found: dict[str, Any] = application.acquire_token_for_client([f"{request['resource']}/.default"])
    return found


def certificate(request: Request) -> dict[str, Any]:
    pem = Path(request["certificate"]).read_bytes()
    thumbprint = x509.load_pem_x509_certificate(pem).fingerprint(SHA1())
    return confidential(request, {"private_key": pem.decode(), "thumbprint": thumbprint.hex()})


def assertion(request: Request) -> dict[str, Any]:
    first = managed_identity(request, request["assertion_resource"])
    return confidential(request, {"client_assertion": _token(first)})


def workload_identity(request: Request) -> dict[str, Any]:
    """What msal's documentation has programs do with the variables of workload identity."""
    request = {**request, "tenant": os.environ["AZURE_TENANT_ID"], "client_id": os.environ["AZURE_CLIENT_ID"]}
    return confidential(request, {"client_assertion": Path(os.environ["AZURE_FEDERATED_TOKEN_FILE"]).read_text()})


def default(_: Request) -> dict[str, Any]:
    raise UnsupportedError("msal has no default credential")


CLIENTS: dict[str, Callable[[Request], dict[str, Any]]] = {
    "managed-identity": lambda request: managed_identity(request, request["resource"]),
    "default": default,
    "workload-identity": workload_identity,
    "client-secret": lambda request: confidential(request, request["secret"]),
    "client-certificate": certificate,
    "client-assertion": assertion,
}


def _token(found: dict[str, Any]) -> str:
    if "access_token" not in found:
        raise RefusedError(f"{found.get('error')}: {found.get('error_description')}")
    return str(found["access_token"])


def answer(request: Request) -> tuple[str, float]:
    found = CLIENTS[request["client"]](request)
    token = _token(found)
    return token, time.time() + found["expires_in"]


if __name__ == "__main__":
    serve("msal", answer)
