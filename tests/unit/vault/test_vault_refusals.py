"""Whom and what the vault refuses, and in which words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from tests.unit.vault.vault_world import (
    EPOCH,
    LOCAL,
    MISSING,
    OFFICER,
    STRANGER,
    SUBSCRIPTION,
    TENANT,
    THEN,
    VAULT,
    World,
    group_of,
    vault_of,
)

from idplane.model.calls import Call
from idplane.model.failure import Category, Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.roles import DenyAssignment, Permission
from idplane.ports.collections import DENY_ASSIGNMENTS, RESOURCES, ROLE_ASSIGNMENTS, SECRETS
from idplane.ports.store import ABSENT, Batch, CommitRefused, Delete, Put, RefusedBecause
from idplane.web.http import HttpRequest
from idplane.web.vault_errors import render, words_of

# Who asks


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ("",)},
        {"authorization": ("Bearer",)},
        {"authorization": ("Basic x",)},
        {"authorization": ("Bearer a", "b")},
    ],
)
async def test_without_a_token_comes_the_challenge(world: World, headers: Mapping[str, tuple[str, ...]]) -> None:
    response = await world.send("PUT", "/secrets/s", headers=headers)
    assert response.status == 401
    assert json.loads(response.body) == {
        "error": {"code": "Unauthorized", "message": "AKV10000: Request is missing a Bearer or PoP token."}
    }
    challenge = f'Bearer authorization="https://localhost:8443/{TENANT}", resource="https://vault.localhost:8443"'
    assert response.headers == (("WWW-Authenticate", challenge),)


async def test_the_challenge_comes_before_anything_is_said_about_the_request(world: World) -> None:
    for method, path in (("PUT", "/secrets/in_valid"), ("GET", "/keys"), ("BREW", "/secrets"), ("GET", "/")):
        await world.refused(401, method, path, b"{not json", token="", version="")


async def test_inside_a_run_the_challenge_names_azures_own_resource(world: World) -> None:
    origin = replace(LOCAL, authority="https://login.microsoftonline.com", vault_domain="vault.azure.net")
    response = await world.send("GET", "/secrets/s", token="", origin=origin)
    challenge = f'Bearer authorization="https://login.microsoftonline.com/{TENANT}", resource="https://vault.azure.net"'
    assert response.headers == (("WWW-Authenticate", challenge),)
    shown = await world.ok("PUT", "/secrets/s", {"value": "v"}, origin=origin)
    assert shown["id"].startswith("https://stock.vault.azure.net/secrets/s/")


async def test_the_audiences_that_count(world: World) -> None:
    await world.ok("GET", "/secrets")
    assert set(world.tokens.audiences) == {
        "https://vault.azure.net",
        "https://vault.azure.net/",
        "https://vault.localhost:8443",
        "https://vault.localhost:8443/",
        "cfa8b339-82a2-471a-a3c9-0fc0be7a4093",
    }


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("for-arm", "AKV10022: Invalid audience. Expected https://vault.localhost:8443, found: https://management.azure.com/."),
        ("old", "Error validating token: the token has expired"),
        ("garbage", "Error validating token: the token is malformed"),
        (
            "foreigner",
            "AKV10032: Invalid issuer. Expected one of the issuers of the tenant of the vault, found https://sts.windows.net/other/.",
        ),
    ],
)
async def test_tokens_that_do_not_hold(world: World, token: str, message: str) -> None:
    response = await world.send("GET", "/secrets/s", token=token)
    assert response.status == 401
    assert json.loads(response.body)["error"] == {"code": "Unauthorized", "message": message}
    assert "WWW-Authenticate" in dict(response.headers)


async def test_a_refusal_says_who_wanted_what(world: World) -> None:
    assert await world.refused(403, "GET", "/secrets/Db", token="stranger") == {
        "code": "Forbidden",
        "message": "Caller is not authorized to perform action on resource.\r\n"
        "If role assignments, deny assignments or role definitions were changed recently, please observe propagation time.\r\n"
        "Caller: appid=cccccccc-0000-0000-0000-000000000003;oid=aaaaaaaa-0000-0000-0000-000000000003;"
        f"iss=https://sts.windows.net/{TENANT}/\r\n"
        "Action: 'Microsoft.KeyVault/vaults/secrets/getSecret/action'\r\n"
        f"Resource: '/subscriptions/{SUBSCRIPTION}/resourcegroups/rg/providers/microsoft.keyvault/vaults/stock/secrets/db'\r\n"
        "Assignment: (not found)\r\n"
        "DenyAssignmentId: null\r\n"
        "DecisionReason: 'DeniedWithNoValidRBAC' \r\n"
        "Vault: stock;location=westeurope\r\n",
        "innererror": {"code": "ForbiddenByRbac"},
    }


async def test_a_deny_assignment_is_named(world: World) -> None:
    deny = DenyAssignment(
        id="d1",
        tenant_id=TENANT,
        name="no",
        scope=str(VAULT),
        permissions=(Permission(data_actions=("*",)),),
        principals=(OFFICER,),
    )
    await world.store.commit(Batch.of(Put(collection=DENY_ASSIGNMENTS, value=deny, expect=ABSENT)))
    message = (await world.refused(403, "GET", "/secrets/s"))["message"]
    assert "\r\nDenyAssignmentId: 'd1'\r\nDecisionReason: 'DeniedByDenyAssignment' \r\n" in message


@pytest.mark.parametrize(
    ("method", "path", "action"),
    [
        ("PUT", "/secrets/s", "setSecret/action"),
        ("GET", "/secrets/s", "getSecret/action"),
        ("GET", "/secrets/s/0123456789abcdef0123456789abcdef", "getSecret/action"),
        ("PATCH", "/secrets/s", "update/action"),
        ("DELETE", "/secrets/s", "delete"),
        ("GET", "/secrets", "readMetadata/action"),
        ("GET", "/secrets/s/versions", "readMetadata/action"),
        ("GET", "/deletedsecrets", "readMetadata/action"),
        ("GET", "/deletedsecrets/s", "readMetadata/action"),
        ("POST", "/deletedsecrets/s/recover", "recover/action"),
        ("DELETE", "/deletedsecrets/s", "purge/action"),
    ],
)
async def test_each_operation_wants_its_data_action_before_body_and_existence(
    world: World, method: str, path: str, action: str
) -> None:
    message = (await world.refused(403, method, path, b"{", token="stranger"))["message"]
    assert f"\r\nAction: 'Microsoft.KeyVault/vaults/secrets/{action}'\r\n" in message


async def test_the_secrets_user_reads_and_lists_only(world: World) -> None:
    await world.ok("PUT", "/secrets/s", {"value": "1"})
    await world.ok("GET", "/secrets/s", token="user")
    await world.ok("GET", "/secrets", token="user")
    for method, path in (
        ("PUT", "/secrets/s"),
        ("PATCH", "/secrets/s"),
        ("DELETE", "/secrets/s"),
        ("DELETE", "/deletedsecrets/s"),
    ):
        await world.refused(403, method, path, {"value": "2"}, token="user")


async def test_a_role_on_one_secret_opens_that_one(world: World) -> None:
    for name in ("mine", "other"):
        await world.ok("PUT", f"/secrets/{name}", {"value": name})
    await world.refused(403, "GET", "/secrets/mine", token="stranger")
    await world.grant(STRANGER, "Key Vault Secrets User", VAULT.child("secrets", "Mine"), "g9")
    assert (await world.ok("GET", "/secrets/mine", token="stranger"))["value"] == "mine"
    await world.ok("GET", "/secrets/mine/versions", token="stranger")
    await world.refused(403, "GET", "/secrets/other", token="stranger")
    await world.refused(403, "GET", "/secrets", token="stranger")
    await world.store.commit(Batch.of(Delete(collection=ROLE_ASSIGNMENTS, key="g9")))
    await world.refused(403, "GET", "/secrets/mine", token="stranger")


# Refusals


async def test_a_missing_secret_in_the_services_words(world: World) -> None:
    assert await world.refused(404, "GET", "/secrets/nope") == {"code": "SecretNotFound", "message": MISSING.format("nope")}
    await world.ok("PUT", "/secrets/s", {"value": "1"})
    version = "0" * 32
    assert (await world.refused(404, "GET", f"/secrets/s/{version}"))["message"] == MISSING.format(f"s/{version}")
    await world.refused(404, "PATCH", "/secrets/nope", {})
    await world.refused(404, "DELETE", "/secrets/nope")


async def test_a_disabled_secret_is_listed_but_not_read(world: World) -> None:
    await world.ok("PUT", "/secrets/s", {"value": "1", "attributes": {"enabled": False}})
    assert await world.refused(403, "GET", "/secrets/s") == {
        "code": "Forbidden",
        "message": "Operation get is not allowed on a disabled secret.",
        "innererror": {"code": "SecretDisabled"},
    }
    assert len((await world.ok("GET", "/secrets"))["value"]) == 1
    await world.ok("PATCH", "/secrets/s", {"attributes": {"enabled": True}})
    await world.ok("GET", "/secrets/s")


async def test_a_secret_outside_its_window_is_read_all_the_same(world: World) -> None:
    await world.ok("PUT", "/secrets/s", {"value": "1", "attributes": {"nbf": EPOCH + 999, "exp": EPOCH - 999}})
    assert (await world.ok("GET", "/secrets/s"))["value"] == "1"


@pytest.mark.parametrize("name", ["in_valid", "a.b", "a b", "ü", "x" * 128, "%", "a|b", "a\u0000", "~"])
async def test_names_that_no_secret_has(world: World, name: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        error = await world.refused(400, method, f"/secrets/{name}", {"value": "1"})
        assert error == {"code": "BadParameter", "message": f"The request URI contains an invalid name: {name[:127]}"}


@pytest.mark.parametrize("version", ["", "7", "7.7", "1.0", "2026-04-02", "7.4\n", "latest", "\u0667.4", "x" * 500])
async def test_api_versions_that_are_not_served(world: World, version: str) -> None:
    error = await world.refused(400, "GET", f"/secrets?api-version={version}", version="")
    assert error["code"] == "BadParameter"
    assert "version" in error["message"]
    assert len(error["message"]) < 300


@pytest.mark.parametrize("version", ["2016-10-01", "7.0", "7.4", "7.6", "7.6-preview.2", "2025-07-01", "2026-04-01"])
async def test_api_versions_that_are(world: World, version: str) -> None:
    await world.ok("GET", f"/secrets?api-version={version}", version="")
    await world.ok("GET", f"/secrets?API-Version={version}", version="")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"{}",
        b'{"value":null}',
        b'{"value":1}',
        b'{"value":"\\ud800"}',
        b'{"value":"\xff"}',
        b'{"value":"x","tags":{"a":1}}',
        b'{"value":"x","tags":[]}',
        b'{"value":"x","contentType":7}',
        b'{"value":"x","attributes":[]}',
        b'{"value":"x","attributes":{"enabled":"yes"}}',
        b'{"value":"x","attributes":{"exp":"tomorrow"}}',
        b'{"value":"x","attributes":{"exp":1.5}}',
        b'{"value":"x","attributes":{"exp":true}}',
        b'{"value":"x","attributes":{"exp":-1}}',
        b'{"value":"x","attributes":{"exp":253402300800}}',
        b'{"value":"x","attributes":{"nbf":1e400}}',
        b'{"value":"x","attributes":{"nbf":' + b"9" * 5000 + b"}}",
        b'{"value":"' + b"x" * 25601 + b'"}',
        b'{"value":"' + "é".encode() * 12801 + b'"}',
        b'{"value":"x","contentType":"' + b"x" * 256 + b'"}',
        b'{"value":"x","extra":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        json.dumps({"value": "x", "tags": {str(number): "" for number in range(16)}}).encode(),
        json.dumps({"value": "x", "tags": {"k": "v" * 257}}).encode(),
        json.dumps({"value": "x", "tags": {"k" * 257: "v"}}).encode(),
    ],
)
async def test_bodies_that_are_refused(world: World, body: bytes) -> None:
    error = await world.refused(400, "PUT", "/secrets/s", body)
    assert error["code"] == "BadParameter"
    assert await world.store.all(SECRETS) == ()


async def test_a_refused_body_is_not_quoted(world: World) -> None:
    with pytest.raises(Failure) as caught:
        await world.surface.handle(
            HttpRequest(
                method="PUT",
                path="/secrets/s",
                query=(("api-version", "7.4"),),
                headers={"authorization": ("Bearer officer",)},
                body=b'{"value": ["hunter2"], "tags": 7}',
                origin=LOCAL,
                call=Call(request_id="r", correlation_id="c", received_at=THEN),
            )
        )
    failure: BaseException | None = caught.value
    while failure is not None:
        assert "hunter2" not in repr(failure)
        failure = failure.__cause__ or failure.__context__


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/secrets", "GET"),
        ("POST", "/secrets/s", "DELETE, GET, PATCH, PUT"),
        ("DELETE", "/secrets/s/0123456789abcdef0123456789abcdef", "GET, PATCH"),
        ("PUT", "/secrets/s/versions", "GET"),
        ("PUT", "/deletedsecrets/s", "DELETE, GET"),
        ("GET", "/deletedsecrets/s/recover", "POST"),
        ("get", "/secrets", "GET"),
    ],
)
async def test_methods_that_a_path_does_not_serve(world: World, method: str, path: str, allow: str) -> None:
    response = await world.send(method, path)
    assert response.status == 405
    assert response.headers == (("Allow", allow),)


@pytest.mark.parametrize("path", ["/", "/keys", "/certificates/c", "/secrets/s/v/w", "/deletedsecrets/s/x", "/subscriptions"])
async def test_paths_that_are_not_served(world: World, path: str) -> None:
    assert (await world.refused(404, "GET", path))["code"] == "NotFound"


@pytest.mark.parametrize("path", ["/secrets/s/backup", "/secrets/restore"])
async def test_backup_and_restore_are_refused_clearly(world: World, path: str) -> None:
    error = await world.refused(400, "POST", path, {"value": "AAAA"})
    assert error["message"] == "backup and restore are not offered by the vault 'stock'"


async def test_a_secret_may_be_called_restore(world: World) -> None:
    await world.ok("PUT", "/secrets/restore", {"value": "1"})
    assert (await world.ok("GET", "/secrets/restore"))["value"] == "1"


async def test_an_unknown_vault(world: World) -> None:
    error = await world.refused(404, "GET", "/secrets", token="", origin=replace(LOCAL, vault="nope"))
    assert error == {"code": "VaultNotFound", "message": "there is no vault named 'nope'"}
    await world.refused(400, "GET", "/secrets", origin=replace(LOCAL, vault=None))


async def test_no_two_vaults_have_one_name(world: World) -> None:
    group = ResourceId.parse(f"/subscriptions/{SUBSCRIPTION}/resourceGroups/Aa")
    later = vault_of({}, group.child("providers", "Microsoft.KeyVault", "vaults", "stock"), datetime(2026, 2, 1, tzinfo=UTC))
    with pytest.raises(CommitRefused) as refused:
        await world.store.commit(
            Batch.of(
                Put(collection=RESOURCES, value=group_of(group), expect=ABSENT),
                Put(collection=RESOURCES, value=later, expect=ABSENT),
            )
        )
    assert refused.value.because is RefusedBecause.UNIQUE


@pytest.mark.parametrize("kind", list(FailureKind))
def test_every_failure_kind_has_words(kind: FailureKind) -> None:
    words = words_of(kind)
    status, body = render(Failure(kind, "a detail", name="n"))
    assert status == words.status
    assert 400 <= status <= 599
    assert (status == 500) == (kind.category is Category.INTERNAL)
    error = json.loads(body)["error"]
    assert error["code"]
    assert error["message"]
    if kind is FailureKind.INTERNAL:
        assert "a detail" not in error["message"]
