"""Azure's own clients with other issuers' tokens: what CI jobs and pods do, down to the secret that they read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jwt
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ClientAssertionCredential, WorkloadIdentityCredential
from azure.identity.aio import WorkloadIdentityCredential as AioWorkloadIdentityCredential
from azure.keyvault.secrets import SecretClient
from azure.keyvault.secrets.aio import SecretClient as AioSecretClient
from tests.interop.issuers import EXCHANGE, LocalIssuer, OidcProvider, local_issuer, oidc_provider

from idplane.graph.sign_ins import sign_in_document
from idplane.model.profile import OPEN
from idplane.testing.local import Application, LocalPlane, ManagedIdentity

GITHUB_SUBJECT = "repo:contoso/stock:environment:production"
POD_SUBJECT = "system:serviceaccount:stock:tracker"


@pytest.fixture(scope="module")
def issuer() -> Iterator[LocalIssuer]:
    with local_issuer() as running:
        yield running


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcProvider]:
    with oidc_provider() as running:
        yield running


@pytest.fixture
def trusted(idplane: LocalPlane, issuer: LocalIssuer, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalIssuer]:
    """The issuer is on this machine, and Azure's clients trust the plane's authority."""
    idplane.trust_issuers(issuer.url)
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(idplane.ca_file))
    with idplane.names():
        yield issuer


def github(**changes: Any) -> dict[str, Any]:
    """Claims like those of a GitHub Actions job's token."""
    now = int(time.time())
    return {
        "sub": GITHUB_SUBJECT,
        "aud": EXCHANGE,
        "jti": "5b5f4a3e-job",
        "ref": "refs/heads/main",
        "repository": "contoso/stock",
        "repository_owner": "contoso",
        "environment": "production",
        "job_workflow_ref": "contoso/stock/.github/workflows/ci.yml@refs/heads/main",
        "run_id": "17",
        "iat": now,
        "nbf": now - 300,
        "exp": now + 300,
        **changes,
    }


def pod(**changes: Any) -> dict[str, Any]:
    """Claims like those of a projected Kubernetes service-account token."""
    now = int(time.time())
    return {
        "sub": POD_SUBJECT,
        "aud": [EXCHANGE],
        "kubernetes.io": {
            "namespace": "stock",
            "pod": {"name": "tracker-0", "uid": "1"},
            "serviceaccount": {"name": "tracker", "uid": "2"},
        },
        "iat": now,
        "nbf": now,
        "exp": now + 3600,
        **changes,
    }


def identity(plane: LocalPlane) -> ManagedIdentity:
    """A user-assigned identity that may read the vault's secrets."""
    made = plane.user_assigned_identity("stock")
    plane.grant(made, "Key Vault Secrets User", plane.vault("stock", db="hunter2"))
    return made


def assertion_credential(
    plane: LocalPlane, principal: ManagedIdentity | Application, token: Callable[[], str]
) -> ClientAssertionCredential:
    return ClientAssertionCredential(
        plane.tenant_id, principal.client_id, token, authority=plane.url, disable_instance_discovery=True, retry_total=0
    )


def test_a_github_job_reads_a_secret(idplane: LocalPlane, trusted: LocalIssuer) -> None:
    job = identity(idplane)
    idplane.federate(job, trusted.url, GITHUB_SUBJECT)
    credential = assertion_credential(idplane, job, lambda: trusted.token(github()))
    with SecretClient(idplane.vault_url("stock"), credential) as client:
        assert client.get_secret("db").value == "hunter2"
    record = idplane.sign_ins()[-1]
    assert (record.credential_kind, record.principal_id, record.host) == ("federated", job.principal_id, None)
    assert record.federated is not None
    assert (record.federated.subject, record.federated.token_id) == (GITHUB_SUBJECT, "5b5f4a3e-job")
    shown: Any = sign_in_document(record)
    assert shown["clientCredentialType"] == "federatedIdentityCredential"
    assert shown["managedServiceIdentity"]["federatedTokenIssuer"] == trusted.url
    assert shown["managedServiceIdentity"]["federatedTokenId"] == "5b5f4a3e-job"
    assert shown["@idplane.federated"]["subject"] == GITHUB_SUBJECT


def test_a_github_job_by_an_expression(idplane: LocalPlane, trusted: LocalIssuer) -> None:
    job = identity(idplane)
    expression = (
        "claims['sub'] matches 'repo:contoso/*' and claims['job_workflow_ref'] matches 'contoso/stock/*@refs/heads/main'"
    )
    idplane.federate(job, trusted.url, expression=expression)
    scope = "https://vault.azure.net/.default"
    assert assertion_credential(idplane, job, lambda: trusted.token(github())).get_token(scope).token
    other = github(job_workflow_ref="contoso/stock/.github/workflows/ci.yml@refs/heads/other")
    with pytest.raises(ClientAuthenticationError, match="AADSTS700213"):
        assertion_credential(idplane, job, lambda: trusted.token(other)).get_token(scope)


def test_a_pod_reads_a_secret_again_and_again(idplane: LocalPlane, trusted: LocalIssuer, tmp_path: Path) -> None:
    workload = identity(idplane)
    idplane.federate(workload, trusted.url, POD_SUBJECT)
    file = tmp_path / "azure-identity-token"
    file.write_text(trusted.token(pod()))
    for _ in range(2):
        credential = WorkloadIdentityCredential(
            tenant_id=idplane.tenant_id, client_id=workload.client_id, token_file_path=str(file), authority=idplane.url
        )
        with SecretClient(idplane.vault_url("stock"), credential) as client:
            assert client.get_secret("db").value == "hunter2"


async def test_a_pod_s_asynchronous_client(idplane: LocalPlane, trusted: LocalIssuer, tmp_path: Path) -> None:
    workload = identity(idplane)
    idplane.federate(workload, trusted.url, POD_SUBJECT)
    file = tmp_path / "azure-identity-token"
    file.write_text(trusted.token(pod()))
    options = {"tenant_id": idplane.tenant_id, "client_id": workload.client_id, "token_file_path": str(file)}
    async with (
        AioWorkloadIdentityCredential(authority=idplane.url, **options) as credential,
        AioSecretClient(idplane.vault_url("stock"), credential) as client,
    ):
        assert (await client.get_secret("db")).value == "hunter2"


def test_what_clients_are_told(idplane: LocalPlane, trusted: LocalIssuer) -> None:
    job = identity(idplane)
    idplane.federate(job, trusted.url, GITHUB_SUBJECT)
    cases = [
        (github(aud="https://github.com/contoso"), "AADSTS700212"),
        (github(sub=GITHUB_SUBJECT.title()), "AADSTS7002138"),
        (github(sub="repo:fork/stock:environment:production"), "AADSTS700213"),
        (github(iss=f"{trusted.url}/"), "AADSTS700211"),
        (github(exp=int(time.time()) - 3600), "AADSTS700024"),
        (github(nbf=int(time.time()) + 3600), "AADSTS700024"),
    ]
    for claims, code in cases:
        with pytest.raises(ClientAuthenticationError, match=code):
            assertion_credential(idplane, job, partial(trusted.token, claims)).get_token("https://vault.azure.net/.default")


def test_an_issuer_at_a_private_address_is_asked_only_when_it_is_named(idplane: LocalPlane, trusted: LocalIssuer) -> None:
    job = identity(idplane)
    idplane.federate(job, trusted.url, GITHUB_SUBJECT)
    credential = assertion_credential(idplane, job, lambda: trusted.token(github()))
    idplane.trust_issuers()
    with pytest.raises(ClientAuthenticationError, match="AADSTS50166"):
        credential.get_token("https://vault.azure.net/.default")


# An issuer that nobody here wrote -------------------------------------------------------------------------------------


def test_a_real_issuer_s_token_for_an_identity_and_for_an_application(
    idplane: LocalPlane, trusted: LocalIssuer, provider: OidcProvider
) -> None:
    idplane.trust_issuers(provider.url)
    job = identity(idplane)
    application = idplane.application("pipeline")
    idplane.grant(application, "Key Vault Secrets User", idplane.resource_group())
    for principal in (job, application):
        idplane.federate(principal, provider.url, "job-RS256")
        credential = assertion_credential(idplane, principal, lambda: provider.token("RS256"))
        with SecretClient(idplane.vault_url("stock"), credential) as client:
            assert client.get_secret("db").value == "hunter2"


def test_a_real_issuer_s_tokens_that_are_not_for_here(
    idplane: LocalPlane, trusted: LocalIssuer, provider: OidcProvider
) -> None:
    idplane.trust_issuers(provider.url)
    job = identity(idplane)
    idplane.federate(job, provider.url, "job-RS256")
    header, claims, signature = provider.token("RS256").split(".")
    unsigned = jwt.encode(
        jwt.decode(f"{header}.{claims}.{signature}", options={"verify_signature": False}), "", algorithm="none"
    )
    cases = [
        (provider.token("RS256", "api://elsewhere"), "AADSTS700212"),
        (provider.token("ES256"), "AADSTS700213"),
        (f"{header}.{claims}.{signature[:-8]}AAAAAAAA", "AADSTS50013"),
        (unsigned, "AADSTS50013"),
    ]
    for token, code in cases:
        with pytest.raises(ClientAuthenticationError, match=code):
            assertion_credential(idplane, job, partial(str, token)).get_token("https://vault.azure.net/.default")


def test_a_real_issuer_s_elliptic_keys_in_profile_open(provider: OidcProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    plane = LocalPlane(profile=OPEN)
    try:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(plane.ca_file))
        plane.trust_issuers(provider.url)
        job = identity(plane)
        plane.federate(job, provider.url, "job-ES256")
        credential = assertion_credential(plane, job, lambda: provider.token("ES256"))
        assert credential.get_token("https://vault.azure.net/.default").token
    finally:
        plane.close()
