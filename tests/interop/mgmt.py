"""Azure's own management clients, pointed at the plane under test, and credentials of whoever a test lets ask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from azure.core.credentials import AccessToken, TokenCredential
from azure.core.exceptions import HttpResponseError
from azure.identity import ManagedIdentityCredential

if TYPE_CHECKING:
    from idplane.testing.local import LocalPlane, VirtualMachine

__all__ = ["GROUP", "client_of", "credential_of", "refusal"]

GROUP = "tests"
"""The resource group that the plane's own verbs work in."""

Client = TypeVar("Client")


def client_of(kind: Callable[..., Client], plane: LocalPlane, credential: TokenCredential | None = None) -> Client:
    """A management client of the plane's owner, or of another credential's bearer."""
    options: dict[str, Any] = {**plane.client, "connection_verify": str(plane.ca_file), "retry_total": 0}
    return kind(credential or plane.credential, plane.subscription_id, **options)


class _MachineCredential:
    """azure-identity's own credential, in the environment of code that runs as a machine: msal reads it at each request."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self._environment.items():
                patch.setenv(name, value)
            token: AccessToken = ManagedIdentityCredential().get_token(*scopes)
            return token


def credential_of(plane: LocalPlane, machine: VirtualMachine) -> TokenCredential:
    """The credential that code gets when it runs as `machine`."""
    return _MachineCredential(plane.environment(machine))


def refusal(caught: pytest.ExceptionInfo[HttpResponseError]) -> tuple[int | None, str | None]:
    """Status and error code of a refused request, as the client understood them."""
    error = caught.value.error
    return caught.value.status_code, error.code if error is not None else None
