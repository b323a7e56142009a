"""Server time of the portal's pages with 10,000 identities, 10,000 machines, 100,000 role assignments and 1,000,000 log records, against a budget of 200 ms a list.

Each page is asked for through the whole edge in this process (session, roles, store, template), as the tenant's owner and as somebody who
may read one group of ten. The store is SQLite. A page of somebody else's: add a line to `PAGES`.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measure import print_environment
from portal_records import ACTIVITY_RECORDS, SIGN_IN_RECORDS, agents, records
from tests.unit.web.portal_world import PortalClient, PortalWorld, portal_world

from idplane.model.directory import Credential, CredentialKind, Principal, PrincipalType
from idplane.model.ids import ResourceId
from idplane.model.resources import AssignedIdentity, Identity, IdentityAssignment, IdentityType, Resource
from idplane.model.roles import RoleAssignment
from idplane.ports.collections import CREDENTIALS, IDENTITY_ASSIGNMENTS, PRINCIPALS, RESOURCES, ROLE_ASSIGNMENTS, SIGNING_KEYS
from idplane.ports.store import ABSENT, Batch, Put
from idplane.rbac import BUILT_IN_ROLES

IDENTITIES = 10_000
ASSIGNMENTS = 100_000
GROUPS = 10
ROUNDS = 20
BATCH = 20_000
PLACES = ("westeurope", "northeurope", "eastus")
IDENTITY_TYPE = "Microsoft.ManagedIdentity/userAssignedIdentities"
MACHINE_TYPE = "Microsoft.Compute/virtualMachines"
_ROLES = tuple(BUILT_IN_ROLES)[:20]

PAGES = (
    ("resources", "/portal/resources"),
    ("resources by type, backwards", "/portal/resources?sort=-type"),
    ("resources whose name holds a text", "/portal/resources?q=77"),
    ("resources whose name holds what none does", "/portal/resources?q=nothing"),
    ("resources of one place", "/portal/resources?location=eastus"),
    ("resources of one group, by place", "/portal/resources?group={group}&sort=location"),
    ("managed identities", "/portal/identities"),
    ("managed identities by group, backwards", "/portal/identities?sort=-group"),
    ("managed identities whose name holds a text", "/portal/identities?q=77"),
    ("one resource", "/portal/resource{machine}"),
    ("its identity", "/portal/resource/identity{machine}"),
    ("user-assigned identities to pick from", "/portal/resource/user-assigned/add{machine}"),
    ("what goes when a group goes", "/portal/resource/delete{group}"),
    ("role assignments of an identity", "/portal/identity/roles{identity}"),
    ("a role to give", "/portal/identity/grants/{principal}/add"),
    ("credentials of an identity", "/portal/identity/credentials{identity}"),
    ("overview", "/portal"),
    ("activity log", "/portal/activity"),
    ("activity log, what nothing holds, as far as a page looks", "/portal/activity?range=all&q=nothing"),
    ("activity of one resource", "/portal/activity?range=all&resource={machine}"),
    ("hosts", "/portal/hosts"),
    ("hosts in a state that none is in", "/portal/hosts?state=Locked"),
    ("enrolling a machine", "/portal/hosts/enroll"),
    ("scopes", "/portal/iam"),
    ("access of an identity to a group", "/portal/iam/check{group}?principal={principal}"),
    ("role assignments of a group", "/portal/iam/assignments{group}"),
    ("role assignments of a group whose name holds a text", "/portal/iam/assignments{group}?q=77"),
    ("role assignments of a group, of a kind that has none", "/portal/iam/assignments{group}?kind=Group"),
    ("roles of a group", "/portal/iam/roles{group}"),
    ("somebody to give a role", "/portal/iam/add{group}?role=acdd72a7-3385-48ef-bd42-f606fba81ae7&q=77"),
    ("the start of access", "/portal/access"),
    ("principals and resources whose name holds a text", "/portal/access?q=77"),
    ("what an identity can reach", "/portal/access/identity/{principal}"),
    ("who can reach a group", "/portal/access/target{group}"),
    ("who can reach a machine", "/portal/access/target{machine}"),
    ("what a machine can reach", "/portal/access/source{machine}"),
    ("who has a role", "/portal/access/role/{role}"),
    ("unused grants, and used ones", "/portal/access/unused?show=all"),
    ("refusals", "/portal/explain"),
    (
        "what if, with the answer",
        "/portal/explain/ask?as={principal}&action=Microsoft.Authorization/locks/write&scope={machine}",
    ),
)
OWNER_PAGES = (
    ("overview of a day", "/portal?span=24h"),
    ("sign-in log", "/portal/sign-ins"),
    ("sign-in log, refused ones", "/portal/sign-ins?range=30d&outcome=refused"),
    ("sign-in log, what nothing holds, as far as a page looks", "/portal/sign-ins?range=all&q=nothing"),
    ("sign-ins of one identity", "/portal/sign-ins?range=all&principal={principal}"),
    ("one sign-in, with its token's calls", "/portal/sign-ins/690001"),
    ("one operation", "/portal/activity/290001"),
    ("hosts of one resource", "/portal/hosts?host={machine}"),
    ("keys", "/portal/keys"),
    ("enterprise applications", "/portal/applications?type=all"),
    ("enterprise applications by resource", "/portal/applications?type=all&sort=-resource"),
    ("enterprise applications whose name holds a text", "/portal/applications?q=77"),
)
"""Those for which a role at the tenant is needed."""


def guid(kind: int, number: int) -> str:
    return f"{number:08x}-{kind:04x}-4000-8000-000000000000"


@dataclass(frozen=True, slots=True)
class Stage:
    """What is seeded."""

    world: PortalWorld
    groups: tuple[str, ...]

    def identity(self, number: int) -> str:
        return f"{self.groups[number % GROUPS]}/providers/{IDENTITY_TYPE}/{self.name(number)}-id"

    def machine(self, number: int) -> str:
        return f"{self.groups[number % GROUPS]}/providers/{MACHINE_TYPE}/{self.name(number)}-vm"

    @staticmethod
    def name(number: int) -> str:
        """Not in the order of the numbers: people's names are in none."""
        return f"{number * 7919 % IDENTITIES:05}-{'abcdefgh'[number % 8]}"

    def rows(self) -> Iterator[Put[Any]]:
        now, tenant = self.world.clock.now(), self.world.tenant_id
        for number in range(IDENTITIES):
            shared, host = ResourceId.parse(self.identity(number)), ResourceId.parse(self.machine(number))
            principal, client = guid(1, number), guid(2, number)
            yield _put(
                PRINCIPALS,
                Principal(
                    id=principal,
                    tenant_id=tenant,
                    client_id=client,
                    type=PrincipalType.MANAGED_IDENTITY,
                    display_name=shared.name,
                    created_at=now,
                    resource_id=str(shared),
                ),
            )
            ids = {"tenantId": tenant, "principalId": principal, "clientId": client}
            yield _put(RESOURCES, self.resource(shared, IDENTITY_TYPE, number, properties=ids))
            assigned = AssignedIdentity(id=shared, principal_id=principal, client_id=client)
            identity = Identity(type=IdentityType.USER, tenant_id=tenant, user_assigned=(assigned,))
            yield _put(RESOURCES, self.resource(host, MACHINE_TYPE, number, identity=identity))
            entitled = IdentityAssignment(host=host, principal_id=principal, client_id=client, identity=shared)
            yield _put(IDENTITY_ASSIGNMENTS, entitled)
            yield _put(
                CREDENTIALS,
                Credential(
                    id=guid(3, number),
                    principal_id=principal,
                    client_id=client,
                    kind=CredentialKind.IDENTITY_CERTIFICATE,
                    not_before=now,
                    not_after=now + timedelta(days=7),
                    thumbprint=f"{number:064x}",
                    host=host.key,
                ),
            )
        for number in range(ASSIGNMENTS):
            yield _put(
                ROLE_ASSIGNMENTS,
                RoleAssignment(
                    id=guid(4, number),
                    tenant_id=tenant,
                    scope=self.machine(number * 3 % IDENTITIES) if number % 2 else self.groups[number // 2 % GROUPS],
                    role_id=_ROLES[number // IDENTITIES],
                    principal_id=guid(1, number % IDENTITIES),
                    principal_type="ServicePrincipal",
                    created_at=now,
                    changed_at=now,
                ),
            )

    def resource(self, identifier: ResourceId, kind: str, number: int, **members: Any) -> Resource:
        now = self.world.clock.now()
        place = PLACES[number % len(PLACES)]
        return Resource(id=identifier, type=kind, created_at=now, changed_at=now, location=place, **members)

    def url(self, pattern: str) -> str:
        return pattern.format(
            group=self.groups[3], machine=self.machine(3), identity=self.identity(3), principal=guid(1, 3), role=_ROLES[0]
        )


def _put(collection: Any, value: Any) -> Put[Any]:
    return Put(collection=collection, value=value, expect=ABSENT)


async def staged(world: PortalWorld) -> Stage:
    stage = Stage(world, tuple([await world.group(f"group{number}") for number in range(GROUPS)]))
    certificate = (await world.store.all(SIGNING_KEYS))[0].value.certificate
    watched = (
        agents(world.tenant_id, world.clock.now(), stage.machine, certificate),
        records(world.tenant_id, world.clock.now(), stage.machine, partial(guid, 1), IDENTITIES),
    )
    rows = itertools.chain(stage.rows(), *watched)
    while batch := Batch.of(*itertools.islice(rows, BATCH)):
        await world.store.commit(batch)
    return stage


async def asked(client: PortalClient, url: str) -> tuple[float, int]:
    """The milliseconds that a page took, and its length."""
    start = time.perf_counter()
    page = await client.get(url)
    spent = (time.perf_counter() - start) * 1e3
    assert page.status == 200, page.text[:500]
    return spent, len(page.body)


async def measured(client: PortalClient, name: str, url: str) -> None:
    await asked(client, url)
    answers = [await asked(client, url) for _ in range(ROUNDS)]
    spent = sorted(milliseconds for milliseconds, _ in answers)
    size = answers[0][1] / 1024
    print(f"  {name:<56} p50 {spent[len(spent) // 2]:7.1f} ms   p99 {spent[-1]:7.1f} ms   {size:6.0f} KB")


async def main() -> None:
    print_environment()
    async with portal_world() as world:
        stage = await staged(world)
        people = (
            ("the owner", await world.administrator(), (*PAGES, *OWNER_PAGES)),
            ("a reader of one group", await world.person("ada", "Reader", scope=stage.groups[3]), PAGES),
        )
        for who, client, pages in people:
            print(
                f"{who}, {IDENTITIES:,} identities, {IDENTITIES:,} machines, {ASSIGNMENTS:,} role assignments, {SIGN_IN_RECORDS + ACTIVITY_RECORDS:,} log records:"
            )
            for name, pattern in pages:
                await measured(client, name, stage.url(pattern))


if __name__ == "__main__":
    asyncio.run(main())
