from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.unit.providers.management_world import CONTRIBUTOR, GROUP, READER, SUB, TENANT, World, guid, open_world

from idplane.model.failure import Failure, FailureKind
from idplane.model.vault import SecretVersion
from idplane.ports.collections import RESOURCES, ROLE_ASSIGNMENTS, SECRETS
from idplane.providers.authorization import AUTHORIZATION
from idplane.providers.keyvault import KEY_VAULT

V = "2026-05-15"
DATA = f"{SUB}/resourceGroups/Data"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    opened = await open_world(AUTHORIZATION, KEY_VAULT)
    await opened.resource(DATA)
    yield opened
    await opened.store.close()


def vault(name: str, group: str = GROUP) -> str:
    return f"{group}/providers/Microsoft.KeyVault/vaults/{name}"


def wanted(**properties: object) -> dict[str, Any]:
    return {
        "location": "West Europe",
        "tags": {"for": "tests"},
        "properties": {"tenantId": TENANT, "sku": {"family": "A", "name": "standard"}, **properties},
    }


# Creating and changing


async def test_a_new_vault(world: World) -> None:
    answer = await world.call("PUT", vault("Stock-Vault"), wanted(accessPolicies=[]), version=V)
    assert answer.status == 201
    assert isinstance(answer.body, dict)
    assert answer.body["id"] == vault("Stock-Vault")
    assert answer.body["location"] == "westeurope"
    assert answer.body["properties"] == {
        "tenantId": TENANT,
        "sku": {"family": "A", "name": "standard"},
        "accessPolicies": [],
        "enableRbacAuthorization": True,
        "enableSoftDelete": True,
        "softDeleteRetentionInDays": 90,
        "publicNetworkAccess": "Enabled",
        "vaultUri": "https://stock-vault.vault.localhost:8443/",
        "provisioningState": "Succeeded",
    }
    assert await world.get(vault("stock-vault"), version=V) == answer.body


async def test_what_was_sent_comes_back(world: World) -> None:
    rules = {"bypass": "AzureServices", "defaultAction": "Deny", "ipRules": [{"value": "10.0.0.0/8"}]}
    sent = {
        "enabledForDeployment": True,
        "enabledForTemplateDeployment": False,
        "networkAcls": rules,
        "softDeleteRetentionInDays": 7,
        "enablePurgeProtection": True,
        "publicNetworkAccess": "Disabled",
        "sku": {"family": "a", "name": "Premium"},
    }
    body = await world.put(vault("stock"), wanted(**sent), version=V)
    assert body["properties"].items() >= {**sent, "sku": {"family": "A", "name": "premium"}}.items()


async def test_what_only_the_service_says_is_not_taken_from_a_body(world: World) -> None:
    body = await world.put(
        vault("stock"), wanted(vaultUri="https://evil.example/", createMode="default", hsmPoolResourceId="x"), version=V
    )
    assert body["properties"]["vaultUri"] == "https://stock.vault.localhost:8443/"
    stored = await world.store.get(RESOURCES, vault("stock").lower())
    assert stored is not None
    assert not {"vaultUri", "createMode", "hsmPoolResourceId", "accessPolicies"} & set(stored.value.properties)


async def test_a_put_states_the_whole_and_a_patch_a_part(world: World) -> None:
    await world.put(
        vault("stock"), wanted(enabledForDeployment=True, softDeleteRetentionInDays=30, enablePurgeProtection=True), version=V
    )
    patched = await world.call(
        "PATCH", vault("stock"), {"tags": {"a": "b"}, "properties": {"enabledForDiskEncryption": True}}, version=V
    )
    assert patched.status == 200
    assert isinstance(patched.body, dict)
    assert patched.body["tags"] == {"a": "b"}
    assert patched.body["properties"]["enabledForDeployment"] is True
    assert patched.body["properties"]["enabledForDiskEncryption"] is True
    replaced = await world.call("PUT", vault("stock"), wanted(), version=V)
    assert replaced.status == 200
    assert isinstance(replaced.body, dict)
    assert "enabledForDeployment" not in replaced.body["properties"]
    assert replaced.body["properties"]["softDeleteRetentionInDays"] == 30
    assert replaced.body["properties"]["enablePurgeProtection"] is True


@pytest.mark.parametrize(
    "change",
    [
        {"tenantId": None},
        {"tenantId": guid(0xA2)},
        {"tenantId": 5},
        {"sku": None},
        {"sku": "standard"},
        {"sku": {"family": "A"}},
        {"sku": {"family": "B", "name": "standard"}},
        {"sku": {"name": "gold"}},
        {"enableRbacAuthorization": False},
        {"enableRbacAuthorization": "yes"},
        {"accessPolicies": [{"tenantId": TENANT, "objectId": guid(1), "permissions": {"secrets": ["get"]}}]},
        {"accessPolicies": {}},
        {"createMode": "recover"},
        {"enableSoftDelete": False},
        {"enablePurgeProtection": False},
        {"softDeleteRetentionInDays": 6},
        {"softDeleteRetentionInDays": 91},
        {"softDeleteRetentionInDays": "90"},
        {"softDeleteRetentionInDays": True},
        {"softDeleteRetentionInDays": 7.5},
        {"enabledForDeployment": 1},
        {"networkAcls": []},
        {"publicNetworkAccess": 1},
    ],
)
async def test_properties_that_are_refused(world: World, change: dict[str, object]) -> None:
    body = wanted()
    body["properties"] |= change
    with pytest.raises(Failure) as refused:
        await world.put(vault("stock"), body, version=V)
    assert refused.value.kind is FailureKind.INVALID_PARAMETER
    assert await world.store.get(RESOURCES, vault("stock").lower()) is None


async def test_a_patch_is_held_to_the_same_rules(world: World) -> None:
    await world.put(vault("stock"), wanted(softDeleteRetentionInDays=30, enablePurgeProtection=True), version=V)
    changes: tuple[dict[str, object], ...] = (
        {"enableRbacAuthorization": False},
        {"accessPolicies": [{}]},
        {"softDeleteRetentionInDays": 31},
        {"enablePurgeProtection": False},
        {"tenantId": guid(0xA2)},
        {"sku": None},
    )
    for change in changes:
        with pytest.raises(Failure) as refused:
            await world.call("PATCH", vault("stock"), {"properties": change}, version=V)
        assert refused.value.kind is FailureKind.INVALID_PARAMETER
    await world.call("PATCH", vault("stock"), {"properties": {"softDeleteRetentionInDays": 30}}, version=V)


@pytest.mark.parametrize("name", ["ab", "a" * 25, "1stock", "stock-", "-stock", "st--ock", "st_ock", "st.ock", "stöck"])
async def test_names_that_are_refused(world: World, name: str) -> None:
    with pytest.raises(Failure) as refused:
        await world.put(vault(name), wanted(), version=V)
    assert refused.value.kind is FailureKind.INVALID_NAME


@pytest.mark.parametrize("name", ["abc", "a" * 24, "A-b-1", "stock1"])
async def test_names_that_are_fine(world: World, name: str) -> None:
    assert (await world.put(vault(name), wanted(), version=V))["name"] == name


async def test_a_name_is_unique_in_the_installation(world: World) -> None:
    await world.put(vault("stock"), wanted(), version=V)
    with pytest.raises(Failure) as refused:
        await world.put(vault("STOCK", DATA), wanted(), version=V)
    assert refused.value.kind is FailureKind.CONFLICT
    assert refused.value.data["code"] == "VaultAlreadyExists"
    await world.call("DELETE", vault("stock"), version=V)
    assert await world.put(vault("STOCK", DATA), wanted(), version=V)


async def test_location_is_needed_and_stays(world: World) -> None:
    body = wanted()
    del body["location"]
    with pytest.raises(Failure) as refused:
        await world.put(vault("stock"), body, version=V)
    assert refused.value.kind is FailureKind.LOCATION_REQUIRED
    await world.put(vault("stock"), wanted(), version=V)
    with pytest.raises(Failure) as refused:
        await world.put(vault("stock"), {**wanted(), "location": "eastus"}, version=V)
    assert refused.value.kind is FailureKind.LOCATION_CHANGED


async def test_who_may_do_what(world: World) -> None:
    await world.put(vault("stock"), wanted(), caller=CONTRIBUTOR, version=V)
    assert await world.get(vault("stock"), caller=READER, version=V)
    for method, body in (("PUT", wanted()), ("PATCH", {}), ("DELETE", None)):
        with pytest.raises(Failure) as refused:
            await world.call(method, vault("stock"), body, caller=READER, version=V)
        assert refused.value.kind is FailureKind.FORBIDDEN


# Lists


async def test_lists(world: World) -> None:
    for name, group in (("one", GROUP), ("two", GROUP), ("three", DATA)):
        await world.put(vault(name, group), wanted(), version=V)
    in_group, pages = await world.everything(f"{GROUP}/providers/Microsoft.KeyVault/vaults?$top=1", version=V)
    assert [one["name"] for one in in_group] == ["one", "two"]
    assert pages == 2
    everywhere, _ = await world.everything(f"{SUB}/providers/Microsoft.KeyVault/vaults", version=V)
    assert {one["name"] for one in everywhere} == {"one", "two", "three"}


# Deleting


async def test_deleting_a_vault_takes_its_secrets_and_its_grants(world: World) -> None:
    await world.put(vault("stock"), wanted(), version=V)
    await world.put(vault("other"), wanted(), version=V)
    machine = await world.principal(0x10)
    for name in ("stock", "other"):
        for sequence, deleted in ((1, None), (2, world.clock.now())):
            await world.add(
                SECRETS,
                SecretVersion(
                    vault=vault(name).lower(),
                    name="password",
                    version=f"{sequence:032x}",
                    sealed=b"sealed",
                    created_at=world.clock.now(),
                    updated_at=world.clock.now(),
                    sequence=sequence,
                    deleted_at=deleted,
                ),
            )
    await world.grant(0x100, "Key Vault Secrets User", vault("stock"), machine)
    await world.grant(0x101, "Key Vault Secrets User", f"{vault('stock')}/secrets/password", machine)
    await world.grant(0x102, "Key Vault Secrets User", vault("other"), machine)
    assert (await world.call("DELETE", vault("stock"), version=V)).status == 200
    assert (await world.call("DELETE", vault("stock"), version=V)).status == 204
    left = await world.store.all(SECRETS)
    assert {one.value.vault for one in left} == {vault("other").lower()}
    assert [one.value.id for one in await world.store.all(ROLE_ASSIGNMENTS, where={"principal_id": machine})] == [guid(0x102)]


async def test_there_are_no_deleted_vaults(world: World) -> None:
    assert (await world.get(f"{SUB}/providers/Microsoft.KeyVault/deletedVaults", version=V))["value"] == []
    with pytest.raises(Failure) as refused:
        await world.get(f"{SUB}/providers/Microsoft.KeyVault/locations/westeurope/deletedVaults/stock", version=V)
    assert refused.value.kind is FailureKind.RESOURCE_NOT_FOUND


# Names


@pytest.mark.parametrize(
    ("name", "reason"),
    [("free", None), ("stock", "AlreadyExists"), ("STOCK", "AlreadyExists"), ("no_good", "AccountNameInvalid")],
)
async def test_names_can_be_asked_for(world: World, name: str, reason: str | None) -> None:
    await world.put(vault("stock"), wanted(), version=V)
    url = f"{SUB}/providers/Microsoft.KeyVault/checkNameAvailability"
    answer = await world.call("POST", url, {"name": name, "type": "Microsoft.KeyVault/vaults"}, caller=READER, version=V)
    assert isinstance(answer.body, dict)
    assert answer.body["nameAvailable"] is (reason is None)
    assert answer.body.get("reason") == reason


@pytest.mark.parametrize(
    "body", [{}, {"name": "x"}, {"name": "x", "type": "Microsoft.Web/sites"}, {"name": 1, "type": "Microsoft.KeyVault/vaults"}]
)
async def test_questions_about_names_that_are_refused(world: World, body: object) -> None:
    with pytest.raises(Failure) as refused:
        await world.call("POST", f"{SUB}/providers/Microsoft.KeyVault/checkNameAvailability", body, version=V)
    assert refused.value.kind is FailureKind.INVALID_PARAMETER


@pytest.mark.parametrize("version", ["2019-09-01", "2023-07-01", "2026-02-01", "2026-05-15"])
async def test_api_versions(world: World, version: str) -> None:
    assert await world.put(vault("stock"), wanted(), version=version)
