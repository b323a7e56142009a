"""Who reaches what in the portal: pictures and tables from either end, and grants that nobody uses."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from tests.unit.web.portal_world import PageAnswer, PortalWorld, portal_world
from tests.unit.web.roles_world import deny, give, group_of

from idplane.directory.audiences import KEY_VAULT, RESOURCE_MANAGER
from idplane.model.events import ActivityEvent, EventStatus, SignIn
from idplane.model.roles import RoleDefinition
from idplane.ports.collections import ACTIVITY, ROLE_ASSIGNMENTS, SIGN_INS
from idplane.ports.store import Append, Batch
from idplane.rbac import BUILT_IN_ROLES
from idplane.web.portal.grant_use import least_role

_LOCK = "Microsoft.Authorization/locks/write"
_RESTART = "Microsoft.Compute/virtualMachines/restart/action"


@pytest.fixture
async def world() -> AsyncIterator[PortalWorld]:
    async with portal_world() as opened:
        yield opened


async def machine(world: PortalWorld, name: str = "stock-vm") -> tuple[str, str]:
    """A virtual machine with an identity of its own: its id, and its principal's."""
    identifier = f"{await world.group()}/providers/Microsoft.Compute/virtualMachines/{name}"
    body = {"location": "westeurope", "identity": {"type": "SystemAssigned"}, "properties": {}}
    made = await world.manage("PUT", identifier, body, version="2024-07-01")
    return identifier, made["identity"]["principalId"]


def boxes(page: PageAnswer) -> set[str]:
    """What the picture's boxes say."""
    return set(re.findall(r'class="paths-label"[^>]*>([^<]+)<', page.html))


def role(name: str) -> RoleDefinition:
    return next(one for one in BUILT_IN_ROLES.values() if one.name == name)


# Pictures ---------------------------------------------------------------------------------------------------------------


async def test_an_identitys_picture_leads_from_its_resource_to_its_scopes(world: PortalWorld) -> None:
    vm, principal = await machine(world)
    group = await world.group()
    operators = await group_of(world, principal)
    await give(world, principal, "Reader", group, kind="ServicePrincipal")
    await give(world, operators, "Contributor", world.subscription, kind="Group")
    page = await (await world.administrator()).get(f"/portal/access/identity/{principal}")
    assert page.status == 200
    assert {"stock-vm", "Operators", "Reader", "Contributor", "stock", "idplane"} <= boxes(page)
    for to in (f"/portal/access/source{vm}", f"/portal/access/target{group}", f"/portal/access/role/{role('Reader').id}"):
        assert f'<a href="{to}" class="paths-node' in page.html
    assert "paths-current" in page.html
    assert "Through" in page.text
    assert "Any process of it" in page.text
    assert "style=" not in page.html


async def test_a_targets_picture_shows_everybody_who_reaches_it(world: PortalWorld) -> None:
    vm, principal = await machine(world)
    ada = await world.user("ada")
    operators = await group_of(world, ada.id)
    await give(world, principal, "Reader", vm, kind="ServicePrincipal")
    await give(world, operators, "Contributor", world.subscription, kind="Group")
    await deny(world, world.subscription)
    admin = await world.administrator()
    page = await admin.get(f"/portal/access/target{vm}")
    assert {"stock-vm", "Ada", "Operators", "Reader", "Contributor", "Administrator"} <= boxes(page)
    assert "1 deny assignment counts here" in page.text
    tenant = await admin.get("/portal/access/target")
    assert "Ada" not in boxes(tenant)
    assert "Administrator" in boxes(tenant)


async def test_a_role_and_a_resource_have_pictures_of_their_own(world: PortalWorld) -> None:
    vm, principal = await machine(world)
    await give(world, principal, "Reader", world.subscription, kind="ServicePrincipal")
    admin = await world.administrator()
    assert {"stock-vm", "Reader"} <= boxes(await admin.get(f"/portal/access/role/{role('Reader').id}"))
    page = await admin.get(f"/portal/access/source{vm}")
    assert "What stock-vm can reach" in page.text
    assert {"stock-vm", "Reader", "idplane"} <= boxes(page)
    assert (await admin.get("/portal/access/role/nothing")).status == 404


async def test_the_start_draws_and_finds(world: PortalWorld) -> None:
    admin = await world.administrator()
    assert "Nothing to draw yet" in (await admin.get("/portal/access")).text
    vm, principal = await machine(world)
    await give(world, principal, "Reader", world.subscription, kind="ServicePrincipal")
    assert {"stock-vm", "Reader"} <= boxes(await admin.get("/portal/access"))
    found = await admin.get("/portal/access?q=stock")
    assert f'href="/portal/access/identity/{principal}"' in found.html
    assert f'href="/portal/access/target{vm}"' in found.html
    assert "Nothing matches" in (await admin.get("/portal/access?q=%3Cb%3Ex")).text


async def test_a_picture_is_bounded_and_says_how_much_more_there_is(world: PortalWorld) -> None:
    group = await world.group()
    for number in range(20):
        one = await world.user(f"user{number:02}")
        await give(world, one.id, "Reader", group)
    page = await (await world.administrator()).get(f"/portal/access/target{group}")
    assert len([one for one in boxes(page) if one.startswith("User")]) == 14
    assert re.search(r"and \d+ more", page.text)
    assert all(f"User{number:02}" in page.text for number in range(20))


async def test_only_what_may_be_read_is_drawn(world: PortalWorld) -> None:
    vm, principal = await machine(world)
    await give(world, principal, "Owner", world.subscription, kind="ServicePrincipal")
    ada = await world.person("ada", "Reader", scope=vm)
    page = await ada.get(f"/portal/access/identity/{principal}")
    assert page.status == 200
    assert "Owner" not in boxes(page)
    assert "1 more role assignment is not yours to read" in page.text
    bob = await world.person("bob")
    unknown = await bob.get("/portal/access/identity/00000000-0000-4000-8000-000000000000")
    hidden = await bob.get(f"/portal/access/identity/{principal}")
    assert (unknown.status, hidden.status) == (404, 404)
    assert unknown.text.replace(unknown.refusal_id, "") == hidden.text.replace(hidden.refusal_id, "")
    for address in (f"/portal/access/target{vm}", "/portal/access/target", f"/portal/access/source{vm}"):
        assert (await bob.get(address)).status == 403
    assert boxes(await bob.get("/portal/access")) == set()


async def test_names_stay_text_in_pictures(world: PortalWorld) -> None:
    nasty = await world.user("<svg/onload=x>")
    await give(world, nasty.id, "Reader", world.subscription)
    page = await (await world.administrator()).get(f"/portal/access/target{world.subscription}")
    assert "<svg/onload" not in page.html.lower()
    assert "&lt;svg/onload=x&gt;" in page.html


# Unused grants -------------------------------------------------------------------------------------------------------------


async def used(world: PortalWorld, principal: str, because: str, operation: str = _LOCK) -> None:
    event = ActivityEvent(
        id=world.server.world.entropy.guid(),
        at=world.clock.now(),
        tenant_id=world.tenant_id,
        subscription_id=None,
        resource_id=world.subscription,
        operation=operation,
        status=EventStatus.SUCCEEDED,
        caller_id=principal,
        because=because,
    )
    await world.store.commit(Batch.of(Append(log=ACTIVITY, event=event)))


async def signed_in(world: PortalWorld, principal: str, resource: str, error: int = 0) -> None:
    event = SignIn(
        id=world.server.world.entropy.guid(),
        at=world.clock.now(),
        tenant_id=world.tenant_id,
        client_id=principal,
        principal_id=principal,
        principal_name="p",
        principal_type="User",
        resource=resource,
        resource_name="Target",
        resource_client_id=resource,
        error_code=error,
        failure_reason="",
        correlation_id="",
        token_id=None,
        credential_kind="secret",
    )
    await world.store.commit(Batch.of(Append(log=SIGN_INS, event=event)))


def rows(page: PageAnswer) -> str:
    return " ".join(
        " ".join(re.sub(r"<[^>]+>", " ", one).split()) for one in re.findall(r"<tr>(.*?)</tr>", page.html, re.DOTALL)
    )


async def test_what_nobody_uses_is_found_and_removed(world: PortalWorld) -> None:
    ada, bob = await world.user("ada"), await world.user("bob")
    idle = await give(world, ada.id, "Contributor", world.subscription)
    busy = await give(world, bob.id, "Contributor", world.subscription)
    world.clock.advance(timedelta(days=40))
    await used(world, bob.id, busy)
    admin = await world.administrator()
    at = "/portal/access/unused"
    page = await admin.get(at)
    assert "Ada" in rows(page)
    assert "Bob" not in rows(page)
    assert (
        f"az role assignment delete --ids {world.subscription}/providers/Microsoft.Authorization/roleAssignments/{idle}"
        in page.text
    )
    done = await admin.post(f"{at}?back={at}", assignment=idle)
    assert (done.status, done.location) == (303, at)
    assert await world.store.get(ROLE_ASSIGNMENTS, idle) is None
    assert (await admin.post(at, assignment=idle)).status == 404


async def test_what_is_new_or_perhaps_used_does_not_count_as_unused(world: PortalWorld) -> None:
    admin = await world.administrator()
    ada, bob, eve = await world.user("ada"), await world.user("bob"), await world.user("eve")
    await give(world, ada.id, "Reader", world.subscription)
    await give(world, bob.id, "Key Vault Secrets User", world.subscription)
    world.clock.advance(timedelta(days=40))
    await signed_in(world, ada.id, RESOURCE_MANAGER.client_id)
    await signed_in(world, bob.id, KEY_VAULT.client_id, error=50000)
    await give(world, eve.id, "Reader", world.subscription)
    admin = await world.administrator()
    page = await admin.get("/portal/access/unused")
    assert "Bob" in rows(page)
    assert "Ada" not in rows(page)
    assert "Eve" not in rows(page)
    assert "Ada" in rows(await admin.get("/portal/access/unused?show=perhaps"))
    everything = rows(await admin.get("/portal/access/unused?show=all&days=30"))
    assert {"Ada", "Bob", "Eve", "New", "Perhaps"} <= set(everything.split())
    await signed_in(world, bob.id, KEY_VAULT.client_id)
    assert "Bob" not in rows(await admin.get("/portal/access/unused"))


async def test_a_groups_grant_is_used_by_its_members(world: PortalWorld) -> None:
    ada = await world.user("ada")
    operators = await group_of(world, ada.id)
    held = await give(world, operators, "Contributor", world.subscription, kind="Group")
    world.clock.advance(timedelta(days=40))
    admin = await world.administrator()
    assert "Operators" in rows(await admin.get("/portal/access/unused"))
    await used(world, ada.id, held)
    assert "Operators" not in rows(await admin.get("/portal/access/unused"))


async def test_a_broad_role_is_replaced_by_the_least_that_does(world: PortalWorld) -> None:
    ada = await world.user("ada")
    condition = "@Request[Microsoft.Authorization/roleAssignments:PrincipalType] StringEquals 'User'"
    broad = await give(world, ada.id, "Owner", world.subscription, condition=condition)
    world.clock.advance(timedelta(days=40))
    await used(world, ada.id, broad, _RESTART)
    admin = await world.administrator()
    page = await admin.get("/portal/access/unused?show=broad")
    lesser = least_role([_RESTART], role("Owner"))
    assert lesser is not None
    assert f"{lesser.name} would be enough" in page.text
    assert f"Give {lesser.name} instead?" in page.text
    done = await admin.post("/portal/access/unused?back=/portal/access/unused", assignment=broad, role=lesser.id)
    assert done.status == 303
    held = await world.store.all(ROLE_ASSIGNMENTS, where={"principal_id": ada.id})
    assert [(one.value.role_id, one.value.condition) for one in held] == [(lesser.id, condition)]


async def test_whoever_may_not_change_roles_removes_nothing(world: PortalWorld) -> None:
    ada = await world.user("ada")
    idle = await give(world, ada.id, "Contributor", world.subscription)
    world.clock.advance(timedelta(days=40))
    bob = await world.person("bob", "Reader")
    page = await bob.get("/portal/access/unused?show=all")
    assert "Sign-ins are not yours to read" in page.text
    assert "Not used" not in rows(page)
    assert (await bob.post("/portal/access/unused", assignment=idle)).status == 403
    eve = await world.person("eve")
    assert "Contributor" not in rows(await eve.get("/portal/access/unused?show=all"))


def test_the_least_role_holds_all_that_was_used() -> None:
    assert least_role([_RESTART], role("Virtual Machine Contributor")) is None
    assert least_role([], role("Owner")) is None
    assert least_role([_RESTART], None) is None
    assert least_role(["Nothing.Holds/this/write"], role("Owner")) != role("Owner")
    found = least_role([_RESTART], role("Owner"))
    assert found is not None
    assert found.name not in {"Owner", "Contributor"}
