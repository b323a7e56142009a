"""Workload identity with Azure's own clients: a token in a file, exchanged at the authority (MIE section 6)."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import msal
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import DefaultAzureCredential, ManagedIdentityCredential, WorkloadIdentityCredential, aio
from azure.keyvault.secrets import SecretClient
from azure.keyvault.secrets.aio import SecretClient as AioSecretClient

from idplane.graph.sign_ins import sign_in_document
from idplane.jose import parse
from idplane.model.dialects import Dialect
from idplane.model.failure import Failure, FailureKind
from idplane.model.profile import OPEN
from idplane.testing.local import HostResource, LocalPlane, ManagedIdentity

VAULT = "https://vault.azure.net/.default"
CLUSTER = "Microsoft.ContainerService/managedClusters"
WITH_ISSUER: dict[str, Any] = {"properties": {"oidcIssuerProfile": {"enabled": True}}}
ACCOUNT = "stock/tracker"

Become = Callable[..., Path]


@pytest.fixture
def cluster(idplane: LocalPlane) -> HostResource:
    return idplane.resource(CLUSTER, "aks", **WITH_ISSUER)


@pytest.fixture
def tracker(idplane: LocalPlane, cluster: HostResource) -> ManagedIdentity:
    """An identity that a service account of the cluster is trusted to be, and that may read a secret."""
    made = idplane.user_assigned_identity("tracker")
    idplane.grant(made, "Key Vault Secrets User", idplane.vault("stock", db="hunter2"))
    idplane.federate(made, *idplane.workload_issuer(cluster, ACCOUNT))
    return made


@pytest.fixture
def become(idplane: LocalPlane, monkeypatch: pytest.MonkeyPatch) -> Become:
    """Makes this process the workload; the path of its token."""
    for name in ("AZURE_CLIENT_SECRET", "AZURE_USERNAME", "IDENTITY_ENDPOINT", "IMDS_ENDPOINT", "MSI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)

    def inner(host: HostResource, **options: Any) -> Path:
        variables = idplane.environment(host, dialect=Dialect.WORKLOAD_IDENTITY, **options)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return Path(variables["AZURE_FEDERATED_TOKEN_FILE"])

    return inner


def by_msal(scope: str = VAULT) -> dict[str, Any]:
    """As code without azure-identity does it: the file is read for each request."""
    application = msal.ConfidentialClientApplication(
        os.environ["AZURE_CLIENT_ID"],
        authority=os.environ["AZURE_AUTHORITY_HOST"] + os.environ["AZURE_TENANT_ID"],
        instance_discovery=False,
        client_credential={"client_assertion": lambda: Path(os.environ["AZURE_FEDERATED_TOKEN_FILE"]).read_text()},
    )
    answer: dict[str, Any] = application.acquire_token_for_client([scope])
    return answer


def exchanged(plane: LocalPlane, token: str, client_id: str) -> tuple[int, Any]:
    """The bare exchange."""
    form = {
        "grant_type": "client_credentials",
        "client_id": client_id,
        "scope": VAULT,
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": token,
    }
    return send(plane, "POST", f"/{plane.tenant_id}/oauth2/v2.0/token", form)


def send(plane: LocalPlane, method: str, path: str, form: dict[str, str] | None = None, **headers: str) -> tuple[int, Any]:
    context = ssl.create_default_context(cafile=str(plane.ca_file))
    connection = http.client.HTTPSConnection(urlsplit(plane.url).netloc, context=context, timeout=20)
    kind = {"content-type": "application/x-www-form-urlencoded"} if form else {}
    connection.request(method, path, urlencode(form) if form else None, {**kind, **headers})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, json.loads(content) if content else None


def refusal(plane: LocalPlane, token: str, client_id: str) -> int:
    status, body = exchanged(plane, token, client_id)
    assert status in {400, 401}, body
    code: int = body["error_codes"][0]
    return code


# Clients --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("credential", [WorkloadIdentityCredential, DefaultAzureCredential, ManagedIdentityCredential])
def test_a_pod_reads_a_secret(
    idplane: LocalPlane, cluster: HostResource, tracker: ManagedIdentity, become: Become, credential: type
) -> None:
    become(cluster, account=ACCOUNT)
    with SecretClient(idplane.vault_url("stock"), credential()) as client:
        assert client.get_secret("db").value == "hunter2"
    assert parse(credential().get_token(VAULT).token).claims["oid"] == tracker.principal_id


@pytest.mark.parametrize(
    "credential", [aio.WorkloadIdentityCredential, aio.DefaultAzureCredential, aio.ManagedIdentityCredential]
)
async def test_a_pod_s_asynchronous_clients(
    idplane: LocalPlane, cluster: HostResource, tracker: ManagedIdentity, become: Become, credential: Any
) -> None:
    become(cluster, account=ACCOUNT)
    async with credential() as made, AioSecretClient(idplane.vault_url("stock"), made) as client:
        assert (await client.get_secret("db")).value == "hunter2"
        assert parse((await made.get_token(VAULT)).token).claims["oid"] == tracker.principal_id


def test_msal_with_a_file(cluster: HostResource, tracker: ManagedIdentity, become: Become) -> None:
    become(cluster, account=ACCOUNT)
    assert parse(by_msal()["access_token"]).claims["oid"] == tracker.principal_id


def test_any_host_and_an_application(idplane: LocalPlane, become: Become) -> None:
    machine = idplane.virtual_machine("ci-runner", system=False)
    pipeline = idplane.application("pipeline")
    idplane.federate(pipeline, *idplane.workload_issuer(machine))
    become(machine)
    assert os.environ["AZURE_CLIENT_ID"] == pipeline.client_id
    assert parse(DefaultAzureCredential().get_token(VAULT).token).claims["oid"] == pipeline.principal_id


# The file -------------------------------------------------------------------------------------------------------------


def test_the_token_is_as_kubernetes_writes_it(
    idplane: LocalPlane, cluster: HostResource, tracker: ManagedIdentity, become: Become
) -> None:
    file = become(cluster, account=ACCOUNT)
    assert (stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(file.parent.stat().st_mode)) == (0o600, 0o700)
    token = parse(file.read_text())
    claims = dict[str, Any](token.claims)
    assert (token.algorithm, claims["exp"] - claims["iat"]) == ("RS256", 3600)
    shown = idplane.call("GET", cluster.id, api_version="2024-10-01").body["properties"]["oidcIssuerProfile"]
    assert shown == {"enabled": True, "issuerURL": claims["iss"]}
    assert (claims["aud"], claims["sub"]) == (["api://AzureADTokenExchange"], "system:serviceaccount:stock:tracker")
    assert claims["kubernetes.io"] == {"namespace": "stock", "serviceaccount": {"name": "tracker"}}
    record = idplane.sign_ins()[-1]
    assert (record.principal_name, record.token_id, record.error_code) == (claims["sub"], claims["jti"], 0)
    shown_record: Any = sign_in_document(record)
    assert shown_record["@idplane.federated"]["issuer"] == claims["iss"]
    assert shown_record["azureResourceId"] == cluster.id
    assert token.signature.hex() not in repr(record)


def test_it_is_replaced_while_a_client_runs(
    idplane: LocalPlane, cluster: HostResource, tracker: ManagedIdentity, become: Become
) -> None:
    file = become(cluster, account=ACCOUNT)
    first, inode = file.read_text(), file.stat().st_ino
    idplane.advance(timedelta(minutes=47))
    assert file.read_text() == first
    idplane.advance(timedelta(minutes=2))
    second = file.read_text()
    assert second != first
    assert file.stat().st_ino != inode
    assert [one.name for one in file.parent.iterdir()] == [file.name]
    assert parse(by_msal()["access_token"]).claims["oid"] == tracker.principal_id
    shown = idplane.sign_ins()[-1].federated
    assert shown is not None
    assert shown.token_id == parse(second).claims["jti"]
    # The first is still good, for as long as it says and no longer.
    assert exchanged(idplane, first, tracker.client_id)[0] == 200
    idplane.advance(timedelta(minutes=12))
    assert refusal(idplane, first, tracker.client_id) == 700024
    assert exchanged(idplane, file.read_text(), tracker.client_id)[0] == 200


def test_it_lives_as_long_as_keys_are_published_for() -> None:
    plane = LocalPlane(profile=OPEN)
    try:
        host = plane.virtual_machine("vm", system=False)
        plane.federate(plane.user_assigned_identity("one"), *plane.workload_issuer(host))
        file = Path(plane.environment(host, dialect=Dialect.WORKLOAD_IDENTITY)["AZURE_FEDERATED_TOKEN_FILE"])
        for _ in range(3):
            plane.advance(timedelta(hours=10))
            assert dict[str, Any](parse(file.read_text()).claims)["exp"] > plane.clock.now().timestamp()
        plane.reset()
        assert not file.parent.exists()
    finally:
        plane.close()


# Who may ----------------------------------------------------------------------------------------------------------------


def test_without_a_credential_the_start_says_which_command_makes_one(
    idplane: LocalPlane, cluster: HostResource, become: Become
) -> None:
    issuer, subject = idplane.workload_issuer(cluster, ACCOUNT)
    with pytest.raises(Failure, match=r"idplane federate --as .* IDENTITY --service-account stock/tracker") as caught:
        become(cluster, account=ACCOUNT)
    assert issuer in caught.value.detail
    assert subject in caught.value.detail


def test_a_client_that_is_named_starts_and_is_refused_by_the_authority(
    idplane: LocalPlane, cluster: HostResource, become: Become
) -> None:
    stranger = idplane.user_assigned_identity("stranger")
    become(cluster, account=ACCOUNT, client_id=stranger.client_id)
    with pytest.raises(ClientAuthenticationError, match="AADSTS70021:"):
        WorkloadIdentityCredential().get_token(VAULT)
    assert by_msal()["error_codes"] == [70021]


def test_of_several_one_must_be_named(
    idplane: LocalPlane, cluster: HostResource, tracker: ManagedIdentity, become: Become
) -> None:
    other = idplane.user_assigned_identity("other")
    idplane.federate(other, *idplane.workload_issuer(cluster, ACCOUNT))
    idplane.federate(idplane.application("third"), *idplane.workload_issuer(cluster, ACCOUNT))
    with pytest.raises(Failure, match=r"choose with --identity: other \(.*\), tracker \(") as caught:
        become(cluster, account=ACCOUNT)
    assert caught.value.kind is FailureKind.IDENTITY_AMBIGUOUS
    assert "third" not in caught.value.detail
    become(cluster, account=ACCOUNT, client_id=tracker.client_id)
    assert parse(by_msal()["access_token"]).claims["oid"] == tracker.principal_id


def test_only_the_workload_that_is_trusted(
    idplane: LocalPlane, cluster: HostResource, tracker: ManagedIdentity, become: Become
) -> None:
    other = idplane.resource(CLUSTER, "other", **WITH_ISSUER)
    machine = idplane.virtual_machine("vm", system=False)
    named = {"client_id": tracker.client_id}
    cases = [
        (become(cluster, account="stock/other", **named), 700213),
        (become(cluster, **named), 700213),
        (become(other, account=ACCOUNT, **named), 700211),
        (become(machine, **named), 700211),
    ]
    for file, code in cases:
        assert refusal(idplane, file.read_text(), tracker.client_id) == code
    record = idplane.sign_ins()[-1]
    assert record.federated is not None
    assert (record.federated.subject, record.federated.differs) == (machine.id, "issuer")


def test_another_case_of_the_subject(idplane: LocalPlane, cluster: HostResource, become: Become) -> None:
    issuer, subject = idplane.workload_issuer(cluster, ACCOUNT)
    made = idplane.user_assigned_identity("tracker")
    idplane.federate(made, issuer, subject.replace("tracker", "Tracker"))
    file = become(cluster, account=ACCOUNT, client_id=made.client_id)
    assert refusal(idplane, file.read_text(), made.client_id) == 7002138


def test_what_goes_takes_the_next_exchange_with_it(
    idplane: LocalPlane, cluster: HostResource, tracker: ManagedIdentity, become: Become
) -> None:
    token = become(cluster, account=ACCOUNT).read_text()
    idplane.call("DELETE", f"{tracker.id}/federatedIdentityCredentials/federated")
    assert refusal(idplane, token, tracker.client_id) == 70021
    idplane.federate(tracker, *idplane.workload_issuer(cluster, ACCOUNT))
    assert exchanged(idplane, token, tracker.client_id)[0] == 200

    idplane.resource(CLUSTER, "aks", properties={"oidcIssuerProfile": {"enabled": False}})
    assert refusal(idplane, token, tracker.client_id) == 50166
    with pytest.raises(Failure, match="oidcIssuerProfile"):
        become(cluster, account=ACCOUNT)
    idplane.resource(CLUSTER, "aks", **WITH_ISSUER)
    assert exchanged(idplane, token, tracker.client_id)[0] == 200

    idplane.delete(cluster.id)
    assert refusal(idplane, token, tracker.client_id) == 50166
    with pytest.raises(Failure, match="there is no resource"):
        become(cluster, account=ACCOUNT)
    # A later one of the same name is another issuer, which nobody trusts yet.
    again = idplane.resource(CLUSTER, "aks", **WITH_ISSUER)
    assert refusal(idplane, token, tracker.client_id) == 50166
    with pytest.raises(Failure, match="no identity trusts this workload"):
        become(again, account=ACCOUNT)

    idplane.delete(tracker.id)
    assert refusal(idplane, token, tracker.client_id) == 700016


def test_service_accounts_are_for_clusters(idplane: LocalPlane, cluster: HostResource, become: Become) -> None:
    for account in ("Stock/tracker", "stock", "stock/", "/x", "a/b/c", "a:b/c", "stock/trac ker"):
        with pytest.raises(Failure, match="is no service account"):
            become(cluster, account=account)
    with pytest.raises(Failure, match="only clusters have service accounts"):
        become(idplane.virtual_machine("vm"), account=ACCOUNT)


# What it is not ---------------------------------------------------------------------------------------------------------


def test_it_is_no_access_token_and_no_agent_s_proof(
    idplane: LocalPlane, cluster: HostResource, tracker: ManagedIdentity, become: Become
) -> None:
    token = become(cluster, account=ACCOUNT).read_text()
    bearer: dict[str, Any] = {"authorization": f"Bearer {token}"}
    assert send(idplane, "GET", "/subscriptions?api-version=2022-12-01", **bearer)[0] == 401
    assert send(idplane, "GET", "/beta/auditLogs/signIns", **bearer)[0] == 401
    assert send(idplane, "GET", "/agent/v1/changes", **bearer)[0] == 401


def test_an_access_token_is_none_of_these(
    idplane: LocalPlane, cluster: HostResource, tracker: ManagedIdentity, become: Become
) -> None:
    become(cluster, account=ACCOUNT)
    for scope in (VAULT, "api://AzureADTokenExchange/.default"):
        assert refusal(idplane, by_msal(scope)["access_token"], tracker.client_id) == 700211


def test_a_forged_one(idplane: LocalPlane, cluster: HostResource, tracker: ManagedIdentity, become: Become) -> None:
    header, claims, signature = become(cluster, account=ACCOUNT).read_text().split(".")
    assert refusal(idplane, f"{header}.{claims}.{signature[:-8]}AAAAAAAA", tracker.client_id) == 50013
    assert refusal(idplane, f"{header}.{claims}.", tracker.client_id) in {50013, 700027}


def test_discovery_under_the_plane_s_own_name(
    idplane: LocalPlane, cluster: HostResource, tracker: ManagedIdentity, become: Become
) -> None:
    issuer, _ = idplane.workload_issuer(cluster, ACCOUNT)
    token = parse(become(cluster, account=ACCOUNT).read_text())
    path = urlsplit(issuer).path
    status, document = send(idplane, "GET", f"{path}.well-known/openid-configuration")
    assert (status, document["issuer"], document["jwks_uri"]) == (200, issuer, f"{idplane.url}{path}openid/v1/jwks")
    status, keys = send(idplane, "GET", f"{path}openid/v1/jwks")
    assert token.key_id in {key["kid"] for key in keys["keys"]}
    for wrong in (path.replace("/aks/", "/none/"), path.replace("/aks/", "/AKS/"), path.lower(), path.replace("-", "0", 1)):
        assert send(idplane, "GET", f"{wrong}.well-known/openid-configuration")[0] == 404
    idplane.delete(cluster.id)
    assert send(idplane, "GET", f"{path}openid/v1/jwks")[0] == 404


def test_a_program_in_another_process(idplane: LocalPlane, cluster: HostResource, tracker: ManagedIdentity) -> None:
    variables = idplane.environment(cluster, dialect=Dialect.WORKLOAD_IDENTITY, account=ACCOUNT)
    code = (
        f"from azure.identity import ManagedIdentityCredential\nprint(ManagedIdentityCredential().get_token('{VAULT}').token)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **variables}, capture_output=True, text=True, timeout=60, check=True
    )
    assert parse(ended.stdout.strip()).claims["oid"] == tracker.principal_id
