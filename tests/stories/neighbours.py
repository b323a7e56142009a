"""A workload that does as it is told: one JSON line in, one JSON line out. It has azure-identity, and a bare HTTP client.

{"do": "token"}                               whose token `DefaultAzureCredential` gets with what the process found at its start
{"do": "variables"}                           what leads it to its token source
{"do": "token", "variables": {...}}           the same with these in their place
{"do": "get", "url": ..., "headers": {...}}   status, the key file that a challenge names, and the body
"""

from __future__ import annotations

import base64
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CredentialUnavailableError, DefaultAzureCredential

SOURCES = ("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "IDENTITY_SERVER_THUMBPRINT", "IMDS_ENDPOINT", "MSI_ENDPOINT", "MSI_SECRET")
_SCOPE = "https://vault.azure.net/.default"


def token() -> str:
    try:
        with DefaultAzureCredential() as credential:
            payload = credential.get_token(_SCOPE).token.split(".")[1]
    except (ClientAuthenticationError, CredentialUnavailableError) as error:
        return type(error).__name__
    oid: str = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["oid"]
    return oid


def with_variables(given: Mapping[str, str]) -> str:
    kept = dict(os.environ)
    for name in SOURCES:
        os.environ.pop(name, None)
    os.environ.update(given)
    try:
        return token()
    finally:
        os.environ.clear()
        os.environ.update(kept)


def get(url: str, headers: Mapping[str, str]) -> tuple[int, str, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=dict(headers)), timeout=10) as answer:
            return answer.status, "", answer.read().decode()
    except urllib.error.HTTPError as refused:
        file = (refused.headers["WWW-Authenticate"] or "").partition("=")[2]
        return refused.code, Path(file).read_text() if file else "", refused.read().decode()
    except urllib.error.URLError as error:
        return 0, "", str(error.reason)


def perform(task: Mapping[str, Any]) -> object:
    match task["do"]:
        case "token":
            return with_variables(task["variables"]) if "variables" in task else token()
        case "variables":
            return {name: os.environ[name] for name in SOURCES if name in os.environ}
        case _:
            return get(task["url"], task.get("headers", {}))


def main() -> None:
    for line in sys.stdin:
        print(json.dumps(perform(json.loads(line))), flush=True)  # noqa: T201 - a program


if __name__ == "__main__":
    main()
