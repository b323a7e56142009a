"""The operator: whoever may read the data folder, proven to the token service by the key in it (RFC 7523)."""

from __future__ import annotations

from pathlib import Path

from idplane.bootstrap.operator import OPERATOR_FILE, OperatorKey
from idplane.bootstrap.world import SystemClock, SystemEntropy
from idplane.cli.client import PlaneClient
from idplane.cli.description import PlaneDescription
from idplane.cli.output import CommandError
from idplane.model.values import JsonObject

__all__ = ["ARM_RESOURCE", "GRAPH_RESOURCE", "operator_access", "operator_token"]

ARM_RESOURCE = "https://management.azure.com"
GRAPH_RESOURCE = "https://graph.microsoft.com"


def operator_token(folder: Path, plane: PlaneDescription, client: PlaneClient, resource: str) -> JsonObject:
    """The token endpoint's answer; raises `CommandError`."""
    endpoint = f"{plane.authority}/{plane.tenant_id}/oauth2/v2.0/token"
    form = _key(folder).token_request(
        client_id=plane.operator_client_id,
        token_endpoint=endpoint,
        resource=resource,
        clock=SystemClock(),
        entropy=SystemEntropy(),
    )
    return client.post_form(endpoint, form)


def operator_access(folder: Path, plane: PlaneDescription, client: PlaneClient, resource: str) -> str:
    """An access token; raises `CommandError`."""
    token = operator_token(folder, plane, client, resource).get("access_token")
    if not isinstance(token, str):
        raise CommandError("the plane's answer holds no token")
    return token


def _key(folder: Path) -> OperatorKey:
    path = folder / OPERATOR_FILE
    try:
        return OperatorKey.from_pem(path.read_bytes())
    except PermissionError as error:
        raise CommandError(f"{path} belongs to another user") from error
    except (OSError, ValueError) as error:
        raise CommandError(f"{path} can't be read: start the plane again, and it makes a new one") from error
