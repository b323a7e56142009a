"""Revocation: whatever takes an identity away, what it holds is refused by every target at the next request, and it gets no more."""

from __future__ import annotations

import base64
import json
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.identity import ClientSecretCredential, CredentialUnavailableError, ManagedIdentityCredential
from azure.identity.aio import ManagedIdentityCredential as AsyncManagedIdentityCredential
from azure.keyvault.secrets import SecretClient
from azure.keyvault.secrets.aio import SecretClient as AsyncSecretClient
from azure.mgmt.compute import ComputeManagementClient

from idplane.agent.host import Dialect
from idplane.ports.collections import CREDENTIALS, IDENTITY_ASSIGNMENTS, PRINCIPALS, ROLE_ASSIGNMENTS
from idplane.ports.store import Batch, Put
from idplane.testing.local import LocalPlane, ManagedIdentity, VirtualMachine

ARM, VAULT = "https://management.azure.com", "https://vault.azure.net"


@dataclass(frozen=True)
class Subject:
    """A machine's identity at work: it may list machines and read a secret, and holds a token for each."""

    plane: LocalPlane
    machine: VirtualMachine
    identity: ManagedIdentity
    imds: str
    secrets: SecretClient
    compute: ComputeManagementClient
    held: dict[str, str]

    def works(self) -> None:
        assert self.secrets.get_secret("password").value == "hunter2"
        assert [one.name for one in self.compute.virtual_machines.list("tests")]

    def token(self, resource: str) -> tuple[int, dict[str, Any]]:
        """What the metadata endpoint answers."""
        url = f"{self.imds}/metadata/identity/oauth2/token?api-version=2018-02-01&resource={resource}"
        return fetched(urllib.request.Request(url, headers={"Metadata": "true"}))[:2]

    def refusals(self) -> dict[str, tuple[int, str]]:
        """Status and challenge of each target, for the token that was held."""
        context = ssl.create_default_context(cafile=str(self.plane.ca_file))
        group = f"/subscriptions/{self.plane.subscription_id}/resourceGroups/tests?api-version=2024-11-01"
        places = {ARM: f"{self.plane.url}{group}", VAULT: f"{self.plane.vault_url('stock')}/secrets/password?api-version=7.4"}
        answers = {}
        for resource, url in places.items():
            request = urllib.request.Request(url, headers={"Authorization": f"Bearer {self.held[resource]}"})
            status, _, challenge = fetched(request, context)
            answers[resource] = (status, challenge)
        return answers


def fetched(request: urllib.request.Request, context: ssl.SSLContext | None = None) -> tuple[int, dict[str, Any], str]:
    try:
        with urllib.request.urlopen(request, context=context) as answer:
            return answer.status, json.load(answer), ""
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, json.load(refusal), refusal.headers.get("WWW-Authenticate", "")


def asked_claims(challenge: str) -> Any:
    """The claims that a challenge asks for; None if it asks for none."""
    found = re.search(r'error="insufficient_claims", claims="([^"]+)"', challenge)
    return json.loads(base64.b64decode(found[1])) if found else None


Make = Callable[..., Subject]


@pytest.fixture
def subject_of(idplane: LocalPlane, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Put an identity of a machine to work."""
    with ExitStack() as clients:

        def make(machine: VirtualMachine, identity: ManagedIdentity) -> Subject:
            vault = idplane.vault("stock", group="vaults", password="hunter2")
            idplane.grant(identity, "Key Vault Secrets User", vault)
            idplane.grant(identity, "Reader", idplane.resource_group())
            variables = idplane.environment(machine, dialect=Dialect.IMDS)
            for name, value in variables.items():
                monkeypatch.setenv(name, value)
            subject = Subject(
                plane=idplane,
                machine=machine,
                identity=identity,
                imds=variables["AZURE_POD_IDENTITY_AUTHORITY_HOST"],
                secrets=clients.enter_context(SecretClient(idplane.vault_url("stock"), ManagedIdentityCredential())),
                compute=clients.enter_context(
                    ComputeManagementClient(ManagedIdentityCredential(), idplane.subscription_id, **idplane.client)
                ),
                held={},
            )
            subject.works()
            for resource in (ARM, VAULT):
                subject.held[resource] = subject.token(resource)[1]["access_token"]
            return subject

        yield make


def check_dead(subject: Subject) -> None:
    """Everything is refused, with the challenge that makes clients give the token up; and they end where there is no other."""
    now = subject.plane.clock.now().timestamp()
    for resource, (status, challenge) in subject.refusals().items():
        assert status == 401, resource
        wanted = asked_claims(challenge)
        assert abs(int(wanted["access_token"]["nbf"]["value"]) - now) < 60
    status, answer = subject.token(VAULT)
    assert (status, answer["error_description"][:18]) == (400, "Identity not found")
    with pytest.raises(CredentialUnavailableError, match="Identity not found"):
        subject.secrets.get_secret("password")
    with pytest.raises(CredentialUnavailableError, match="Identity not found"):
        list(subject.compute.virtual_machines.list("tests"))


def left_of(subject: Subject) -> set[str]:
    """What the store still has about the identity."""
    plane, principal = subject.plane, subject.identity.principal_id
    collections: Any = (CREDENTIALS, ROLE_ASSIGNMENTS, IDENTITY_ASSIGNMENTS)
    found = {one.name for one in collections if plane.run(plane.store.all(one, where={"principal_id": principal}))}
    return found | ({PRINCIPALS.name} if plane.run(plane.store.get(PRINCIPALS, principal)) else set())


def system_assigned(plane: LocalPlane, make: Make) -> Subject:
    machine = plane.virtual_machine("vm")
    assert machine.identity is not None
    return make(machine, machine.identity)


def user_assigned(plane: LocalPlane, make: Make) -> Subject:
    identity = plane.user_assigned_identity("shared", group="identities")
    return make(plane.virtual_machine("vm", system=False, identities=[identity]), identity)


def taken_off(subject: Subject) -> None:
    subject.plane.call("PATCH", subject.machine.id, {"identity": {"type": "None"}})


def machine_deleted(subject: Subject) -> None:
    subject.plane.delete(subject.machine.id)


def group_deleted(subject: Subject) -> None:
    subject.plane.delete(subject.plane.resource_group())


def identity_deleted(subject: Subject) -> None:
    subject.plane.delete(subject.identity.id)


def replaced_by_put(subject: Subject) -> None:
    other = subject.plane.user_assigned_identity("other", group="identities")
    block = {"type": "UserAssigned", "userAssignedIdentities": {other.id: {}}}
    body = {"location": "westeurope", "identity": block, "properties": {}}
    subject.plane.call("PUT", subject.machine.id, body)


@pytest.mark.parametrize("revoke", [taken_off, machine_deleted, group_deleted])
def test_a_system_assigned_identity_dies_whole(
    idplane: LocalPlane, subject_of: Make, revoke: Callable[[Subject], None]
) -> None:
    subject = system_assigned(idplane, subject_of)
    revoke(subject)
    check_dead(subject)
    assert not left_of(subject)


@pytest.mark.parametrize("revoke", [taken_off, machine_deleted, group_deleted])
def test_a_user_assigned_identity_outlives_its_machines(
    idplane: LocalPlane, subject_of: Make, revoke: Callable[[Subject], None]
) -> None:
    subject = user_assigned(idplane, subject_of)
    revoke(subject)
    check_dead(subject)
    assert left_of(subject) == {PRINCIPALS.name, ROLE_ASSIGNMENTS.name}


def test_a_deleted_identity_is_lost_by_every_machine(idplane: LocalPlane, subject_of: Make) -> None:
    subject = user_assigned(idplane, subject_of)
    identity_deleted(subject)
    check_dead(subject)
    assert not left_of(subject)


def test_an_identity_that_another_replaces_is_lost(idplane: LocalPlane, subject_of: Make) -> None:
    subject = user_assigned(idplane, subject_of)
    replaced_by_put(subject)
    assert {status for status, _ in subject.refusals().values()} == {401}
    assert subject.token(VAULT)[1]["client_id"] != subject.identity.client_id
    # The clients give their dead tokens up and ask anew: the other identity has no role yet.
    with pytest.raises(HttpResponseError) as refusal:
        subject.secrets.get_secret("password")
    assert refusal.value.status_code == 403
    with pytest.raises(HttpResponseError) as refusal:
        list(subject.compute.virtual_machines.list("tests"))
    assert refusal.value.status_code == 403


def test_a_machine_made_again_is_somebody_else(idplane: LocalPlane, subject_of: Make) -> None:
    subject = system_assigned(idplane, subject_of)
    machine_deleted(subject)
    again = idplane.virtual_machine("vm")
    assert again.identity is not None
    assert again.identity.principal_id != subject.identity.principal_id
    assert again.identity.client_id != subject.identity.client_id
    assert {status for status, _ in subject.refusals().values()} == {401}
    # What the old one was allowed is not the new one's, until it is.
    with pytest.raises(HttpResponseError) as refusal:
        subject.secrets.get_secret("password")
    assert refusal.value.status_code == 403
    vault = idplane.vault("stock", group="vaults")
    idplane.grant(again.identity, "Key Vault Secrets User", vault)
    assert subject.secrets.get_secret("password").value == "hunter2"  # the same client, in the same process
    assert {status for status, _ in subject.refusals().values()} == {401}


def test_an_identity_enabled_again_is_a_new_principal(idplane: LocalPlane, subject_of: Make) -> None:
    subject = system_assigned(idplane, subject_of)
    taken_off(subject)
    body = idplane.call("PATCH", subject.machine.id, {"identity": {"type": "SystemAssigned"}}).body
    assert body["identity"]["principalId"] != subject.identity.principal_id
    assert {status for status, _ in subject.refusals().values()} == {401}
    assert subject.token(VAULT)[0] == 200


@pytest.mark.parametrize("takes_away", [taken_off, machine_deleted])
def test_an_identity_given_again_does_not_revive_earlier_tokens(
    idplane: LocalPlane, subject_of: Make, takes_away: Callable[[Subject], None]
) -> None:
    subject = user_assigned(idplane, subject_of)
    takes_away(subject)
    idplane.virtual_machine("vm", system=False, identities=[subject.identity])
    assert {status for status, _ in subject.refusals().values()} == {401}
    subject.works()  # with tokens of the new assignment


def test_a_role_that_is_taken_away_is_gone_with_the_token_that_had_it(idplane: LocalPlane, subject_of: Make) -> None:
    subject = system_assigned(idplane, subject_of)
    vault = idplane.vault("stock", group="vaults")
    listed = idplane.call("GET", f"{vault}/providers/Microsoft.Authorization/roleAssignments").body["value"]
    for one in listed:
        if one["properties"]["principalId"] == subject.identity.principal_id and one["properties"]["scope"] == vault:
            idplane.delete(one["id"])
    assert subject.refusals()[VAULT][0] == 403
    assert subject.refusals()[ARM][0] == 200
    with pytest.raises(HttpResponseError) as refusal:
        subject.secrets.get_secret("password")
    assert refusal.value.status_code == 403


def set_enabled(plane: LocalPlane, principal_id: str, *, enabled: bool) -> None:
    """No API does this yet, so the store does."""
    row = plane.run(plane.store.get(PRINCIPALS, principal_id))
    change = Put(collection=PRINCIPALS, value=replace(row.value, enabled=enabled), expect=row.version)
    plane.run(plane.store.commit(Batch.of(change)))


def test_a_disabled_principal_is_refused_until_it_is_enabled(idplane: LocalPlane, subject_of: Make) -> None:
    subject = system_assigned(idplane, subject_of)
    set_enabled(idplane, subject.identity.principal_id, enabled=False)
    assert {status for status, _ in subject.refusals().values()} == {401}
    assert subject.token(VAULT)[0] == 400
    with pytest.raises(ClientAuthenticationError):
        subject.secrets.get_secret("password")
    set_enabled(idplane, subject.identity.principal_id, enabled=True)
    assert subject.token(VAULT)[0] == 200


def test_an_application_is_revoked_and_comes_back(idplane: LocalPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims challenges through msal: it asks anew with the claims, and does not stay with the token that it has in its cache."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(idplane.ca_file))
    app = idplane.application("batch-job")
    vault = idplane.vault("stock", password="hunter2")
    idplane.grant(app, "Key Vault Secrets User", vault)
    credential = ClientSecretCredential(
        idplane.tenant_id, app.client_id, app.secret, authority=idplane.url, disable_instance_discovery=True
    )
    with closing(SecretClient(idplane.vault_url("stock"), credential)) as secrets:
        assert secrets.get_secret("password").value == "hunter2"
        set_enabled(idplane, app.principal_id, enabled=False)
        with pytest.raises(ClientAuthenticationError, match="AADSTS7000112"):
            secrets.get_secret("password")
        set_enabled(idplane, app.principal_id, enabled=True)
        assert secrets.get_secret("password").value == "hunter2"


def principal_revoked(subject: Subject) -> None:
    body = {"principalId": subject.identity.principal_id}
    subject.plane.call("POST", "/providers/Idplane.Authority/revokeTokens", body, api_version="2026-11-01")


def host_revoked(subject: Subject) -> None:
    subject.plane.call("POST", f"{subject.machine.id}/providers/Idplane.Authority/revokeTokens", api_version="2026-11-01")


def tenant_revoked(subject: Subject) -> None:
    subject.plane.call("POST", "/providers/Idplane.Authority/revokeTokens", api_version="2026-11-01")
    subject.plane._tokens.clear()


def key_tainted(subject: Subject) -> None:
    ring = subject.plane._plane.server.ring
    subject.plane.run(ring.taint(next(one.id for one in ring.keys if one.state.value == "active")))
    subject.plane._tokens.clear()


REVOCATIONS = [principal_revoked, host_revoked, tenant_revoked, key_tainted]


@pytest.mark.parametrize("revoke", REVOCATIONS)
@pytest.mark.parametrize("kind", [system_assigned, user_assigned])
def test_clients_follow_the_challenge_inside_one_call(
    idplane: LocalPlane,
    subject_of: Make,
    kind: Callable[[LocalPlane, Make], Subject],
    revoke: Callable[[Subject], None],
) -> None:
    """They hold a token that is dead, and nobody tells them to ask for another one but the target's 401."""
    subject = kind(idplane, subject_of)
    for _ in range(2):
        revoke(subject)
        assert {status for status, _ in subject.refusals().values()} == {401}
        subject.works()


@pytest.mark.parametrize("revoke", REVOCATIONS)
async def test_asynchronous_clients_follow_it_too(
    idplane: LocalPlane, subject_of: Make, revoke: Callable[[Subject], None]
) -> None:
    subject = system_assigned(idplane, subject_of)
    credential = AsyncManagedIdentityCredential()
    client = AsyncSecretClient(idplane.vault_url("stock"), credential, connection_verify=str(idplane.ca_file))
    async with credential, client:
        assert (await client.get_secret("password")).value == "hunter2"
        revoke(subject)
        assert (await client.get_secret("password")).value == "hunter2"
        set_enabled(idplane, subject.identity.principal_id, enabled=False)
        with pytest.raises(ClientAuthenticationError):
            await client.get_secret("password")


def test_a_client_without_the_capability_is_told_plainly(idplane: LocalPlane) -> None:
    app = idplane.application("old-client")
    form = {
        "grant_type": "client_credentials",
        "client_id": app.client_id,
        "client_secret": app.secret,
        "scope": f"{ARM}/.default",
    }
    context = ssl.create_default_context(cafile=str(idplane.ca_file))

    def challenge(**more: str) -> str:
        body = urllib.parse.urlencode({**form, **more}).encode()
        asked = urllib.request.Request(f"{idplane.url}/{idplane.tenant_id}/oauth2/v2.0/token", data=body)
        token = fetched(asked, context)[1]["access_token"]
        place = {"principalId": app.principal_id}
        idplane.call("POST", "/providers/Idplane.Authority/revokeTokens", place, api_version="2026-11-01")
        url = f"{idplane.url}/subscriptions?api-version=2022-12-01"
        status, _, told = fetched(urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"}), context)
        assert status == 401
        return told

    assert 'error="invalid_token"' in challenge()
    capable = json.dumps({"access_token": {"xms_cc": {"values": ["cp1"]}}})
    assert asked_claims(challenge(claims=capable)) is not None
