"""A program for the inside of a run: signs in with every credential of azure-identity and msal, as code for production does.

No variables, no authority, no switched-off discovery: everything is found where production has it. Prints one JSON object: what each
way's token says, or why there is none.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import msal
import requests
from azure.identity import (
    CertificateCredential,
    ClientSecretCredential,
    DefaultAzureCredential,
    ManagedIdentityCredential,
    aio,
)

SCOPE = "https://management.azure.com/.default"


def claims_of(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    decoded: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return decoded


def said(way: Callable[[], str]) -> dict[str, Any]:
    try:
        return claims_of(way())
    except Exception as error:  # noqa: BLE001 - whatever a client raises is its answer
        return {"error": type(error).__name__, "text": str(error)}


async def said_later(way: Callable[[], Awaitable[str]]) -> dict[str, Any]:
    try:
        return claims_of(await way())
    except Exception as error:  # noqa: BLE001 - as above
        return {"error": type(error).__name__, "text": str(error)}


def by_azure_identity(credential: Any) -> Callable[[], str]:
    return lambda: str(credential.get_token(SCOPE).token)


def by_msal(answer: Callable[[], Any]) -> Callable[[], str]:
    def token() -> str:
        result = answer()
        if "access_token" not in result:
            raise LookupError(f"{result['error']}: {result.get('error_description')}")
        return str(result["access_token"])

    return token


def synchronous(tenant: str, app: dict[str, str]) -> dict[str, Any]:
    secret = (tenant, app["client_id"], app["secret"])
    certificate = (tenant, app["client_id"], app["certificate"])
    authority = f"https://login.microsoftonline.com/{tenant}"
    confidential = msal.ConfidentialClientApplication(app["client_id"], client_credential=app["secret"], authority=authority)
    oidc = msal.ConfidentialClientApplication(
        app["client_id"], client_credential=app["secret"], oidc_authority=f"{authority}/v2.0"
    )
    machine = msal.ManagedIdentityClient(msal.SystemAssignedManagedIdentity(), http_client=requests.Session())
    ways = {
        "managed identity": by_azure_identity(ManagedIdentityCredential()),
        "managed identity, unknown": by_azure_identity(ManagedIdentityCredential(client_id=app["client_id"])),
        "default": by_azure_identity(DefaultAzureCredential()),
        "secret": by_azure_identity(ClientSecretCredential(*secret)),
        "secret, wrong": by_azure_identity(ClientSecretCredential(tenant, app["client_id"], "wrong")),
        "secret, other tenant": by_azure_identity(ClientSecretCredential("00000000-0000-0000-0000-000000000001", *secret[1:])),
        "certificate": by_azure_identity(CertificateCredential(*certificate)),
        "certificate, with its chain": by_azure_identity(CertificateCredential(*certificate, send_certificate_chain=True)),
        "msal secret": by_msal(lambda: confidential.acquire_token_for_client([SCOPE])),
        "msal oidc": by_msal(lambda: oidc.acquire_token_for_client([SCOPE])),
        "msal managed identity": by_msal(lambda: machine.acquire_token_for_client(resource="https://management.azure.com")),
    }
    return {name: said(way) for name, way in ways.items()}


async def asynchronous(tenant: str, app: dict[str, str]) -> dict[str, Any]:
    credentials: dict[str, Any] = {
        "aio managed identity": aio.ManagedIdentityCredential(),
        "aio default": aio.DefaultAzureCredential(),
        "aio secret": aio.ClientSecretCredential(tenant, app["client_id"], app["secret"]),
        "aio secret, wrong": aio.ClientSecretCredential(tenant, app["client_id"], "wrong"),
        "aio certificate": aio.CertificateCredential(tenant, app["client_id"], app["certificate"]),
    }
    answers = {}
    for name, credential in credentials.items():

        async def token(credential: Any = credential) -> str:
            return str((await credential.get_token(SCOPE)).token)

        answers[name] = await said_later(token)
        await credential.close()
    return answers


def main() -> None:
    logging.disable(logging.CRITICAL)
    asked = json.loads(sys.stdin.readline())
    answers = synchronous(asked["tenant"], asked["app"])
    answers |= asyncio.run(asynchronous(asked["tenant"], asked["app"]))
    print(json.dumps(answers), flush=True)  # noqa: T201 - its answer


if __name__ == "__main__":
    main()
