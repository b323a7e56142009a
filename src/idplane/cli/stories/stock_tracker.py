"""The stock tracker: an ordinary program for an ordinary Azure VM. Nothing in it knows of idplane.

Each line on standard input makes it fetch its database password once more, as a long-running service does.
"""

import logging
import sys

from azure.core.exceptions import HttpResponseError
from azure.core.rest import HttpResponse
from azure.identity import ManagedIdentityCredential
from azure.keyvault.secrets import SecretClient

logging.disable(logging.CRITICAL)
vault = SecretClient("https://contoso-stock.vault.azure.net", ManagedIdentityCredential())
print("ready", flush=True)

for _ in sys.stdin:
    try:
        password = vault.get_secret("database-password").value or ""
        print("ok", f"{password[:2]}{'•' * (len(password) - 2)}", flush=True)
    except HttpResponseError as error:
        told = error.response.headers.get("x-ms-request-id") if isinstance(error.response, HttpResponse) else None
        print("refused", error.status_code or "token", told, " ".join((error.message or "").split()), flush=True)
