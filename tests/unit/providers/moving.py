"""What tests of moves share: two more groups, one in another subscription, and the rows that a move meets."""

from __future__ import annotations

from typing import Any

from tests.unit.providers.surface_plane import (
    GROUP,
    HOME,
    SUB,
    OpenPlane,
    Plane,
    Reply,
)

from idplane.model.directory import Credential, CredentialKind, Subscription
from idplane.model.profile import AZURE, OPEN
from idplane.model.roles import RoleAssignment
from idplane.ports.collections import (
    SUBSCRIPTIONS,
)
from idplane.ports.store import ABSENT, Batch, Put

OTHER = f"{SUB}/resourceGroups/Depot"
SECOND = "b1000000-0000-4000-8000-000000000003"
FAR = f"/subscriptions/{SECOND}/resourceGroups/Far"
WEB = "2024-11-01"
SYSTEM = {"type": "SystemAssigned"}


async def open_moves(open_plane: OpenPlane, *, azure: bool = False) -> Plane:
    plane = await open_plane(profile=AZURE if azure else OPEN)
    second = Subscription(id=SECOND, tenant_id=HOME, display_name="three")
    await plane.store.commit(Batch.of(Put(collection=SUBSCRIPTIONS, value=second, expect=ABSENT)))
    for group in (OTHER, FAR):
        await plane.put(group, {"location": "westeurope"})
    return plane


async def ask_to_move(
    plane: Plane, *ids: str, to: str = OTHER, by: str = "owner", word: str = "moveResources", group: str = GROUP
) -> Reply:
    return await plane.call("POST", f"{group}/{word}", {"resources": list(ids), "targetResourceGroup": to}, by=by)


async def moved_away(plane: Plane, *ids: str, to: str = OTHER, by: str = "owner", group: str = GROUP) -> None:
    reply = await ask_to_move(plane, *ids, to=to, by=by, group=group)
    assert reply.status == 202, reply.body
    assert (await plane.call("GET", reply.headers["location"], by=by)).status == 204


def moved_id(identifier: str, group: str = OTHER) -> str:
    return identifier.replace(GROUP, group)


async def put_rows(plane: Plane, collection: Any, *values: object) -> None:
    await plane.store.commit(Batch.of(*(Put(collection=collection, value=one, expect=ABSENT) for one in values)))


def role_assignment(plane: Plane, number: int, principal: str, scope: str) -> RoleAssignment:
    anchor = scope.lower() if "/providers/" in scope else None
    return RoleAssignment(
        id=f"99999999-0000-4000-8000-{number:012x}",
        tenant_id=HOME,
        scope=scope,
        role_id="acdd72a7-3385-48ef-bd42-f606fba81ae7",
        principal_id=principal,
        principal_type="ServicePrincipal",
        created_at=plane.clock.now(),
        changed_at=plane.clock.now(),
        anchor=anchor,
    )


def certificate_row(plane: Plane, name: str, principal: str, host: str) -> Credential:
    now = plane.clock.now()
    return Credential(
        id=name,
        principal_id=principal,
        client_id="c",
        kind=CredentialKind.IDENTITY_CERTIFICATE,
        not_before=now,
        not_after=now,
        host=host.lower(),
        agent_id="a",
    )
