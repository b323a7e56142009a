"""`idplane up --private-issuer`: a cluster's own issuer is trusted while the plane is told so, and only then."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.interop.issuers import EXCHANGE, LocalIssuer, local_issuer
from tests.stories.planes import Up, send

_SUBJECT = "system:serviceaccount:stock:tracker"


def _identity(up: Up, issuer: LocalIssuer) -> str:
    """A federated identity's client id."""
    group = f"/subscriptions/{up.info['subscription_id']}/resourceGroups/stock"
    identity = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/tracker"
    trust = {"issuer": issuer.url, "subject": _SUBJECT, "audiences": [EXCHANGE]}
    assert up.arm("PUT", f"{group}?api-version=2024-11-01", {"location": "westeurope"})[0] == 201
    made = up.arm("PUT", f"{identity}?api-version=2024-11-30", {"location": "westeurope"})
    url = f"{identity}/federatedIdentityCredentials/cluster?api-version=2024-11-30"
    assert up.arm("PUT", url, {"properties": trust})[0] == 201
    return str(made[1]["properties"]["clientId"])


def _exchange(up: Up, client_id: str, token: str) -> tuple[int, Any]:
    form = {
        "grant_type": "client_credentials",
        "client_id": client_id,
        "client_assertion": token,
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "scope": "https://management.azure.com/.default",
    }
    headers = {"content-type": "application/x-www-form-urlencoded"}
    with closing(up.connect()) as connection:
        return send(connection, "POST", f"/{up.info['tenant_id']}/oauth2/v2.0/token", urlencode(form), headers)


def test_a_private_issuer_is_trusted_as_long_as_it_is_named(start_up: Callable[..., Up], tmp_path: Path) -> None:
    data = tmp_path / "data"
    with local_issuer() as issuer:
        now = int(time.time())
        token = issuer.token({"sub": _SUBJECT, "aud": [EXCHANGE], "iat": now, "nbf": now, "exp": now + 3600})
        first = start_up(data, "--private-issuer", issuer.url)
        client_id = _identity(first, issuer)
        assert _exchange(first, client_id, token)[0] == 200
        assert first.stop() == 0
        status, refused = _exchange(start_up(data), client_id, token)
        assert (status, refused["error_codes"]) == (400, [50166])
