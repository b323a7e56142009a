"""Claims against golden files: names, values and order as recorded from Entra (managed-identity-endpoints.md section 9)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.first_party import TOKEN_EXCHANGE, graph_grants
from tests.unit.sts.sts_world import ARM, TENANT_ID, UAMI_ID, VM_ID, assert_golden, resource

from idplane.directory.audiences import GRAPH, LOCAL_HOSTS, RESOURCE_MANAGER
from idplane.directory.identities import new_system_identity, new_user_assigned
from idplane.model.directory import Principal, PrincipalType, Tenant
from idplane.model.ids import ResourceId
from idplane.sts.claims import Opaque, TokenFacts, access_claims
from idplane.testing.worlds import SeededEntropy

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
ENTROPY = SeededEntropy("claims")
TENANT = Tenant(
    id=TENANT_ID,
    display_name="contoso",
    domain="contoso.onmicrosoft.com",
    issuer_v1=f"https://sts.windows.net/{TENANT_ID}/",
    issuer_v2=f"https://login.microsoftonline.com/{TENANT_ID}/v2.0",
    created_at=NOW - timedelta(days=100),
)
SYSTEM = new_system_identity(resource(VM_ID), tenant_id=TENANT_ID, entropy=ENTROPY, now=NOW)
USER = new_user_assigned(ResourceId.parse(UAMI_ID), tenant_id=TENANT_ID, entropy=ENTROPY, now=NOW)
APP = Principal(
    id="44444444-4444-4444-8444-444444444444",
    tenant_id=TENANT_ID,
    client_id="55555555-5555-4555-8555-555555555555",
    display_name="pipeline",
    type=PrincipalType.APPLICATION,
    created_at=NOW,
    app_roles=graph_grants("Directory.Read.All", "AuditLog.Read.All"),
)
USER_ON_VM = TokenFacts(
    tenant=TENANT,
    principal=USER,
    host=ResourceId.parse(VM_ID),
    by_secret=False,
    audience=RESOURCE_MANAGER,
    resource=ARM,
    capabilities=(),
    opaque=Opaque.fresh(SeededEntropy("opaque")),
    issued_at=NOW,
    expires_at=NOW + timedelta(hours=24),
)
APP_FOR_GRAPH = replace(
    USER_ON_VM,
    principal=APP,
    host=None,
    by_secret=True,
    audience=GRAPH,
    resource="https://graph.microsoft.com",
    expires_at=NOW + timedelta(hours=1),
    roles=APP.roles_for(GRAPH.client_id),
)


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("claims_v1_user_assigned", USER_ON_VM),
        ("claims_v1_system_assigned", replace(USER_ON_VM, principal=SYSTEM, capabilities=("CP1",))),
        ("claims_v1_application_graph", APP_FOR_GRAPH),
        ("claims_v2_token_exchange", replace(USER_ON_VM, audience=TOKEN_EXCHANGE, resource="api://AzureADTokenExchange")),
    ],
)
def test_golden(name: str, facts: TokenFacts) -> None:
    assert_golden(f"authority/{name}.json", access_claims(facts))


def test_roles_are_those_for_the_audience() -> None:
    assert APP.roles_for(GRAPH.client_id) == ("AuditLog.Read.All", "Directory.Read.All")
    assert APP.roles_for(RESOURCE_MANAGER.client_id) == ()
    assert RESOURCE_MANAGER.roles_resource == RESOURCE_MANAGER.client_id
    assert LOCAL_HOSTS["localhost"].roles_resource == GRAPH.client_id
    assert "roles" not in access_claims(replace(APP_FOR_GRAPH, roles=()))


@pytest.mark.parametrize(("by_secret", "strength"), [(True, "1"), (False, "2")])
def test_strength_of_the_client(*, by_secret: bool, strength: str) -> None:
    assert access_claims(replace(APP_FOR_GRAPH, by_secret=by_secret))["appidacr"] == strength


def test_identifiers_have_128_bits() -> None:
    assert len({Opaque.fresh(ENTROPY).uti for _ in range(100)}) == 100
    assert len(Opaque.fresh(ENTROPY).uti) == 22
