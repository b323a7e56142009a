"""Microsoft.KeyVault/vaults/secrets: how templates write secrets, and how deployments read them as parameters.

Resource Manager writes a secret and never shows its value, as in Azure. A value that is written again makes no new version, so that
a template deployed again changes nothing. Reading, listing and deleting are the vault's own business (`idplane.vault`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from idplane.arm.context import Context
from idplane.arm.declare import Item, Listed, Listing, Lookup, NameRule, Own, OwnWrite, ResourceType, StoredItem
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.model.resources import Resource
from idplane.model.values import JsonObject
from idplane.model.vault import SecretVersion, secret_key
from idplane.ports.collections import RESOURCES, SECRETS
from idplane.ports.store import ABSENT, Batch, Put, Versioned
from idplane.providers.fields import Fields

__all__ = ["secret_parameter", "vault_secrets"]

_TYPE = "Microsoft.KeyVault/vaults/secrets"
_VAULT = "microsoft.keyvault/vaults"
_NAMES = NameRule(re.compile(r"[0-9A-Za-z-]{1,127}"), "1 to 127 letters, digits and hyphens")
_LONGEST = 25_600
_DEPLOY = "Microsoft.KeyVault/vaults/deploy/action"


def vault_secrets(versions: tuple[str, ...]) -> ResourceType:
    """The type, under its vault's api-versions."""
    return ResourceType(
        name=_TYPE,
        api_versions=versions,
        naming=_NAMES,
        own=Own(get=_get, list=_list, put=_put),
        located=False,
        system_data=False,
        created_status=200,
    )


# Resource Manager ----------------------------------------------------------------------------------------------------


async def _vault(context: Context, secret: ResourceId) -> Resource | None:
    found = await context.store.get(RESOURCES, ResourceId(secret.segments[:-2]).key)
    return found.value if found else None


async def _current(context: Context, vault_key: str, name: str) -> Versioned[SecretVersion] | None:
    """The newest version, deleted or not."""
    found = await context.store.all(SECRETS, where={"vault_key": vault_key, "name": name.lower()})
    return max(found, key=lambda it: it.value.sequence, default=None)


async def _get(lookup: Lookup) -> Item | None:
    vault = await _vault(lookup.context, lookup.id)
    found = await _current(lookup.context, vault.id.key, lookup.id.name) if vault else None
    if vault is None or found is None or found.value.deleted_at is not None:
        return None
    return Item(body=_shown(vault, found.value, lookup.context))


async def _list(listing: Listing) -> Listed:
    context = listing.context
    vault = await context.store.get(RESOURCES, listing.scope.key)
    if vault is None:
        raise Failure(FailureKind.VAULT_NOT_FOUND, f"the vault '{listing.scope.name}' was not found")
    page = await context.store.page(
        SECRETS, where={"vault_key": listing.scope.key, "deleted": 0}, after=listing.after, limit=listing.top
    )
    newest: dict[str, SecretVersion] = {}
    for one in page.items:
        current = await _current(context, listing.scope.key, one.value.name)
        if current is not None and current.value.key == one.value.key and current.value.deleted_at is None:
            newest[one.value.name.lower()] = one.value
    return Listed(items=tuple(_shown(vault.value, one, context) for one in newest.values()), after=page.after)


async def _put(write: OwnWrite) -> StoredItem:
    context, properties = write.context, Fields(write.body).inner("properties")
    vault = await _vault(context, write.id)
    if vault is None:
        facts = {"id": str(write.id), "name": write.id.name, "parent": write.id.segments[-3], "parent_type": _VAULT}
        raise Failure(FailureKind.PARENT_NOT_FOUND, "the vault was not found", **facts)
    old = await _current(context, vault.id.key, write.id.name)
    if old is not None and old.value.deleted_at is not None:
        words = f"Secret {write.id.name} is currently in a deleted but recoverable state, and its name cannot be reused."
        raise Failure(FailureKind.CONFLICT, words, code="ConflictError")
    value = properties.text("value", limit=_LONGEST)
    if value is None:
        raise properties.refuse("value", "is required")
    made = _drafted(write, vault, old.value if old else None, properties)
    if old is not None:
        known = context.custody.unseal(old.value.sealed, context=old.value.key).decode()
        if known == value:
            kept = replace(made, version=old.value.version, sequence=old.value.sequence, created_at=old.value.created_at)
            kept = replace(kept, sealed=old.value.sealed, updated_at=old.value.updated_at)
            changed = replace(kept, updated_at=context.now) if kept != old.value else kept
            batch = Batch.of(Put(collection=SECRETS, value=changed, expect=old.version)) if changed != old.value else Batch()
            return StoredItem(body=_shown(vault, changed, context), created=False, batch=batch)
    sealed = replace(made, sealed=context.custody.seal(value.encode(), context=made.key))
    batch = Batch.of(Put(collection=SECRETS, value=sealed, expect=ABSENT))
    if old is not None:
        # Whoever takes the predecessor for the current version loses the race (see the vault's own `set`).
        batch = Batch.of(Put(collection=SECRETS, value=old.value, expect=old.version)) + batch
    return StoredItem(body=_shown(vault, sealed, context), created=old is None, batch=batch)


def _drafted(write: OwnWrite, vault: Resource, old: SecretVersion | None, properties: Fields) -> SecretVersion:
    """The next version, not sealed yet."""
    attributes, tags = properties.inner("attributes"), Fields(write.body).inner("tags")
    enabled = attributes.flag("enabled")
    return SecretVersion(
        vault=vault.id.key,
        name=old.name if old else write.id.name,
        version=write.context.entropy.bytes(16).hex(),
        sealed=b"",
        created_at=write.context.now,
        updated_at=write.context.now,
        sequence=old.sequence + 1 if old else 1,
        content_type=properties.text("contentType", limit=255),
        tags={name: str(value) for name, value in tags.values.items()},
        enabled=True if enabled is None else enabled,
        not_before=_instant(attributes, "nbf"),
        expires=_instant(attributes, "exp"),
    )


def _instant(attributes: Fields, name: str) -> datetime | None:
    seconds = attributes.integer(name)
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise attributes.refuse(name, "must be seconds since 1970") from error


def _shown(vault: Resource, one: SecretVersion, context: Context) -> JsonObject:
    uri = f"https://{vault.id.name.lower()}.{context.addresses.vault_domain}/secrets/{one.name}"
    times = {"nbf": one.not_before, "exp": one.expires, "created": one.created_at, "updated": one.updated_at}
    attributes = {name: int(at.timestamp()) for name, at in times.items() if at is not None}
    properties: dict[str, object] = {
        "attributes": {"enabled": one.enabled, **attributes},
        "secretUri": uri,
        "secretUriWithVersion": f"{uri}/{one.version}",
    }
    if one.content_type is not None:
        properties["contentType"] = one.content_type
    return {
        "id": f"{vault.id}/secrets/{one.name}",
        "name": one.name,
        "type": _TYPE,
        "location": vault.location,
        "tags": dict(one.tags),
        "properties": properties,
    }


# Parameters of deployments -------------------------------------------------------------------------------------------


async def secret_parameter(context: Context, name: str, reference: Mapping[str, object]) -> str:
    """The secret that a deployment's parameter refers to, for a caller who may deploy with the vault's secrets.

    Raises `Failure` with Azure's codes: the vault must be enabled for template deployment, and the caller needs `deploy/action` on it.
    """
    fields = Fields(reference, f"properties.parameters.{name}.reference")
    vault_id = ResourceId.parse(fields.inner("keyVault").required_text("id"))
    secret, version = fields.required_text("secretName", limit=127), fields.text("secretVersion", limit=64)
    allowed = (await context.access.check(context.caller.principal_ids, _DEPLOY, vault_id)).allowed
    found = await context.store.get(RESOURCES, vault_id.key) if allowed else None
    if found is None or found.value.type.lower() != _VAULT:
        words = (
            f"The client '{context.caller.display_name or context.caller.client_id}' with object id '{context.caller.principal_id}' does "
            f"not have permission to perform action '{_DEPLOY.upper()}' on the specified KeyVault resource '{vault_id}'."
        )
        code = "KeyVaultParameterReferenceAuthorizationFailed"
        raise Failure(FailureKind.TEMPLATE_FORBIDDEN, words, code=code, action=_DEPLOY)
    if found.value.properties.get("enabledForTemplateDeployment") is not True:
        words = f"The specified KeyVault '{vault_id}' is not enabled for template deployment (parameter '{name}')."
        raise Failure(FailureKind.INVALID_PARAMETER, words, code="KeyVaultParameterReferenceAuthorizationFailed")
    row = await _wanted(context, vault_id.key, secret, version)
    if row is None or row.value.deleted_at is not None or not row.value.enabled:
        words = f"The secret of KeyVault parameter '{name}' cannot be retrieved. Http status code: 'NotFound'."
        raise Failure(FailureKind.INVALID_PARAMETER, words, code="KeyVaultParameterReferenceSecretRetrieveFailed")
    return context.custody.unseal(row.value.sealed, context=row.value.key).decode()


async def _wanted(context: Context, vault_key: str, name: str, version: str | None) -> Versioned[SecretVersion] | None:
    current = await _current(context, vault_key, name)
    if current is None or current.value.deleted_at is not None or version is None:
        return current
    return await context.store.get(SECRETS, secret_key(vault_key, name, version))
