"""Operations that clients expect to be long: answered with 202 and an address to ask (control-plane.md section 4.1).

None of them is long here. What an operation does commits in one batch with the record of its end, and the first question gets the
final answer. So any replica can answer, and a process that dies leaves an operation either done or never begun.
"""

from __future__ import annotations

from dataclasses import dataclass

from idplane.arm.context import Context
from idplane.arm.declare import Item, Lookup, Own, Placement, ResourceType, Visibility
from idplane.model.failure import Failure, FailureKind
from idplane.model.long_operations import LongOperation
from idplane.ports.collections import LONG_OPERATIONS, microseconds
from idplane.ports.store import ABSENT, Batch, Delete, Put

__all__ = ["ACCEPTED", "OPERATION_RESULTS", "SOON", "Accepted", "accepted", "operation_results"]

ACCEPTED = 202
OPERATION_RESULTS = "Microsoft.Resources/operationResults"
SOON = (("Retry-After", "1"), ("x-ms-retry-after-ms", "100"))
"""When to ask again: clients that know milliseconds ask sooner."""
_WORD = "operationresults"
_TIME_DIGITS = 14
_SWEPT = 20
"""Expired records that go with each new one: more than come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What goes with a 202: the record to commit with the work, and where its end is told."""

    batch: Batch
    headers: tuple[tuple[str, str], ...]


async def accepted(context: Context, *, status: int = 200, failure: Failure | None = None) -> Accepted:
    """An operation of the context's subscription that ends with a status, or with a failure that the first question gets."""
    subscription = context.subscription
    assert subscription is not None  # only what lies in a subscription is operated on
    one = LongOperation(
        id=f"{microseconds(context.now):0{_TIME_DIGITS}x}{context.entropy.guid().replace('-', '')}",
        tenant_id=context.tenant.id,
        subscription_id=subscription.id,
        principal_id=context.caller.principal_id,
        began_at=context.now,
        status=status,
        failure=failure.kind.name if failure else None,
        detail=failure.detail if failure else "",
        data=dict(failure.data) if failure else {},
    )
    address = (
        f"{context.addresses.management}/subscriptions/{subscription.id}/{_WORD}/{one.id}?api-version={context.api_version}"
    )
    batch = Batch.of(Put(collection=LONG_OPERATIONS, value=one, expect=ABSENT))
    return Accepted(batch=batch + await _swept(context, subscription.id), headers=(("Location", address), *SOON))


async def _swept(context: Context, subscription_id: str) -> Batch:
    oldest = await context.store.page(LONG_OPERATIONS, where={"subscription_id": subscription_id}, limit=_SWEPT)
    gone = (one.value.id for one in oldest.items if one.value.expired(context.now))
    return Batch.of(*(Delete(collection=LONG_OPERATIONS, key=one) for one in gone))


def operation_results(versions: tuple[str, ...]) -> ResourceType:
    """`/subscriptions/{id}/operationresults/{operation}`. Whoever began an operation may ask, whatever rights are left to him."""
    return ResourceType(
        name=OPERATION_RESULTS,
        api_versions=versions,
        placements=frozenset({Placement.SUBSCRIPTION}),
        own=Own(get=_get),
        instances=Visibility.OPEN,
    )


async def _get(lookup: Lookup) -> Item | None:
    """The end of an operation; raises the `Failure` that it ended with."""
    context = lookup.context
    found = await context.store.get(LONG_OPERATIONS, lookup.id.name.lower())
    if found is None:
        return None
    one = found.value
    mine = (one.tenant_id, one.principal_id) == (context.tenant.id, context.caller.principal_id)
    if not mine or one.subscription_id != lookup.id.subscription or one.expired(context.now):
        return None
    if one.failure is not None:
        raise Failure(FailureKind[one.failure], one.detail, **one.data)
    return Item(body={}, status=one.status, bare=True)
