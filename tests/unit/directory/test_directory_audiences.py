from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from tests.first_party import TOKEN_EXCHANGE
from tests.unit.sts.sts_world import OTHER_TENANT_ID, TENANT_ID, StsWorld

from idplane.directory.audiences import (
    AUDIENCE_URIS,
    GRAPH,
    KEY_VAULT,
    RESOURCE_MANAGER,
    WELL_KNOWN,
    Audiences,
    audience_key,
    hosts_of,
)
from idplane.directory.clients import new_application
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import is_guid
from idplane.ports.collections import APPLICATIONS
from idplane.ports.store import ABSENT, Put

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def world() -> AsyncIterator[StsWorld]:
    opened = await StsWorld.open()
    yield opened
    await opened.store.close()


@pytest.mark.parametrize(
    ("resource", "client_id"),
    [
        ("https://management.azure.com", RESOURCE_MANAGER.client_id),
        ("https://management.azure.com/", RESOURCE_MANAGER.client_id),
        ("HTTPS://MANAGEMENT.CORE.windows.net/", RESOURCE_MANAGER.client_id),
        (RESOURCE_MANAGER.client_id.upper(), RESOURCE_MANAGER.client_id),
        ("https://graph.microsoft.com", GRAPH.client_id),
        ("https://vault.azure.net", KEY_VAULT.client_id),
        ("api://AzureADTokenExchange", TOKEN_EXCHANGE.client_id),
        ("api://azureadtokenexchangeusgov", TOKEN_EXCHANGE.client_id),
        ("https://acme.blob.core.windows.net/", "e406a681-f3d4-42a8-90b6-c2b029497af1"),
        ("https://localhost:8443", RESOURCE_MANAGER.client_id),
        ("https://localhost:8443/", RESOURCE_MANAGER.client_id),
        ("https://localhost", RESOURCE_MANAGER.client_id),
        ("https://[::1]:443", RESOURCE_MANAGER.client_id),
        ("https://vault.localhost:8443", KEY_VAULT.client_id),
    ],
)
async def test_known(world: StsWorld, resource: str, client_id: str) -> None:
    assert (await Audiences(store=world.store).resolve(resource, tenant_id=TENANT_ID)).client_id == client_id


@pytest.mark.parametrize(
    "resource",
    [
        "",
        "/",
        "https://",
        "https://nowhere.example",
        "http://management.azure.com",
        "http://localhost:8443",
        "https://management.azure.com//",
        "https://management.azure.com/subscriptions",
        "https://.blob.core.windows.net",
        "https://a.b.blob.core.windows.net",
        "https://evil.example/.blob.core.windows.net",
        "https://evil@localhost:8443",
        "https://localhost:8443.evil.example",
        "https://localhost:123456",
        "00000000-0000-4000-8000-000000000000",
        "x" * 5000,
        "api://",
        "\x00",
    ],
)
async def test_unknown(world: StsWorld, resource: str) -> None:
    with pytest.raises(Failure) as raised:
        await Audiences(store=world.store).resolve(resource, tenant_id=TENANT_ID)
    assert raised.value.kind is FailureKind.AUDIENCE_UNKNOWN


async def test_registered_applications_of_the_tenant(world: StsWorld) -> None:
    app = new_application(
        tenant_id=TENANT_ID,
        display_name="orders",
        entropy=world.entropy,
        now=NOW,
        identifier_uris=("api://Orders", "https://orders.contoso.example"),
        token_version=2,
    )
    default = new_application(tenant_id=TENANT_ID, display_name="default", entropy=world.entropy, now=NOW)
    named = new_application(tenant_id=TENANT_ID, display_name="named", entropy=world.entropy, now=NOW)
    uri = f"api://{named.client_id}"
    named = replace(named, identifier_uris=(uri,))
    await world.commit(*(Put(collection=APPLICATIONS, value=it, expect=ABSENT) for it in (app, default, named)))
    audiences = Audiences(store=world.store)
    for resource in ("api://orders", "https://Orders.contoso.example/", app.client_id, app.client_id.upper()):
        found = await audiences.resolve(resource, tenant_id=TENANT_ID)
        assert (found.client_id, found.token_version, found.display_name) == (app.client_id, 2, "orders")
    assert (await audiences.resolve(uri, tenant_id=TENANT_ID)).client_id == named.client_id
    for tenant, resource in ((OTHER_TENANT_ID, "api://orders"), (TENANT_ID, f"api://{default.client_id}")):
        with pytest.raises(Failure):
            await audiences.resolve(resource, tenant_id=tenant)


async def test_no_application_takes_over_a_well_known_resource(world: StsWorld) -> None:
    thief = new_application(
        tenant_id=TENANT_ID,
        display_name="thief",
        entropy=world.entropy,
        now=NOW,
        identifier_uris=("https://vault.azure.net", "https://localhost:8443"),
    )
    await world.commit(Put(collection=APPLICATIONS, value=thief, expect=ABSENT))
    for resource in thief.identifier_uris:
        assert (await Audiences(store=world.store).resolve(resource, tenant_id=TENANT_ID)).client_id != thief.client_id


def test_every_well_known_resource_is_named_once() -> None:
    keys = [audience_key(uri) for it in WELL_KNOWN for uri in (it.application.client_id, *it.uris)]
    assert len(keys) == len(set(keys))
    assert all(is_guid(key) and key == key.lower() for key in AUDIENCE_URIS)
    assert AUDIENCE_URIS[KEY_VAULT.client_id][1:3] == ("https://vault.azure.net", "https://vault.usgovcloudapi.net")


@pytest.mark.parametrize(
    ("resource", "client_id"),
    [
        ("https://id.example.net", RESOURCE_MANAGER.client_id),
        ("https://ID.example.net:8443/", RESOURCE_MANAGER.client_id),
        ("https://vault.id.example.net", KEY_VAULT.client_id),
        ("https://[2001:db8::1]", RESOURCE_MANAGER.client_id),
        ("https://localhost", RESOURCE_MANAGER.client_id),
        ("https://vault.localhost:8443", KEY_VAULT.client_id),
    ],
)
async def test_an_installations_public_names_are_its_own_resources(world: StsWorld, resource: str, client_id: str) -> None:
    audiences = Audiences(store=world.store, own_hosts=hosts_of(["ID.example.net", "2001:db8::1"]))
    assert (await audiences.resolve(resource, tenant_id=TENANT_ID)).client_id == client_id


@pytest.mark.parametrize(
    "resource", ["https://vault.id.example.net", "https://id.example.net", "https://shared.vault.id.example.net"]
)
async def test_other_installations_names_are_not_known(world: StsWorld, resource: str) -> None:
    with pytest.raises(Failure) as refusal:
        await Audiences(store=world.store, own_hosts=hosts_of(["id.example.com"])).resolve(resource, tenant_id=TENANT_ID)
    assert refusal.value.kind is FailureKind.AUDIENCE_UNKNOWN
