"""Explanations in the portal: refusals by id and as lists, questions beforehand, and the changes that are made from there."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import AsyncIterator
from urllib.parse import quote, urlencode

import pytest
from tests.unit.web.portal_world import PageAnswer, PortalClient, PortalWorld, portal_world

from idplane.model.roles import DenyAssignment, Permission, RoleAssignment
from idplane.ports.collections import ACTIVITY, DENY_ASSIGNMENTS, REFUSALS, ROLE_ASSIGNMENTS
from idplane.ports.store import ABSENT, Batch, Put
from idplane.rbac import BUILT_IN_ROLES, EVERYONE

_LOCKS = "Microsoft.Authorization/locks/write"
_WRITE = "Microsoft.Compute/virtualMachines/write"


@pytest.fixture
async def world() -> AsyncIterator[PortalWorld]:
    async with portal_world() as opened:
        yield opened


async def refused(world: PortalWorld, client: PortalClient) -> str:
    """The id of a refusal of this person: it may not make a resource group."""
    answer = await client.post(
        "/portal/resources/new/resource-group",
        subscription=world.subscription.rpartition("/")[2],
        name="mine",
        location="westeurope",
    )
    assert answer.status == 403, answer.text
    return answer.refusal_id


def first_fix(page: PageAnswer) -> str:
    found = re.search(r'href="([^"]+fix\?[^"]+)"', page.html)
    assert found is not None, page.text
    return html.unescape(found[1])


def shown_request(page: PageAnswer) -> str:
    found = re.search(r'name="request" value="([0-9a-f]{64})"', page.html)
    assert found is not None, page.text
    return found[1]


async def after_a_while(world: PortalWorld, client: PortalClient, url: str) -> PageAnswer:
    """What is not found at once may be another server's of this moment, and is waited for."""
    asking = asyncio.ensure_future(client.get(url))
    while not asking.done():
        world.clock.advance(0.1)
        await asyncio.sleep(0)
    return await asking


# Refusals --------------------------------------------------------------------------------------------------------------


async def test_a_refusal_is_explained_to_who_was_refused(world: PortalWorld) -> None:
    ada = await world.person("ada", "Reader")
    identifier = await refused(world, ada)
    page = await ada.get(f"/portal/explain/{identifier}")
    assert page.status == 200
    for words in ("Why ada@", "Who asked", "What was asked", "Every rule that was considered", "What would help"):
        assert words in page.text
    assert "Microsoft.Resources/subscriptions/resourceGroups/write" in page.text
    assert "idplane az role assignment create" in page.text
    assert "You may not do this: it takes Microsoft.Authorization/roleAssignments/write" in page.text
    assert "Make this change" not in page.text
    assert f"idplane explain {identifier}" in page.text


async def test_unknown_and_forbidden_ids_get_the_same_page(world: PortalWorld) -> None:
    bob = await world.person("bob")
    identifier = await refused(world, await world.person("ada", "Reader"))
    unknown = "00000000-0000-4000-8000-000000000000"
    pages = [await after_a_while(world, bob, f"/portal/explain/{one}") for one in (identifier, unknown)]
    assert [page.status for page in pages] == [404, 404]
    bodies = [page.text.replace(identifier, "").replace(unknown, "") for page in pages]
    assert bodies[0] == bodies[1]
    assert "There is no refusal with this id that you may see" in bodies[0]
    assert "Ada" not in bodies[0]
    odd = await bob.get("/portal/explain/" + quote('"><script>alert(1)', safe=""))
    assert odd.status == 404
    assert "<script>alert" not in odd.html


async def test_the_id_can_be_typed(world: PortalWorld) -> None:
    ada = await world.person("ada")
    answer = await ada.get("/portal/explain?id=%20abc/../def")
    assert (answer.status, answer.location) == (303, "/portal/explain/abc..def")


async def test_refusals_are_listed_and_narrowed(world: PortalWorld) -> None:
    ada, bob = await world.person("ada", "Reader"), await world.person("bob", "Reader")
    mine, other = await refused(world, ada), await refused(world, bob)
    admin = await world.administrator()
    everything = await admin.get("/portal/explain")
    assert f"/portal/explain/{mine}" in everything.html
    assert f"/portal/explain/{other}" in everything.html
    assert everything.html.index(other) < everything.html.index(mine)
    assert ada.principal is not None
    for query in ("q=ada", "q=ADA@", f"q={ada.principal.id}"):
        narrowed = await admin.get(f"/portal/explain?{query}")
        assert mine in narrowed.html, query
        assert other not in narrowed.html
    assert mine in (await admin.get("/portal/explain?surface=portal")).html
    for query in ("surface=vault", "q=nobody", "scope=nonsense", f"scope={world.subscription}/resourceGroups/else"):
        assert "Nothing matches" in (await admin.get(f"/portal/explain?{query}")).text, query
    assert mine in (await admin.get(f"/portal/explain?scope={world.subscription}")).html


async def test_others_refusals_are_not_listed(world: PortalWorld) -> None:
    ada, bob = await world.person("ada"), await world.person("bob")
    mine, other = await refused(world, ada), await refused(world, bob)
    page = await ada.get("/portal/explain")
    assert mine in page.html
    assert other not in page.html
    assert "your own refusals" in page.text


async def test_an_ambiguous_caller_is_chosen(world: PortalWorld) -> None:
    await world.person("ada1")
    await world.person("ada2")
    page = await (await world.administrator()).get("/portal/explain?q=ada")
    assert "Whose refusals are meant?" in page.text
    assert {"Ada1", "Ada2"} <= set(page.text.split())


async def test_an_empty_list_says_what_to_do(world: PortalWorld) -> None:
    page = await (await world.administrator()).get("/portal/explain")
    assert "Nothing was refused" in page.text
    assert 'href="/portal/explain/ask"' in page.html


async def test_what_was_stored_stays_text(world: PortalWorld) -> None:
    ada = await world.person("ada", "Reader")
    assert ada.principal is not None
    answer = await ada.send(
        "GET", "/portal/resource/subscriptions/%3Cb%3E", headers={"user-agent": "<script>alert(1)</script>"}
    )
    page = await ada.get(f"/portal/explain/{answer.refusal_id}")
    assert "<script>alert" not in page.html
    listed = await ada.get("/portal/explain?q=<script>alert(2)</script>&scope=<i>")
    assert "<script>alert" not in listed.html
    asked = await ada.get("/portal/explain/ask?as=<script>alert(3)</script>&action=<b>&scope=<i>")
    assert "<script>alert" not in asked.html


# Questions -------------------------------------------------------------------------------------------------------------


def question(**fields: str) -> str:
    return f"/portal/explain/ask?{urlencode(fields)}"


async def test_anybody_may_ask_about_himself(world: PortalWorld) -> None:
    ada = await world.person("ada", "Reader")
    page = await ada.get(question(action="Microsoft.Resources/subscriptions/read", scope=world.subscription))
    assert (page.status, "Allowed" in page.text) == (200, True)
    page = await ada.get(question(action=_LOCKS, scope=world.subscription))
    assert "Refused" in page.text
    assert "What came nearest" in page.text
    logged = await world.store.read_log(ACTIVITY, where={"caller_id": ada.principal.id if ada.principal else ""})
    # Questions are on record, as they are when they are asked through the API.
    assert [one.event.operation for one in logged].count("Idplane.Diagnostics/explain/action") == 2


async def test_others_are_asked_about_by_name_id_or_resource(world: PortalWorld) -> None:
    admin = await world.administrator()
    ada = await world.user("ada", "Reader")
    group = await world.group()
    identity = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/shared"
    await world.manage("PUT", identity, {"location": "westeurope"}, version="2023-01-31")
    for who in ("Ada", "ada@", ada.id, identity):
        page = await admin.get(question(**{"as": who}, action=_LOCKS, scope=group))
        assert page.status == 200, page.text
        assert "may not do the action" in page.text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"as": "nobody"}, "no principal called 'nobody'"),
        ({"as": "/nonsense"}, "not a"),
        ({"scope": "nonsense"}, "the scope is no resource id"),
        ({"as": "ada"}, "2 principals match 'ada'"),
    ],
)
async def test_questions_that_can_not_be_asked_are_shown_again(world: PortalWorld, fields: dict[str, str], words: str) -> None:
    await world.user("ada1")
    await world.user("ada2")
    page = await (await world.administrator()).get(question(action=_LOCKS, **fields))
    assert page.status == 400
    assert words.lower() in page.text.lower()
    assert f'value="{_LOCKS}"' in page.html


async def test_questions_about_others_take_a_right(world: PortalWorld) -> None:
    ada, bob = await world.person("ada"), await world.user("bob", "Owner")
    page = await ada.get(question(**{"as": bob.id}, action=_LOCKS, scope=world.subscription))
    assert page.status == 403
    assert "Allowed" not in page.text
    assert "Bob" not in page.text


async def test_old_addresses_lead_to_the_question(world: PortalWorld) -> None:
    answer = await (await world.person("ada")).get(f"/portal/explain?as=x&action={_LOCKS}&scope=/")
    assert answer.status == 303
    assert answer.location.startswith("/portal/explain/ask?as=x&action=")


async def test_the_scopes_own_actions_are_suggested(world: PortalWorld) -> None:
    admin = await world.administrator()
    scope = f"{world.subscription}/resourceGroups/a/providers/Microsoft.ServiceBus/namespaces/b"
    page = await admin.get(f"/portal/explain/ask?scope={scope}")
    assert "Microsoft.ServiceBus/namespaces/read" in page.html
    assert "Microsoft.ServiceBus" not in (await admin.get("/portal/explain/ask")).html


# Changes ---------------------------------------------------------------------------------------------------------------


async def test_a_fix_is_shown_then_made_and_then_it_is_allowed(world: PortalWorld) -> None:
    ada = await world.person("ada", "Reader")
    identifier = await refused(world, ada)
    admin = await world.administrator()
    address = first_fix(await admin.get(f"/portal/explain/{identifier}"))
    shown = await admin.get(address)
    assert shown.status == 200
    assert "Microsoft.Authorization/roleAssignments" in shown.text
    assert "principalId" in shown.text
    done = await admin.post(address, request=shown_request(shown))
    assert (done.status, done.location) == (303, f"/portal/explain/{identifier}")
    after = await admin.get(done.location)
    assert "Done. It would be allowed now." in after.text
    assert "It would be allowed now" in after.text.replace("Done. It would be allowed now.", "")
    assert (
        await ada.post(
            "/portal/resources/new/resource-group",
            subscription=world.subscription.rpartition("/")[2],
            name="mine",
            location="westeurope",
        )
    ).status == 303
    logged = await world.store.read_log(ACTIVITY, limit=20)
    assert any(
        one.event.operation == "Microsoft.Authorization/roleAssignments/write" and "admin" in one.event.caller.lower()
        for one in logged
    )


async def test_a_fix_of_a_question_leads_back_to_it(world: PortalWorld) -> None:
    admin, ada = await world.administrator(), await world.user("ada")
    asked = question(**{"as": ada.id}, action=_WRITE, scope=world.subscription)
    address = first_fix(await admin.get(asked))
    done = await admin.post(address, request=shown_request(await admin.get(address)))
    assert done.status == 303
    after = await admin.get(done.location)
    assert "Allowed" in after.text
    assert "Done. It would be allowed now." in after.text


async def test_only_what_was_shown_is_done(world: PortalWorld) -> None:
    ada = await world.person("ada", "Reader")
    identifier = await refused(world, ada)
    admin = await world.administrator()
    address = first_fix(await admin.get(f"/portal/explain/{identifier}"))
    before = await world.store.count(ROLE_ASSIGNMENTS, limit=1000)
    for request in ("", "0" * 64):
        answer = await admin.post(address, request=request)
        assert answer.status == 409
        assert "It has changed meanwhile" in answer.text or "has become another one" in answer.text
    assert (await admin.post(f"/portal/explain/{identifier}/fix?fix=99", request="")).status == 404
    assert await world.store.count(ROLE_ASSIGNMENTS, limit=1000) == before


async def test_a_fix_by_somebody_without_the_right_is_refused_and_kept(world: PortalWorld) -> None:
    ada = await world.person("ada", "Reader")
    address = f"/portal/explain/{await refused(world, ada)}/fix?fix=0"
    shown = await ada.get(address)
    assert "You may not do this" in shown.text
    answer = await ada.post(address, request=shown_request(shown))
    assert answer.status == 403
    assert f"/portal/explain/{answer.refusal_id}" in answer.html
    assert "roleAssignments/write" in (await ada.get(f"/portal/explain/{answer.refusal_id}")).text


async def test_a_denial_is_shown_with_its_fix(world: PortalWorld) -> None:
    ada = await world.user("ada", "Owner")
    deny = DenyAssignment(
        id="11111111-2222-4333-8444-555555555555",
        tenant_id=world.tenant_id,
        name="No <b>locks</b>",
        scope=world.subscription,
        permissions=(Permission(actions=(_LOCKS,)),),
        principals=(EVERYONE,),
    )
    await world.store.commit(Batch.of(Put(collection=DENY_ASSIGNMENTS, value=deny, expect=ABSENT)))
    page = await (await world.administrator()).get(question(**{"as": ada.id}, action=_LOCKS, scope=world.subscription))
    assert "the deny assignment" in page.text
    assert "<b>locks" not in page.html
    assert f"/portal/iam/denies{world.subscription}#{deny.id}" in page.html
    assert await world.store.count(REFUSALS, limit=10) == 0


async def test_an_unmet_condition_is_shown_with_both_of_its_sides(world: PortalWorld) -> None:
    ada = await world.user("ada")
    held = RoleAssignment(
        id="11111111-2222-4333-8444-666666666666",
        tenant_id=world.tenant_id,
        scope=world.subscription,
        role_id=next(one.id for one in BUILT_IN_ROLES.values() if one.name == "Storage Blob Data Reader"),
        principal_id=ada.id,
        principal_type="User",
        created_at=world.clock.now(),
        changed_at=world.clock.now(),
        condition="@Resource[Microsoft.Storage/storageAccounts/blobServices/containers:name] StringEquals 'logs'",
        condition_version="2.0",
    )
    await world.store.commit(Batch.of(Put(collection=ROLE_ASSIGNMENTS, value=held, expect=ABSENT)))
    action = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"
    page = await (await world.administrator()).get(
        question(**{"as": ada.id}, action=action, scope=world.subscription, data="on")
    )
    assert "under a condition that the request does not meet" in page.text
    assert "Can't be told" in page.text
    assert "Left absent · right 'logs'" in page.text
    assert f"/portal/iam/assignments{world.subscription}#{held.id}" in page.html
    assert "Nearest" in page.text
