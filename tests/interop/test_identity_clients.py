"""azure-identity and msal, unmodified: against the plane's own address in this process, and inside a run with no settings at all."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import msal
import pytest
import requests
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import (
    CertificateCredential,
    ChainedTokenCredential,
    ClientSecretCredential,
    DefaultAzureCredential,
    ManagedIdentityCredential,
    aio,
)
from tests.interop import inside_identities
from tests.interop.inside_identities import SCOPE, claims_of
from tests.stories.applications import add_application, new_pem
from tests.stories.planes import Up
from tests.stories.workloads import Owner, Witness, Workload, require_namespaces

from idplane.testing.local import Application, LocalPlane, VirtualMachine

pytestmark = pytest.mark.wide

RunAs = Callable[[VirtualMachine | str], None]


@dataclass(frozen=True)
class Job:
    """An application with a secret and a certificate file, and where it signs in."""

    app: Application
    tenant: str
    certificate: str
    options: dict[str, Any]

    @property
    def with_secret(self) -> tuple[str, str, str]:
        return self.tenant, self.app.client_id, self.app.secret

    @property
    def with_certificate(self) -> tuple[str, str, str]:
        return self.tenant, self.app.client_id, self.certificate


@pytest.fixture
def job(idplane: LocalPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(idplane.ca_file))
    monkeypatch.setenv("SSL_CERT_FILE", str(idplane.ca_file))
    pem = new_pem()
    file = tmp_path / "job.pem"
    file.write_bytes(pem)
    # Another authority than Microsoft's is announced to clients like this; asking Microsoft about it would need a network.
    options = {"authority": idplane.url, "disable_instance_discovery": True}
    app = idplane.application("batch-job", certificate=pem)
    return Job(app=app, tenant=idplane.tenant_id, certificate=str(file), options=options)


def test_a_secret_and_a_certificate(idplane: LocalPlane, job: Job) -> None:
    for credential, method in (
        (ClientSecretCredential(*job.with_secret, **job.options), "1"),
        (CertificateCredential(*job.with_certificate, **job.options), "2"),
        (CertificateCredential(*job.with_certificate, send_certificate_chain=True, **job.options), "2"),
    ):
        with credential:
            token = credential.get_token(SCOPE)
        claims = claims_of(token.token)
        assert (claims["appid"], claims["oid"]) == (job.app.client_id, job.app.principal_id)
        assert (claims["appidacr"], claims["idtyp"]) == (method, "app")
        assert token.expires_on == pytest.approx(claims["exp"], abs=5)
    assert {event.principal_name for event in idplane.sign_ins()} == {"batch-job"}


async def test_a_secret_and_a_certificate_asynchronously(job: Job) -> None:
    for credential, method in (
        (aio.ClientSecretCredential(*job.with_secret, **job.options), "1"),
        (aio.CertificateCredential(*job.with_certificate, **job.options), "2"),  # PS256, x5t#S256
    ):
        async with credential:
            claims = claims_of((await credential.get_token(SCOPE)).token)
        assert (claims["oid"], claims["appidacr"]) == (job.app.principal_id, method)


def test_what_is_wrong_is_said_in_entras_words(idplane: LocalPlane, job: Job, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(new_pem())
    tenant, client, secret = job.with_secret
    nobody, elsewhere = "00000000-0000-0000-0000-00000000abcd", "00000000-0000-0000-0000-000000000001"
    for credential, words in (
        (ClientSecretCredential(tenant, client, "wrong", **job.options), "AADSTS7000215"),
        (ClientSecretCredential(tenant, nobody, secret, **job.options), "AADSTS700016"),
        (
            ClientSecretCredential(elsewhere, client, secret, **job.options),
            "Unable to get authority configuration",
        ),  # msal's own
        (CertificateCredential(tenant, client, str(other), **job.options), "AADSTS700027"),
    ):
        with credential, pytest.raises(ClientAuthenticationError, match=words):
            credential.get_token(SCOPE)


def test_an_expired_secret_is_refused(idplane: LocalPlane, job: Job) -> None:
    idplane.advance(timedelta(days=181))
    with (
        ClientSecretCredential(*job.with_secret, **job.options) as credential,
        pytest.raises(ClientAuthenticationError, match="AADSTS7000222"),
    ):
        credential.get_token(SCOPE)


def test_a_resource_that_nobody_knows_is_refused(job: Job) -> None:
    with (
        ClientSecretCredential(*job.with_secret, **job.options) as credential,
        pytest.raises(ClientAuthenticationError, match="AADSTS500011"),
    ):
        credential.get_token("api://nobody/.default")


def test_a_token_for_an_application_of_ones_own(idplane: LocalPlane, job: Job, run_as: RunAs) -> None:
    orders = idplane.application("orders", uris=["api://orders"])
    with ClientSecretCredential(*job.with_secret, **job.options) as credential:
        assert claims_of(credential.get_token("api://orders/.default").token)["aud"] in {"api://orders", orders.client_id}
    run_as(idplane.virtual_machine("vm"))
    with ManagedIdentityCredential() as identity:
        assert claims_of(identity.get_token("api://orders/.default").token)["aud"] in {"api://orders", orders.client_id}


@pytest.mark.parametrize("way", ["authority", "oidc_authority"])
def test_msals_confidential_client(idplane: LocalPlane, job: Job, way: str) -> None:
    authority = f"{idplane.url}/{idplane.tenant_id}"
    where: dict[str, Any] = {"oidc_authority": f"{authority}/v2.0"} if way == "oidc_authority" else {"authority": authority}
    if way == "authority":
        where["instance_discovery"] = False
    app = msal.ConfidentialClientApplication(job.app.client_id, client_credential=job.app.secret, **where)
    first, second = app.acquire_token_for_client([SCOPE]), app.acquire_token_for_client([SCOPE])
    assert claims_of(first["access_token"])["oid"] == job.app.principal_id
    assert second["token_source"] == "cache"
    assert len(idplane.sign_ins()) == 1
    wrong = msal.ConfidentialClientApplication(job.app.client_id, client_credential="wrong", **where)
    refused = wrong.acquire_token_for_client([SCOPE])
    assert (refused["error"], refused["error_codes"]) == ("invalid_client", [7000215])


def test_managed_identity_clients(idplane: LocalPlane, run_as: RunAs) -> None:
    shared = idplane.user_assigned_identity("shared")
    machine = idplane.virtual_machine("vm", identities=[shared])
    assert machine.identity is not None
    run_as(machine)
    for principal, client_id, identity in (
        (machine.identity.principal_id, None, msal.SystemAssignedManagedIdentity()),
        (shared.principal_id, shared.client_id, msal.UserAssignedManagedIdentity(client_id=shared.client_id)),
    ):
        with ManagedIdentityCredential(client_id=client_id) as credential, requests.Session() as session:
            assert claims_of(credential.get_token(SCOPE).token)["oid"] == principal
            client = msal.ManagedIdentityClient(identity, http_client=session)
            answer = client.acquire_token_for_client(resource="https://management.azure.com")
            assert claims_of(answer["access_token"])["oid"] == principal
            assert answer["expires_in"] == pytest.approx(86400, abs=400)
        with ChainedTokenCredential(ManagedIdentityCredential(client_id=client_id)) as chain:
            assert claims_of(chain.get_token(SCOPE).token)["oid"] == principal


async def test_managed_identity_asynchronously(idplane: LocalPlane, run_as: RunAs) -> None:
    machine = idplane.virtual_machine("vm")
    assert machine.identity is not None
    run_as(machine)
    async with aio.ManagedIdentityCredential() as credential, aio.DefaultAzureCredential() as default:
        for one in (credential, default):
            assert claims_of((await one.get_token(SCOPE)).token)["oid"] == machine.identity.principal_id
    async with aio.ManagedIdentityCredential(client_id="00000000-0000-0000-0000-000000000001") as unknown:
        with pytest.raises(ClientAuthenticationError, match="No User Assigned or Delegated Managed Identity found"):
            await unknown.get_token(SCOPE)


def test_a_machine_without_an_identity(idplane: LocalPlane, run_as: RunAs) -> None:
    run_as(idplane.virtual_machine("vm", system=False))
    with ManagedIdentityCredential() as credential, pytest.raises(ClientAuthenticationError):
        credential.get_token(SCOPE)
    with DefaultAzureCredential(exclude_developer_cli_credential=True) as default, pytest.raises(ClientAuthenticationError):
        default.get_token(SCOPE)


# Inside a run


@dataclass(frozen=True)
class Inside:
    """What the program inside said, what it sent, and who was who."""

    answers: dict[str, dict[str, Any]]
    sent: list[str]
    machine: Any
    app: Application


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    require_namespaces()
    folder = tmp_path_factory.mktemp("inside")
    pem = new_pem()
    (folder / "job.pem").write_bytes(pem)
    up = Up(folder / "data")
    up.stop()
    app = add_application(up.data, up.info["tenant_id"], pem)
    up = Up(folder / "data")
    try:
        machine = Owner(up).machine("job-vm")
        witness = Witness(folder / "requests")
        asked = {"client_id": app.client_id, "secret": app.secret, "certificate": str(folder / "job.pem")}
        with Workload(up.data, "job-vm", [sys.executable, inside_identities.__file__], **witness.environment) as program:
            answers = json.loads(program.say(json.dumps({"tenant": up.info["tenant_id"], "app": asked})))
        yield Inside(answers=answers, sent=witness.since(), machine=machine, app=app)
    finally:
        up.stop()


@pytest.mark.parametrize("way", ["managed identity", "default", "msal managed identity", "aio managed identity", "aio default"])
def test_inside_the_machine_is_who_asks(inside: Inside, way: str) -> None:
    claims = inside.answers[way]
    assert claims.get("oid") == inside.machine["identity"]["principalId"], claims
    assert claims["xms_mirid"].lower() == inside.machine["id"].lower()


@pytest.mark.parametrize(
    ("way", "method"),
    [
        ("secret", "1"),
        ("certificate", "2"),
        ("certificate, with its chain", "2"),
        ("msal secret", "1"),
        ("msal oidc", "1"),
        ("aio secret", "1"),
        ("aio certificate", "2"),
    ],
)
def test_inside_an_application_signs_in_as_in_production(inside: Inside, way: str, method: str) -> None:
    claims = inside.answers[way]
    assert (claims.get("oid"), claims.get("appidacr")) == (inside.app.principal_id, method), claims
    assert "xms_mirid" not in claims


@pytest.mark.parametrize(
    ("way", "error", "words"),
    [
        ("managed identity, unknown", "CredentialUnavailableError", "Identity not found"),
        ("secret, wrong", "ClientAuthenticationError", "AADSTS7000215"),
        ("secret, other tenant", "", "00000000-0000-0000-0000-000000000001"),
        ("aio secret, wrong", "ClientAuthenticationError", "AADSTS7000215"),
    ],
)
def test_inside_refusals_are_worded_as_in_production(inside: Inside, way: str, error: str, words: str) -> None:
    answer = inside.answers[way]
    assert error in answer["error"]
    assert words in answer["text"]


def test_inside_discovery_and_probes_go_where_production_has_them(inside: Inside) -> None:
    hosts = {line.split()[1] for line in inside.sent}
    assert hosts <= {"login.microsoftonline.com", "login.microsoft.com", "169.254.169.254"}, hosts
    paths = {tuple(line.split()) for line in inside.sent}
    assert ("GET", "169.254.169.254", "/metadata/identity/oauth2/token") in paths
    assert ("GET", "login.microsoftonline.com", "/common/discovery/instance") in paths
    assert any(path.endswith("/.well-known/openid-configuration") for _, _, path in paths)
