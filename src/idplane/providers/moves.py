"""Moving resources to another group or subscription of their tenant: who may, and what cannot be (design section 6).

A move gives nobody anything. At the source it takes `moveResources/action` and what deleting and changing each resource takes; at the
target everything that creating it there takes, `assign/action` on its user-assigned identities included. And whoever would have more
rights on a resource at the target than he has at the source, by granting roles or over data, cannot take it there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from idplane.arm.context import Context
from idplane.arm.declare import Invocation, Outcome
from idplane.arm.locks import Locks
from idplane.arm.long_running import ACCEPTED, accepted
from idplane.arm.missing import resource_not_found
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.resources import Resource
from idplane.model.roles import Reason
from idplane.model.values import JsonObject
from idplane.ports.collections import RESOURCES, SUBSCRIPTIONS
from idplane.ports.store import Batch, Versioned
from idplane.providers.fields import Fields
from idplane.providers.hosts import ASSIGN
from idplane.providers.relocation import Relocation

__all__ = ["UNMOVABLE", "move", "validate_move"]

_GROUP_WRITE = "Microsoft.Resources/subscriptions/resourceGroups/write"
_MOVE = "Microsoft.Resources/subscriptions/resourceGroups/moveResources/action"
_GIVE_ACCESS = "Microsoft.Authorization/roleAssignments/write"
_MOST = 10_000
UNMOVABLE = frozenset(
    one.lower()
    for one in (
        "Microsoft.ContainerInstance/containerGroups",
        "Microsoft.ContainerService/managedClusters",
        "Microsoft.Dashboard/grafana",
        "Microsoft.Databricks/accessConnectors",
        "Microsoft.DevCenter/devcenters",
        "Microsoft.Kubernetes/connectedClusters",
        "Microsoft.MachineLearningServices/workspaces",
        "Microsoft.ManagedIdentity/userAssignedIdentities",
        "Microsoft.Network/applicationGateways",
        "Microsoft.ServiceFabric/managedClusters",
    )
)
"""Types, in lower case, that Azure does not move either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Move:
    """A move that the caller may make, if it can be made."""

    relocation: Relocation
    trees: tuple[Versioned[Resource], ...]
    """The moved resources and everything below them."""


async def move(invocation: Invocation) -> Outcome:
    """POST `{group}/moveResources`: 202, and done."""
    context = invocation.context
    asked = await _permitted(invocation)
    unlocked = await _require_possible(context, asked)
    moving = asked.relocation
    batch = unlocked + await moving.batch(asked.trees)
    batch += Batch.of(*(moving.event(moving.renamed(one), _MOVE) for one in moving.roots))
    later = await accepted(context, status=204)
    return Outcome(status=ACCEPTED, batch=batch + later.batch, headers=later.headers)


async def validate_move(invocation: Invocation) -> Outcome:
    """POST `{group}/validateMoveResources`: 202; whether the move can be made is what the operation ends with."""
    context = invocation.context
    asked = await _permitted(invocation)
    failure: Failure | None = None
    try:
        await _require_possible(context, asked)
    except Failure as refused:
        failure = refused
    later = await accepted(context, status=204, failure=failure)
    return Outcome(status=ACCEPTED, batch=later.batch, headers=later.headers)


# Reading ------------------------------------------------------------------------------------------------------------


async def _permitted(invocation: Invocation) -> _Move:
    """What is asked for, after every check of rights; raises `Failure`, and tells nothing of a target where the caller has none."""
    context, source = invocation.context, invocation.id
    roots, target = _read(invocation.body, source, context.profile.resources_per_move or _MOST)
    await context.require_linked(_GROUP_WRITE, target)
    into = await _group(context, target)
    trees: dict[str, Versioned[Resource]] = {}
    stored: list[ResourceId] = []
    for root in roots:
        tree = await context.store.all(RESOURCES, under=("path", root.key))
        top = next((one.value.id for one in tree if one.value.id == root), None)
        if top is None:
            raise resource_not_found(root)
        stored.append(top)
        trees.update({one.value.id.key: one for one in tree})
    elsewhere = source.subscription != into.subscription
    stops = context.profile.stopped_by_moves if elsewhere else frozenset[str]()
    relocation = Relocation(context=context, roots=tuple(stored), source=source, target=into, stops=stops)
    found = tuple(trees.values())
    await _require_rights(context, relocation, [one.value for one in found])
    return _Move(relocation=relocation, trees=found)


def _read(body: JsonObject, source: ResourceId, most: int) -> tuple[tuple[ResourceId, ...], ResourceId]:
    """The resources and the target group of a body; raises `Failure(INVALID_PARAMETER | INVALID_RESOURCE_ID)`."""
    fields = Fields(body)
    target = ResourceId.parse(fields.required_text("targetResourceGroup"))
    if target.type != "Microsoft.Resources/resourceGroups":
        raise fields.refuse("targetResourceGroup", "must be the id of a resource group")
    if target == source:
        raise fields.refuse("targetResourceGroup", "must be another resource group than the source")
    roots = tuple(dict.fromkeys(ResourceId.parse(one) for one in fields.texts("resources", limit=most)))
    if not roots:
        raise fields.refuse("resources", "must name at least one resource")
    for root in roots:
        if not root.is_within(source) or root == source:
            raise fields.refuse("resources", f"must be in the resource group '{source.name}', and '{root}' is not")
        if root.parent != source:
            raise fields.refuse("resources", f"must name top-level resources; '{root}' moves with its parent only")
    return roots, target


async def _group(context: Context, target: ResourceId) -> ResourceId:
    """The target group as stored; raises `Failure(SUBSCRIPTION_NOT_FOUND | GROUP_NOT_FOUND)`."""
    subscription = await context.store.get(SUBSCRIPTIONS, target.subscription or "")
    if subscription is None or subscription.value.tenant_id != context.tenant.id:
        words = "the subscription was not found"
        raise Failure(FailureKind.SUBSCRIPTION_NOT_FOUND, words, subscription=target.segments[1])
    found = await context.store.get(RESOURCES, target.key)
    if found is None:
        words = "the resource group was not found"
        raise Failure(FailureKind.GROUP_NOT_FOUND, words, group=target.name, id=str(target))
    return found.value.id


# Rights -------------------------------------------------------------------------------------------------------------


async def _require_rights(context: Context, relocation: Relocation, resources: Sequence[Resource]) -> None:
    for root in relocation.roots:
        for verb in ("write", "delete"):
            await context.require_linked(f"{root.type}/{verb}", root)
    for one in resources:
        to = relocation.renamed(one.id)
        await context.require_linked(f"{one.type}/write", to)
        for assigned in one.identity.user_assigned if one.identity else ():
            await context.require_linked(ASSIGN, assigned.id)
        await _require_no_gain(context, one.id, to)


async def _require_no_gain(context: Context, old: ResourceId, new: ResourceId) -> None:
    """Refuse to take a resource to where the caller could grant access to it, or read its data, and cannot do so now."""
    ids, access = context.caller.principal_ids, context.access
    there, here = await access.check(ids, _GIVE_ACCESS, new), await access.check(ids, _GIVE_ACCESS, old)
    # Under a condition he may grant some roles: no more than now, if it is the same assignment that says so.
    conditional = there.reason is Reason.CONDITION and not here.allowed and here.because != there.because
    if conditional or (there.allowed and not here.allowed):
        raise context.linked_refusal(_GIVE_ACCESS, old)
    held = set(await access.permissions(ids, old))
    for one in await access.permissions(ids, new):
        if one.data_actions and one not in held:
            raise context.linked_refusal(one.data_actions[0], old)


# What cannot be -----------------------------------------------------------------------------------------------------


async def _require_possible(context: Context, asked: _Move) -> Batch:
    """Refuse what cannot be moved, or cannot be moved there; raises `Failure(CONFLICT | LOCKED)`. The batch keeps locks from changing."""
    roots = asked.relocation.roots
    unlocked = await Locks(context.store).require_movable(roots, asked.relocation.target)
    fixed = dict.fromkeys(one.type for one in roots if one.type.lower() in UNMOVABLE)
    if fixed:
        names = ", ".join(fixed)
        words = f"Resource move is not supported for resource types '{names}'."
        raise Failure(FailureKind.CONFLICT, words, code="ResourceMoveNotSupported")
    for root in roots:
        to = asked.relocation.renamed(root)
        if await context.store.get(RESOURCES, to.key) is not None:
            words = (
                f"Resource move validation failed. The resource '{root}' cannot be moved: the target resource group "
                f"'{asked.relocation.target.name}' already has a resource of this type and name, '{to}'."
            )
            raise Failure(FailureKind.CONFLICT, words, code="ResourceMoveProviderValidationFailed", target=str(root))
    return unlocked
