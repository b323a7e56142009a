"""Tokens that are bound to certificates (RFC 8705): stolen ones are worth nothing, whoever shows them and over whatever connection."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from idplane.agent.host import Dialect
from idplane.jose import b64url, make_csr, new_ec_key, new_rsa_key
from idplane.ports.collections import CREDENTIALS
from idplane.ports.store import Batch, Delete
from idplane.testing.local import LocalPlane, ManagedIdentity, VirtualMachine

ARM, VAULT, GRAPH = "https://management.azure.com", "https://vault.azure.net", "https://graph.microsoft.com"


@dataclass(frozen=True, kw_only=True)
class Certified:
    """A workload's certificate in use."""

    context: ssl.SSLContext
    client_id: str
    not_after: int


class Bench:
    """Machines with identities, and connections of every kind."""

    def __init__(self, plane: LocalPlane, folder: Path) -> None:
        self.plane, self.folder = plane, folder
        self.machine = plane.virtual_machine("vm")
        assert self.machine.identity is not None
        self.identity: ManagedIdentity = self.machine.identity
        plane.vault("stock", group="vaults", password="hunter2")
        plane.grant(self.identity, "Reader", plane.resource_group())
        plane.grant(self.identity, "Key Vault Secrets User", plane.resource_group("vaults"))

    def ask(
        self, url: str, *, context: ssl.SSLContext | None = None, body: bytes | None = None, **headers: str
    ) -> tuple[int, Any, str]:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(url, data=body, headers=names)
        try:
            with urllib.request.urlopen(request, context=context) as answer:
                return answer.status, json.load(answer), ""
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, json.load(refusal), refusal.headers.get("WWW-Authenticate", "")

    def imds(self, machine: VirtualMachine) -> str:
        return self.plane.environment(machine, dialect=Dialect.IMDS)["AZURE_POD_IDENTITY_AUTHORITY_HOST"]

    def certificate(self, machine: VirtualMachine | None = None, **more: str) -> tuple[int, Any, Any]:
        """Asked of the agent by a workload, as docs/operations.md tells it."""
        key = new_ec_key()
        query = urlencode({"api-version": "2018-02-01", "csr": b64url(make_csr(key, "workload")), **more})
        url = f"{self.imds(machine or self.machine)}/metadata/identity/idplane/certificate?{query}"
        status, body, _ = self.ask(url, Metadata="true")
        return status, body, key

    def certified(self, machine: VirtualMachine | None = None, **more: str) -> Certified:
        status, body, key = self.certificate(machine, **more)
        assert status == 200, body
        context = ssl.create_default_context(cafile=str(self.plane.ca_file))
        pem = self.folder / f"{len(list(self.folder.iterdir()))}.pem"
        der = base64.b64decode(body["certificate"])
        pem.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + ssl.DER_cert_to_PEM_cert(der).encode()
        )
        context.load_cert_chain(pem)
        return Certified(context=context, client_id=body["client_id"], not_after=int(body["not_after"]))

    @property
    def bare(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.plane.ca_file))

    def token(self, by: Certified, resource: str = ARM, client_id: str | None = None) -> tuple[int, Any]:
        form = {"grant_type": "client_credentials", "client_id": client_id or by.client_id, "scope": f"{resource}/.default"}
        url = f"{self.plane.url}/{self.plane.tenant_id}/oauth2/v2.0/token"
        return self.ask(url, context=by.context, body=urlencode(form).encode())[:2]

    def bound(self, by: Certified, resource: str = ARM) -> str:
        status, body = self.token(by, resource)
        assert status == 200, body
        return str(body["access_token"])

    def use(self, token: str, context: ssl.SSLContext, resource: str = ARM) -> tuple[int, str]:
        urls = {
            ARM: f"{self.plane.url}{self.plane.resource_group()}/resources?api-version=2021-04-01",
            VAULT: f"{self.plane.vault_url('stock')}/secrets/password?api-version=7.4",
            GRAPH: f"{self.plane.url}/v1.0/servicePrincipals/{self.identity.principal_id}",
        }
        status, _, challenge = self.ask(urls[resource], context=context, Authorization=f"Bearer {token}")
        return status, challenge


@pytest.fixture
def bench(idplane: LocalPlane, tmp_path: Path) -> Bench:
    return Bench(idplane, tmp_path)


@pytest.mark.parametrize("resource", [ARM, VAULT, GRAPH])
def test_a_bound_token_works_on_connections_of_its_certificate_alone(bench: Bench, resource: str) -> None:
    mine, other = bench.certified(), bench.certified()
    token = bench.bound(mine, resource)
    assert set(jwt.decode(token, options={"verify_signature": False})["cnf"]) == {"x5t#S256"}
    assert bench.use(token, mine.context, resource)[0] == 200
    for thief in (bench.bare, other.context):
        status, challenge = bench.use(token, thief, resource)
        assert status == 401
        assert 'error="invalid_token"' in challenge


def test_a_thief_on_another_machine_has_nothing_of_it(bench: Bench) -> None:
    token = bench.bound(bench.certified())
    elsewhere = bench.plane.virtual_machine("other")
    assert bench.use(token, bench.certified(elsewhere).context)[0] == 401


def test_a_token_ends_no_later_than_its_certificate(bench: Bench) -> None:
    mine = bench.certified()
    assert jwt.decode(bench.bound(mine), options={"verify_signature": False})["exp"] <= mine.not_after


def test_a_certificate_proves_its_own_identity_and_no_other(bench: Bench) -> None:
    mine = bench.certified()
    other = bench.plane.virtual_machine("other").identity
    assert other is not None
    status, body = bench.token(mine, client_id=other.client_id)
    assert (status, body["error"]) == (401, "invalid_client")


def test_without_the_certificate_the_client_id_proves_nothing(bench: Bench) -> None:
    mine = bench.certified()
    status, body = bench.token(Certified(context=bench.bare, client_id=mine.client_id, not_after=0))
    assert (status, body["error_codes"]) == (401, [7000218])


def test_an_identity_that_asks_for_it_gets_no_bearer_tokens(bench: Bench) -> None:
    agent = f"{bench.imds(bench.machine)}/metadata/identity/oauth2/token?api-version=2018-02-01&resource={ARM}"
    stolen = bench.ask(agent, Metadata="true")[1]["access_token"]
    assert bench.use(stolen, bench.bare)[0] == 200
    place = f"{bench.machine.id}/providers/Idplane.Authority/bindTokens"
    bench.plane.call("POST", place, {"binding": "certificate"}, api_version="2026-11-01")
    assert bench.use(stolen, bench.bare)[0] == 401  # what was issued unbound is dead
    assert bench.ask(agent, Metadata="true")[0] == 400
    mine = bench.certified()
    assert bench.use(bench.bound(mine), mine.context)[0] == 200
    bench.plane.call("POST", place, {"binding": "none"}, api_version="2026-11-01")
    assert bench.use(bench.ask(agent, Metadata="true")[1]["access_token"], bench.bare)[0] == 200


@pytest.mark.parametrize("how", ["unassigned", "deleted"])
def test_a_certificate_that_was_taken_away_is_worth_nothing(bench: Bench, how: str) -> None:
    mine = bench.certified()
    token = bench.bound(mine)
    if how == "unassigned":
        bench.plane.call("PATCH", bench.machine.id, {"identity": {"type": "None"}})
    else:
        rows = bench.plane.run(bench.plane.store.all(CREDENTIALS, where={"kind": "workload-certificate"}))
        gone = (Delete(collection=CREDENTIALS, key=one.value.id) for one in rows)
        bench.plane.run(bench.plane.store.commit(Batch.of(*gone)))
    assert bench.use(token, mine.context)[0] == 401
    assert bench.token(mine)[0] in (400, 401)


def test_revoking_ends_bound_tokens_too(bench: Bench) -> None:
    mine = bench.certified()
    token = bench.bound(mine)
    place = f"{bench.machine.id}/providers/Idplane.Authority/revokeTokens"
    bench.plane.call("POST", place, None, api_version="2026-11-01")
    status, challenge = bench.use(token, mine.context)
    assert (status, "insufficient_claims" in challenge) == (401, True)
    assert bench.use(bench.bound(mine), mine.context)[0] == 200


def test_introspection_tells_what_a_token_is_bound_to(bench: Bench) -> None:
    api = bench.plane.application("api", uris=["api://stock"])
    token = bench.bound(bench.certified(), "api://stock")
    form = {"token": token, "client_id": api.client_id, "client_secret": api.secret}
    url = f"{bench.plane.url}/{bench.plane.tenant_id}/oauth2/v2.0/introspect"
    _, body, _ = bench.ask(url, context=bench.bare, body=urlencode(form).encode())
    assert body["active"] is True
    assert body["cnf"] == jwt.decode(token, options={"verify_signature": False})["cnf"]


def test_the_agent_wants_what_it_always_wants(bench: Bench) -> None:
    query = urlencode({"api-version": "2018-02-01", "csr": b64url(make_csr(new_ec_key(), "x"))})
    place = f"{bench.imds(bench.machine)}/metadata/identity/idplane/certificate?{query}"
    assert bench.ask(place)[0] == 400
    assert bench.ask(place, Metadata="true", X_Forwarded_For="192.0.2.1")[0] == 400
    assert bench.ask(place, Metadata="true", Host="evil.example")[0] == 400
    assert bench.ask(f"{place}&client_id=11111111-1111-4111-8111-111111111111", Metadata="true")[0] == 400


@pytest.mark.parametrize("csr", ["", "AAAA", "%00", "A" * 3000])
def test_what_is_no_certificate_request_is_refused(bench: Bench, csr: str) -> None:
    place = f"{bench.imds(bench.machine)}/metadata/identity/idplane/certificate?api-version=2018-02-01&csr={csr}"
    status, body, _ = bench.ask(place, Metadata="true")
    assert status in (400, 431)
    assert "error" in body


def test_names_in_a_request_mean_nothing(bench: Bench) -> None:
    query = urlencode({"api-version": "2018-02-01", "csr": b64url(make_csr(new_rsa_key(), "administrator"))})
    place = f"{bench.imds(bench.machine)}/metadata/identity/idplane/certificate?{query}"
    status, body, _ = bench.ask(place, Metadata="true")
    assert (status, body["client_id"]) == (200, bench.identity.client_id)
