"""`servicePrincipals`: managed identities, applications' own, and Azure's (control-plane.md section 8).

Managed identities are read here and changed through Resource Manager only.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from idplane.directory.app_roles import offered_roles
from idplane.directory.clients import new_application_principal
from idplane.directory.identities import removal_of
from idplane.graph.app_role_assignments import ASSIGNED_TO_SET, ASSIGNMENTS_SET
from idplane.graph.application_values import assertion_use
from idplane.graph.applications import app_role_documents
from idplane.graph.credentials import CREDENTIAL_ACTIONS, credential_members, credentials_of, key_changes
from idplane.graph.declare import Context, Entity, EntitySet, Planned, RowQuery, Rows, Task, Wanted
from idplane.graph.federated import FEDERATED_OF_PRINCIPAL
from idplane.graph.guards import require_changeable
from idplane.graph.memberships import MEMBER_ACTIONS, MEMBER_OF, OWNED
from idplane.graph.permissions import Area
from idplane.graph.principals import find_by_column, find_principal, principal_rows
from idplane.graph.service_principal_documents import SETTINGS, service_principal_document
from idplane.graph.settings import merged, require_settable
from idplane.graph.shapes import BOOL, OBJECT, OBJECTS, TEXT, TEXTS, TIME, EntityType
from idplane.model.directory import Principal, PrincipalType
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import is_guid
from idplane.model.values import JsonObject
from idplane.ports.collections import APPLICATIONS, PRINCIPALS
from idplane.ports.store import ABSENT, Batch, Put, Versioned
from idplane.providers.fields import Fields

__all__ = ["SERVICE_PRINCIPAL", "SERVICE_PRINCIPAL_SET", "SERVICE_PRINCIPAL_TYPES"]

SERVICE_PRINCIPAL_TYPES: Final = frozenset({PrincipalType.APPLICATION, PrincipalType.MANAGED_IDENTITY})
_SETTABLE: Final = frozenset(
    {"accountEnabled", "appRoleAssignmentRequired", "keyCredentials", "passwordCredentials", *SETTINGS}
)
SERVICE_PRINCIPAL: Final = EntityType(
    name="servicePrincipal",
    properties={
        **dict.fromkeys(
            (
                "id",
                "appId",
                "displayName",
                "appDescription",
                "appDisplayName",
                "appOwnerOrganizationId",
                "applicationTemplateId",
                "description",
                "disabledByMicrosoftStatus",
                "homepage",
                "loginUrl",
                "logoutUrl",
                "notes",
                "preferredSingleSignOnMode",
                "servicePrincipalType",
                "signInAudience",
                "tokenEncryptionKeyId",
            ),
            TEXT,
        ),
        **dict.fromkeys(
            ("alternativeNames", "notificationEmailAddresses", "replyUrls", "servicePrincipalNames", "tags"), TEXTS
        ),
        **dict.fromkeys(
            (
                "addIns",
                "appRoles",
                "keyCredentials",
                "oauth2PermissionScopes",
                "passwordCredentials",
                "resourceSpecificApplicationPermissions",
            ),
            OBJECTS,
        ),
        "accountEnabled": BOOL,
        "appRoleAssignmentRequired": BOOL,
        "createdDateTime": TIME,
        "deletedDateTime": TIME,
        "info": OBJECT,
        "verifiedPublisher": OBJECT,
    },
    unfiltered=frozenset({"appRoles", "keyCredentials", "passwordCredentials", "oauth2PermissionScopes"}),
)


async def _complete(context: Context, entity: Entity, wanted: Wanted) -> Entity:
    principal: Principal = entity.row.value
    document = dict(entity.document)
    if wanted("appRoles") and principal.type is PrincipalType.APPLICATION:
        document["appRoles"] = app_role_documents(await offered_roles(context.store, principal))
    if wanted("passwordCredentials") or wanted("keyCredentials"):
        document |= credential_members(await credentials_of(context, principal))
    return replace(entity, document=document)


# Reading ----------------------------------------------------------------------------------------------------------------


async def _rows(query: RowQuery) -> Rows:
    where = {}
    named = query.holding("servicePrincipalNames")
    if named is not None and is_guid(named):
        where["client_id"] = named.lower()
    host = query.holding("alternativeNames")
    if host is not None and host.startswith("/"):
        where["resource_key"] = host.lower()
    kind = (query.equal("servicePrincipalType") or "").lower()
    types = {one for one in SERVICE_PRINCIPAL_TYPES if not kind or one.value.lower() == kind}
    if not types:
        return Rows(items=())
    return await principal_rows(query, types, service_principal_document, **where)


async def _find(context: Context, _: Entity | None, key: str) -> Entity | None:
    return await find_principal(context, key, SERVICE_PRINCIPAL_TYPES, service_principal_document)


async def _find_by_client(context: Context, _: Entity | None, key: str) -> Entity | None:
    return await find_by_column(context, "client_id", key, SERVICE_PRINCIPAL_TYPES, service_principal_document)


# Changing ---------------------------------------------------------------------------------------------------------------


async def _create(task: Task) -> Planned:
    """The service principal of an application of this tenant."""
    context, fields = task.context, Fields(task.body)
    require_settable(task.body, SERVICE_PRINCIPAL, _SETTABLE | {"appId"}, {"servicePrincipalType": "Application"})
    client_id = fields.required_text("appId").lower()
    taken = await context.store.page(PRINCIPALS, where={"tenant_id": context.tenant_id, "client_id": client_id}, limit=1)
    if taken.items:
        words = f"The service principal cannot be created, updated, or restored because the service principal name {client_id} is already in use"
        raise Failure(FailureKind.CONFLICT, words, code="Request_MultipleObjectsWithSameKeyValue")
    where = {"tenant_id": context.tenant_id, "client_id": client_id}
    applications = await context.store.page(APPLICATIONS, where=where, limit=1)
    if not applications.items:
        words = f"The appId '{client_id[:100]}' of the service principal does not reference a valid application object"
        raise Failure(FailureKind.INVALID_PARAMETER, words, code="Request_BadRequest")
    application = applications.items[0]
    plain = new_application_principal(
        tenant_id=context.tenant_id,
        display_name=application.value.display_name,
        entropy=context.entropy,
        now=context.now,
        client_id=client_id,
    )
    names = (client_id, *application.value.identifier_uris)
    made = _described(replace(plain, names=names, assertion_use=assertion_use(application.value.settings)), task.body)
    batch = Batch.of(
        # Pinned: whoever changes or deletes the application looks for its service principals first.
        Put(collection=APPLICATIONS, value=application.value, expect=application.version),
        Put(collection=PRINCIPALS, value=made, expect=ABSENT),
    )
    batch += await key_changes(context, made, fields)
    entity = Entity(id=made.id, document=service_principal_document(context, made), row=Versioned(made, 1))
    shown = await _complete(context, entity, lambda _: True)
    return Planned(status=201, body=shown.document, batch=batch, target=made.id, name=made.display_name)


async def _update(task: Task) -> Planned:
    row: Versioned[Principal] = task.target.row
    context, old = task.context, row.value
    require_changeable(old)
    shown = await _complete(context, task.target, lambda _: True)
    require_settable(task.body, SERVICE_PRINCIPAL, _SETTABLE, shown.document)
    changed = _described(old, task.body)
    batch = Batch.of(Put(collection=PRINCIPALS, value=changed, expect=row.version))
    batch += await key_changes(context, changed, Fields(task.body))
    return Planned(status=204, batch=batch, name=changed.display_name)


async def _delete(task: Task) -> Planned:
    row: Versioned[Principal] = task.target.row
    require_changeable(row.value)
    return Planned(status=204, batch=await removal_of(task.context.store, row.value.id), name=row.value.display_name)


def _described(principal: Principal, body: JsonObject) -> Principal:
    enabled = Fields(body).flag("accountEnabled")
    if body.get("appRoleAssignmentRequired") is True:
        raise Fields(body).refuse("appRoleAssignmentRequired", "cannot be set here")
    return replace(
        principal,
        enabled=principal.enabled if enabled is None else enabled,
        settings=merged(principal.settings, body, SETTINGS),
    )


SERVICE_PRINCIPAL_SET: Final = EntitySet(
    name="servicePrincipals",
    entity=SERVICE_PRINCIPAL,
    area=Area.APPLICATIONS,
    rows=_rows,
    find=_find,
    keys={"appId": _find_by_client},
    complete=_complete,
    create=_create,
    update=_update,
    delete=_delete,
    actions=(*CREDENTIAL_ACTIONS, *MEMBER_ACTIONS),
    children=(ASSIGNMENTS_SET, ASSIGNED_TO_SET, FEDERATED_OF_PRINCIPAL, *MEMBER_OF, OWNED),
    owned=True,
)
