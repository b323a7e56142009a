"""Unmodified SDKs, one way of asking for each process: a new credential for every token, as in a program that has just started, with its own retries."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, Final

from faults.loads.endpoints import claims_of
from faults.loads.speaking import Voice, order, stopped
from faults.outcomes import Kind, Result

_EVERY: Final = 2.0
_VAULT: Final = "https://vault.azure.net"


def _azure_identity() -> str:
    from azure.identity import ManagedIdentityCredential  # noqa: PLC0415 - each process imports the SDK that it is about

    with ManagedIdentityCredential() as credential:
        return str(credential.get_token(f"{_VAULT}/.default").token)


def _default_credential() -> str:
    from azure.identity import DefaultAzureCredential  # noqa: PLC0415 - as above

    with DefaultAzureCredential() as credential:
        return str(credential.get_token(f"{_VAULT}/.default").token)


def _msal() -> str:
    import msal  # noqa: PLC0415 - as above
    import requests  # noqa: PLC0415 - as above

    with requests.Session() as session:
        client = msal.ManagedIdentityClient(msal.SystemAssignedManagedIdentity(), http_client=session)
        answer = client.acquire_token_for_client(resource=_VAULT)
    if "access_token" not in answer:
        raise RuntimeError(f"msal: {answer.get('error')}")
    return str(answer["access_token"])


def _secret_client(url: str, value: str) -> str:
    from azure.identity import ManagedIdentityCredential  # noqa: PLC0415 - as above
    from azure.keyvault.secrets import SecretClient  # noqa: PLC0415 - as above

    with ManagedIdentityCredential() as credential, SecretClient(url, credential) as vault:
        if vault.get_secret("shared").value != value:
            raise RuntimeError("another value")
        return str(credential.get_token(f"{_VAULT}/.default").token)


_WAYS: Final[dict[str, Callable[[], str]]] = {"azure-identity": _azure_identity, "default": _default_credential, "msal": _msal}


def _once(ask: Callable[[], str], identity: str, voice: Voice) -> tuple[Result, str]:
    try:
        token = ask()
    except Exception as error:  # noqa: BLE001 - what it is, is the outcome
        return Result.RETRY, f"{_place_of(error)}{type(error).__name__}: {' '.join(str(error).split())[:150]}"
    voice.token(token)
    claims = claims_of(token)
    if claims.get("oid") != identity or claims.get("exp", 0) < time.time():
        return Result.WRONG, "another identity's token, or an old one"
    return Result.OK, ""


def _place_of(error: Exception) -> str:
    """Where an error comes from that no SDK raises on purpose."""
    if not isinstance(error, OSError):
        return ""
    frames = traceback.extract_tb(error.__traceback__)[-2:]
    return "".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno} " for frame in frames)


def main() -> None:
    """Ask until standard input ends."""
    voice, wanted = Voice(sys.stdout.buffer), order()
    os.environ.update(wanted["variables"])
    ended = stopped()
    ask = _asking(wanted)
    while not ended.is_set():
        at = time.monotonic()
        result, detail = _once(ask, wanted["identity"], voice)
        voice.outcome(wanted["client"], Kind.SDK, result, at, detail)
        ended.wait(max(_EVERY - (time.monotonic() - at), 0.01))


def _asking(wanted: Any) -> Callable[[], str]:
    if wanted["way"] == "secret-client":
        return lambda: _secret_client(wanted["vault_url"], wanted["secret"])
    return _WAYS[wanted["way"]]


if __name__ == "__main__":
    main()
