"""Access control in the portal: checked, listed, given, taken and denied, by people with different rights."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from tests.unit.web.portal_world import PortalWorld, portal_world
from tests.unit.web.roles_world import deny, give, group_of

from idplane.model.roles import Permission, RoleDefinition
from idplane.ports.collections import ROLE_ASSIGNMENTS, ROLE_DEFINITIONS
from idplane.ports.store import ABSENT, Batch, Put
from idplane.rbac import BUILT_IN_ROLES

READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
CUSTOM = "77777777-2222-4333-8444-555555555555"


@pytest.fixture
async def world() -> AsyncIterator[PortalWorld]:
    async with portal_world() as opened:
        yield opened


# Where ------------------------------------------------------------------------------------------------------------------


async def test_every_scope_is_reached_from_the_tree(world: PortalWorld) -> None:
    admin = await world.administrator()
    await world.group()
    page = await admin.get("/portal/iam")
    for to in (
        "/portal/iam/check",
        f"/portal/iam/check{world.subscription}",
        f"/portal/iam/check/providers/Microsoft.Management/managementGroups/{world.tenant_id}",
    ):
        assert f'href="{to}"' in page.html
        assert (await admin.get(to)).status == 200
    page = await admin.get(f"/portal/iam?subscription={world.subscription.rpartition('/')[2]}")
    assert f'href="/portal/iam/check{world.subscription}/resourceGroups/stock"' in page.html
    assert (await admin.get(f"/portal/iam{world.subscription}")).location == f"/portal/iam/check{world.subscription}"


async def test_who_may_not_read_a_scopes_roles_is_refused(world: PortalWorld) -> None:
    group = await world.group()
    ada = await world.person("ada", "Reader", scope=group)
    assert "not yours to read" in (await ada.get("/portal/iam")).text
    for tab in ("check", "assignments", "denies", "roles", "add"):
        assert (await ada.get(f"/portal/iam/{tab}{world.subscription}")).status == 403
        assert (await ada.get(f"/portal/iam/{tab}")).status == 403
        assert (await ada.get(f"/portal/iam/{tab}{group}")).status == 200
        assert (await ada.get(f"/portal/iam/{tab}{world.subscription}/resourceGroups/none")).status == 403
        assert (await ada.get(f"/portal/iam/{tab}/nonsense")).status == 400


async def test_what_is_not_there_is_not_found(world: PortalWorld) -> None:
    admin = await world.administrator()
    assert (await admin.get(f"/portal/iam/check{world.subscription}/resourceGroups/none")).status == 404
    assert (await admin.get("/portal/iam/role/nothing")).status == 404


# Check access -------------------------------------------------------------------------------------------------------------


async def test_access_is_checked_directly_from_above_and_through_groups(world: PortalWorld) -> None:
    group = await world.group()
    ada = await world.user("ada", "Reader")
    operators = await group_of(world, ada.id)
    await give(world, operators, "Contributor", world.subscription, kind="Group")
    await give(world, ada.id, "Owner", group, condition="@Resource[a] StringEquals 'b'")
    await deny(world, world.subscription, ada.id)
    await deny(world, world.subscription, world.server.installation.user_id)
    admin = await world.administrator()
    page = await admin.get(f"/portal/iam/check{group}?q=ADA")
    rows = [" ".join(re.sub(r"<[^>]+>", " ", one).split()) for one in re.findall(r"<tr>(.*?)</tr>", page.html, re.DOTALL)]
    shown = {one.split()[0]: one for one in rows if one.split()[0] in {"Owner", "Contributor", "Reader"}}
    assert "This scope" in shown["Owner"]
    assert "Conditional" in shown["Owner"]
    assert "Inherited" in shown["Contributor"]
    assert "Operators" in shown["Contributor"]
    assert "Inherited" in shown["Reader"]
    assert "Itself" in shown["Reader"]
    assert page.html.count('<article class="verdict"') == 1
    assert "<i>deletes" not in page.html
    assert f"/portal/explain/ask?as={ada.id}" in page.html


async def test_ones_own_access_and_that_of_nobody(world: PortalWorld) -> None:
    ada = await world.person("ada", "Reader")
    assert ada.principal is not None
    assert "What Ada has here" in (await ada.get(f"/portal/iam/check?principal={ada.principal.id}")).text
    bob = await world.user("bob")
    admin = await world.administrator()
    assert "has no role here" in (await admin.get(f"/portal/iam/check?principal={bob.id}")).text
    assert "Nobody matches" in (await admin.get("/portal/iam/check?q=zzz")).text
    hidden = await ada.get("/portal/iam/check?q=bob")
    assert "Nobody matches" in hidden.text


async def test_names_of_others_are_not_told_to_a_reader(world: PortalWorld) -> None:
    bob = await world.user("bob", "Owner")
    ada = await world.person("ada", "Reader")
    page = await ada.get("/portal/iam/assignments")
    assert "Bob" not in page.text
    assert bob.id in page.text
    assert "bob@" not in page.html


# Role assignments -----------------------------------------------------------------------------------------------------------


async def test_assignments_are_grouped_by_role_and_narrowed(world: PortalWorld) -> None:
    group = await world.group()
    ada, bob = await world.user("ada"), await world.user("bob")
    operators = await group_of(world)
    await give(world, ada.id, "Reader", group)
    await give(world, bob.id, "Reader", world.subscription)
    await give(world, operators, "Contributor", group, kind="Group")
    admin = await world.administrator()
    page = await admin.get(f"/portal/iam/assignments{group}")
    assert "Reader (2)" in page.text
    assert "Contributor (1)" in page.text
    assert page.text.index("Contributor (1)") < page.text.index("Reader (2)")
    assert "2 role assignments stand at this scope itself" in page.text
    for query, wanted in (
        ("q=ada", {"Ada"}),
        ("where=here", {"Ada", "Operators"}),
        ("where=inherited", {"Bob"}),
        ("kind=Group", {"Operators"}),
        ("kind=ManagedIdentity", set()),
        (f"role={READER}", {"Ada", "Bob"}),
        (f"q=bob&role={READER}&where=here", set()),
        ("q=%3Cb%3E", set()),
    ):
        found = (await admin.get(f"/portal/iam/assignments{group}?{query}")).text
        body = found.partition("Apply")[2]
        assert {one for one in ("Ada", "Bob", "Operators") if re.search(rf"\b{one}\b", body)} == wanted, query
        assert wanted or "Nothing matches" in found


async def test_long_lists_come_in_pages(world: PortalWorld) -> None:
    group = await world.group()
    for person in (await world.user("ada"), await world.user("bob")):
        for role in [*BUILT_IN_ROLES][:30]:
            await give(world, person.id, role, group)
    admin = await world.administrator()
    first = await admin.get(f"/portal/iam/assignments{group}?where=here")
    link = re.search(r'href="([^"]+)" rel="next"', first.html)
    assert link is not None
    second = await admin.get(link[1].replace("&amp;", "&"))
    ids = [re.findall(r'<tr id="([^"]+)"', page.html) for page in (first, second)]
    assert [len(one) for one in ids] == [50, 10]
    assert not set(ids[0]) & set(ids[1])


async def test_a_role_is_taken_away_by_who_may(world: PortalWorld) -> None:
    group = await world.group()
    ada = await world.user("ada")
    one = await give(world, ada.id, "Reader", group)
    bob = await world.person("bob", "Reader", scope=group)
    refused = await bob.post("/portal/iam/remove", assignment=one)
    assert refused.status == 403
    assert f"/portal/explain/{refused.refusal_id}" in refused.html
    assert "Remove the role" not in (await bob.get(f"/portal/iam/assignments{group}")).html
    admin = await world.administrator()
    assert "Remove the role Reader?" in (await admin.get(f"/portal/iam/assignments{group}")).text
    done = await admin.post(f"/portal/iam/remove?back=/portal/iam/assignments{group}", assignment=one)
    assert (done.status, done.location) == (303, f"/portal/iam/assignments{group}")
    assert "The role assignment is removed." in (await admin.get(done.location)).text
    assert await world.store.get(ROLE_ASSIGNMENTS, one) is None
    assert (await admin.post("/portal/iam/remove?back=https://evil.example/", assignment=one)).location == "/portal"


# Adding -----------------------------------------------------------------------------------------------------------------------


async def test_a_role_is_given_in_three_steps(world: PortalWorld) -> None:
    group = await world.group()
    ada = await world.user("ada")
    admin = await world.administrator()
    at = f"/portal/iam/add{group}"
    first = await admin.get(f"{at}?q=reader")
    assert f'href="{at}?role={READER}"' in first.html
    second = await admin.get(f"{at}?role={READER}&q=ada")
    assert f'href="{at}?role={READER}&amp;who={ada.id}"' in second.html
    third = await admin.get(f"{at}?role={READER}&who={ada.id}")
    assert "Condition" in third.text
    done = await admin.post(f"{at}?role={READER}&who={ada.id}", description="for <b>now</b>", condition="")
    assert (done.status, done.location) == (303, f"/portal/iam/assignments{group}")
    assert "Ada has the role Reader at stock." in (await admin.get(done.location)).text
    held = await world.store.all(ROLE_ASSIGNMENTS, where={"principal_id": ada.id})
    assert [(one.value.scope, one.value.role_id, one.value.description) for one in held] == [(group, READER, "for <b>now</b>")]


async def test_a_condition_that_can_not_be_read_is_shown_again(world: PortalWorld) -> None:
    ada, admin = await world.user("ada"), await world.administrator()
    at = f"/portal/iam/add{world.subscription}?role={READER}&who={ada.id}"
    page = await admin.post(at, description="kept", condition="@Resource[ <b>nonsense")
    assert page.status == 400
    assert "condition is invalid" in page.text
    assert 'value="kept"' in page.html
    assert "@Resource[ &lt;b&gt;nonsense" in page.html
    assert not await world.store.all(ROLE_ASSIGNMENTS, where={"principal_id": ada.id})
    good = "@Resource[Microsoft.Storage/storageAccounts/blobServices/containers:name] StringEquals 'logs'"
    assert (await admin.post(at, condition=good)).status == 303
    held = await world.store.all(ROLE_ASSIGNMENTS, where={"principal_id": ada.id})
    assert [one.value.condition for one in held] == [good]


async def test_a_reader_gives_nothing(world: PortalWorld) -> None:
    ada = await world.person("ada", "Reader")
    assert ada.principal is not None
    at = f"/portal/iam/add{world.subscription}?role={READER}&who={ada.principal.id}"
    page = await ada.get(at)
    assert "It takes Microsoft.Authorization/roleAssignments/write" in page.text
    answer = await ada.post(at)
    assert answer.status == 403
    assert f"/portal/explain/{answer.refusal_id}" in answer.html
    unknown = await (await world.administrator()).post(f"/portal/iam/add?role={READER}&who={CUSTOM}")
    assert unknown.status == 400


async def test_roles_are_found_by_name_kind_and_action(world: PortalWorld) -> None:
    admin = await world.administrator()
    custom = RoleDefinition(
        id=CUSTOM,
        tenant_id=world.tenant_id,
        name="<b>Restarter</b>",
        description="restarts",
        built_in=False,
        permissions=(Permission(actions=("Microsoft.Compute/virtualMachines/restart/action",)),),
        assignable_scopes=(world.subscription,),
    )
    await world.store.commit(Batch.of(Put(collection=ROLE_DEFINITIONS, value=custom, expect=ABSENT)))
    at = f"/portal/iam/roles{world.subscription}"
    assert "Built-in role" in (await admin.get(at)).text
    only = await admin.get(f"{at}?kind=custom")
    assert "<b>Restarter" not in only.html
    assert "Custom role" in only.text
    assert "roles in all" in only.text
    holding = await admin.get(f"{at}?holds=Microsoft.Compute/virtualMachines/restart/action&kind=custom")
    assert "Restarter" in holding.text
    assert "Nothing matches" in (await admin.get(f"{at}?holds=Microsoft.Compute/virtualMachines/delete&kind=custom")).text
    assert "Nothing matches" in (await admin.get("/portal/iam/roles?kind=custom")).text
    one = await admin.get(f"/portal/iam/role/{CUSTOM}")
    assert "Microsoft.Compute/virtualMachines/restart/action" in one.text
    assert "Custom role" in one.text
    reader = await world.person("ada", "Reader", scope=await world.group())
    assert (await reader.get(f"/portal/iam/role/{CUSTOM}")).status == 404
    assert (await reader.get(f"/portal/access/role/{CUSTOM}")).status == 404
    assert (await reader.get(f"/portal/iam/role/{READER}")).status == 200


# Deny assignments ----------------------------------------------------------------------------------------------------------------


async def test_denials_are_listed_with_whom_they_are_for(world: PortalWorld) -> None:
    group = await world.group()
    admin = await world.administrator()
    assert "Nothing is denied here" in (await admin.get(f"/portal/iam/denies{group}")).text
    await deny(world, world.subscription, only_here=True)
    page = await admin.get(f"/portal/iam/denies{group}")
    assert "Does not count here" in page.text
    assert "everyone" in page.text
    assert "*/delete" in page.text
    assert "<i>deletes" not in page.html
    here = await admin.get(f"/portal/iam/denies{world.subscription}")
    assert "Does not count here" not in here.text
