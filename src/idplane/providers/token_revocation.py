"""Idplane.Authority: what Azure has no address for, about tokens that were issued. A namespace of our own.

    POST /providers/Idplane.Authority/revokeTokens                 all tokens of the tenant, or of one principal ({"principalId": ...})
    POST {resource}/providers/Idplane.Authority/revokeTokens       those that the resource got; of a user-assigned identity, all of its
    POST {identity or resource}/providers/Idplane.Authority/bindTokens   {"binding": "certificate" | "none"}

A user-assigned identity has Azure's own action too, `userAssignedIdentities/revokeTokens`, which means the same.
"""

from __future__ import annotations

from typing import Final

from idplane.arm.context import Context
from idplane.arm.declare import Action, Invocation, OperationInfo, Outcome, Provider
from idplane.model.directory import Principal, TokenBinding
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.scale_sets import identity_host
from idplane.ports.collections import PRINCIPALS, RESOURCES, TENANTS
from idplane.ports.store import Batch, Put, Versioned
from idplane.providers.fields import Fields
from idplane.providers.identity_block import IDENTITY_RESOURCE

__all__ = ["AUTHORITY", "INTROSPECT", "REVOKE_IDENTITY", "STREAMS"]

_NAMESPACE: Final = "Idplane.Authority"
_VERSIONS: Final = ("2026-11-01",)
INTROSPECT: Final = f"{_NAMESPACE}/tokens/introspect/action"
"""At the tenant's root: to be told of any token whether it counts."""
STREAMS: Final = f"{_NAMESPACE}/streams/write"
"""At the tenant's root: to have security events of every principal sent."""


async def _revoke(invocation: Invocation) -> Outcome:
    batch = await (_at_root(invocation) if not invocation.id.segments else _of_resource(invocation.context, invocation.id))
    return Outcome(status=204, batch=batch)


async def _revoke_identity(invocation: Invocation) -> Outcome:
    return Outcome(status=204, batch=await _of_resource(invocation.context, invocation.id))


async def _at_root(invocation: Invocation) -> Batch:
    context, fields = invocation.context, Fields(invocation.body)
    named = fields.text("principalId")
    if named is not None:
        found = await context.store.get(PRINCIPALS, named.lower())
        if found is None or found.value.tenant_id != context.tenant.id:
            raise Failure(FailureKind.PRINCIPAL_NOT_FOUND, f"the tenant has no principal '{named[:100]}'")
        return await context.identities.revoke_principal(found)
    tenant = await context.store.get(TENANTS, context.tenant.id)
    assert tenant is not None  # the caller's, which was read a moment ago; tenants are never removed
    return context.identities.revoke_tenant(tenant)


async def _of_resource(context: Context, identifier: ResourceId) -> Batch:
    resource = await context.store.get(RESOURCES, identity_host(identifier).key)
    if resource is None:
        raise Failure(
            FailureKind.RESOURCE_NOT_FOUND,
            f"there is no resource '{identifier}'",
            type=identifier.type,
            name=identifier.name,
            group=identifier.resource_group or "",
        )
    if resource.value.type.lower() == IDENTITY_RESOURCE.lower():
        principal = await context.store.get(PRINCIPALS, str(resource.value.properties["principalId"]))
        assert principal is not None  # it lives and dies with its resource
        return await context.identities.revoke_principal(principal)
    batch = await context.identities.revoke_host(resource.value.id.key)
    if not batch:
        raise Failure(
            FailureKind.INVALID_PARAMETER, f"the resource '{identifier}' bears no identity whose tokens it could have"
        )
    return batch


async def _bind(invocation: Invocation) -> Outcome:
    """Of a user-assigned identity, or of the system-assigned one of a resource."""
    context, fields = invocation.context, Fields(invocation.body)
    wanted = fields.required_text("binding", limit=20).lower()
    if wanted not in {one.value for one in TokenBinding}:
        raise fields.refuse("binding", "must be 'certificate' or 'none'")
    row = await _identity(context, invocation.id)
    changed = context.identities.bound(row.value, TokenBinding(wanted))
    batch = Batch() if changed is row.value else Batch.of(Put(collection=PRINCIPALS, value=changed, expect=row.version))
    return Outcome(body={"principalId": changed.id, "clientId": changed.client_id, "binding": wanted}, batch=batch)


async def _identity(context: Context, identifier: ResourceId) -> Versioned[Principal]:
    resource = await context.store.get(RESOURCES, identity_host(identifier).key) if identifier.segments else None
    named: object = None
    if resource is not None and resource.value.type.lower() == IDENTITY_RESOURCE.lower():
        named = resource.value.properties["principalId"]
    elif resource is not None and resource.value.identity is not None:
        named = resource.value.identity.principal_id
    principal = await context.store.get(PRINCIPALS, str(named)) if named else None
    if principal is None:
        raise Failure(FailureKind.INVALID_PARAMETER, "only the tokens of a managed identity can be bound to certificates")
    return principal


REVOKE_IDENTITY: Final = Action(run=_revoke_identity)
"""`userAssignedIdentities/revokeTokens`."""


def _operation(name: str, operation: str, description: str) -> OperationInfo:
    return OperationInfo(name=name, provider="idplane", resource="Tokens", operation=operation, description=description)


AUTHORITY: Final = Provider(
    namespace=_NAMESPACE,
    types=(),
    actions={"revokeTokens": Action(run=_revoke), "bindTokens": Action(run=_bind)},
    actions_versions=_VERSIONS,
    operations=(
        _operation(f"{_NAMESPACE}/revokeTokens/action", "Revoke Tokens", "Revokes tokens that were issued"),
        _operation(
            f"{_NAMESPACE}/bindTokens/action", "Bind Tokens", "Binds an identity's tokens to certificates of its workloads"
        ),
        _operation(INTROSPECT, "Introspect Tokens", "Tells of any token whether it counts"),
        _operation(STREAMS, "Receive Security Events", "Has security events of every principal of the tenant sent"),
    ),
    operations_versions=_VERSIONS,
)
