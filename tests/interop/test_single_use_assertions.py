"""azure-identity and msal, unmodified, as applications whose assertions count once: what works with which setting, and what cannot."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import msal
import pytest
import requests
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CertificateCredential, ClientAssertionCredential, aio
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from tests.interop.inside_identities import claims_of
from tests.stories.applications import new_pem

from idplane.testing.local import Application, LocalPlane

pytestmark = pytest.mark.wide

SCOPES = ("https://management.azure.com/.default", "https://vault.azure.net/.default", "https://graph.microsoft.com/.default")


class Job:
    """An application with a certificate, which says how often its assertions count."""

    def __init__(self, plane: LocalPlane, folder: Path, use: str) -> None:
        self.plane, self.pem = plane, new_pem()
        self.file = folder / "job.pem"
        self.file.write_bytes(self.pem)
        self.app: Application = plane.application("batch-job", certificate=self.pem)
        self.options: dict[str, Any] = {"authority": plane.url, "disable_instance_discovery": True}
        headers = {"Authorization": f"Bearer {plane.operator_token('https://graph.microsoft.com')['access_token']}"}
        where = f"{plane.url}/v1.0/applications(appId='{self.app.client_id}')"
        body = {"authenticationBehaviors": {"clientAssertionUse": use}}
        assert requests.patch(where, json=body, headers=headers, verify=str(plane.ca_file), timeout=30).status_code == 204

    @property
    def credential(self) -> tuple[str, str, str]:
        return self.plane.tenant_id, self.app.client_id, str(self.file)

    def fresh(self) -> str:
        """An assertion of its own making, for one request."""
        certificate = x509.load_pem_x509_certificate(self.pem)
        now = datetime.now(UTC)
        claims = {
            "aud": f"{self.plane.url}/{self.plane.tenant_id}/oauth2/v2.0/token",
            "iss": self.app.client_id,
            "sub": self.app.client_id,
            "jti": str(uuid.uuid4()),
            "exp": now + timedelta(minutes=5),
        }
        header = {"x5t#S256": jwt.utils.base64url_encode(certificate.fingerprint(SHA256())).decode()}
        return jwt.encode(claims, load_pem_private_key(self.pem, None), "PS256", header)  # type: ignore[arg-type]  # an RSA key


@pytest.fixture
def job(idplane: LocalPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Job]:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(idplane.ca_file))
    monkeypatch.setenv("SSL_CERT_FILE", str(idplane.ca_file))
    return lambda use: Job(idplane, tmp_path, use)


def test_a_certificate_credential_with_once_for_each_resource(job: Callable[[str], Job]) -> None:
    """It keeps one assertion for nine minutes, and its tokens: each resource is asked for once."""
    one = job("oncePerResource")
    with CertificateCredential(*one.credential, **one.options) as credential:
        for _ in range(2):
            for scope in SCOPES:
                assert claims_of(credential.get_token(scope).token)["appid"] == one.app.client_id
    with CertificateCredential(*one.credential, **one.options) as another:
        assert another.get_token(SCOPES[0]).token, "an object of its own signs an assertion of its own"


def test_a_certificate_credential_with_once(job: Callable[[str], Job]) -> None:
    one = job("once")
    with CertificateCredential(*one.credential, **one.options) as credential:
        assert credential.get_token(SCOPES[0]).token
        assert credential.get_token(SCOPES[0]).token, "out of its own cache"
        with pytest.raises(ClientAuthenticationError, match="AADSTS50013: The client assertion was used before"):
            credential.get_token(SCOPES[1])


async def test_the_asynchronous_one_signs_each_time(job: Callable[[str], Job]) -> None:
    one = job("once")
    async with aio.CertificateCredential(*one.credential, **one.options) as credential:
        for scope in SCOPES:
            assert (await credential.get_token(scope)).token


def test_assertions_of_one_s_own_with_once(job: Callable[[str], Job]) -> None:
    one = job("once")
    shown: list[str] = []

    def fresh() -> str:
        shown.append(one.fresh())
        return shown[-1]

    with ClientAssertionCredential(one.plane.tenant_id, one.app.client_id, fresh, **one.options) as credential:
        for scope in SCOPES:
            assert credential.get_token(scope).token
    assert len(set(shown)) == len(SCOPES)
    stolen = ClientAssertionCredential(one.plane.tenant_id, one.app.client_id, lambda: shown[0], **one.options)
    with stolen, pytest.raises(ClientAuthenticationError, match="AADSTS50013"):
        stolen.get_token(SCOPES[0])


def test_msal(job: Callable[[str], Job]) -> None:
    one = job("oncePerResource")
    certificate = x509.load_pem_x509_certificate(one.pem)
    app = msal.ConfidentialClientApplication(
        one.app.client_id,
        authority=f"{one.plane.url}/{one.plane.tenant_id}",
        instance_discovery=False,
        client_credential={
            "private_key": one.pem.decode(),
            "public_certificate": certificate.public_bytes(Encoding.PEM).decode(),
        },
    )
    for scope in SCOPES:
        assert "access_token" in app.acquire_token_for_client([scope])
        assert app.acquire_token_for_client([scope])["token_source"] == "cache"
    app.remove_tokens_for_client()
    assert app.acquire_token_for_client([SCOPES[0]])["error_codes"] == [50013], "its tokens are forgotten, its assertion not"
