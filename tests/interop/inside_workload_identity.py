"""A workload that gets its token by a file: what it finds, and whose identity every client gets. Prints JSON."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import stat
import urllib.request
from pathlib import Path
from typing import Any

import msal
from azure.identity import DefaultAzureCredential, ManagedIdentityCredential, WorkloadIdentityCredential, aio

SCOPE = "https://vault.azure.net/.default"
FILE = Path(os.environ["AZURE_FEDERATED_TOKEN_FILE"])


def claims_of(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


async def awaited(credential: Any) -> str:
    async with credential as made:
        return str((await made.get_token(SCOPE)).token)


def by_msal() -> str:
    """With instance discovery, where the authority is one that everybody knows."""
    application = msal.ConfidentialClientApplication(
        os.environ["AZURE_CLIENT_ID"],
        authority=os.environ["AZURE_AUTHORITY_HOST"] + os.environ["AZURE_TENANT_ID"],
        instance_discovery="login.microsoftonline.com" in os.environ["AZURE_AUTHORITY_HOST"],
        client_credential={"client_assertion": FILE.read_text},
    )
    return str(application.acquire_token_for_client([SCOPE])["access_token"])


def fetched(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return json.load(answer)


def main() -> None:
    tokens = [
        *(
            kind().get_token(SCOPE).token
            for kind in (WorkloadIdentityCredential, DefaultAzureCredential, ManagedIdentityCredential)
        ),
        *(
            asyncio.run(awaited(kind()))
            for kind in (aio.WorkloadIdentityCredential, aio.DefaultAzureCredential, aio.ManagedIdentityCredential)
        ),
        by_msal(),
    ]
    own = claims_of(FILE.read_text())
    configuration = fetched(f"{own['iss']}.well-known/openid-configuration")
    told = {
        "oids": [claims_of(token)["oid"] for token in tokens],
        "file": str(FILE),
        "modes": [stat.S_IMODE(one.stat().st_mode) for one in (FILE, FILE.parent)],
        "authority": os.environ["AZURE_AUTHORITY_HOST"],
        "issuers": [own["iss"], configuration["issuer"]],
        "keys": len(fetched(configuration["jwks_uri"])["keys"]),
        "token": FILE.read_text(),
    }
    print(json.dumps(told))  # noqa: T201 - a program


if __name__ == "__main__":
    main()
