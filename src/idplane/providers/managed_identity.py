"""Microsoft.ManagedIdentity: user-assigned identities, and the system-assigned one of any resource that bears it.

A user-assigned identity is a resource of its own. Its service principal is made and removed with it; hosts that it was assigned to
keep a reference that leads nowhere when it is gone, as at Azure, while their entitlement, the identity's certificates and its role
assignments go in the same commit (control-plane.md sections 7.1 and 11).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from idplane.arm.context import Context
from idplane.arm.declare import (
    ANY_SCOPE,
    Action,
    Invocation,
    Item,
    Lookup,
    NameRule,
    OperationInfo,
    Outcome,
    Own,
    Provider,
    Removal,
    ResourceType,
    Write,
    Written,
)
from idplane.arm.envelope import system_data
from idplane.arm.paging import Paging, next_link
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.resources import Resource
from idplane.model.values import JsonObject
from idplane.ports.collections import IDENTITY_ASSIGNMENTS, PRINCIPALS, RESOURCES
from idplane.ports.store import ABSENT, Batch, Put
from idplane.providers.federated_credentials import FEDERATED_CREDENTIALS_TYPE
from idplane.providers.fields import Fields
from idplane.providers.identity_block import IDENTITY_RESOURCE
from idplane.providers.token_revocation import REVOKE_IDENTITY

__all__ = ["MANAGED_IDENTITY"]

_VERSIONS = (
    "2026-05-31",
    "2025-05-31-preview",
    "2025-01-31-preview",
    "2024-11-30",
    "2023-07-31-preview",
    "2023-01-31",
    "2022-01-31-preview",
    "2021-09-30-preview",
    "2018-11-30",
    "2015-08-31-preview",
)
_WITH_SYSTEM_DATA = frozenset(_VERSIONS) - {"2018-11-30", "2015-08-31-preview"}
_WITH_ISOLATION = frozenset({"2026-05-31", "2025-05-31-preview", "2024-11-30"})
_WITH_RESTRICTIONS = frozenset({"2026-05-31", "2025-05-31-preview"})
_SCOPES = {"none": "None", "regional": "Regional"}
_MAX_RESTRICTIONS = 100
_NAMES = NameRule(
    re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,127}"), "3 to 128 letters, digits, '-' or '_', starting with a letter or digit"
)


# User-assigned identities -------------------------------------------------------------------------------------------


async def _put(write: Write) -> Written:
    """Keep the identity's ids for its whole life; make its service principal when it is new."""
    settings = _settings(write)
    if write.old is not None:
        ids = {name: write.old.properties[name] for name in ("tenantId", "principalId", "clientId")}
        return Written(resource=replace(write.draft, properties={**ids, **settings}, envelope={}))
    principal = write.context.identities.new_user_assigned(write.id)
    ids = {"tenantId": principal.tenant_id, "principalId": principal.id, "clientId": principal.client_id}
    return Written(
        resource=replace(write.draft, properties={**ids, **settings}, envelope={}),
        before=Batch.of(Put(collection=PRINCIPALS, value=principal, expect=ABSENT)),
    )


def _settings(write: Write) -> dict[str, object]:
    """What a client may set, by api-version: versions that do not know a property neither change nor clear it."""
    fields = Fields(write.body).inner("properties")
    old = write.old.properties if write.old else {}
    settings = {name: old[name] for name in ("isolationScope", "assignmentRestrictions") if name in old}
    version = write.context.api_version
    if version in _WITH_ISOLATION and (fields.has("isolationScope") or not write.patch):
        settings["isolationScope"] = _isolation_scope(fields)
    if version in _WITH_RESTRICTIONS and (fields.has("assignmentRestrictions") or not write.patch):
        providers = fields.inner("assignmentRestrictions").texts("providers", limit=_MAX_RESTRICTIONS, length=256)
        settings["assignmentRestrictions"] = {"providers": list(providers)}
    return settings


def _isolation_scope(fields: Fields) -> str:
    text = fields.text("isolationScope") or "None"
    scope = _SCOPES.get(text.lower())
    if scope is None:
        raise fields.refuse("isolationScope", "must be 'None' or 'Regional'")
    return scope


async def _remove(removal: Removal) -> Batch:
    return await removal.context.identities.removal_of(str(removal.resource.properties["principalId"]))


def _members(identity: Resource, context: Context) -> JsonObject:
    # Made under a version that does not know the scope, it has none.
    properties = {"isolationScope": "None", **identity.properties}
    if context.api_version not in _WITH_ISOLATION:
        properties.pop("isolationScope", None)
    restrictions = properties.get("assignmentRestrictions")
    unrestricted = isinstance(restrictions, Mapping) and not restrictions.get("providers")
    if context.api_version not in _WITH_RESTRICTIONS or unrestricted:
        properties.pop("assignmentRestrictions", None)
    shown: dict[str, object] = {"properties": properties}
    if context.api_version in _WITH_SYSTEM_DATA:
        shown["systemData"] = system_data(identity)
    return shown


async def _associated(invocation: Invocation) -> Outcome:
    """The resources that the identity is assigned to, as far as the caller may read them."""
    context = invocation.context
    if context.query.get("$filter", "").strip():
        raise Failure(FailureKind.INVALID_FILTER, "this list takes no filter", filter=context.query["$filter"][:200])
    rows = await context.store.all(IDENTITY_ASSIGNMENTS, where={"identity_key": invocation.id.key})
    hosts = sorted((row.value.host for row in rows), key=lambda it: it.key)
    readable = [host for host in hosts if await _may_read(context, host.type, host)]
    paging = Paging.of(context.query.get("$top"), context.query.get("$skiptoken"))
    rest = [host for host in readable if paging.after is None or host.key > paging.after]
    page = rest[: paging.top]
    subscription = context.subscription
    body: dict[str, object] = {
        "totalCount": len(readable),
        "value": [
            {
                "id": str(host),
                "name": host.name,
                "type": host.type.lower(),
                "resourceGroup": host.resource_group,
                "subscriptionId": host.subscription,
                "subscriptionDisplayName": subscription.display_name if subscription else "",
            }
            for host in page
        ],
    }
    if len(rest) > len(page):
        path = f"{invocation.id}/listAssociatedResources"
        body["nextLink"] = next_link(context.addresses.management, path, tuple(context.query.items()), page[-1].key)
    return Outcome(body=body)


async def _may_read(context: Context, kind: str, host: ResourceId) -> bool:
    return (await context.access.check(context.caller.principal_ids, f"{kind}/read", host)).allowed


_ASSOCIATED = Action(run=_associated, permission=f"{IDENTITY_RESOURCE}/listAssociatedResources/action")

_USER_ASSIGNED = ResourceType(
    name=IDENTITY_RESOURCE,
    api_versions=_VERSIONS,
    naming=_NAMES,
    put=_put,
    remove=_remove,
    render=_members,
    system_data=False,
    actions={"listAssociatedResources": _ASSOCIATED, "revokeTokens": REVOKE_IDENTITY},
    # Clients follow the next page's link with GET.
    views={"listAssociatedResources": _ASSOCIATED},
)


# System-assigned identities -----------------------------------------------------------------------------------------


async def _system_assigned(lookup: Lookup) -> Item | None:
    """`{scope}/providers/Microsoft.ManagedIdentity/identities/default`; raises `Failure(IDENTITY_NOT_ENABLED)`.

    `clientSecretUrl` is left out: nobody can fetch this identity's credential from anywhere.
    """
    if lookup.id.name.lower() != "default":
        return None
    host = await lookup.context.store.get(RESOURCES, lookup.id.scope.key)
    if host is None:
        return None
    identity = host.value.identity
    if identity is None or not identity.type.has_system:
        raise Failure(
            FailureKind.IDENTITY_NOT_ENABLED,
            f"The resource '{host.value.id}' has no system-assigned identity.",
            id=str(host.value.id),
        )
    return Item(
        body={
            "id": f"{host.value.id}/providers/Microsoft.ManagedIdentity/identities/default",
            "name": "default",
            "type": "Microsoft.ManagedIdentity/identities",
            "location": host.value.location or "",
            "tags": dict(host.value.tags),
            "properties": {
                "tenantId": identity.tenant_id,
                "principalId": identity.principal_id,
                "clientId": identity.client_id,
            },
        }
    )


_SYSTEM_ASSIGNED = ResourceType(
    name="Microsoft.ManagedIdentity/identities",
    api_versions=_VERSIONS,
    placements=ANY_SCOPE,
    own=Own(get=_system_assigned),
)


def _operation(name: str, operation: str, description: str) -> OperationInfo:
    return OperationInfo(
        name=f"{IDENTITY_RESOURCE}/{name}",
        provider="Managed Service Identity",
        resource="User Assigned Identities",
        operation=operation,
        description=description,
    )


MANAGED_IDENTITY = Provider(
    namespace="Microsoft.ManagedIdentity",
    types=(_USER_ASSIGNED, FEDERATED_CREDENTIALS_TYPE, _SYSTEM_ASSIGNED),
    operations=(
        _operation("read", "Get User Assigned Identity", "Gets an existing user assigned identity"),
        _operation(
            "write",
            "Create/Update User Assigned Identity",
            "Creates a new user assigned identity or updates the tags associated with an existing one",
        ),
        _operation("delete", "Delete User Assigned Identity", "Deletes an existing user assigned identity"),
        _operation(
            "assign/action", "Assign User Assigned Identity", "RBAC action for assigning an existing user assigned identity"
        ),
        _operation(
            "listAssociatedResources/action",
            "List Associated Resources",
            "Lists the resources that a user assigned identity is assigned to",
        ),
        _operation("revokeTokens/action", "Revoke Tokens", "Revokes all tokens that were issued to a user assigned identity"),
        *(
            OperationInfo(
                name=f"{FEDERATED_CREDENTIALS_TYPE.name}/{verb}",
                provider="Managed Service Identity",
                resource="Federated Identity Credentials",
                operation=f"{verb.capitalize()} Federated Identity Credential",
                description=f"{words} a federated identity credential of a user assigned identity",
            )
            for verb, words in (("read", "Gets"), ("write", "Creates or updates"), ("delete", "Deletes"))
        ),
        OperationInfo(
            name="Microsoft.ManagedIdentity/identities/read",
            provider="Managed Service Identity",
            resource="System Assigned Identity",
            operation="Get System Assigned Identity",
            description="Gets an existing system assigned identity",
        ),
    ),
    operations_versions=_VERSIONS,
)
