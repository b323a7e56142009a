"""Must-show 2, 3 and 5: shared identities, selection in every spelling, and who may assign what; with the real SDKs."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.identity import CredentialUnavailableError, ManagedIdentityCredential
from azure.mgmt.compute import ComputeManagementClient

from idplane.agent.host import Dialect
from idplane.testing.local import LocalPlane, VirtualMachine

ARM = "https://management.azure.com/.default"


def claims(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    decoded: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return decoded


@pytest.fixture
def on(idplane: LocalPlane, monkeypatch: pytest.MonkeyPatch) -> Callable[[VirtualMachine], str]:
    """Make this process look like code on a virtual machine; the address of its IMDS."""

    def become(machine: VirtualMachine) -> str:
        variables = idplane.environment(machine, dialect=Dialect.IMDS)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return variables["AZURE_POD_IDENTITY_AUTHORITY_HOST"]

    return become


def ask(imds: str, **query: str) -> tuple[int, dict[str, Any]]:
    """What `curl` on the machine would see."""
    parameters = {"api-version": "2018-02-01", "resource": "https://management.azure.com/", **query}
    request = urllib.request.Request(
        f"{imds}/metadata/identity/oauth2/token?{urllib.parse.urlencode(parameters)}", headers={"Metadata": "true"}
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, json.load(refusal)


def test_ten_machines_share_one_identity_and_one_role_assignment(
    idplane: LocalPlane, on: Callable[[VirtualMachine], str]
) -> None:
    shared = idplane.user_assigned_identity("front-end")
    machines = [idplane.virtual_machine(f"front-{n}", system=False, identities=[shared]) for n in range(10)]
    idplane.grant(shared, "Reader", idplane.resource_group())

    for machine in machines:
        on(machine)
        token = ManagedIdentityCredential().get_token(ARM).token
        assert claims(token)["oid"] == shared.principal_id
        assert claims(token)["xms_az_rid"].lower() == machine.id.lower()
        with ComputeManagementClient(ManagedIdentityCredential(), idplane.subscription_id, **idplane.client) as client:
            assert len(list(client.virtual_machines.list("tests"))) == 10
    assert len({event.identity for event in idplane.sign_ins() if event.principal_id == shared.principal_id}) == 1


def test_an_identity_taken_off_one_machine_is_lost_by_that_machine_alone(
    idplane: LocalPlane, on: Callable[[VirtualMachine], str]
) -> None:
    shared = idplane.user_assigned_identity("front-end")
    first, second = (idplane.virtual_machine(f"front-{n}", system=False, identities=[shared]) for n in range(2))
    idplane.grant(shared, "Reader", idplane.resource_group())
    on(first)
    held = ManagedIdentityCredential().get_token(ARM)

    idplane.call("PATCH", first.id, {"identity": {"type": "None"}})

    on(first)
    with pytest.raises(CredentialUnavailableError, match="Identity not found"):
        ManagedIdentityCredential().get_token(ARM)
    with (
        pytest.raises(HttpResponseError) as refusal,
        ComputeManagementClient(_Held(held), idplane.subscription_id, **idplane.client) as client,
    ):
        list(client.virtual_machines.list("tests"))
    assert refusal.value.status_code == 401
    on(second)
    with ComputeManagementClient(ManagedIdentityCredential(), idplane.subscription_id, **idplane.client) as client:
        assert len(list(client.virtual_machines.list("tests"))) == 2


class _Held:
    """A token that somebody kept."""

    def __init__(self, token: Any) -> None:
        self._token = token

    def get_token(self, *_: str, **__: Any) -> Any:
        return self._token


SPELLINGS = {
    "client id": ("client_id", "clientid"),
    "object id": ("object_id", "principal_id", "principalId"),
    "resource id": ("msi_res_id", "mi_res_id", "msi-res-id", "resource_id"),
}


def test_every_spelling_selects_the_same_identity(idplane: LocalPlane, on: Callable[[VirtualMachine], str]) -> None:
    one, other = (idplane.user_assigned_identity(name) for name in ("one", "other"))
    imds = on(idplane.virtual_machine("vm", identities=[one, other]))
    values = {"client id": one.client_id, "object id": one.principal_id, "resource id": one.id}
    for kind, spellings in SPELLINGS.items():
        for spelling in spellings:
            for value in (values[kind], values[kind].upper()):
                status, answer = ask(imds, **{spelling: value})
                assert (status, answer.get("client_id")) == (200, one.client_id), (spelling, value, answer)


def test_the_sdk_selects_by_client_object_and_resource_id(idplane: LocalPlane, on: Callable[[VirtualMachine], str]) -> None:
    one, other = (idplane.user_assigned_identity(name) for name in ("one", "other"))
    machine = idplane.virtual_machine("vm", identities=[one, other])
    assert machine.identity is not None
    on(machine)
    for credential, expected in (
        (ManagedIdentityCredential(), machine.identity),
        (ManagedIdentityCredential(client_id=one.client_id), one),
        (ManagedIdentityCredential(identity_config={"object_id": other.principal_id}), other),
        (ManagedIdentityCredential(identity_config={"resource_id": one.id}), one),
    ):
        assert claims(credential.get_token(ARM).token)["appid"] == expected.client_id


def test_several_identities_and_no_selector_is_refused_in_azures_words(
    idplane: LocalPlane, on: Callable[[VirtualMachine], str]
) -> None:
    identities = [idplane.user_assigned_identity(name) for name in ("one", "other")]
    imds = on(idplane.virtual_machine("vm", system=False, identities=identities))
    status, answer = ask(imds)
    assert status == 400
    assert answer["error"] == "invalid_request"
    assert answer["error_description"].startswith(
        "Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request"
    )


def test_a_single_user_assigned_identity_is_the_default(idplane: LocalPlane, on: Callable[[VirtualMachine], str]) -> None:
    only = idplane.user_assigned_identity("only")
    imds = on(idplane.virtual_machine("vm", system=False, identities=[only]))
    assert ask(imds)[1]["client_id"] == only.client_id


def test_an_identity_that_is_not_on_the_machine_is_not_found(idplane: LocalPlane, on: Callable[[VirtualMachine], str]) -> None:
    elsewhere = idplane.user_assigned_identity("elsewhere")
    stranger = idplane.virtual_machine("stranger")
    assert stranger.identity is not None
    imds = on(idplane.virtual_machine("vm"))
    for selector in (
        {"client_id": elsewhere.client_id},
        {"object_id": stranger.identity.principal_id},
        {"msi_res_id": elsewhere.id},
        {"client_id": "00000000-0000-0000-0000-000000000000"},
        {"msi_res_id": stranger.id},
    ):
        status, answer = ask(imds, **selector)
        assert (status, answer["error_description"][:18]) == (400, "Identity not found")


def code_of(refusal: HttpResponseError) -> tuple[int | None, str | None]:
    return refusal.status_code, refusal.error.code if refusal.error else None


def as_client(idplane: LocalPlane, on: Callable[[VirtualMachine], str], machine: VirtualMachine) -> ComputeManagementClient:
    on(machine)
    return ComputeManagementClient(ManagedIdentityCredential(), idplane.subscription_id, **idplane.client)


def test_writing_a_machine_does_not_include_assigning_an_identity(
    idplane: LocalPlane, on: Callable[[VirtualMachine], str]
) -> None:
    powerful = idplane.user_assigned_identity("powerful", group="identities")
    writer = idplane.virtual_machine("writer")
    assert writer.identity is not None
    idplane.grant(writer.identity, "Virtual Machine Contributor", idplane.resource_group())
    body: Any = {"identity": {"type": "UserAssigned", "userAssignedIdentities": {powerful.id: {}}}}

    with as_client(idplane, on, writer) as client, pytest.raises(HttpResponseError) as refusal:
        client.virtual_machines.begin_update("tests", "writer", body)
    assert code_of(refusal.value) == (403, "LinkedAuthorizationFailed")

    idplane.grant(writer.identity, "Managed Identity Operator", powerful.id)
    with as_client(idplane, on, writer) as client:
        updated = client.virtual_machines.begin_update("tests", "writer", body).result()
    assert updated.identity is not None
    assert updated.identity.type == "UserAssigned"


def test_a_reader_cannot_write_and_a_contributor_cannot_grant(idplane: LocalPlane, on: Callable[[VirtualMachine], str]) -> None:
    reader, contributor = (idplane.virtual_machine(name) for name in ("reader", "contributor"))
    assert reader.identity is not None
    assert contributor.identity is not None
    idplane.grant(reader.identity, "Reader", idplane.resource_group())
    idplane.grant(contributor.identity, "Contributor", idplane.resource_group())

    with as_client(idplane, on, reader) as client:
        assert client.virtual_machines.get("tests", "contributor").name == "contributor"
        with pytest.raises(HttpResponseError) as refusal:
            client.virtual_machines.begin_delete("tests", "contributor")
    assert code_of(refusal.value) == (403, "AuthorizationFailed")

    from azure.mgmt.authorization import AuthorizationManagementClient  # noqa: PLC0415 - a large package, used once

    on(contributor)
    credential = ManagedIdentityCredential()
    with (
        AuthorizationManagementClient(credential, idplane.subscription_id, **idplane.client) as client,
        pytest.raises(HttpResponseError) as refusal,
    ):
        client.role_assignments.create(
            idplane.resource_group(),
            "11111111-2222-3333-4444-555555555555",
            {
                "properties": {
                    "roleDefinitionId": "/providers/Microsoft.Authorization/roleDefinitions/8e3af657-a8ff-443c-a75c-2fe8c4bcb635",
                    "principalId": contributor.identity.principal_id,
                    "principalType": "ServicePrincipal",
                }
            },
        )
    assert code_of(refusal.value) == (403, "AuthorizationFailed")
