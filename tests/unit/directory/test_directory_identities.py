from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from tests.unit.sts.sts_world import TENANT_ID, UAMI_ID, VM_ID, StsWorld, resource

from idplane.directory.identities import display_name, new_system_identity, new_user_assigned, removal_of
from idplane.model.directory import PrincipalType
from idplane.model.ids import ResourceId, is_guid
from idplane.model.roles import RoleAssignment
from idplane.ports.collections import CREDENTIALS, IDENTITY_ASSIGNMENTS, PRINCIPALS, ROLE_ASSIGNMENTS
from idplane.ports.store import ABSENT, Batch, CommitRefused, Put
from idplane.testing.worlds import SeededEntropy

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SITE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/shop"


@pytest.fixture
async def world() -> AsyncIterator[StsWorld]:
    opened = await StsWorld.open()
    yield opened
    await opened.store.close()


def test_system_assigned_names() -> None:
    principal = new_system_identity(resource(VM_ID), tenant_id=TENANT_ID, entropy=SeededEntropy(), now=NOW)
    assert principal.type is PrincipalType.MANAGED_IDENTITY
    assert principal.system_assigned
    assert (principal.display_name, principal.resource_id) == ("stock-vm", VM_ID)
    assert principal.alternative_names == ("isExplicit=False", VM_ID)
    client_id, uri = principal.names
    assert client_id == principal.client_id
    assert uri.startswith("https://identity.azure.net/")
    assert uri.endswith("=")


def test_user_assigned_names() -> None:
    principal = new_user_assigned(ResourceId.parse(UAMI_ID), tenant_id=TENANT_ID, entropy=SeededEntropy(), now=NOW)
    assert not principal.system_assigned
    assert (principal.display_name, principal.resource_id) == ("front-end", UAMI_ID)
    assert principal.alternative_names == ("isExplicit=True", UAMI_ID)


def test_enabling_again_makes_another_identity() -> None:
    entropy = SeededEntropy()
    first, second = (new_system_identity(resource(VM_ID), tenant_id=TENANT_ID, entropy=entropy, now=NOW) for _ in range(2))
    assert len({first.id, second.id, first.client_id, second.client_id}) == 4
    assert all(map(is_guid, (first.id, first.client_id)))


@pytest.mark.parametrize(
    ("resource_id", "name"),
    [
        (VM_ID, "stock-vm"),
        (SITE, "shop"),
        (f"{SITE}/slots/staging", "shop/slots/staging"),
        (f"{SITE}/SLOTS/Staging".replace("Microsoft.Web", "microsoft.web"), "shop/slots/Staging"),
        (VM_ID.replace("virtualMachines", "virtualMachineScaleSets"), "stock-vm"),
    ],
)
def test_display_name(resource_id: str, name: str) -> None:
    assert display_name(ResourceId.parse(resource_id)) == name


def _role(principal_id: str, number: int) -> RoleAssignment:
    return RoleAssignment(
        id=f"00000000-0000-4000-8000-00000000000{number}",
        tenant_id=TENANT_ID,
        scope=f"/subscriptions/{number}",
        role_id="acdd72a7-3385-48ef-bd42-f606fba81ae7",
        principal_id=principal_id,
        principal_type="ServicePrincipal",
        created_at=NOW,
        changed_at=NOW,
    )


async def test_removal_leaves_nothing_behind(world: StsWorld) -> None:
    roles = (Put(collection=ROLE_ASSIGNMENTS, value=_role(world.user.id, number), expect=ABSENT) for number in (1, 2))
    await world.commit(*roles)
    await world.store.commit(await removal_of(world.store, world.user.id))
    assert await world.store.get(PRINCIPALS, world.user.id) is None
    mine = {"principal_id": world.user.id}
    assert await world.store.all(CREDENTIALS, where=mine) == ()
    assert await world.store.all(ROLE_ASSIGNMENTS, where=mine) == ()
    assert await world.store.all(IDENTITY_ASSIGNMENTS, where=mine) == ()
    assert await world.store.all(IDENTITY_ASSIGNMENTS, where={"principal_id": world.system.id})


async def test_removal_is_refused_when_something_was_added_meanwhile(world: StsWorld) -> None:
    batch = await removal_of(world.store, world.user.id)
    await world.commit(Put(collection=ROLE_ASSIGNMENTS, value=_role(world.user.id, 1), expect=ABSENT))
    with pytest.raises(CommitRefused):
        await world.store.commit(batch)
    assert await world.store.get(PRINCIPALS, world.user.id) is not None


async def test_removal_of_nobody_is_empty(world: StsWorld) -> None:
    assert await removal_of(world.store, "nobody") == Batch()
