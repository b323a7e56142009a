"""azure-identity, its synchronous clients."""

from __future__ import annotations

from typing import Any

import azure.identity
from azure_identity_credentials import credential, managed_identity, newer
from lines import Request, serve


def client_assertion(request: Request) -> Any:
    kind = newer(azure.identity, "ClientAssertionCredential")
    identity = managed_identity(azure.identity, request)
    return kind(
        request["tenant"],
        request["client_id"],
        lambda: str(identity.get_token(f"{request['assertion_resource']}/.default").token),
    )


def answer(request: Request) -> tuple[str, float]:
    by_assertion = request["client"] == "client-assertion"
    client = client_assertion(request) if by_assertion else credential(azure.identity, request)
    token = None
    for _ in range(request.get("times", 1)):
        token = client.get_token(f"{request['resource']}/.default")
    assert token is not None
    return token.token, token.expires_on


if __name__ == "__main__":
    serve("azure-identity", answer)
