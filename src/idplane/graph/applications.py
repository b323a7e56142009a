"""`applications`: what can sign in through a service principal, and what tokens can be for (control-plane.md section 8).

An application and its service principal are two objects; deleting the application deletes both, with everything that hangs on
them, in one commit. There is no list of deleted ones to bring back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from idplane.directory.app_roles import regrant
from idplane.directory.audiences import audience_key
from idplane.directory.clients import new_application
from idplane.directory.identities import removal_of
from idplane.graph.application_values import (
    SETTABLE,
    SETTINGS,
    app_roles,
    assertion_use,
    check_audience,
    display_name,
    identifier_uris,
    taken_uri,
    token_version,
)
from idplane.graph.credentials import CREDENTIAL_ACTIONS, credential_members, credentials_of, key_changes
from idplane.graph.declare import Context, Entity, EntitySet, Planned, RowQuery, Rows, Task, Wanted
from idplane.graph.federated import FEDERATED_OF_APPLICATION
from idplane.graph.guards import require_changeable
from idplane.graph.permissions import Area
from idplane.graph.settings import merged, require_settable
from idplane.graph.shapes import BOOL, OBJECT, OBJECTS, TEXT, TEXTS, TIME, EntityType, Kind, Property
from idplane.graph.times import shown_time
from idplane.model.directory import Application, AppRole, AssertionUse, Principal, Setting
from idplane.model.ids import is_guid
from idplane.model.values import JsonObject
from idplane.ports.collections import (
    APPLICATIONS,
    CREDENTIALS,
    FEDERATED_CREDENTIALS,
    PRINCIPALS,
    TENANTS,
)
from idplane.ports.collections import (
    SETTINGS as STORED_SETTINGS,
)
from idplane.ports.store import ABSENT, Batch, ColumnValue, Delete, Operation, Put, Versioned
from idplane.providers.fields import Fields

__all__ = ["APPLICATION_SET", "app_role_documents"]

_ROLE: Final = {
    "id": TEXT,
    "value": TEXT,
    "displayName": TEXT,
    "description": TEXT,
    "isEnabled": BOOL,
    "allowedMemberTypes": TEXTS,
    "origin": TEXT,
}
_TYPE: Final = EntityType(
    name="application",
    properties={
        **dict.fromkeys(("id", "appId", "displayName", "publisherDomain", "signInAudience"), TEXT),
        **{
            name: OBJECT if isinstance(default, dict) else OBJECTS if isinstance(default, list) else TEXT
            for name, default in SETTINGS.items()
        },
        "appRoles": Property(kind=Kind.OBJECTS, members=_ROLE),
        "certification": OBJECT,
        "createdDateTime": TIME,
        "deletedDateTime": TIME,
        "disabledByMicrosoftStatus": TEXT,
        "identifierUris": TEXTS,
        "isDeviceOnlyAuthSupported": BOOL,
        "isFallbackPublicClient": BOOL,
        "keyCredentials": OBJECTS,
        "passwordCredentials": OBJECTS,
        "tags": TEXTS,
        "verifiedPublisher": OBJECT,
    },
    unfiltered=frozenset({"keyCredentials", "passwordCredentials", "publisherDomain"}),
)


def app_role_documents(roles: tuple[AppRole, ...]) -> list[JsonObject]:
    """Roles as Graph shows them."""
    return [
        {
            "allowedMemberTypes": list(one.member_types),
            "description": one.description or None,
            "displayName": one.display_name,
            "id": one.id,
            "isEnabled": one.enabled,
            "origin": "Application",
            "value": one.value or None,
        }
        for one in roles
    ]


def _document(one: Application) -> JsonObject:
    settings = {name: _with_defaults(default, one.settings.get(name)) for name, default in SETTINGS.items()}
    api = settings["api"]
    if isinstance(api, dict) and api["requestedAccessTokenVersion"] is None and one.token_version != 1:
        settings["api"] = {**api, "requestedAccessTokenVersion": one.token_version}
    return {
        "id": one.id,
        "deletedDateTime": None,
        "appId": one.client_id,
        "displayName": one.display_name,
        "createdDateTime": shown_time(one.created_at),
        "identifierUris": list(one.identifier_uris),
        "isFallbackPublicClient": one.public_client,
        "appRoles": app_role_documents(one.app_roles),
        "disabledByMicrosoftStatus": None,
        "certification": None,
        "verifiedPublisher": {"displayName": None, "verifiedPublisherId": None, "addedDateTime": None},
        **settings,
    }


def _with_defaults(default: object, value: object) -> object:
    if isinstance(default, dict):
        given = value if isinstance(value, Mapping) else {}
        return {**default, **given, **{name: _with_defaults(inner, given.get(name)) for name, inner in default.items()}}
    return default if value is None else value


async def _complete(context: Context, entity: Entity, wanted: Wanted) -> Entity:
    row: Versioned[Application] = entity.row
    document = dict(entity.document)
    if wanted("publisherDomain"):
        tenant = await context.store.get(TENANTS, context.tenant_id)
        document["publisherDomain"] = tenant.value.domain if tenant else None
    if wanted("passwordCredentials") or wanted("keyCredentials"):
        document |= credential_members(await credentials_of(context, row.value))
    return replace(entity, document=document)


# Reading ----------------------------------------------------------------------------------------------------------------


def _entity(row: Versioned[Application]) -> Entity:
    return Entity(id=row.value.id, document=_document(row.value), row=row)


async def _rows(query: RowQuery) -> Rows:
    where: dict[str, ColumnValue] = {"tenant_id": query.context.tenant_id}
    for name, column in (("appId", "client_id"), ("displayName", "display_name")):
        value = query.equal(name)
        if value is not None:
            where[column] = value.lower()
    page = await query.context.store.page(APPLICATIONS, where=where, after=query.after, limit=query.limit)
    return Rows(items=tuple(map(_entity, page.items)), after=page.after)


async def _find(context: Context, _: Entity | None, key: str) -> Entity | None:
    row = await context.store.get(APPLICATIONS, key.lower()) if is_guid(key) else None
    return _entity(row) if row is not None and row.value.tenant_id == context.tenant_id else None


async def _find_by_client(context: Context, _: Entity | None, key: str) -> Entity | None:
    where = {"tenant_id": context.tenant_id, "client_id": key.lower()}
    page = await context.store.page(APPLICATIONS, where=where, limit=1)
    return _entity(page.items[0]) if page.items else None


async def _find_by_name(context: Context, _: Entity | None, key: str) -> Entity | None:
    for row in await context.store.all(APPLICATIONS, where={"tenant_id": context.tenant_id}):
        if row.value.settings.get("uniqueName") == key:
            return _entity(row)
    return None


# Changing ---------------------------------------------------------------------------------------------------------------


async def _create(task: Task) -> Planned:
    context, body = task.context, task.body
    require_settable(body, _TYPE, SETTABLE, {})
    check_audience(body)
    plain = new_application(
        tenant_id=context.tenant_id, display_name=display_name(body, None), entropy=context.entropy, now=context.now
    )
    made = _described(plain, body)
    batch = await _uris_batch(context, made, ())
    batch += Batch.of(Put(collection=APPLICATIONS, value=made, expect=ABSENT))
    keys = await key_changes(context, made, Fields(body))
    entity = await _complete(context, _entity(Versioned(made, 1)), lambda _: True)
    fresh = [Versioned(one.value, 1) for one in keys.operations if isinstance(one, Put)]
    return Planned(
        status=201,
        body={**entity.document, **credential_members(fresh)},  # type: ignore[arg-type]  # the batch puts credentials only
        batch=batch + keys,
        target=made.id,
        name=made.display_name,
    )


async def _update(task: Task) -> Planned:
    row: Versioned[Application] = task.target.row
    context, old, body = task.context, row.value, task.body
    shown = await _complete(context, task.target, lambda _: True)
    require_settable(body, _TYPE, SETTABLE, shown.document)
    check_audience(body)
    changed = _described(replace(old, display_name=display_name(body, old)), body)
    batch = await _uris_batch(context, changed, old.identifier_uris)
    batch += Batch.of(Put(collection=APPLICATIONS, value=changed, expect=row.version))
    batch += await key_changes(context, changed, Fields(body))
    batch += await _principals_follow(context, old, changed)
    return Planned(status=204, batch=batch, name=changed.display_name)


async def _delete(task: Task) -> Planned:
    row: Versioned[Application] = task.target.row
    context, application = task.context, row.value
    mine = {"application_id": application.id}
    batch = Batch()
    for principal in await context.store.all(PRINCIPALS, where={"client_id": application.client_id}):
        require_changeable(principal.value)
        batch += await removal_of(context.store, principal.value.id)
    credentials = await context.store.all(CREDENTIALS, where=mine)
    federated = await context.store.all(FEDERATED_CREDENTIALS, where=mine)
    batch += Batch.of(
        *(Delete(collection=CREDENTIALS, key=it.value.id, expect=it.version, subject=application.id) for it in credentials),
        *(
            Delete(collection=FEDERATED_CREDENTIALS, key=it.value.key, expect=it.version, subject=application.id)
            for it in federated
        ),
        Delete(collection=APPLICATIONS, key=application.id, expect=row.version),
    )
    return Planned(status=204, batch=batch, name=application.display_name)


def _described(application: Application, body: JsonObject) -> Application:
    """The application with everything that the body says of it, but its name and its credentials."""
    settings = merged(application.settings, body, SETTINGS)
    assertion_use(settings)
    fallback = Fields(body).flag("isFallbackPublicClient")
    return replace(
        application,
        identifier_uris=identifier_uris(body, application),
        app_roles=app_roles(body, application.app_roles),
        public_client=application.public_client if "isFallbackPublicClient" not in body else bool(fallback),
        token_version=token_version(settings) if "api" in body else application.token_version,
        settings=settings,
    )


async def _uris_batch(context: Context, application: Application, before: tuple[str, ...]) -> Batch:
    """What keeps identifier URIs unique in the tenant: whoever adds one writes the same record as whoever else does."""
    added = {audience_key(one) for one in application.identifier_uris} - {audience_key(one) for one in before}
    if not added:
        return Batch()
    name = f"identifier-uris/{context.tenant_id}"
    turn = await context.store.get(STORED_SETTINGS, name)
    for row in await context.store.all(APPLICATIONS, where={"tenant_id": context.tenant_id}):
        other = row.value
        names = {other.client_id, f"api://{other.client_id}", *map(audience_key, other.identifier_uris)}
        if other.id != application.id and names & added:
            raise taken_uri()
    latest = Setting(name=name, value=application.id)
    return Batch.of(Put(collection=STORED_SETTINGS, value=latest, expect=turn.version if turn else ABSENT))


async def _principals_follow(context: Context, old: Application, new: Application) -> Batch:
    """The service principals with what they repeat of the application, and the holders of its roles with what those are now."""
    batch = Batch()
    named = _copied(old) != _copied(new)
    for row in await context.store.all(PRINCIPALS, where={"client_id": new.client_id}):
        granted = await regrant(context.store, row.value, new.app_roles) if old.app_roles != new.app_roles else Batch()
        if named:
            granted = _renamed(granted, row, new)
        batch += granted
    return batch


def _copied(application: Application) -> tuple[str, tuple[str, ...], AssertionUse]:
    """What its service principals repeat."""
    return application.display_name, application.identifier_uris, assertion_use(application.settings)


def _renamed(batch: Batch, row: Versioned[Principal], application: Application) -> Batch:
    """The batch with the service principal as the application now is; it may hold a role of its own application, and be there already."""
    kept: list[Operation] = []
    principal = row.value
    for one in batch.operations:
        if isinstance(one, Put) and isinstance(one.value, Principal) and one.value.id == principal.id:
            principal = one.value
        else:
            kept.append(one)
    name, uris, use = _copied(application)
    renamed = replace(principal, display_name=name, names=(application.client_id, *uris), assertion_use=use)
    return Batch(tuple(kept)) + Batch.of(Put(collection=PRINCIPALS, value=renamed, expect=row.version))


APPLICATION_SET: Final = EntitySet(
    name="applications",
    entity=_TYPE,
    area=Area.APPLICATIONS,
    rows=_rows,
    find=_find,
    keys={"appId": _find_by_client, "uniqueName": _find_by_name},
    complete=_complete,
    create=_create,
    update=_update,
    delete=_delete,
    actions=CREDENTIAL_ACTIONS,
    children=(FEDERATED_OF_APPLICATION,),
)
