"""A program of the tutorial's: for each line that it reads it lists the machines of a group, with whatever identity it runs under."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request

from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CredentialUnavailableError, ManagedIdentityCredential

ARM = "https://management.azure.com"


def listed(group: str) -> str:
    try:
        with ManagedIdentityCredential() as credential:
            token = credential.get_token(f"{ARM}/.default").token
    except (ClientAuthenticationError, CredentialUnavailableError) as error:
        return f"no token: {type(error).__name__}"
    url = f"{ARM}{group}/providers/Microsoft.Compute/virtualMachines?api-version=2024-07-01"
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"}), timeout=10
        ) as answer:
            return f"{answer.status} {' '.join(one['name'] for one in json.load(answer)['value'])}"
    except urllib.error.HTTPError as refused:
        return str(refused.code)


def main() -> None:
    for _ in sys.stdin:
        print(listed(sys.argv[1]), flush=True)  # noqa: T201 - a program


if __name__ == "__main__":
    main()
