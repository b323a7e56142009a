"""List pages at the start and at the end of long lists: 100,000 role assignments, and 10,000 resources, of one subscription.

Pages of one list are walked by their next links through the whole server, and the processor time of its process is taken for the
first, the middle and the last of them. Flat means that a page's cost depends on what is in it and not on where it stands.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from measure import median, print_environment

from idplane.model.directory import Principal, PrincipalType
from idplane.model.ids import ResourceId
from idplane.model.profile import OPEN
from idplane.model.resources import Resource
from idplane.model.roles import RoleAssignment
from idplane.ports.collections import PRINCIPALS, RESOURCES, ROLE_ASSIGNMENTS
from idplane.ports.store import ABSENT, Batch, Put
from idplane.rbac import BUILT_IN_ROLES
from idplane.testing.local import LocalPlane

ASSIGNMENTS = 100_000
RESOURCES_MADE = 10_000
PRINCIPALS_MADE = 20_000
SAMPLE = 10
BATCH = 20_000
_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_ROLES = tuple(BUILT_IN_ROLES)[:20]
_LISTS = {
    "role assignments of the subscription": "/providers/Microsoft.Authorization/roleAssignments?api-version=2022-04-01",
    "resources of the subscription": "/resources?api-version=2021-04-01",
    "identities of the subscription": "/providers/Microsoft.ManagedIdentity/userAssignedIdentities?api-version=2024-11-30",
}


def guid(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


def identity(group: str, number: int) -> Resource:
    return Resource(
        id=ResourceId.parse(f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id{number}"),
        type="Microsoft.ManagedIdentity/userAssignedIdentities",
        created_at=_NOW,
        changed_at=_NOW,
        location="westeurope",
        properties={"tenantId": guid(0), "principalId": guid(number), "clientId": guid(number)},
    )


def rows(plane: LocalPlane, groups: list[str]) -> Iterator[Put[Any]]:
    for number in range(PRINCIPALS_MADE):
        principal = Principal(
            id=guid(number),
            tenant_id=plane.tenant_id,
            client_id=guid(number + (1 << 31)),
            type=PrincipalType.MANAGED_IDENTITY,
            display_name=f"p{number}",
            created_at=_NOW,
        )
        yield Put(collection=PRINCIPALS, value=principal, expect=ABSENT)
    for number in range(RESOURCES_MADE):
        yield Put(collection=RESOURCES, value=identity(groups[number % len(groups)], number), expect=ABSENT)
    for number in range(ASSIGNMENTS):
        assignment = RoleAssignment(
            id=guid(number + (1 << 24)),
            tenant_id=plane.tenant_id,
            scope=groups[number // PRINCIPALS_MADE],
            role_id=_ROLES[number // PRINCIPALS_MADE],
            principal_id=guid(number % PRINCIPALS_MADE),
            principal_type="ServicePrincipal",
            created_at=_NOW,
            changed_at=_NOW,
        )
        yield Put(collection=ROLE_ASSIGNMENTS, value=assignment, expect=ABSENT)


def walked(plane: LocalPlane, path: str) -> tuple[int, list[float]]:
    """How many items the list has, and the milliseconds of CPU that each page took, client included."""
    spent, items = [], 0
    while True:
        split = urlsplit(path)
        query = {name: values[0] for name, values in parse_qs(split.query).items()}
        version = query.pop("api-version")
        start = time.process_time()
        body = plane.call("GET", split.path, api_version="&".join([version, *([urlencode(query)] if query else [])])).body
        spent.append((time.process_time() - start) * 1e3)
        items += len(body["value"])
        if not body.get("nextLink"):
            return items, spent
        path = body["nextLink"]


def main() -> None:
    print_environment()
    with closing(LocalPlane(profile=OPEN)) as plane:
        groups = [plane.resource_group(f"g{number}") for number in range(5)]
        puts = rows(plane, groups)
        while batch := Batch.of(*itertools.islice(puts, BATCH)):
            plane.run(plane.store.commit(batch))
        for name, path in _LISTS.items():
            items, spent = walked(plane, f"/subscriptions/{plane.subscription_id}{path}")
            middle = len(spent) // 2
            first, mid, last = (
                median(part) for part in (spent[1 : SAMPLE + 1], spent[middle : middle + SAMPLE], spent[-SAMPLE - 1 : -1])
            )
            print(
                f"{items:>8,} {name}, {len(spent)} pages   first {first:6.2f} ms   middle {mid:6.2f} ms   last {last:6.2f} ms"
                f" = {last / first:.2f} x the first"
            )


if __name__ == "__main__":
    main()
