"""azure-identity, its asynchronous clients."""

from __future__ import annotations

import asyncio
from typing import Any

from azure.identity import aio
from azure_identity_credentials import credential, managed_identity, newer
from lines import Request, serve


async def ask(client: Any, resource: str, times: int = 1) -> Any:
    async with client:
        token = None
        for _ in range(times):
            token = await client.get_token(f"{resource}/.default")
        return token


async def by_assertion(request: Request) -> Any:
    kind = newer(aio, "ClientAssertionCredential")
    # Its callback can't wait, so the assertion is fetched before.
    assertion = (await ask(managed_identity(aio, request), request["assertion_resource"])).token
    return await ask(kind(request["tenant"], request["client_id"], lambda: assertion), request["resource"])


async def asked(request: Request) -> Any:
    """Credentials are made inside the loop: older versions of their transport look for a running one."""
    if request["client"] == "client-assertion":
        return await by_assertion(request)
    return await ask(credential(aio, request), request["resource"], request.get("times", 1))


def answer(request: Request) -> tuple[str, float]:
    token = asyncio.run(asked(request))
    return token.token, token.expires_on


if __name__ == "__main__":
    serve("azure-identity", answer)
