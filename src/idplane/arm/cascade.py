"""Deleting a resource with everything that lives in it, hangs on it, or grants something on it.

One batch in the order that keeps references whole at each step: role and deny assignments at or below the scope; a group's deployments;
then, deepest first, for every stored resource its type's own removals and the record. Nothing is left to dangle (design section 6): a
grant that commits in between refers to its resource, so that this batch is refused and planned again.
"""

from __future__ import annotations

from collections.abc import Callable

from idplane.arm.context import Context
from idplane.arm.declare import Removal, ResourceType
from idplane.model.failure import Failure, FailureKind
from idplane.model.resources import Resource
from idplane.ports.collections import DENY_ASSIGNMENTS, DEPLOYMENT_OPERATIONS, DEPLOYMENTS, RESOURCES, ROLE_ASSIGNMENTS
from idplane.ports.store import Batch, Delete, Operation, Versioned

__all__ = ["once", "removal"]


async def removal(target: Versioned[Resource], context: Context, type_of: Callable[[str], ResourceType | None]) -> Batch:
    """Every operation that deleting `target` takes. Its own version and that of each record inside are pinned."""
    key = target.value.id.key
    inside = await context.store.all(RESOURCES, under=("path", key))
    operations = Batch()
    for roles in await context.store.all(ROLE_ASSIGNMENTS, under=("scope_key", key)):
        subject = roles.value.principal_id
        operations += Batch.of(Delete(collection=ROLE_ASSIGNMENTS, key=roles.value.id, expect=roles.version, subject=subject))
    for denies in await context.store.all(DENY_ASSIGNMENTS, under=("scope_key", key)):
        operations += Batch.of(Delete(collection=DENY_ASSIGNMENTS, key=denies.value.id, expect=denies.version))
    for run in await context.store.all(DEPLOYMENTS, where={"group_key": key}):
        for step in await context.store.all(DEPLOYMENT_OPERATIONS, where={"deployment_key": run.value.key}):
            operations += Batch.of(Delete(collection=DEPLOYMENT_OPERATIONS, key=step.value.key, expect=step.version))
        operations += Batch.of(Delete(collection=DEPLOYMENTS, key=run.value.key, expect=run.version))
    for found in sorted(inside, key=lambda it: len(it.value.id.segments), reverse=True):
        current = target if found.value.id.key == key else found
        operations += await _one(current, context, type_of)
    return once(operations)


async def _one(found: Versioned[Resource], context: Context, type_of: Callable[[str], ResourceType | None]) -> Batch:
    declared = type_of(found.value.type)
    if declared is None:
        raise Failure(FailureKind.INTERNAL, f"stored resource of undeclared type {found.value.type}")
    before = await declared.remove(Removal(context=context, type=declared, resource=found.value))
    return before + Batch.of(
        Delete(collection=RESOURCES, key=found.value.id.key, expect=found.version, subject=found.value.id.key)
    )


def once(batch: Batch) -> Batch:
    """The batch with each record's delete left only where it first stands: removals of several owners may name the same record."""
    seen: set[tuple[str, str]] = set()
    kept: list[Operation] = []
    for operation in batch.operations:
        if isinstance(operation, Delete):
            name = (operation.collection.name, operation.key)
            if name in seen:
                continue
            seen.add(name)
        kept.append(operation)
    return Batch(tuple(kept))
