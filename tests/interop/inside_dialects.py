"""A workload that asks for tokens through azure-identity, sync and aio, and msal, for every way to name an identity.

Arguments: a JSON object from the way's name to the identity's, the tenant, and the clients unless all are meant; the answer, on standard
output, from "client way" to the object id in the token or to the name of the exception.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import msal
import requests
from azure.identity import ManagedIdentityCredential, aio

VAULT = "https://vault.azure.net"
MSAL_NAMES = {"client_id": "ClientId", "object_id": "ObjectId", "resource_id": "ResourceId"}


def oid_of(token: str) -> str:
    payload = token.split(".")[1]
    oid: str = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["oid"]
    return oid


def options(way: str, identity: str) -> dict[str, Any]:
    if way == "none":
        return {}
    return {"client_id": identity} if way == "client_id" else {"identity_config": {way: identity}}


def sync_token(way: str, identity: str) -> str:
    with ManagedIdentityCredential(**options(way, identity)) as credential:
        return str(credential.get_token(f"{VAULT}/.default").token)


def aio_token(way: str, identity: str) -> str:
    async def ask() -> str:
        async with aio.ManagedIdentityCredential(**options(way, identity)) as credential:
            return str((await credential.get_token(f"{VAULT}/.default")).token)

    return asyncio.run(ask())


def msal_token(way: str, identity: str) -> str:
    if "MSI_ENDPOINT" in os.environ and "MSI_SECRET" not in os.environ:
        return shell_token()
    wanted = {"ManagedIdentityIdType": MSAL_NAMES.get(way, "SystemAssigned"), "Id": identity or None}
    answer = msal.ManagedIdentityClient(wanted, http_client=requests.Session()).acquire_token_for_client(resource=VAULT)
    return str(answer["access_token"])


def shell_token() -> str:
    """As the Azure CLI asks in Cloud Shell."""
    authority = f"https://login.microsoftonline.com/{sys.argv[2]}"
    application = msal.PublicClientApplication("04b07795-8ddb-461a-bbee-02f9e1bf7b46", authority=authority)
    answer = application.acquire_token_interactive([f"{VAULT}/.default"], prompt="none")
    return str(answer["access_token"])


def outcome(ask: Callable[[str, str], str], way: str, identity: str) -> str:
    try:
        return oid_of(ask(way, identity))
    except Exception as error:  # noqa: BLE001 - what it is, is the answer
        print(f"{ask.__name__} {way}: {error!r}", file=sys.stderr)  # noqa: T201 - a program
        return type(error).__name__


def main() -> None:
    ways: dict[str, str] = json.loads(sys.argv[1])
    clients = {"sync": sync_token, "aio": aio_token, "msal": msal_token}
    asked = {name: clients[name] for name in sys.argv[3:] or clients}
    print(json.dumps({f"{name} {way}": outcome(ask, way, ways[way]) for name, ask in asked.items() for way in ways}))  # noqa: T201 - as above


if __name__ == "__main__":
    main()
