"""A workload that asks once in every dialect with azure-identity.

Argument: a JSON object from the dialect to its variables; the answer, on standard output, from the dialect to the token.
"""

from __future__ import annotations

import json
import os
import sys

from azure.identity import ManagedIdentityCredential


def main() -> None:
    """Ask in each dialect, as a process would that has only its variables."""
    plain = dict(os.environ)
    tokens: dict[str, str] = {}
    for dialect, variables in json.loads(sys.argv[1]).items():
        os.environ.clear()
        os.environ.update(plain | variables)
        with ManagedIdentityCredential() as credential:
            tokens[dialect] = credential.get_token("https://vault.azure.net/.default").token
    print(json.dumps(tokens))  # noqa: T201 - a program


if __name__ == "__main__":
    main()
