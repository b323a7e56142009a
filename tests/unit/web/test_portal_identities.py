"""Identities in the portal: the blade of a resource, user-assigned identities, and the directory's service principals."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from urllib.parse import quote

import pytest
from tests.unit.web.portal_world import PortalClient, PortalWorld, portal_world

from idplane.model.directory import Credential, CredentialKind
from idplane.model.events import SignIn
from idplane.model.ids import ResourceId
from idplane.model.resources import Identity, IdentityType
from idplane.ports.collections import CREDENTIALS, FEDERATED_CREDENTIALS, PRINCIPALS, RESOURCES, ROLE_ASSIGNMENTS, SIGN_INS
from idplane.ports.store import ABSENT, Append, Batch, Put
from idplane.rbac import BUILT_IN_ROLES
from idplane.web.portal.trusts import GITHUB, trust_of

IDENTITIES = "Microsoft.ManagedIdentity/userAssignedIdentities"
COMPUTE = "2024-07-01"
READER = next(one.id for one in BUILT_IN_ROLES.values() if one.name == "Reader")


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[PortalWorld]:
    async with portal_world() as opened:
        yield opened


@pytest.fixture
async def world(shared: PortalWorld) -> AsyncIterator[PortalWorld]:
    yield shared
    await shared.clear()


async def made(world: PortalWorld, kind: str, name: str, version: str, **members: object) -> str:
    identifier = f"{await world.group()}/providers/{kind}/{name}"
    await world.manage("PUT", identifier, {"location": "westeurope", "properties": {}, **members}, version=version)
    return identifier


async def machine(world: PortalWorld, **members: object) -> str:
    return await made(world, "Microsoft.Compute/virtualMachines", "stock-vm", COMPUTE, **members)


async def user_assigned(world: PortalWorld, name: str = "shared") -> str:
    return await made(world, IDENTITIES, name, "2023-01-31")


async def identity_of(world: PortalWorld, target: str) -> Identity | None:
    found = await world.store.get(RESOURCES, target.lower())
    assert found is not None
    return found.value.identity


async def principal_of(world: PortalWorld, target: str) -> str:
    found = await world.store.get(RESOURCES, target.lower())
    assert found is not None
    identity = found.value.identity
    principal = identity.principal_id if identity is not None else found.value.properties["principalId"]
    return str(principal)


# System assigned --------------------------------------------------------------------------------------------------------


async def test_the_switch_makes_an_identity_and_takes_it_away(world: PortalWorld) -> None:
    admin, target = await world.administrator(), await machine(world)
    url = f"/portal/resource/identity{target}"
    page = await admin.get(url)
    assert "Enable system assigned managed identity" in page.text
    assert "Object (principal) id" not in page.text
    done = await admin.post(url, status="on")
    assert done.location == url
    identity = await identity_of(world, target)
    assert identity is not None
    assert identity.principal_id is not None
    page = await admin.get(url)
    assert identity.principal_id in page.text
    assert "Disable system assigned managed identity" in page.text
    assert "No role yet" in page.text
    unchanged = await admin.post(url, status="on")
    assert unchanged.status == 303
    assert await identity_of(world, target) == identity
    assert (await admin.post(url, status="off")).status == 303
    assert await identity_of(world, target) is None
    assert await world.store.get(PRINCIPALS, identity.principal_id) is None
    for strange in ("", "maybe"):
        assert (await admin.post(url, status=strange)).status == 303
    assert await identity_of(world, target) is None


async def test_one_kind_of_identity_leaves_the_other_alone(world: PortalWorld) -> None:
    admin, shared = await world.administrator(), await user_assigned(world)
    target = await machine(world, identity={"type": "UserAssigned", "userAssignedIdentities": {shared: {}}})
    await admin.post(f"/portal/resource/identity{target}", status="on")
    identity = await identity_of(world, target)
    assert identity is not None
    assert (identity.type, len(identity.user_assigned)) == (IdentityType.BOTH, 1)
    await admin.post(f"/portal/resource/user-assigned/remove{target}", identity=shared)
    identity = await identity_of(world, target)
    assert identity is not None
    assert identity.type is IdentityType.SYSTEM
    await admin.post(f"/portal/resource/user-assigned/add{target}", identity=shared)
    await admin.post(f"/portal/resource/identity{target}", status="off")
    identity = await identity_of(world, target)
    assert identity is not None
    assert (identity.type, len(identity.user_assigned)) == (IdentityType.USER, 1)
    await admin.post(f"/portal/resource/user-assigned/remove{target}", identity=shared)
    assert await identity_of(world, target) is None


async def test_types_that_take_one_kind_only_say_so(world: PortalWorld) -> None:
    admin, shared = await world.administrator(), await user_assigned(world)
    flow = await made(world, "Microsoft.Logic/workflows", "flow", "2019-05-01", identity={"type": "SystemAssigned"})
    page = await admin.get(f"/portal/resource/user-assigned{flow}")
    assert "turn the system-assigned one off first" in page.text
    refused = await admin.post(f"/portal/resource/user-assigned/add{flow}", identity=shared)
    assert refused.status == 400
    arc = await made(world, "Microsoft.HybridCompute/machines", "arc", "2024-07-10")
    page = await admin.get(f"/portal/resource/user-assigned{arc}")
    assert "take a system-assigned identity only" in page.text
    script = await made(world, "Microsoft.Resources/deploymentScripts", "script", "2023-08-01")
    page = await admin.get(f"/portal/resource/identity{script}")
    assert "take user-assigned identities only" in page.text
    vault = f"{await world.group()}/providers/{IDENTITIES}/shared"
    assert (await admin.get(f"/portal/resource/identity{vault}")).status == 404


async def test_a_reader_sees_the_switch_shut_and_is_refused(world: PortalWorld) -> None:
    target = await machine(world)
    ada = await world.person("ada", "Reader")
    page = await ada.get(f"/portal/resource/identity{target}")
    assert '<fieldset class="segments" disabled>' in page.html
    assert "It takes Microsoft.Compute/virtualMachines/write" in page.text
    assert "ask-status" not in page.html
    refused = await ada.post(f"/portal/resource/identity{target}", status="on")
    assert refused.status == 403
    assert refused.refusal_id in refused.text
    assert await identity_of(world, target) is None
    for what in ("add", "remove"):
        assert (await ada.post(f"/portal/resource/user-assigned/{what}{target}", identity=target)).status in {400, 403}


# User assigned ----------------------------------------------------------------------------------------------------------


async def test_assigning_takes_the_right_on_the_identity_too(world: PortalWorld) -> None:
    target, shared = await machine(world), await user_assigned(world)
    ada = await world.person("ada", "Virtual Machine Contributor", "Reader")
    page = await ada.get(f"/portal/resource/user-assigned/add{target}")
    assert f"Takes {IDENTITIES}/assign/action on it" in page.text
    refused = await ada.post(f"/portal/resource/user-assigned/add{target}", identity=shared)
    assert refused.status == 403
    assert await identity_of(world, target) is None
    admin = await world.administrator()
    assert (await admin.post(f"/portal/resource/user-assigned/add{target}")).status == 400
    assert (await admin.post(f"/portal/resource/user-assigned/add{target}", identity="nonsense")).status == 400
    done = await admin.post(f"/portal/resource/user-assigned/add{target}", identity=shared)
    assert done.location == f"/portal/resource/user-assigned{target}"
    assert "shared" in (await admin.get(done.location)).text
    assert "stock-vm" in (await admin.get(f"/portal/identity/resources{shared}")).text
    assert "1 resource" in (await admin.get("/portal/identities")).text
    assert "Assigned" in (await admin.get(f"/portal/resource/user-assigned/add{target}")).text


async def test_an_identity_is_made_and_shown(world: PortalWorld) -> None:
    admin, group = await world.administrator(), await world.group()
    done = await admin.post("/portal/identities/new", group=group, name="front-end", location="westeurope", tags="a=b")
    assert done.status == 303
    moved = await admin.get(done.location)
    assert moved.location == f"/portal/identity/overview{group}/providers/{IDENTITIES}/front-end"
    page = await admin.get(moved.location)
    principal = await principal_of(world, f"{group}/providers/{IDENTITIES}/front-end")
    assert principal in page.text
    for tab in ("resources", "roles", "credentials", "sign-ins", "federated"):
        assert (await admin.get(f"/portal/identity/{tab}{group}/providers/{IDENTITIES}/front-end")).status == 200, tab
    assert (await admin.post("/portal/identities/new", group=group, name="x", location="westeurope")).status == 400
    assert (await admin.post("/portal/identities/new")).status == 400
    target = await machine(world)
    assert (await admin.get(f"/portal/identity/overview{target}")).status == 404


async def test_credentials_tell_where_they_stand(world: PortalWorld) -> None:
    admin, shared, host = await world.administrator(), await user_assigned(world), await machine(world)
    principal, now = await principal_of(world, shared), world.clock.now()
    spans = (("old", -20, -1), ("due", -10, 4), ("now", -1, 6))
    rows = [
        Credential(
            id=name,
            principal_id=principal,
            client_id="c",
            kind=CredentialKind.IDENTITY_CERTIFICATE,
            not_before=now + timedelta(hours=start),
            not_after=now + timedelta(hours=end),
            thumbprint=name * 20,
            host=host.lower(),
            agent_id=agent,
        )
        for (name, start, end), agent in zip(spans, ("a", "b", "a"), strict=True)
    ]
    secret = Credential(
        id="secret",
        principal_id=principal,
        client_id="c",
        kind=CredentialKind.SECRET,
        not_before=now,
        not_after=now + timedelta(1),
        secret_hash=b"hash",
        hint="abc",
    )
    await world.store.commit(Batch.of(*(Put(collection=CREDENTIALS, value=one, expect=ABSENT) for one in (*rows, secret))))
    page = await admin.get(f"/portal/identity/credentials{shared}")
    assert all(words in page.text for words in ("Renewal due", "Current", "Expired", "Client secret", "abc…"))
    assert "NOWNOW" in page.html
    assert "hash" not in page.text


async def test_sign_ins_are_for_who_may_read_the_log(world: PortalWorld) -> None:
    shared, host = await user_assigned(world), await machine(world)
    principal = await principal_of(world, shared)
    event = SignIn(
        id="sign-in-id",
        at=world.clock.now(),
        tenant_id=world.tenant_id,
        client_id="c",
        principal_id=principal,
        principal_name="shared",
        principal_type="ManagedIdentity",
        resource="https://vault.azure.net",
        resource_name="Azure Key Vault",
        error_code=700016,
        failure_reason="no <b>such</b> thing",
        correlation_id="c",
        token_id=None,
        credential_kind="identity-certificate",
        host=host,
    )
    await world.store.commit(Batch.of(Append(log=SIGN_INS, event=event)))
    page = await (await world.administrator()).get(f"/portal/identity/sign-ins{shared}")
    assert "Refused 700016" in page.text
    assert "<b>such" not in page.html
    ada = await world.person("ada", "Reader")
    page = await ada.get(f"/portal/identity/sign-ins{shared}")
    assert "700016" not in page.text
    assert "You may not see the sign-in log" in page.text


# Role assignments -------------------------------------------------------------------------------------------------------


async def granted(client: PortalClient, principal: str, **fields: str) -> int:
    return (await client.post(f"/portal/identity/grants/{principal}/add?back=/portal/resources", **fields)).status


async def test_a_role_is_given_and_taken(world: PortalWorld) -> None:
    admin, target, group = (
        await world.administrator(),
        await machine(world, identity={"type": "SystemAssigned"}),
        await world.group(),
    )
    principal, back = await principal_of(world, target), f"/portal/resource/identity{target}"
    form = await admin.get(f"/portal/identity/grants/{principal}/add?back={quote(back)}")
    assert "Resource group: stock" in form.text
    done = await admin.post(f"/portal/identity/grants/{principal}/add?back={quote(back)}", scope=group, role=READER)
    assert done.location == back
    (assignment,) = await world.store.all(ROLE_ASSIGNMENTS, where={"principal_id": principal})
    assert (assignment.value.scope, assignment.value.principal_type) == (group, "ServicePrincipal")
    page = await admin.get(back)
    assert "Reader" in page.text
    assert await granted(admin, principal, scope=group, role=READER) == 409
    for fields in ({}, {"scope": group}, {"scope": "nonsense", "role": READER}, {"other": group, "role": "nonsense"}):
        assert await granted(admin, principal, **fields) == 400, fields
    ada = await world.person("ada", "Reader")
    page = await ada.get(back)
    assert "disabled>Remove" in " ".join(page.html.split()).replace("> Remove", ">Remove")
    assert await granted(ada, principal, scope=str(world.subscription), role=READER) == 403
    removal = f"/portal/identity/grants/{principal}/remove?back={quote(back)}"
    assert (await ada.post(removal, assignment=assignment.value.id)).status == 403
    assert (await admin.post(removal, assignment=assignment.value.id)).location == back
    assert await world.store.all(ROLE_ASSIGNMENTS, where={"principal_id": principal}) == ()


async def test_who_may_not_see_an_identity_learns_nothing_of_it(world: PortalWorld) -> None:
    target = await machine(world, identity={"type": "SystemAssigned"})
    principal = await principal_of(world, target)
    nobody = await world.person("nobody")
    for path in (f"identity/grants/{principal}/add", f"applications/{principal}", f"applications/{principal}/sign-ins"):
        hidden, absent = await nobody.get(f"/portal/{path}"), await nobody.get(f"/portal/{path.replace(principal, 'no-such')}")
        assert (hidden.status, absent.status) == (404, 404)
        assert "stock-vm" not in hidden.text
    elsewhere = await nobody.get(f"/portal/identity/grants/{principal}/add?back=https://evil.example")
    assert "evil.example" not in elsewhere.html.partition("<main")[2].partition("href")[0]


# Federated credentials --------------------------------------------------------------------------------------------------


async def test_a_workflow_is_trusted_changed_and_trusted_no_more(world: PortalWorld) -> None:
    admin, shared = await world.administrator(), await user_assigned(world)
    edit = f"/portal/identity/federated/edit{shared}"
    fields = {"organization": "contoso", "repository": "shop", "entity": "branch", "value": "main", "audience": ""}
    done = await admin.post(edit, scenario="github", name="deploy", **fields)
    assert done.location == f"/portal/identity/federated{shared}"
    page = await admin.get(done.location)
    assert "repo:contoso/shop:ref:refs/heads/main" in page.text
    assert (
        "idplane az identity federated-credential create --name deploy --identity-name shared --resource-group stock"
        in page.text
    )
    form = await admin.get(f"{edit}?name=deploy")
    assert 'value="contoso"' in form.html
    await admin.post(f"{edit}?name=deploy", scenario="github", **{**fields, "entity": "environment", "value": "prod"})
    (found,) = await world.store.all(FEDERATED_CREDENTIALS)
    assert found.value.trust.subject == "repo:contoso/shop:environment:prod"
    await admin.post(f"/portal/identity/federated/delete{shared}", name="deploy")
    assert await world.store.all(FEDERATED_CREDENTIALS) == ()


async def test_a_wrong_trust_is_shown_again_with_what_was_typed(world: PortalWorld) -> None:
    admin, shared = await world.administrator(), await user_assigned(world)
    edit = f"/portal/identity/federated/edit{shared}"
    wrong = await admin.post(edit, scenario="other", name="deploy", issuer="not an address", subject="s", audience="")
    assert wrong.status == 400
    assert 'value="not an address"' in wrong.html
    for scenario in ("github", "kubernetes", "other", "expression", "nonsense"):
        assert (await admin.post(edit, scenario=scenario)).status == 400, scenario
        assert (await admin.get(f"{edit}?scenario={scenario}")).status == 200
    ada = await world.person("ada", "Reader")
    refused = await ada.post(edit, scenario="other", name="deploy", issuer="https://x.example", subject="s", audience="")
    assert refused.status == 403
    assert await world.store.all(FEDERATED_CREDENTIALS) == ()
    assert (await ada.post(f"/portal/identity/federated/delete{shared}", name="deploy")).status == 403


async def test_an_expression_is_kept_by_its_form(world: PortalWorld) -> None:
    admin, shared = await world.administrator(), await user_assigned(world)
    edit = f"/portal/identity/federated/edit{shared}"
    expression = "claims['sub'] matches 'repo:contoso/*'"
    done = await admin.post(edit, scenario="expression", name="any", issuer=GITHUB, expression=expression, audience="")
    assert done.status == 303, done.text
    form = await admin.get(f"{edit}?name=any")
    assert "repo:contoso/*" in form.text


@pytest.mark.parametrize(
    ("scenario", "typed", "subject"),
    [
        ("github", {"organization": "o", "repository": "r", "entity": "tag", "value": "v1"}, "repo:o/r:ref:refs/tags/v1"),
        ("github", {"organization": "o", "repository": "r", "entity": "pull_request", "value": "x"}, "repo:o/r:pull_request"),
        ("kubernetes", {"cluster": "https://k", "namespace": "n", "account": "a"}, "system:serviceaccount:n:a"),
        ("other", {"issuer": "https://x", "subject": "s"}, "s"),
    ],
)
def test_a_scenario_means_a_subject(scenario: str, typed: dict[str, str], subject: str) -> None:
    trust = trust_of(scenario, typed)
    assert trust["subject"] == subject
    assert trust["audiences"] == ["api://AzureADTokenExchange"]


# Enterprise applications ------------------------------------------------------------------------------------------------


async def test_service_principals_are_found_by_type_name_and_id(world: PortalWorld) -> None:
    admin, shared = await world.administrator(), await user_assigned(world, "shared-id")
    target = await machine(world, identity={"type": "SystemAssigned"})
    page = await admin.get("/portal/applications")
    assert "shared-id" in page.text
    assert "System-assigned identity" in page.text
    assert "Microsoft Graph" not in page.text
    everything = await admin.get("/portal/applications?type=all&sort=-name")
    assert "shared-id" in everything.text
    assert "Microsoft Graph" in everything.text
    assert "stock-vm" not in (await admin.get("/portal/applications?type=enterprise")).text
    principal = await principal_of(world, shared)
    found = await world.store.get(PRINCIPALS, principal)
    assert found is not None
    for text in ("SHARED", principal, found.value.client_id.upper()):
        page = await admin.get(f"/portal/applications?q={text}")
        assert "shared-id" in page.text
        assert "stock-vm" not in page.text
    for tab in ("", "/roles", "/app-roles", "/credentials", "/sign-ins"):
        assert (await admin.get(f"/portal/applications/{principal}{tab}")).status == 200
    page = await admin.get(f"/portal/applications/{await principal_of(world, target)}")
    assert f'href="/portal/resource{target}"' in page.html
    assert (await admin.get(f"/portal/applications/{admin.principal.id if admin.principal else ''}")).status == 404


async def test_the_directory_is_not_for_everybody(world: PortalWorld) -> None:
    target = await machine(world, identity={"type": "SystemAssigned"})
    ada = await world.person("ada", "Reader", scope=ResourceId.parse(target).key)
    page = await ada.get("/portal/applications?type=all")
    assert "You may not see the directory" in page.text
    assert "stock-vm" not in page.text
    assert "Microsoft Graph" not in page.text
    assert (await ada.get(f"/portal/applications/{await principal_of(world, target)}")).status == 200
