from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.first_party import graph_grants
from tests.unit.sts.sts_world import TENANT_ID, key_pair, rsa_pair

from idplane.directory.audiences import GRAPH
from idplane.directory.clients import certificate_credential, new_application_principal, new_secret, secret_hash
from idplane.jose import certificate_thumbprint, new_ec_key
from idplane.model.directory import CredentialKind, PrincipalType
from idplane.model.failure import Failure, FailureKind
from idplane.testing.worlds import SeededEntropy

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ENTROPY = SeededEntropy("clients")
APP = new_application_principal(tenant_id=TENANT_ID, display_name="pipeline", entropy=ENTROPY, now=NOW)


def test_application_principal() -> None:
    assert (APP.type, APP.names, APP.resource_id) == (PrincipalType.APPLICATION, (APP.client_id,), None)
    again = new_application_principal(
        tenant_id=TENANT_ID,
        display_name="x",
        entropy=ENTROPY,
        now=NOW,
        client_id=APP.client_id,
        app_roles=graph_grants("User.Read.All"),
    )
    assert (again.client_id, again.roles_for(GRAPH.client_id)) == (APP.client_id, ("User.Read.All",))


def test_only_the_hash_of_a_secret_is_kept() -> None:
    made = new_secret(APP, entropy=ENTROPY, now=NOW, lifetime=timedelta(days=1))
    assert made.credential.secret_hash == secret_hash(made.secret)
    assert made.secret not in repr(made)
    assert made.secret.startswith("idp_")
    assert len(made.secret) > 40
    assert made.credential.not_after - made.credential.not_before == timedelta(days=1)


@pytest.mark.parametrize("der", [rsa_pair().certificate, key_pair(new_ec_key()).certificate])
def test_certificate(der: bytes) -> None:
    credential = certificate_credential(APP, certificate=der, entropy=ENTROPY)
    assert (credential.kind, credential.thumbprint) == (CredentialKind.CERTIFICATE, certificate_thumbprint(der))
    assert credential.not_after - credential.not_before == timedelta(days=365)
    assert credential.display_name == "CN=a client"


@pytest.mark.parametrize(
    "der",
    [
        b"",
        b"0",
        rsa_pair().certificate[:-1],
        rsa_pair().certificate + b"x",
        key_pair(ec.generate_private_key(ec.SECP384R1())).certificate,
    ],
)
def test_certificates_that_cannot_be_used(der: bytes) -> None:
    with pytest.raises(Failure) as raised:
        certificate_credential(APP, certificate=der, entropy=ENTROPY)
    assert raised.value.kind is FailureKind.INVALID_PARAMETER
