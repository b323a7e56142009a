"""Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials (control-plane.md sections 5.2 and 7.1).

They belong to the identity's service principal and are removed with it. Writers below one identity follow one another: each raises
the principal's version, so that two that meet are planned anew in turn, and the limit and uniqueness hold. A writer that always
comes second is told 409.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from idplane.arm.context import Context
from idplane.arm.declare import (
    Deleted,
    Item,
    Listed,
    Listing,
    Lookup,
    NameRule,
    Own,
    OwnWrite,
    ResourceType,
    StoredItem,
)
from idplane.model.directory import Principal
from idplane.model.expressions import LANGUAGE_VERSION, MAX_EXPRESSION
from idplane.model.failure import Failure, FailureKind
from idplane.model.federation import NAME_RULE, ClaimsExpression, FederatedCredential, Trust, check_neighbours, federated_key
from idplane.model.ids import ResourceId
from idplane.model.resources import Resource
from idplane.model.values import JsonObject
from idplane.ports.collections import FEDERATED_CREDENTIALS, PRINCIPALS, RESOURCES
from idplane.ports.store import ABSENT, Batch, Delete, Put, Versioned
from idplane.providers.fields import Fields
from idplane.providers.identity_block import IDENTITY_RESOURCE

__all__ = ["FEDERATED_CREDENTIALS_TYPE"]

_VERSIONS: Final = (
    "2026-05-31",
    "2025-05-31-preview",
    "2025-01-31-preview",
    "2024-11-30",
    "2023-07-31-preview",
    "2023-01-31",
    "2022-01-31-preview",
)
_WITH_EXPRESSIONS: Final = frozenset({"2025-05-31-preview", "2025-01-31-preview"})
_MAX_AUDIENCES: Final = 100
_MAX_TEXT: Final = 600


async def _identity(context: Context, identifier: ResourceId) -> tuple[Resource, Versioned[Principal]]:
    """The identity that a credential belongs to, with its principal; raises `Failure(PARENT_NOT_FOUND)`."""
    found = await context.store.get(RESOURCES, identifier.key)
    principal = await context.store.get(PRINCIPALS, str(found.value.properties["principalId"])) if found else None
    if found is None or principal is None:
        raise Failure(
            FailureKind.PARENT_NOT_FOUND,
            "the identity was not found",
            name=identifier.name,
            parent=identifier.name,
            parent_type=IDENTITY_RESOURCE,
        )
    return found.value, principal


def _parent(identifier: ResourceId) -> ResourceId:
    parent = identifier.parent
    assert parent is not None  # the type is a child
    return parent


async def _find(lookup: Lookup) -> Versioned[FederatedCredential] | None:
    _, principal = await _identity(lookup.context, _parent(lookup.id))
    return await lookup.context.store.get(FEDERATED_CREDENTIALS, federated_key(principal.value.id, lookup.id.name))


async def _get(lookup: Lookup) -> Item | None:
    identity, principal = await _identity(lookup.context, _parent(lookup.id))
    key = federated_key(principal.value.id, lookup.id.name)
    found = await lookup.context.store.get(FEDERATED_CREDENTIALS, key)
    return Item(body=_render(identity.id, found.value)) if found else None


async def _list(listing: Listing) -> Listed:
    identity, principal = await _identity(listing.context, listing.scope)
    page = await listing.context.store.page(
        FEDERATED_CREDENTIALS, where={"principal_id": principal.value.id}, after=listing.after, limit=listing.top
    )
    return Listed(items=tuple(_render(identity.id, row.value) for row in page.items), after=page.after)


async def _put(write: OwnWrite) -> StoredItem:
    context = write.context
    identity, principal = await _identity(context, _parent(write.id))
    trust = _trust(write)
    trust.check()
    old = await context.store.get(FEDERATED_CREDENTIALS, federated_key(principal.value.id, write.id.name))
    if old is not None:
        stored = replace(old.value, trust=trust)
    else:
        stored = FederatedCredential(
            id=context.entropy.guid(),
            principal_id=principal.value.id,
            name=write.id.name,
            trust=trust,
            created_at=context.now,
        )
    others = await context.store.all(FEDERATED_CREDENTIALS, where={"principal_id": principal.value.id})
    limit = context.profile.federated_credentials_per_principal
    check_neighbours(stored, [row.value for row in others], limit=limit, whose="Managed Identity")
    batch = Batch.of(
        Put(collection=PRINCIPALS, value=principal.value, expect=principal.version),
        Put(collection=FEDERATED_CREDENTIALS, value=stored, expect=old.version if old else ABSENT),
    )
    return StoredItem(body=_render(identity.id, stored), created=old is None, batch=batch)


async def _delete(lookup: Lookup) -> Deleted | None:
    found = await _find(lookup)
    if found is None:
        return None
    gone = found.value
    return Deleted(
        batch=Batch.of(Delete(collection=FEDERATED_CREDENTIALS, key=gone.key, expect=found.version, subject=gone.principal_id))
    )


def _trust(write: OwnWrite) -> Trust:
    body = Fields(write.body)
    if not body.inner("properties").values:
        words = "Federated Identity Credential HTTP body has empty properties."
        raise Failure(FailureKind.INVALID_PARAMETER, words, target="properties", parameter="properties")
    fields = body.inner("properties")
    return Trust(
        issuer=fields.required_text("issuer", limit=_MAX_TEXT),
        subject=fields.text("subject", limit=_MAX_TEXT),
        audiences=fields.texts("audiences", limit=_MAX_AUDIENCES, length=_MAX_TEXT),
        expression=_expression(fields) if write.context.api_version in _WITH_EXPRESSIONS else None,
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


def _render(identity: ResourceId, credential: FederatedCredential) -> JsonObject:
    trust = credential.trust
    properties: dict[str, object] = {"issuer": trust.issuer, "audiences": list(trust.audiences)}
    if trust.subject is not None:
        properties["subject"] = trust.subject
    if trust.expression is not None:
        properties["claimsMatchingExpression"] = {
            "value": trust.expression.value,
            "languageVersion": trust.expression.language_version,
        }
    return {
        "id": f"{identity}/federatedIdentityCredentials/{credential.name}",
        "name": credential.name,
        "type": FEDERATED_CREDENTIALS_TYPE.name,
        "properties": properties,
    }


FEDERATED_CREDENTIALS_TYPE: Final = ResourceType(
    name=f"{IDENTITY_RESOURCE}/federatedIdentityCredentials",
    api_versions=_VERSIONS,
    naming=NameRule(
        NAME_RULE,
        "3 to 120 letters, digits, '-' or '_', starting with a letter or digit",
        "Federated Identity Credential name '{name}' is invalid.",
    ),
    own=Own(get=_get, list=_list, put=_put, delete=_delete),
)
