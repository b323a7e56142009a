"""A workload that is refused tokens: what azure-identity, sync and aio, and msal make of it, as texts.

Arguments: the client id to ask for, or nothing for the machine's own identity. The answer, on standard output, is a JSON object.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

from azure.identity import DefaultAzureCredential, ManagedIdentityCredential, aio

VAULT = "https://vault.azure.net/.default"
_OTHERS = ("environment", "shared_token_cache", "visual_studio_code", "cli", "powershell", "developer_cli", "broker")


def managed(options: dict[str, Any]) -> None:
    with ManagedIdentityCredential(**options) as credential:
        credential.get_token(VAULT)


def default(options: dict[str, Any]) -> None:
    named = {"managed_identity_client_id": options["client_id"]} if options else {}
    left_out: dict[str, Any] = {f"exclude_{one}_credential": True for one in _OTHERS}
    with DefaultAzureCredential(**named, **left_out) as credential:
        credential.get_token(VAULT)


def asynchronous(options: dict[str, Any]) -> None:
    async def ask() -> None:
        async with aio.ManagedIdentityCredential(**options) as credential:
            await credential.get_token(VAULT)

    asyncio.run(ask())


def refusal(ask: Callable[[dict[str, Any]], None], options: dict[str, Any]) -> str:
    try:
        ask(options)
    except Exception as error:  # noqa: BLE001 - what it says is the answer
        return str(error)
    return ""


options: dict[str, Any] = {"client_id": sys.argv[1]} if len(sys.argv) > 1 else {}
asked = {"managed": managed, "default": default, "aio": asynchronous}
print(json.dumps({name: refusal(ask, options) for name, ask in asked.items()}))  # noqa: T201 - a program
