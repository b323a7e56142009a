"""Nobody locks a tenant or a subscription out by accident, whatever it is that he does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.providers.granting import GRANT, deny, denying, grant, granting, guid, refused, role_url, url
from tests.unit.providers.surface_plane import GROUP, HOME, MSI, ROLES, SUB, SUBSCRIPTION, OpenPlane, Plane, Reply, uai, vm

from idplane.model.directory import PrincipalType
from idplane.model.failure import Failure, FailureKind
from idplane.ports.collections import MEMBERSHIPS, PRINCIPALS, ROLE_ASSIGNMENTS, SUBSCRIPTIONS
from idplane.ports.store import Batch, CommitRefused, Delete, Put
from idplane.providers.administrators import keep_administrators

LAST = "CannotDeleteLastRbacAdminAssignment"
ROLE = "2022-04-01"


async def _assigned(plane: Plane, who: str, scope: str = "/") -> str:
    """The path of somebody's role assignment at a scope."""
    found = await plane.store.all(
        ROLE_ASSIGNMENTS, where={"principal_id": plane.people.get(who, who), "scope_key": scope.lower()}
    )
    prefix = "" if scope == "/" else scope
    return f"{prefix}/providers/Microsoft.Authorization/roleAssignments/{found[0].value.id}"


async def _leave(plane: Plane, who: str, scope: str = "/", *, force: str = "") -> Reply:
    return await plane.call("DELETE", (await _assigned(plane, who, scope)) + force, version=GRANT)


# Role assignments


async def test_the_last_owner_of_the_tenant_stays(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    reply = await _leave(plane, "owner")
    await refused(plane, reply, 412, LAST)
    assert reply.message.startswith("Cannot delete the last RBAC admin assignment: nobody could assign roles at scope '/'")


@pytest.mark.parametrize("role", ["Owner", "User Access Administrator", "Role Based Access Control Administrator"])
async def test_whoever_can_assign_roles_will_do(open_plane: OpenPlane, role: str) -> None:
    plane = await open_plane()
    await plane.person("second", (role, "/"))
    assert (await _leave(plane, "owner")).status == 200
    reply = await plane.call("DELETE", await _assigned(plane, "second"), by="second", version=GRANT)
    await refused(plane, reply, 412, LAST)


async def test_force_means_it(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await refused(plane, await _leave(plane, "owner", force="?force=false"), 412, LAST)
    assert (await _leave(plane, "owner", force="?force=true")).status == 200
    assert (await plane.call("GET", GROUP)).status == 403


@pytest.mark.parametrize("grants", [(("Contributor", "/"),), (("Owner", GROUP),), ()])
async def test_others_do_not_count(open_plane: OpenPlane, grants: tuple[tuple[str, str], ...]) -> None:
    plane = await open_plane()
    await plane.person("second", *grants)
    await plane.person("conditional", ("Owner", "/"), condition="Exists @Environment[isPrivateLink]")
    await refused(plane, await _leave(plane, "owner"), 412, LAST)


async def test_owners_of_another_tenant_do_not_count(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    assert await _assigned(plane, "stranger")
    await refused(plane, await _leave(plane, "owner"), 412, LAST)


async def test_a_disabled_owner_does_not_count(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    second = await plane.person("second", ("Owner", "/"))
    found = await plane.store.get(PRINCIPALS, second)
    assert found is not None
    disabling = Batch.of(Put(collection=PRINCIPALS, value=replace(found.value, enabled=False), expect=found.version))
    assert await keep_administrators(plane.store, disabling, HOME)
    await plane.store.commit(disabling)
    await refused(plane, await _leave(plane, "owner"), 412, LAST)


async def test_below_the_subscription_anybody_may_go(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.person("local", ("Owner", GROUP))
    assert (await _leave(plane, "local", GROUP)).status == 200


async def test_a_subscription_is_administered_from_above(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.person("local", ("Owner", SUB))
    assert (await _leave(plane, "local", SUB)).status == 200


async def test_a_condition_takes_away_as_much_as_a_deletion(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    path = await _assigned(plane, "owner")
    body = granting(plane.people["owner"], "Owner", condition="Exists @Environment[isPrivateLink]")
    await refused(plane, await plane.call("PUT", path, body, version=GRANT), 412, LAST)
    assert (
        await plane.call("PUT", path, granting(plane.people["owner"], "Owner", description="x"), version=GRANT)
    ).status == 200


# Roles


async def test_a_role_that_administers_keeps_what_it_needs(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    scope = {"assignableScopes": [SUB]}
    keeper = {"properties": {"roleName": "Keeper", "permissions": [{"actions": ["Microsoft.Authorization/*"]}], **scope}}
    await plane.put(role_url(SUB, 1), keeper, version=ROLE)
    await plane.person("keeper")
    assert (await grant(plane, "keeper", guid(1), SUB, 2)).status == 201
    assert (
        await deny(plane, denying("Microsoft.Authorization/roleAssignments/write", but=(plane.people["keeper"],)), SUB)
    ).status == 201
    for blocks in ([{"actions": ["*/read"]}], [{"actions": ["*"], "notActions": ["Microsoft.Authorization/*/write"]}]):
        weaker = {"properties": {**keeper["properties"], "permissions": blocks}}
        await refused(plane, await plane.call("PUT", role_url(SUB, 1), weaker, version=ROLE), 412, LAST)
    await refused(plane, await _leave(plane, "keeper", SUB), 412, LAST)
    stronger = {"properties": {**keeper["properties"], "permissions": [{"actions": ["*"]}]}}
    assert (await plane.call("PUT", role_url(SUB, 1), stronger, version=ROLE)).status == 201


# Deny assignments


@pytest.mark.parametrize("scope", ["", SUB])
@pytest.mark.parametrize("action", ["*", "Microsoft.Authorization/*", "*/write"])
async def test_nobody_denies_everybody(open_plane: OpenPlane, scope: str, action: str) -> None:
    plane = await open_plane()
    body = denying(action, but=(plane.people["reader"],))
    await refused(plane, await deny(plane, body, scope), 412, LAST)
    await refused(plane, await deny(plane, denying(action, whom=plane.people["owner"]), scope), 412, LAST)
    assert (await deny(plane, denying(action, but=(plane.people["owner"],)), scope)).status == 201
    # The excluded owner is the only administrator left, and so the one that must stay.
    await plane.person("second", ("Owner", "/"))
    assert (await _leave(plane, "owner")).status == 412


async def test_what_is_denied_below_locks_nobody_out(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    assert (await deny(plane, denying("*", but=(plane.people["reader"],)), GROUP)).status == 201
    assert (await deny(plane, denying("Microsoft.Compute/*", but=(plane.people["reader"],)), SUB, 2)).status == 201


# Principals, and what they live in


async def test_the_identity_that_administers_stays(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    body = await plane.identity("keeper")
    assert (await grant(plane, body["properties"]["principalId"], "Owner", "", 1)).status == 201
    assert (await _leave(plane, "owner")).status == 200
    await refused(plane, await plane.call("DELETE", uai("keeper"), by="contributor", version=MSI), 412, LAST)
    assert (await plane.call("GET", uai("keeper"), by="reader", version=MSI)).status == 200
    await refused(plane, await plane.call("DELETE", GROUP, by="contributor"), 412, LAST)
    assert (await plane.call("DELETE", f"{uai('keeper')}?force=true", by="contributor", version=MSI)).status == 200


async def test_the_machine_whose_identity_administers_keeps_it(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    body = await plane.machine("keeper", {"type": "SystemAssigned"})
    assert (await grant(plane, body["identity"]["principalId"], "Owner", "", 1)).status == 201
    assert (await _leave(plane, "owner")).status == 200
    patch = {"identity": {"type": "None"}}
    for method, sent in (("DELETE", None), ("PATCH", patch)):
        reply = await plane.call(method, vm("keeper"), sent, by="contributor", version="2024-11-01")
        await refused(plane, reply, 412, LAST)


async def test_a_group_administers_by_its_members(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    for name in ("outer", "inner"):
        await plane.person(name, kind=PrincipalType.GROUP)
    await plane.person("member", kind=PrincipalType.USER)
    assert (await grant(plane, "outer", "Owner", "", 1)).status == 201
    await refused(plane, await _leave(plane, "owner"), 412, LAST)
    await plane.joins("inner", "outer")
    await refused(plane, await _leave(plane, "owner"), 412, LAST)
    await plane.joins("member", "inner")
    assert (await _leave(plane, "owner")).status == 200
    for group, member in (("inner", "member"), ("outer", "inner")):
        key = f"{plane.people[group]}|{plane.people[member]}"
        with pytest.raises(Failure) as last:
            await keep_administrators(plane.store, Batch.of(Delete(collection=MEMBERSHIPS, key=key, expect=1)), HOME)
        assert last.value.kind is FailureKind.LAST_ADMINISTRATOR
    found = await plane.store.get(PRINCIPALS, plane.people["member"])
    assert found is not None
    disabled = Put(collection=PRINCIPALS, value=replace(found.value, enabled=False), expect=found.version)
    with pytest.raises(Failure):
        await keep_administrators(plane.store, Batch.of(disabled), HOME)


async def test_a_subscription_does_not_move_away_from_its_administrators(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    assert (await deny(plane, denying("*", whom=plane.people["owner"]), SUB)).status == 412
    found = await plane.store.get(SUBSCRIPTIONS, SUBSCRIPTION)
    assert found is not None
    moved = Put(collection=SUBSCRIPTIONS, value=replace(found.value, management_group="elsewhere"), expect=found.version)
    assert await keep_administrators(plane.store, Batch.of(moved), HOME), "the tenant's owner administers it there, too"


# Races


async def test_two_at_once_cannot_each_count_on_the_other(open_plane: OpenPlane) -> None:
    plane = await open_plane()
    await plane.person("second", ("Owner", "/"))
    batches = []
    for who in ("owner", "second"):
        found = (await plane.store.all(ROLE_ASSIGNMENTS, where={"principal_id": plane.people[who]}))[0]
        batch = Batch.of(Delete(collection=ROLE_ASSIGNMENTS, key=found.value.id, expect=found.version))
        batches.append(batch + await keep_administrators(plane.store, batch, HOME))
    await plane.store.commit(batches[0])
    with pytest.raises(CommitRefused):
        await plane.store.commit(batches[1])


@pytest.mark.parametrize(
    "role", sorted(set(ROLES) - {"Owner", "User Access Administrator", "Role Based Access Control Administrator"})
)
async def test_other_roles_are_nobodys_business(open_plane: OpenPlane, role: str) -> None:
    plane = await open_plane()
    assert (await grant(plane, "nobody", role, "", 1)).status == 201
    reply = await plane.call("DELETE", url("", 1), version=GRANT)
    assert reply.status == 200
