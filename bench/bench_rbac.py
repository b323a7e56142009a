"""Decisions: `AccessControl.check` over 1,000, 100,000 and 1,000,000 stored role assignments.

A fifth as many principals as assignments; 1 % of the assignments at the tenant, 9 % at subscriptions, 40 % at groups, 50 % at resources; a
caller is a principal with three groups. Warm decisions find the callers' assignments in memory, cold ones read them from the store.
Beside them, on the same data: the dictionary probes that no decision of this shape can avoid, and one read of the store.
"""

from __future__ import annotations

import asyncio
import itertools
import random  # noqa: TID251 - repeatable data, nothing secret
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from measure import median, print_environment

from idplane.bootstrap.world import SystemClock
from idplane.model.directory import Principal, PrincipalType, Subscription, Tenant
from idplane.model.ids import ResourceId
from idplane.model.roles import RoleAssignment
from idplane.ports.collections import PRINCIPALS, ROLE_ASSIGNMENTS, SUBSCRIPTIONS, TENANTS
from idplane.ports.store import ABSENT, Batch, Put
from idplane.rbac import BUILT_IN_ROLES, AccessControl
from idplane.store.sqlite import SqliteStore

SIZES = (1_000, 100_000, 1_000_000)
CALLERS = 500
ROUNDS = 7
BATCH = 50_000
_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_TENANT = "11111111-1111-4111-8111-111111111111"
_ROLES = tuple(BUILT_IN_ROLES)[:50]
_ACTIONS = ("Microsoft.Compute/virtualMachines/read", "Microsoft.Compute/virtualMachines/write")


def guid(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


def subscription(number: int) -> str:
    return f"/subscriptions/{guid(number % 100)}"


def machine(number: int) -> str:
    return f"{subscription(number)}/resourceGroups/g{number % 5000}/providers/Microsoft.Compute/virtualMachines/vm{number % 50_000}"


def scope(number: int, draw: float) -> str:
    if draw < 0.01:
        return "/"
    if draw < 0.10:
        return subscription(number)
    return machine(number) if draw >= 0.5 else machine(number).split("/providers/")[0]


def principal(number: int) -> Principal:
    return Principal(
        id=guid(number),
        tenant_id=_TENANT,
        client_id=guid(number + (1 << 31)),
        type=PrincipalType.APPLICATION,
        display_name=f"p{number}",
        created_at=_NOW,
    )


def assignments(size: int) -> Iterator[RoleAssignment]:
    """As random as they must be, and the same in every run; (principal, role, scope) is unique."""
    draws = random.Random(size)
    seen = set()
    for number in itertools.count():
        one = (draws.randrange(size // 5), draws.choice(_ROLES), scope(draws.randrange(1 << 20), draws.random()))
        if one in seen:
            continue
        seen.add(one)
        yield RoleAssignment(
            id=guid(number),
            tenant_id=_TENANT,
            scope=one[2],
            role_id=one[1],
            principal_id=guid(one[0]),
            principal_type="ServicePrincipal",
            created_at=_NOW,
            changed_at=_NOW,
        )
        if len(seen) == size:
            return


async def fill(store: SqliteStore, size: int) -> None:
    tenant = Tenant(id=_TENANT, display_name="t", domain="t.example", issuer_v1="v1", issuer_v2="v2", created_at=_NOW)
    subscriptions = [Subscription(id=guid(number), tenant_id=_TENANT, display_name="s") for number in range(100)]
    puts = itertools.chain(
        [Put(collection=TENANTS, value=tenant, expect=ABSENT)],
        (Put(collection=SUBSCRIPTIONS, value=one, expect=ABSENT) for one in subscriptions),
        (Put(collection=PRINCIPALS, value=principal(number), expect=ABSENT) for number in range(size // 5)),
        (Put(collection=ROLE_ASSIGNMENTS, value=one, expect=ABSENT) for one in assignments(size)),
    )
    while batch := Batch.of(*itertools.islice(puts, BATCH)):
        await store.commit(batch)


@dataclass(frozen=True)
class Call:
    ids: frozenset[str]
    action: str
    scope: ResourceId


def calls(size: int) -> list[Call]:
    draws = random.Random(1)
    return [
        Call(
            frozenset(guid(draws.randrange(size // 5)) for _ in range(4)),
            draws.choice(_ACTIONS),
            ResourceId.parse(machine(draws.randrange(1 << 20))),
        )
        for _ in range(CALLERS)
    ]


async def decided(access: AccessControl, wanted: Sequence[Call]) -> float:
    """Microseconds of CPU a decision, each about an id that was just read: what an id remembers of itself is part of the work."""
    scopes = [ResourceId(call.scope.segments) for call in wanted]
    start = time.process_time()
    for call, scope in zip(wanted, scopes, strict=True):
        await access.check(call.ids, call.action, scope)
    return (time.process_time() - start) / len(wanted) * 1e6


def probed(wanted: Sequence[Call]) -> float:
    """Microseconds of CPU for looking each caller up under each scope."""
    index: dict[str, dict[str, int]] = {one: {} for call in wanted for one in call.ids}
    scopes = [tuple(one.key for one in call.scope.lineage()) for call in wanted]
    start = time.process_time()
    for call, keys in zip(wanted, scopes, strict=True):
        held = [index[one] for one in call.ids]
        for key in keys:
            for one in held:
                one.get(key)
    return (time.process_time() - start) / len(wanted) * 1e6


async def measure(size: int) -> None:
    store = await SqliteStore.open(":memory:", clock=SystemClock())  # a file whose filling waits for no disk
    start = time.perf_counter()
    await fill(store, size)
    loaded = time.perf_counter() - start
    wanted = calls(size)
    cold, warm, bare = [], [], []
    for _ in range(ROUNDS):
        access = AccessControl(store=store)
        cold.append(await decided(access, wanted))
        warm.append(await decided(access, wanted))
        bare.append(probed(wanted))
        access.close()
    tracemalloc.start()
    kept = AccessControl(store=store)
    await decided(kept, wanted)
    memory = tracemalloc.get_traced_memory()[0] / len({one for call in wanted for one in call.ids})
    tracemalloc.stop()
    await store.close()
    print(
        f"{size:>9,} assignments   warm {median(warm):6.1f} us = {median(warm) / median(bare):4.1f} x bare probes ({median(bare):.1f} us)"
        f"   first time, from the store {median(cold):7.1f} us   {memory / 1024:5.1f} KiB kept a principal   filled in {loaded:.1f} s"
    )


def main() -> None:
    print_environment()
    for size in SIZES:
        asyncio.run(measure(size))


if __name__ == "__main__":
    main()
