"""Whatever a refused request proved itself with, and wherever a token was put: no record has any of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.web.refusals_world import REFUSALS as REFUSALS_PATH
from tests.unit.web.refusals_world import VERSION, Edge, ask

from idplane.ports.collections import REFUSALS
from idplane.store.codec import encode
from idplane.testing.local import LocalPlane

OPAQUE = st.text("abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789~._", min_size=24, max_size=60)
"""What a secret of an application or a password may be."""
PART = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", min_size=20, max_size=80)
TOKEN = st.builds("eyJ{}.{}.{}".format, PART, PART, PART)
FIELDS = ("client_secret", "client_assertion", "assertion", "refresh_token", "device_code", "password", "code_verifier")
GRANTS = (
    "client_credentials",
    "refresh_token",
    "password",
    "urn:ietf:params:oauth:grant-type:device_code",
    "urn:ietf:params:oauth:grant-type:jwt-bearer",
    "nonsense",
)
SCHEMES = ("Bearer {}", "Basic {}", "PoP {}", "{}", "bearer  {}")
PATHS = (
    "/subscriptions?api-version=2022-12-01",
    "/providers/Idplane.Diagnostics/refusals/x?api-version=2026-11-01",
    "/v1.0/users",
    "/agent/v1/host?id=x",
    "/agent/v1/join",
    "/log/v1/checkpoint",
    "/nothing",
)
_ROOM = timedelta(minutes=10)
"""In which as much may be kept again of whoever was refused too often."""
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def edge(idplane: LocalPlane) -> Edge:
    return Edge(idplane)


def assert_nowhere(edge: Edge, *secrets: str) -> None:
    """Reads what was kept, as it stands in the database, and makes room for the next."""
    assert edge.arm("GET", REFUSALS_PATH, edge.operator(), version=VERSION).status == 200  # once all is there
    rows = [row.value for row in edge.plane.run(edge.plane.store.all(REFUSALS))]
    assert any(one.at > edge.plane.clock.now() - _ROOM for one in rows)
    edge.plane.advance(_ROOM)
    text = "\n".join(map(encode, rows))
    for secret in secrets:
        assert secret not in text
        assert quote(secret, safe="") not in text


def sent(edge: Edge, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> int:
    return ask(f"{edge.plane.url}{path}", method, headers=headers, body=body, ca=str(edge.plane.ca_file)).status


@quick
@given(st.data())
def test_the_token_service(edge: Edge, data: Any) -> None:
    secrets = {name: data.draw(OPAQUE | TOKEN) for name in data.draw(st.sets(st.sampled_from(FIELDS), min_size=1))}
    token = data.draw(TOKEN)
    form = {
        "grant_type": data.draw(st.sampled_from(GRANTS)),
        "client_id": data.draw(st.sampled_from(["04b07795-8ddb-461a-bbee-02f9e1bf7b46", "x", token])),
        "scope": data.draw(st.sampled_from(["https://vault.azure.net/.default", token])),
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        **secrets,
    }
    headers = {"content-type": "application/x-www-form-urlencoded", "user-agent": data.draw(st.sampled_from(["a/1", token]))}
    tenant = data.draw(st.sampled_from([edge.plane.tenant_id, "common", "nowhere", token]))
    assert sent(edge, "POST", f"/{tenant}/oauth2/v2.0/token", headers, urlencode(form).encode()) >= 400
    assert_nowhere(edge, token, *secrets.values())


@quick
@given(st.sampled_from(PATHS), st.sampled_from(SCHEMES), st.sampled_from(["GET", "POST", "DELETE"]), OPAQUE, TOKEN)
def test_credentials_in_the_head(edge: Edge, path: str, scheme: str, method: str, secret: str, token: str) -> None:
    for value in (secret, token):
        headers = {"authorization": scheme.format(value), "cookie": f"session={value}", "x-api-key": value, "dpop": value}
        more = f"{'&' if '?' in path else '?'}token={value}&access_token={value}"
        assert sent(edge, method, f"{path}{more}", headers) >= 400
    assert sent(edge, "GET", f"/subscriptions/{token}?api-version=2022-12-01", {"authorization": f"Bearer {token}"}) >= 400
    assert_nowhere(edge, secret, token)


@quick
@given(OPAQUE, TOKEN, st.sampled_from(["PUT", "PATCH", "POST"]))
def test_values_of_secrets_in_bodies(edge: Edge, secret: str, token: str, method: str) -> None:
    machine = edge.plane.virtual_machine("vm")
    edge.plane.vault("prices")
    headers = {
        "authorization": f"Bearer {edge.workload(machine, 'https://vault.azure.net')}",
        "content-type": "application/json",
    }
    for body in (json.dumps({"value": secret, "tags": {"token": token}}), f'{{"value": "{secret}'):
        url = f"{edge.plane.vault_url('prices')}/secrets/db?api-version=7.4"
        assert ask(url, method, headers=headers, body=body.encode(), ca=str(edge.plane.ca_file)).status >= 400
    group = edge.plane.resource_group()
    wanted = {"location": "westeurope", "properties": {"osProfile": {"adminPassword": secret}, "customData": token}}
    path = f"{group}/providers/Microsoft.Compute/virtualMachines/other"
    assert edge.arm("PUT", path, edge.workload(machine), wanted, version="2024-11-01").status == 403
    assert_nowhere(edge, secret, token)


@quick
@given(OPAQUE, TOKEN)
def test_what_opens_an_endpoint(edge: Edge, secret: str, token: str) -> None:
    machine = edge.plane.virtual_machine("vm")
    own = edge.plane.environment(machine)["IDENTITY_HEADER"]
    query = "api-version=2019-08-01&resource="
    for value in (secret, token):
        assert edge.endpoint(machine, f"{query}https://vault.azure.net", **{"X-IDENTITY-HEADER": value}).status == 401
    assert edge.endpoint(machine, f"{query}{token}").status == 400
    assert edge.endpoint(machine, f"{query}https://vault.azure.net&client_id={token}").status == 400
    assert_nowhere(edge, secret, token, own)
