"""Microsoft.Resources/deployments: templates at groups, subscriptions, management groups and the tenant (control-plane.md sections 4.1, 5.7 and 7.4)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from idplane.arm.context import Context
from idplane.arm.declare import (
    Action,
    Deleted,
    Invocation,
    Item,
    Listed,
    Listing,
    Lookup,
    NameRule,
    Outcome,
    Own,
    OwnWrite,
    Placement,
    ResourceType,
    StoredItem,
)
from idplane.arm.inner import InnerRequest
from idplane.arm.long_running import SOON
from idplane.model.deployments import Deployment, DeploymentState, deployment_key
from idplane.model.failure import Category, Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.roles import Reason
from idplane.model.values import JsonObject
from idplane.ports.collections import DEPLOYMENT_OPERATIONS, DEPLOYMENTS
from idplane.ports.store import ABSENT, Batch, Delete, Put, Versioned
from idplane.providers.deployment_records import RecordedRun, as_now, dependencies_of, providers_of, shown, shown_operation
from idplane.providers.deployment_requests import (
    Ask,
    Nested,
    facts_of,
    planned,
    read_ask,
    read_body,
    template_hash,
    with_secrets,
)
from idplane.providers.deployment_rollbacks import named_rollback
from idplane.providers.filters import Comparison, invalid_filter, parse_filter
from idplane.providers.scopes import require_scope
from idplane.providers.what_if import foreseen
from idplane.templates.facts import Unresolved
from idplane.templates.naming import Planned
from idplane.templates.planning import Plan, body

__all__ = ["deployment_types"]

_TYPE = "Microsoft.Resources/deployments"
_NAMES = NameRule(re.compile(r"[-\w._()]{1,64}"), "1 to 64 letters, digits, '-', '_', '.', '(' or ')'")
_PLACES = frozenset({Placement.TENANT, Placement.MANAGEMENT_GROUP, Placement.SUBSCRIPTION, Placement.GROUP})
_NAMED_VALIDATIONS = "2024"
"""From these api-versions on, the answer of a validation has the deployment's id, name and type."""


def deployment_types(versions: tuple[str, ...]) -> tuple[ResourceType, ...]:
    """Deployments, their operations, and the status that clients poll."""
    return (
        ResourceType(
            name=_TYPE,
            api_versions=versions,
            placements=_PLACES,
            naming=_NAMES,
            own=Own(get=_get, list=_list, put=_put, delete=_delete),
            located=False,
            system_data=False,
            deleted_status=204,
            reads=read_body,
            missing=_missing,
            actions={
                "validate": Action(run=_validate),
                "whatIf": Action(run=_what_if),
                "cancel": Action(run=_cancel),
                "exportTemplate": Action(run=_export),
            },
        ),
        ResourceType(
            name=f"{_TYPE}/operations",
            api_versions=versions,
            placements=_PLACES,
            own=Own(get=_operation, list=_operations),
        ),
        ResourceType(name=f"{_TYPE}/operationStatuses", api_versions=versions, placements=_PLACES, own=Own(get=_status)),
    )


# Reading ------------------------------------------------------------------------------------------------------------


async def _found(context: Context, identifier: ResourceId) -> Versioned[Deployment] | None:
    """The deployment as it is kept, of the caller's tenant."""
    return await context.store.get(DEPLOYMENTS, deployment_key(context.tenant.id, identifier))


async def _require(context: Context, identifier: ResourceId) -> Versioned[Deployment]:
    found = await _found(context, identifier)
    if found is None:
        raise _missing(identifier)
    return found


def _missing(identifier: ResourceId) -> Failure:
    return Failure(FailureKind.DEPLOYMENT_NOT_FOUND, "the deployment was not found", name=identifier.name, id=str(identifier))


async def _get(lookup: Lookup) -> Item | None:
    found = await _found(lookup.context, lookup.id)
    return None if found is None else Item(body=shown(as_now(found.value, lookup.context)))


async def _list(listing: Listing) -> Listed:
    context = listing.context
    await require_scope(context, listing.scope)
    wanted = _wanted_state(context.query.get("$filter"))
    page = await context.store.page(
        DEPLOYMENTS,
        where={"scope_key": deployment_key(context.tenant.id, listing.scope)},
        after=listing.after,
        limit=listing.top,
    )
    found = [as_now(one.value, context) for one in page.items]
    items = tuple(shown(one) for one in found if wanted is None or one.state.value.lower() == wanted)
    return Listed(items=items, after=page.after)


def _wanted_state(text: str | None) -> str | None:
    """`$filter=provisioningState eq 'Failed'`, the one that deployments have; raises `Failure(INVALID_FILTER)`."""
    conditions = parse_filter(text)
    if not conditions:
        return None
    only = conditions[0]
    if len(conditions) > 1 or not isinstance(only, Comparison) or only.operator != "eq" or only.field != "provisioningstate":
        raise invalid_filter(text or "")
    return only.value.lower()


async def _operation(lookup: Lookup) -> Item | None:
    deployment = await _require(lookup.context, _parent(lookup.id))
    key = f"{deployment.value.key}|{lookup.id.name.upper()}"
    found = await lookup.context.store.get(DEPLOYMENT_OPERATIONS, key)
    return None if found is None else Item(body=shown_operation(deployment.value, found.value))


async def _operations(listing: Listing) -> Listed:
    deployment = (await _require(listing.context, listing.scope)).value
    page = await listing.context.store.page(
        DEPLOYMENT_OPERATIONS, where={"deployment_key": deployment.key}, after=listing.after, limit=listing.top
    )
    return Listed(items=tuple(shown_operation(deployment, one.value) for one in page.items), after=page.after)


async def _status(lookup: Lookup) -> Item | None:
    """What clients poll: the state of one run. A later run under the same name has a status of its own."""
    found = await _found(lookup.context, _parent(lookup.id))
    if found is None or found.value.run_id != lookup.id.name.lower():
        return None
    deployment = as_now(found.value, lookup.context)
    body: dict[str, object] = {"status": deployment.state.value}
    if deployment.error is not None:
        body["error"] = deployment.error
    return Item(body=body, headers=() if deployment.state.ended else SOON)


def _parent(identifier: ResourceId) -> ResourceId:
    parent = identifier.parent
    assert parent is not None  # children of a deployment have one
    return parent


# Deploying ----------------------------------------------------------------------------------------------------------


async def _prepared(context: Context, identifier: ResourceId, body: JsonObject) -> tuple[Ask, Plan]:
    """The plan of a request, after everything that can be refused ahead of deploying; raises `Failure`."""
    nested = context.attachment if isinstance(context.attachment, Nested) else None
    await require_scope(context, identifier.scope)
    ask = await with_secrets(context, read_ask(body, identifier))
    plan = planned(ask, await facts_of(context, identifier, ask), nested)
    await _require_allowed(context, plan)
    if ask.on_error is not None:
        if nested is not None:
            words = "The property 'onErrorDeployment' is for deployments that are not nested."
            raise Failure(FailureKind.INVALID_PARAMETER, words, code="InvalidOnErrorDeployment")
        ask = replace(ask, on_error=await named_rollback(context, identifier, ask.on_error))
    return ask, plan


async def _require_allowed(context: Context, plan: Plan) -> None:
    """Refuse a template of which the caller may not deploy some part, ahead of every part of it."""
    forbidden: list[str] = []
    for one in plan.resources.values():
        if not one.wanted or one.existing:
            continue
        refusal = await _refusal(context, plan, one)
        if refusal is None:
            continue
        # Another tenant's subscription is one where the caller has no rights, and its token is as good as it was.
        if refusal.kind is not FailureKind.FORBIDDEN and refusal.kind.category is not Category.UNAUTHENTICATED:
            raise refusal
        caller = context.caller
        forbidden.append(
            f"Authorization failed for template resource '{one.name}' of type '{one.type}'. The client "
            f"'{caller.display_name or caller.client_id}' with object id '{caller.principal_id}' does not have permission to perform "
            f"action '{refusal.data.get('action') or f'{one.type}/write'}' at scope '{one.id}'."
        )
    if forbidden:
        words = f"Deployment failed with multiple errors: '{':'.join(forbidden[:20])}'"
        raise Failure(FailureKind.TEMPLATE_FORBIDDEN, words)


async def _refusal(context: Context, plan: Plan, one: Planned) -> Failure | None:
    """Why the caller may not deploy a resource. A condition may look at the body, where it is known ahead; else it waits for the body."""
    asked = InnerRequest(method="PUT", path=one.id, api_version=one.api_version)
    refusal = await context.manager.forbids(asked)
    if refusal is None or refusal.data.get("reason") != Reason.CONDITION:
        return refusal
    try:
        made = body(plan, one)
    except Unresolved:
        return None
    return await context.manager.forbids(replace(asked, body=made))


async def _put(write: OwnWrite) -> StoredItem:
    context = write.context
    old = await _found(context, write.id)
    _require_replaceable(context, write.id, old)
    ask, plan = await _prepared(context, write.id, write.body)
    deployment = _deployment(context, old.value.id if old else write.id, ask, plan)
    _require_same_place(deployment, old)
    batch = await _without_operations(context, old) if old else Batch()
    batch += Batch.of(Put(collection=DEPLOYMENTS, value=deployment, expect=old.version if old else ABSENT))
    depth = context.attachment.depth if isinstance(context.attachment, Nested) else 0
    version = old.version + 1 if old else 1
    run = RecordedRun(context=context, deployment=deployment, version=version, plan=plan, depth=depth)
    return StoredItem(
        body=shown(deployment, accepted=True),
        created=old is None,
        batch=batch,
        headers=(("Azure-AsyncOperation", _status_address(context, deployment)), *SOON),
        then=_starting(context, deployment.key, run),
    )


def _starting(context: Context, name: str, run: RecordedRun) -> Callable[[], None]:
    return lambda: context.manager.start(name, run.work())


def _status_address(context: Context, deployment: Deployment) -> str:
    return (
        f"{context.addresses.management}{deployment.id}/operationStatuses/{deployment.run_id}?api-version={context.api_version}"
    )


def _deployment(context: Context, identifier: ResourceId, ask: Ask, plan: Plan) -> Deployment:
    group = plan.evaluator.facts.group
    place = ask.location or (str(group["location"]) if group else None)
    return Deployment(
        tenant_id=context.tenant.id,
        id=plan.home.extension(_TYPE, identifier.name),
        run_id=context.entropy.guid(),
        correlation_id=context.call.correlation_id,
        state=DeploymentState.RUNNING,
        mode=ask.mode,
        started_at=context.now,
        beat_at=context.now,
        template=plan.template.document,
        template_hash=template_hash(plan.template.document),
        location=ask.location,
        tags=ask.tags,
        parameters=plan.parameters,
        nested=tuple(one.id for one in plan.resources.values() if one.wanted and one.is_deployment),
        dependencies=dependencies_of(plan),
        providers=providers_of(plan, place),
        on_error=ask.on_error,
    )


def _require_replaceable(context: Context, identifier: ResourceId, old: Versioned[Deployment] | None) -> None:
    if old is None or as_now(old.value, context).state.ended:
        return
    words = (
        f"Unable to edit or replace deployment '{identifier.name}': previous deployment from '{old.value.started_at:%m/%d/%Y %H:%M:%S}' "
        "is still active. Please see https://aka.ms/arm-deploy for usage details."
    )
    raise Failure(FailureKind.CONFLICT, words, code="DeploymentActive")


def _require_same_place(deployment: Deployment, old: Versioned[Deployment] | None) -> None:
    if old is None or old.value.location == deployment.location:
        return
    words = (
        f"Invalid deployment location '{deployment.location}'. The deployment '{deployment.id.name}' already exists in location "
        f"'{old.value.location}'."
    )
    raise Failure(FailureKind.CONFLICT, words, code="InvalidDeploymentLocation")


async def _without_operations(context: Context, old: Versioned[Deployment]) -> Batch:
    found = await context.store.all(DEPLOYMENT_OPERATIONS, where={"deployment_key": old.value.key})
    return Batch.of(*(Delete(collection=DEPLOYMENT_OPERATIONS, key=one.value.key, expect=one.version) for one in found))


async def _delete(lookup: Lookup) -> Deleted | None:
    """Take a deployment out of the history. What it deployed stays."""
    found = await _found(lookup.context, lookup.id)
    if found is None:
        return None
    _require_replaceable(lookup.context, lookup.id, found)
    batch = await _without_operations(lookup.context, found)
    return Deleted(batch=batch + Batch.of(Delete(collection=DEPLOYMENTS, key=found.value.key, expect=found.version)))


# Actions ------------------------------------------------------------------------------------------------------------


async def _validate(invocation: Invocation) -> Outcome:
    """Everything that would be refused ahead of deploying; nothing is kept."""
    context = invocation.context
    ask, plan = await _prepared(context, invocation.id, invocation.body)
    body = dict(shown(_deployment(context, invocation.id, ask, plan)))
    properties = body["properties"]
    assert isinstance(properties, dict)  # `shown` makes it
    validated = [{"id": one.id} for one in plan.resources.values() if one.wanted and not one.existing]
    body["properties"] = {
        **properties,
        "provisioningState": DeploymentState.SUCCEEDED.value,
        "validatedResources": validated,
    }
    if context.api_version < _NAMED_VALIDATIONS:
        body = {"properties": body["properties"]}
    return Outcome(body=body)


async def _what_if(invocation: Invocation) -> Outcome:
    ask, plan = await _prepared(invocation.context, invocation.id, invocation.body)
    facts = plan.evaluator.facts
    found = await foreseen(invocation.context, lambda: planned(ask, facts, None), invocation.id.scope, ask)
    return Outcome(body={"status": "Succeeded", "properties": {"changes": found}})


async def _cancel(invocation: Invocation) -> Outcome:
    """Stop after what is under way, here and in the deployments inside; nothing that was deployed is undone."""
    context = invocation.context
    found = await _require(context, invocation.id)
    if as_now(found.value, context).state.ended:
        words = f"The deployment '{invocation.id.name}' cannot be cancelled because its provisioning state is not 'Running'."
        raise Failure(FailureKind.CONFLICT, words, code="DeploymentCannotBeCancelled")
    running = [found, *await _running_inside(context, found.value)]
    puts = (Put(collection=DEPLOYMENTS, value=_cancelled(one.value, context), expect=one.version) for one in running)
    return Outcome(status=204, batch=Batch.of(*puts))


async def _running_inside(context: Context, outer: Deployment) -> list[Versioned[Deployment]]:
    """What still runs of the deployments inside one, and inside those. A later run under the same name is not inside."""
    found: list[Versioned[Deployment]] = []
    for identifier in outer.nested:
        one = await _found(context, ResourceId.parse(identifier))
        if one is None or one.value.state.ended or one.value.correlation_id != outer.correlation_id:
            continue
        found += [one, *await _running_inside(context, one.value)]
    return found


def _cancelled(deployment: Deployment, context: Context) -> Deployment:
    operations: JsonObject = {
        "code": "DeploymentCanceled",
        "target": str(deployment.id),
        "message": f"The deployment '{deployment.id.name}' was cancelled by '{context.caller.display_name or context.caller.client_id}'.",
    }
    return replace(deployment, state=DeploymentState.CANCELED, finished_at=context.now, beat_at=context.now, error=operations)


async def _export(invocation: Invocation) -> Outcome:
    found = await _require(invocation.context, invocation.id)
    return Outcome(body={"template": found.value.template})
