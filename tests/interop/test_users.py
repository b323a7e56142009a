"""Public clients, unmodified: msal and azure-identity sign a user in by a code, keep what they get, and go on without asking again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msal
import pytest
import requests
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.identity import DeviceCodeCredential
from azure.mgmt.resource.resources import ResourceManagementClient
from tests.interop.inside_identities import claims_of
from tests.interop.mgmt import client_of, refusal

from idplane.model.public_clients import AZURE_CLI
from idplane.testing.local import LocalPlane

SCOPE = "https://management.core.windows.net//.default"
ARM = "https://management.azure.com/.default"


@pytest.fixture
def app(idplane: LocalPlane, monkeypatch: pytest.MonkeyPatch) -> Callable[..., msal.PublicClientApplication]:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(idplane.ca_file))

    def opened(tenant: str = "organizations", **options: Any) -> msal.PublicClientApplication:
        return msal.PublicClientApplication(AZURE_CLI, authority=f"{idplane.url}/{tenant}", instance_discovery=False, **options)

    return opened


@pytest.fixture
def credential(idplane: LocalPlane, monkeypatch: pytest.MonkeyPatch) -> Callable[..., DeviceCodeCredential]:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(idplane.ca_file))

    def opened(user: str | None = None, *, deny: bool = False) -> DeviceCodeCredential:
        def prompt(_uri: str, code: str, _expires: object) -> None:
            # The client waits until this has returned, and only then polls.
            idplane.people.deny(code) if deny else idplane.people.approve(code, user)

        return DeviceCodeCredential(
            authority=idplane.url,
            disable_instance_discovery=True,
            prompt_callback=prompt,
            tenant_id=idplane.tenant_id,
        )

    return opened


def test_as_the_azure_cli_signs_in(idplane: LocalPlane, app: Callable[..., msal.PublicClientApplication]) -> None:
    client = app()
    flow = client.initiate_device_flow([SCOPE])
    assert flow["verification_uri"] == f"{idplane.url}/common/oauth2/deviceauth"
    assert f"idplane approve {flow['user_code']}" in flow["message"]
    asked = idplane.people.approve(flow["user_code"])
    assert (asked["clientName"], asked["user"]) == ("Microsoft Azure CLI", idplane.people.administrator)
    answer = client.acquire_token_by_device_flow(flow)
    claims = claims_of(answer["access_token"])
    assert (claims["upn"], claims["tid"]) == (idplane.people.administrator, idplane.tenant_id)
    assert answer["id_token_claims"]["preferred_username"] == idplane.people.administrator
    (account,) = client.get_accounts()
    assert account["home_account_id"] == f"{claims['oid']}.{idplane.tenant_id}"
    # Then it asks which tenants there are, and signs in to each with what it keeps.
    tenants = requests.get(
        f"{idplane.url}/tenants?api-version=2022-12-01",
        headers={"Authorization": f"Bearer {answer['access_token']}"},
        timeout=10,
    ).json()["value"]
    assert [one["tenantId"] for one in tenants] == [idplane.tenant_id]
    cached = app(tenants[0]["tenantId"], token_cache=client.token_cache)
    silent = cached.acquire_token_silent_with_error([SCOPE], account)
    assert claims_of(silent["access_token"])["oid"] == claims["oid"]
    again = cached.acquire_token_silent_with_error([SCOPE], account)
    assert again["token_source"] == "cache"
    fresh = cached.acquire_token_silent_with_error([SCOPE], account, force_refresh=True)
    assert fresh["token_source"] == "identity_provider"
    other = cached.acquire_token_silent_with_error(["https://vault.azure.net/.default"], account)
    assert claims_of(other["access_token"])["aud"] == "https://vault.azure.net"
    kinds = [(event.principal_type, event.user.interactive) for event in idplane.sign_ins() if event.user]
    assert kinds == [("User", True), ("User", False), ("User", False), ("User", False)]


def test_a_program_waits_until_somebody_approves(idplane: LocalPlane, app: Callable[..., msal.PublicClientApplication]) -> None:
    client = app()
    flow = client.initiate_device_flow([SCOPE])
    assert "AADSTS70016" in client.acquire_token_by_device_flow(flow, exit_condition=lambda _: True)["error_description"]
    # The second try comes sooner than it was told to, of which msal warns, too.
    with pytest.warns(UserWarning, match="too soon"):
        early = client.acquire_token_by_device_flow(flow, exit_condition=lambda _: True)
    assert early["error"] == "slow_down"
    idplane.clock.advance(timedelta(seconds=6))
    idplane.people.approve(flow["user_code"])
    with pytest.warns(UserWarning, match="too soon"):
        assert "access_token" in client.acquire_token_by_device_flow(flow)


def test_a_password_is_refused_with_the_way_that_is_there(idplane: LocalPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(idplane.ca_file))
    realm = f"{idplane.url}/common/userrealm/{idplane.people.administrator}?api-version=1.0"
    assert requests.get(realm, timeout=10).json()["account_type"] == "Managed"
    answer = requests.post(
        f"{idplane.url}/organizations/oauth2/v2.0/token",
        data={"grant_type": "password", "client_id": AZURE_CLI, "username": "admin", "password": "x", "scope": SCOPE},
        timeout=10,
    ).json()
    assert answer["error_codes"] == [50056]
    assert "idplane approve" in answer["error_description"]


def test_azure_identity(idplane: LocalPlane, credential: Callable[..., DeviceCodeCredential]) -> None:
    ada = idplane.people.user("ada")
    signed_in = credential(f"ada@{idplane.people.domain}")
    record = signed_in.authenticate(scopes=[ARM])
    assert (record.username, record.tenant_id) == (f"ada@{idplane.people.domain}", idplane.tenant_id)
    groups = client_of(ResourceManagementClient, idplane, signed_in).resource_groups
    with pytest.raises(HttpResponseError) as caught:
        groups.create_or_update("hers", {"location": "westeurope"})
    assert refusal(caught) == (403, "AuthorizationFailed")
    assert f"ada@{idplane.people.domain}" in str(caught.value)
    idplane.grant(ada, "Contributor", f"/subscriptions/{idplane.subscription_id}")
    assert groups.create_or_update("hers", {"location": "westeurope"}).name == "hers"
    assert [event.caller for event in idplane.activity()][-1] == f"ada@{idplane.people.domain}"


def test_a_group_s_roles_are_its_members_(idplane: LocalPlane, credential: Callable[..., DeviceCodeCredential]) -> None:
    ada = idplane.people.user("ada")
    inner = idplane.people.group("inner", [ada])
    outer = idplane.people.group("outer", [inner])
    idplane.people.join(inner, outer)  # a circle
    idplane.grant(outer, "Reader", idplane.resource_group())
    groups = client_of(ResourceManagementClient, idplane, credential(ada)).resource_groups
    assert groups.get("tests").name == "tests"
    idplane.people.leave(inner, ada)
    with pytest.raises(HttpResponseError) as caught:
        groups.get("tests")
    assert refusal(caught) == (403, "AuthorizationFailed")


def test_a_declined_sign_in(credential: Callable[..., DeviceCodeCredential]) -> None:
    with pytest.raises(ClientAuthenticationError, match="AADSTS65004"):
        credential(deny=True).get_token(ARM)


def test_a_deleted_user_is_out_at_once(idplane: LocalPlane, credential: Callable[..., DeviceCodeCredential]) -> None:
    ada = idplane.people.user("ada")
    idplane.grant(ada, "Reader", idplane.resource_group())
    signed_in = credential(ada)
    client = client_of(ResourceManagementClient, idplane, signed_in)
    assert client.resource_groups.get("tests").name == "tests"
    before = len(idplane.sign_ins())
    idplane.people.ask("DELETE", f"/users/{ada}", None)
    # Refused for good: a challenge for another token would only send the client to ask a person who is not there.
    with pytest.raises(ClientAuthenticationError, match="InvalidAuthenticationToken"):
        client.resource_groups.get("tests")
    assert idplane.sign_ins()[before:] == ()
