"""`federatedIdentityCredentials` of applications, and of managed identities to read: the rules are those of `model.federation`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from idplane.directory.clients import federated_credential
from idplane.graph.credentials import owner_put
from idplane.graph.declare import Context, Entity, EntitySet, Planned, RowQuery, Rows, Task
from idplane.graph.guards import require_may_act_for
from idplane.graph.permissions import Area
from idplane.graph.settings import require_known
from idplane.graph.shapes import OBJECT, TEXT, TEXTS, EntityType
from idplane.model.directory import Application, Principal
from idplane.model.expressions import LANGUAGE_VERSION, MAX_EXPRESSION
from idplane.model.failure import Failure, FailureKind
from idplane.model.federation import ClaimsExpression, FederatedCredential, Trust, check_neighbours, federated_key
from idplane.model.values import JsonObject
from idplane.ports.collections import FEDERATED_CREDENTIALS
from idplane.ports.store import ABSENT, Batch, Delete, Put, Versioned
from idplane.providers.fields import Fields

__all__ = ["FEDERATED_OF_APPLICATION", "FEDERATED_OF_PRINCIPAL"]

_MAX_TEXT: Final = 600
_MAX_AUDIENCES: Final = 100
_MEMBERS: Final = ("id", "name", "issuer", "subject", "audiences", "description", "claimsMatchingExpression")
_TYPE: Final = EntityType(
    name="federatedIdentityCredential",
    properties={
        **dict.fromkeys(("id", "name", "issuer", "subject", "description"), TEXT),
        "audiences": TEXTS,
        "claimsMatchingExpression": OBJECT,
    },
)


def _owned(owner: Entity) -> Mapping[str, str]:
    value: Application | Principal = owner.row.value
    return {"application_id" if isinstance(value, Application) else "principal_id": value.id}


def _document(context: Context, one: FederatedCredential) -> JsonObject:
    trust = one.trust
    shown: dict[str, object] = {
        "id": one.id,
        "name": one.name,
        "issuer": trust.issuer,
        "subject": trust.subject,
        "description": one.description or None,
        "audiences": list(trust.audiences),
    }
    if context.version == "beta" and trust.expression is not None:
        shown["claimsMatchingExpression"] = {
            "value": trust.expression.value,
            "languageVersion": trust.expression.language_version,
        }
    return shown


def _entity(context: Context, row: Versioned[FederatedCredential]) -> Entity:
    return Entity(id=row.value.id, document=_document(context, row.value), row=row, cursor=row.value.key)


async def _rows(query: RowQuery) -> Rows:
    assert query.parent is not None  # the set is below an owner
    page = await query.context.store.page(
        FEDERATED_CREDENTIALS, where=_owned(query.parent), after=query.after, limit=query.limit
    )
    return Rows(items=tuple(_entity(query.context, row) for row in page.items), after=page.after)


async def _find(context: Context, parent: Entity | None, key: str) -> Entity | None:
    """By name or by id: paths have either."""
    assert parent is not None  # the set is below an owner
    row = await context.store.get(FEDERATED_CREDENTIALS, federated_key(parent.id, key))
    if row is None:
        rows = await context.store.all(FEDERATED_CREDENTIALS, where=_owned(parent))
        row = next((one for one in rows if one.value.id == key.lower()), None)
    return _entity(context, row) if row is not None else None


async def _create(task: Task) -> Planned:
    context, owner = task.context, task.owner.row
    await require_may_act_for(context, owner.value)
    fields = _fields(task)
    with _in_graph_words():
        made = federated_credential(
            owner.value,
            name=fields.required_text("name"),
            trust=_trust(task.context, fields, None),
            entropy=context.entropy,
            now=context.now,
            description=fields.text("description", limit=_MAX_TEXT) or "",
        )
    if await context.store.get(FEDERATED_CREDENTIALS, made.key) is not None:
        words = f"FederatedIdentityCredential with name {made.name} already exists"
        raise Failure(FailureKind.CONFLICT, words, code="Request_MultipleObjectsWithSameKeyValue")
    batch = await _put(task, made, None)
    return Planned(status=201, body=_document(context, made), batch=batch, target=made.id, name=made.name)


async def _update(task: Task) -> Planned:
    row: Versioned[FederatedCredential] = task.target.row
    await require_may_act_for(task.context, task.owner.row.value)
    fields = _fields(task)
    name = fields.text("name")
    if name is not None and name.lower() != row.value.name.lower():
        raise fields.refuse("name", "cannot be changed")
    trust = _trust(task.context, fields, row.value.trust)
    with _in_graph_words():
        trust.check()
    description = (fields.text("description", limit=_MAX_TEXT) or "") if "description" in task.body else row.value.description
    changed = replace(row.value, trust=trust, description=description)
    return Planned(status=204, batch=await _put(task, changed, row), name=changed.name)


async def _delete(task: Task) -> Planned:
    row: Versioned[FederatedCredential] = task.target.row
    gone = Delete(collection=FEDERATED_CREDENTIALS, key=row.value.key, expect=row.version, subject=row.value.owner)
    return Planned(status=204, batch=Batch.of(gone), name=row.value.name)


async def _put(task: Task, wanted: FederatedCredential, old: Versioned[FederatedCredential] | None) -> Batch:
    context = task.context
    others = [row.value for row in await context.store.all(FEDERATED_CREDENTIALS, where=_owned(task.owner))]
    try:
        limit = context.profile.federated_credentials_per_principal
        check_neighbours(wanted, others, limit=limit, whose="application")
    except Failure as failure:
        code = "Request_MultipleObjectsWithSameKeyValue" if "conflict" in failure.data else "Directory_QuotaExceeded"
        kind = FailureKind.CONFLICT if "conflict" in failure.data else FailureKind.LIMIT_EXCEEDED
        raise Failure(kind, failure.detail, code=code) from failure
    put = Put(collection=FEDERATED_CREDENTIALS, value=wanted, expect=old.version if old else ABSENT)
    return owner_put(task.owner.row) + Batch.of(put)


@contextmanager
def _in_graph_words() -> Iterator[None]:
    """Resource Manager wraps the same members in `properties`."""
    try:
        yield
    except Failure as failure:
        raise Failure(failure.kind, failure.detail.replace("properties.", ""), code="Request_BadRequest") from failure


def _fields(task: Task) -> Fields:
    require_known(task.body, *_MEMBERS)
    if task.context.version != "beta" and task.body.get("claimsMatchingExpression") is not None:
        raise Fields(task.body).refuse("claimsMatchingExpression", "is a member of the beta version only")
    return Fields(task.body)


def _trust(context: Context, fields: Fields, old: Trust | None) -> Trust:
    """What the body says, over what was said before."""
    subject = fields.text("subject", limit=_MAX_TEXT)
    expression = _expression(fields) if context.version == "beta" else None
    if old is None:
        return Trust(
            issuer=fields.required_text("issuer", limit=_MAX_TEXT),
            subject=subject,
            audiences=fields.texts("audiences", limit=_MAX_AUDIENCES, length=_MAX_TEXT),
            expression=expression,
        )
    matching = (subject, expression) if subject is not None or expression is not None else (old.subject, old.expression)
    return Trust(
        issuer=fields.text("issuer", limit=_MAX_TEXT) or old.issuer,
        subject=matching[0],
        audiences=fields.texts("audiences", limit=_MAX_AUDIENCES, length=_MAX_TEXT) or old.audiences,
        expression=matching[1],
    )


def _expression(fields: Fields) -> ClaimsExpression | None:
    if not fields.has("claimsMatchingExpression"):
        return None
    given = fields.inner("claimsMatchingExpression")
    version = given.integer("languageVersion")
    return ClaimsExpression(
        value=given.required_text("value", limit=MAX_EXPRESSION),
        language_version=LANGUAGE_VERSION if version is None else version,
    )


FEDERATED_OF_APPLICATION: Final = EntitySet(
    name="federatedIdentityCredentials",
    entity=_TYPE,
    area=Area.APPLICATIONS,
    rows=_rows,
    find=_find,
    keys={"name": _find},
    create=_create,
    update=_update,
    delete=_delete,
)
FEDERATED_OF_PRINCIPAL: Final = replace(FEDERATED_OF_APPLICATION, create=None, update=None, delete=None)
"""Of a managed identity: Resource Manager makes them."""
