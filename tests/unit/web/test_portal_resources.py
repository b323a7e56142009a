"""Resources in the portal: found, made, looked at, moved and deleted by people with different rights."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest
from tests.unit.web.portal_world import PortalWorld, portal_world

from idplane.model.failure import Failure
from idplane.model.ids import ResourceId
from idplane.ports.collections import ACTIVITY, IDENTITY_ASSIGNMENTS, PRINCIPALS, RESOURCES, ROLE_ASSIGNMENTS
from idplane.web.portal.kinds import KINDS
from idplane.web.portal.tags import tag_lines, tags_of
from idplane.web.portal.types import declared, label_of, listed_types, version_of

IDENTITIES = "Microsoft.ManagedIdentity/userAssignedIdentities"
COMPUTE = "2024-07-01"


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[PortalWorld]:
    async with portal_world() as opened:
        yield opened


@pytest.fixture
async def world(shared: PortalWorld) -> AsyncIterator[PortalWorld]:
    yield shared
    await shared.clear()


async def machine(world: PortalWorld, name: str = "stock-vm", group: str = "stock") -> str:
    identifier = f"{await world.group(group)}/providers/Microsoft.Compute/virtualMachines/{name}"
    await world.manage("PUT", identifier, {"location": "westeurope", "properties": {}}, version=COMPUTE)
    return identifier


async def user_assigned(world: PortalWorld, name: str = "shared", group: str = "stock") -> str:
    identifier = f"{await world.group(group)}/providers/{IDENTITIES}/{name}"
    await world.manage("PUT", identifier, {"location": "westeurope"}, version="2023-01-31")
    return identifier


def rows(html: str) -> list[str]:
    """The text of each row of a page's tables."""
    return [" ".join(re.sub(r"<[^>]+>", " ", one).split()) for one in re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)]


# Lists ----------------------------------------------------------------------------------------------------------------


async def test_resources_are_listed_sorted_and_narrowed(world: PortalWorld) -> None:
    admin = await world.administrator()
    for name in ("b-vm", "a-vm", "c-vm"):
        await machine(world, name)
    await user_assigned(world, "z-id")
    page = await admin.get("/portal/resources")
    assert page.status == 200
    shown = [one for one in rows(page.html) if "stock" in one]
    assert [one.split()[0] for one in shown] == ["a-vm", "b-vm", "c-vm", "z-id"]
    assert "Virtual machine" in shown[0]
    assert "West Europe" in shown[0]
    backwards = await admin.get("/portal/resources?sort=-name")
    assert [one.split()[0] for one in rows(backwards.html) if "stock" in one] == ["z-id", "c-vm", "b-vm", "a-vm"]
    for query, wanted in (
        ("q=B-V", ["b-vm"]),
        (f"type={IDENTITIES.lower()}", ["z-id"]),
        ("location=eastus", []),
        (f"group={quote(world.subscription)}/resourceGroups/stock&q=a-", ["a-vm"]),
        ("q=%25", []),
    ):
        page = await admin.get(f"/portal/resources?{query}")
        assert [one.split()[0] for one in rows(page.html) if "stock" in one] == wanted, query
        assert wanted or "Nothing matches" in page.text


async def test_an_empty_plane_says_what_to_do(world: PortalWorld) -> None:
    page = await (await world.administrator()).get("/portal/resources")
    assert "No resources yet" in page.text
    assert 'href="/portal/resources/new"' in page.html


async def test_pages_of_a_long_list_follow_one_another(world: PortalWorld) -> None:
    admin = await world.administrator()
    for number in range(120):
        await user_assigned(world, f"id-{number:03}")
    found: list[str] = []
    url = "/portal/identities"
    for _ in range(3):
        page = await admin.get(url)
        found += re.findall(r">(id-\d{3})<", page.html)
        after = re.search(r'href="([^"]*after=[^"]*)" rel="next"', page.html)
        url = after[1].replace("&amp;", "&") if after else ""
    assert url == ""
    assert sorted(set(found)) == [f"id-{number:03}" for number in range(120)]
    refused = await admin.get("/portal/identities?after=nonsense")
    assert refused.status == 400


async def test_somebody_sees_only_what_his_roles_reach(world: PortalWorld) -> None:
    mine, other = await machine(world, "mine", "one"), await machine(world, "other", "two")
    ada = await world.person("ada", "Reader", scope=ResourceId.parse(mine).key)
    bob = await world.person("bob", "Reader", scope=f"{world.subscription}/resourceGroups/two")
    nobody = await world.person("nobody")
    assert ("mine" in (page := await ada.get("/portal/resources")).text, "other" in page.text) == (True, False)
    assert ("mine" in (page := await bob.get("/portal/resources")).text, "other" in page.text) == (False, True)
    page = await nobody.get("/portal/resources")
    assert "mine" not in page.text
    assert "other" not in page.text
    for client, target in ((ada, other), (bob, mine), (nobody, mine)):
        for prefix in ("", "/identity", "/user-assigned", "/activity", "/delete", "/move", "/user-assigned/add"):
            refused = await client.get(f"/portal/resource{prefix}{target}")
            assert refused.status == 403, prefix
            assert f'href="/portal/explain/{refused.refusal_id}"' in refused.html


# Creating ---------------------------------------------------------------------------------------------------------------


async def test_every_kind_is_made_by_its_form(world: PortalWorld) -> None:
    admin, group = await world.administrator(), await world.group()
    site = f"{group}/providers/Microsoft.Web/sites/shop"
    await world.manage("PUT", site, {"location": "westeurope", "properties": {}}, version="2024-04-01")
    for kind in KINDS:
        form = await admin.get(f"/portal/resources/new/{kind.slug}?group={quote(group)}")
        assert form.status == 200
        assert kind.words in form.text
        fields = {one.name: one.value for one in kind.inputs} | ({"parent": site} if kind.parent else {})
        name = kind.slug.replace("-", "")
        sent = {"group": group, "name": name, "location": "westeurope", "tags": "team=stock", "identity": "on", **fields}
        done = await admin.post(f"/portal/resources/new/{kind.slug}", sent)
        assert done.status == 303, done.text
        assert "team=stock" in (await admin.get(done.location)).text
        made, known = (
            await world.store.get(RESOURCES, done.location.removeprefix("/portal/resource").lower()),
            declared(kind.type),
        )
        assert made is not None
        assert known is not None
        assert made.value.tags == {"team": "stock"}
        assert (made.value.identity is not None) is bool(known.identity_types)
        again = await admin.post(f"/portal/resources/new/{kind.slug}", sent)
        assert again.status == 409
        assert f'value="{name}"' in again.html


WRONG: tuple[tuple[str, dict[str, str], str], ...] = (
    ("virtual-machine", {"image": "other"}, "none of the choices"),
    ("virtual-machine", {"image": "ubuntu"}, "is missing"),
    ("container-group", {"image": "x", "cpu": "many", "memory": "1.5"}, "none of the choices"),
    ("virtual-machine", {"group": "nonsense", "image": "ubuntu", "size": "s", "admin": "a"}, ""),
    ("web-app", {"tags": "=x"}, "is no tag"),
    ("web-app", {"name": "../x"}, ""),
    ("slot", {}, ""),
)


async def test_a_form_that_is_wrong_is_shown_again(world: PortalWorld) -> None:
    admin, group = await world.administrator(), await world.group()
    before = len(await world.store.all(RESOURCES))
    for slug, fields, words in WRONG:
        page = await admin.post(
            f"/portal/resources/new/{slug}", {"group": group, "name": "blue", "location": "westeurope", **fields}
        )
        assert page.status == 400, slug
        assert words in page.text
        assert 'role="alert"' in page.html
        assert (await admin.post(f"/portal/resources/new/{slug}")).status == 400
    assert len(await world.store.all(RESOURCES)) == before
    assert (await admin.get("/portal/resources/new/nothing")).status == 404


async def test_a_reader_is_refused_with_the_right_that_is_missing(world: PortalWorld) -> None:
    group = await world.group()
    ada = await world.person("ada", "Reader")
    sent = {"group": group, "name": "blue", "location": "westeurope", "image": "ubuntu", "size": "s", "admin": "a"}
    page = await ada.post("/portal/resources/new/virtual-machine", sent)
    assert page.status == 403
    assert "Microsoft.Compute/virtualMachines/write" in page.text
    assert page.refusal_id in page.text
    assert 'value="blue"' in page.html


async def test_a_group_is_made_and_shows_what_is_in_it(world: PortalWorld) -> None:
    admin = await world.administrator()
    subscription = world.server.installation.subscription.id
    done = await admin.post(
        "/portal/resources/new/resource-group", subscription=subscription, name="fresh", location="westeurope"
    )
    assert done.location == f"/portal/resource{world.subscription}/resourceGroups/fresh"
    assert "Nothing in this group yet" in (await admin.get(done.location)).text
    await machine(world, "inside", "fresh")
    assert "inside" in (await admin.get(done.location)).text
    assert "fresh" in (await admin.get("/portal/resources?type=microsoft.resources/resourcegroups")).text
    assert (await admin.post("/portal/resources/new/resource-group", name="x")).status == 400


# One resource -----------------------------------------------------------------------------------------------------------


async def test_the_overview_tells_what_refers_to_it(world: PortalWorld) -> None:
    admin, target = await world.administrator(), await machine(world)
    await world.user("carl", "Reader", scope=ResourceId.parse(target).key)
    page = await admin.get(f"/portal/resource{target}")
    assert "Role assignments here 1" in page.text
    assert f"idplane run --as {target} -- python app.py" in page.text
    assert (await admin.get(f"/portal/resource{target.lower()}")).status == 200
    assert (await admin.get(f"/portal/resource{target}x")).status == 404
    assert (await admin.get("/portal/resource/nonsense")).status == 400
    subscription = await admin.get(f"/portal/resource{world.subscription}")
    assert subscription.location.startswith("/portal/resources?subscription=")


async def test_tags_are_changed_by_who_may_write(world: PortalWorld) -> None:
    admin, target = await world.administrator(), await machine(world)
    done = await admin.post(f"/portal/resource/tags{target}", tags="team=stock\n\n stage = two ")
    assert done.status == 303
    found = await world.store.get(RESOURCES, target.lower())
    assert found is not None
    assert found.value.tags == {"team": "stock", "stage": "two"}
    assert "stage=two" in (await admin.get(f"/portal/resource{target}")).text
    wrong = await admin.post(f"/portal/resource/tags{target}", tags="team=stock\n=x")
    assert (wrong.status, "=x" in wrong.html) == (400, True)
    ada = await world.person("ada", "Reader")
    page = await ada.get(f"/portal/resource{target}")
    assert f'action="/portal/resource/tags{target}"' not in page.html
    assert "It takes Microsoft.Compute/virtualMachines/delete" in page.text
    assert 'href="/portal/explain?as=' in page.html
    assert (await ada.post(f"/portal/resource/tags{target}", tags="x=y")).status == 403


async def test_names_are_text_and_nothing_else(world: PortalWorld) -> None:
    admin, target = await world.administrator(), await machine(world)
    await world.manage(
        "PATCH", target, {"tags": {"x": "<script>alert(1)</script>"}, "properties": {"p": "<b>x</b>"}}, version=COMPUTE
    )
    page = await admin.get(f"/portal/resource{target}")
    assert "<script>alert" not in page.html
    assert "<b>x" not in page.html
    assert "alert(1)" in page.text


async def test_what_was_done_is_shown_to_who_may_read_it(world: PortalWorld) -> None:
    admin, target = await world.administrator(), await machine(world)
    await admin.post(f"/portal/resource/tags{target}", tags="a=b")
    page = await admin.get(f"/portal/resource/activity{target}")
    assert "Microsoft.Compute/virtualMachines/write" in page.text
    newest = (await world.store.read_log(ACTIVITY, limit=1))[0].event
    assert admin.principal is not None
    assert newest.caller == admin.principal.caller_name


# Moving and deleting ----------------------------------------------------------------------------------------------------


async def test_a_deletion_says_what_goes_and_waits_for_the_name(world: PortalWorld) -> None:
    admin, target = await world.administrator(), await machine(world)
    await world.manage("PATCH", target, {"identity": {"type": "SystemAssigned"}}, version=COMPUTE)
    await world.user("carl", "Reader", scope=ResourceId.parse(target).key)
    page = await admin.get(f"/portal/resource/delete{target}")
    assert "1 identity with its service principal" in page.text
    assert "1 role assignment at it or below" in page.text
    wrong = await admin.post(f"/portal/resource/delete{target}", name="other")
    assert wrong.status == 400
    assert await world.store.get(RESOURCES, target.lower()) is not None
    done = await admin.post(f"/portal/resource/delete{target}", name="STOCK-VM")
    assert done.location == f"/portal/resource{world.subscription}/resourceGroups/stock"
    assert await world.store.get(RESOURCES, target.lower()) is None
    assert await world.store.all(IDENTITY_ASSIGNMENTS) == ()
    assert await world.store.all(ROLE_ASSIGNMENTS, under=("scope_key", target.lower())) == ()


async def test_a_lock_and_a_missing_right_keep_the_button_shut(world: PortalWorld) -> None:
    admin, target = await world.administrator(), await machine(world)
    lock = f"{target}/providers/Microsoft.Authorization/locks/keep"
    await world.manage("PUT", lock, {"properties": {"level": "CanNotDelete"}}, version="2020-05-01")
    page = await admin.get(f"/portal/resource/delete{target}")
    assert "A lock keeps it: keep (CanNotDelete)" in page.text
    assert "disabled>Delete" in " ".join(page.html.split())
    assert (await admin.post(f"/portal/resource/delete{target}", name="stock-vm")).status == 409
    ada = await world.person("ada", "Reader")
    assert (await ada.post(f"/portal/resource/delete{target}", name="stock-vm")).status == 403


async def test_a_resource_moves_with_what_follows_said(world: PortalWorld) -> None:
    admin, target = await world.administrator(), await machine(world)
    elsewhere = await world.group("elsewhere")
    page = await admin.get(f"/portal/resource/move{target}")
    assert "Its identities keep their object ids" in page.text
    assert f'value="{elsewhere}"' in page.html
    done = await admin.post(f"/portal/resource/move{target}", target=elsewhere)
    assert done.location == f"/portal/resource{elsewhere}/providers/Microsoft.Compute/virtualMachines/stock-vm"
    assert (await admin.get(done.location)).status == 200
    assert (
        await admin.post(f"/portal/resource/move{elsewhere}/providers/Microsoft.Compute/virtualMachines/stock-vm")
    ).status == 400


async def test_what_cannot_move_is_not_offered(world: PortalWorld) -> None:
    admin, identity = await world.administrator(), await user_assigned(world)
    elsewhere = await world.group("elsewhere")
    page = await admin.get(f"/portal/resource/move{identity}")
    assert "can't be moved" in page.text
    assert (await admin.post(f"/portal/resource/move{identity}", target=elsewhere)).status == 409
    assert await world.store.get(RESOURCES, identity.lower()) is not None


async def test_moving_takes_the_right_on_both_sides(world: PortalWorld) -> None:
    target, elsewhere = await machine(world), await world.group("elsewhere")
    ada = await world.person("ada", "Contributor", scope=f"{world.subscription}/resourceGroups/stock")
    page = await ada.get(f"/portal/resource/move{target}")
    assert elsewhere not in page.html
    assert (await ada.post(f"/portal/resource/move{target}", target=elsewhere)).status == 403


# Words ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["=x", "a=1\na=2", "  = "])
def test_what_is_no_tag_is_refused(text: str) -> None:
    with pytest.raises(Failure):
        tags_of(text)


def test_tags_come_back_as_they_were_written() -> None:
    tags = {"b": "x=y", "a": ""}
    assert tags_of(tag_lines(tags)) == tags


def test_every_type_has_a_name_and_a_version() -> None:
    for name, label in listed_types():
        assert label
        assert re.match(r"\d{4}-", version_of(name))
    assert label_of("Microsoft.Sql/servers") == "Servers"


async def test_without_a_session_there_is_nothing(world: PortalWorld) -> None:
    target = await machine(world)
    for path in ("/portal/resources", "/portal/identities", "/portal/applications", f"/portal/resource{target}"):
        assert (await world.browser().get(path)).location.startswith("/portal/sign-in")
    assert (await world.store.all(PRINCIPALS, where={"type": "ManagedIdentity"})) == ()
