"""The Microsoft.KeyVault provider: vaults as resources (control-plane.md section 5.7). Secrets are `idplane.vault`'s business.

Two things differ from Azure on purpose. Access to secrets is decided by RBAC alone, so a vault that asks for access policies is
refused rather than opened or closed by surprise. And deleting a vault deletes its secrets with it: there are no soft-deleted vaults,
so `deletedVaults` is always empty and a name is free again at once. Network rules are kept and given back but reach nothing, for there
is no network of ours between a caller and a vault.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from idplane.arm.context import Context
from idplane.arm.declare import (
    Action,
    Invocation,
    Item,
    Listed,
    Listing,
    Lookup,
    NameRule,
    OperationInfo,
    Outcome,
    Own,
    Placement,
    Provider,
    Removal,
    ResourceType,
    Write,
    Written,
)
from idplane.model.failure import Failure, FailureKind
from idplane.model.resources import Resource
from idplane.model.values import JsonObject
from idplane.ports.collections import RESOURCES, SECRETS
from idplane.ports.store import Batch, Delete
from idplane.providers.fields import Fields
from idplane.providers.vault_secrets import vault_secrets

__all__ = ["KEY_VAULT"]

_TYPE = "Microsoft.KeyVault/vaults"
_VERSIONS = (
    "2026-05-15",
    "2026-03-01-preview",
    "2026-02-01",
    "2025-05-01",
    "2024-12-01-preview",
    "2024-11-01",
    "2024-04-01-preview",
    "2023-07-01",
    "2023-02-01",
    "2022-11-01",
    "2022-07-01",
    "2021-11-01-preview",
    "2021-10-01",
    "2021-06-01-preview",
    "2021-04-01-preview",
    "2020-04-01-preview",
    "2019-09-01",
    "2018-02-14",
    "2016-10-01",
    "2015-06-01",
)
# A vault's name is a host name's first label: 3 to 24 letters, digits and single hyphens between them, first a letter.
_NAMING = NameRule(
    re.compile(r"(?=.{3,24}\Z)[A-Za-z][A-Za-z0-9]*(?:-[A-Za-z0-9]+)*"),
    "3 to 24 letters, digits and hyphens; it begins with a letter, ends with a letter or digit, and has no two hyphens in a row",
)
_RETENTION = range(7, 91)
_RULES_LIMIT = 1024
# Never stored: shown by the service alone, or words to it.
_NOT_STORED = (
    "vaultUri",
    "createMode",
    "provisioningState",
    "hsmPoolResourceId",
    "privateEndpointConnections",
    "accessPolicies",
)


# Writing -------------------------------------------------------------------------------------------------------------


async def _put(write: Write) -> Written:
    if write.created:
        await _require_free_name(write.context, write.id.name)
    fields = Fields(write.draft.properties, "properties")
    properties = {
        name: value for name, value in write.draft.properties.items() if name not in _NOT_STORED and value is not None
    }
    _require_rbac(fields)
    _check_flags(fields)
    old = write.old.properties if write.old is not None else {}
    properties |= {
        "tenantId": _tenant(fields, write.context),
        "sku": _sku(fields),
        "enableRbacAuthorization": True,
        "enableSoftDelete": True,
        "softDeleteRetentionInDays": _retention(fields, old),
        "publicNetworkAccess": fields.text("publicNetworkAccess") or "Enabled",
    }
    if old.get("enablePurgeProtection"):
        properties["enablePurgeProtection"] = True
    return Written(resource=replace(write.draft, properties=properties))


def _require_rbac(fields: Fields) -> None:
    if fields.flag("enableRbacAuthorization") is False:
        raise fields.refuse(
            "enableRbacAuthorization", "cannot be false: this server decides access to secrets by role assignments only"
        )
    if fields.items("accessPolicies", limit=_RULES_LIMIT):
        raise fields.refuse(
            "accessPolicies", "must be empty: this server decides access to secrets by role assignments, not by access policies"
        )
    mode = fields.text("createMode")
    if mode is not None and mode.lower() != "default":
        raise fields.refuse("createMode", "can only be 'default': there are no deleted vaults to recover")


def _check_flags(fields: Fields) -> None:
    for name in ("enabledForDeployment", "enabledForDiskEncryption", "enabledForTemplateDeployment"):
        fields.flag(name)
    fields.inner("networkAcls")
    for name in ("enableSoftDelete", "enablePurgeProtection"):
        if fields.flag(name) is False:
            raise fields.refuse(name, "cannot be set to false: turning it on is irreversible")


def _tenant(fields: Fields, context: Context) -> str:
    if fields.required_text("tenantId").lower() != context.tenant.id:
        raise fields.refuse("tenantId", f"must be '{context.tenant.id}', the tenant of the subscription")
    return context.tenant.id


def _sku(fields: Fields) -> JsonObject:
    sku = fields.inner("sku")
    name = sku.required_text("name").lower()
    if name not in {"standard", "premium"}:
        raise sku.refuse("name", "must be 'standard' or 'premium'")
    if (sku.text("family") or "A").upper() != "A":
        raise sku.refuse("family", "must be 'A'")
    return {"family": "A", "name": name}


def _retention(fields: Fields, old: Mapping[str, object]) -> int:
    """Days for which deleted secrets can be recovered; set once."""
    before = old.get("softDeleteRetentionInDays")
    days = fields.integer("softDeleteRetentionInDays")
    if days is None:
        return before if isinstance(before, int) else _RETENTION[-1]
    if days not in _RETENTION:
        raise fields.refuse("softDeleteRetentionInDays", f"must be between {_RETENTION[0]} and {_RETENTION[-1]}")
    if before not in {None, days}:
        raise fields.refuse("softDeleteRetentionInDays", f"has been set already to {before} and cannot be modified")
    return days


async def _taken(context: Context, name: str) -> bool:
    """Whether any tenant has a vault of that name: names are host names, so they are unique in the installation."""
    page = await context.store.page(RESOURCES, where={"type": _TYPE.lower(), "name": name.lower()}, limit=1)
    return bool(page.items)


async def _require_free_name(context: Context, name: str) -> None:
    if await _taken(context, name):
        raise Failure(
            FailureKind.CONFLICT,
            f"The vault name '{name}' is already in use. Vault names are globally unique so it is possible that the name is already "
            "taken.",
            code="VaultAlreadyExists",
            name=name,
        )


async def _remove(removal: Removal) -> Batch:
    """The vault's secrets, deleted ones included: they reference it."""
    secrets = await removal.context.store.all(SECRETS, where={"vault_key": removal.resource.id.key})
    return Batch.of(*(Delete(collection=SECRETS, key=one.value.key) for one in secrets))


# Showing -------------------------------------------------------------------------------------------------------------


def _render(resource: Resource, context: Context) -> JsonObject:
    uri = f"https://{resource.id.name.lower()}.{context.addresses.vault_domain}/"
    properties = {**resource.properties, "accessPolicies": [], "vaultUri": uri, "provisioningState": "Succeeded"}
    return {"properties": properties}


async def _check_name(invocation: Invocation) -> Outcome:
    """POST checkNameAvailability `{"name", "type": "Microsoft.KeyVault/vaults"}`."""
    fields = Fields(invocation.body)
    name = fields.required_text("name")
    if fields.required_text("type").lower() != _TYPE.lower():
        raise fields.refuse("type", f"must be '{_TYPE}'")
    if _NAMING.pattern.fullmatch(name) is None:
        return Outcome(body=_unavailable("AccountNameInvalid", f"A vault's name has {_NAMING.words}."))
    if await _taken(invocation.context, name):
        return Outcome(body=_unavailable("AlreadyExists", f"The vault name '{name}' is already in use."))
    return Outcome(body={"nameAvailable": True})


def _unavailable(reason: str, message: str) -> JsonObject:
    return {"nameAvailable": False, "reason": reason, "message": message}


# Deleted vaults ------------------------------------------------------------------------------------------------------


async def _no_deleted_vaults(_: Listing) -> Listed:
    return Listed(items=())


async def _no_deleted_vault(_: Lookup) -> Item | None:
    return None


# Declarations --------------------------------------------------------------------------------------------------------

_VAULTS = ResourceType(
    name=_TYPE,
    api_versions=_VERSIONS,
    placements=frozenset({Placement.GROUP}),
    naming=_NAMING,
    put=_put,
    remove=_remove,
    render=_render,
)

_DELETED_VAULTS = ResourceType(
    name="Microsoft.KeyVault/deletedVaults",
    api_versions=_VERSIONS,
    placements=frozenset({Placement.SUBSCRIPTION}),
    own=Own(list=_no_deleted_vaults),
    located=False,
    taggable=False,
    system_data=False,
)

_LOCATED_DELETED_VAULTS = ResourceType(
    name="Microsoft.KeyVault/locations/deletedVaults",
    api_versions=_VERSIONS,
    placements=frozenset({Placement.SUBSCRIPTION}),
    own=Own(get=_no_deleted_vault),
    located=False,
    taggable=False,
    system_data=False,
)

_OPERATIONS = tuple(
    OperationInfo(
        name=f"Microsoft.KeyVault/{name}", operation=operation, resource=resource, provider="Microsoft Key Vault", data=data
    )
    for name, operation, resource, data in (
        ("checkNameAvailability/read", "Check Name Availability", "Name Availability", False),
        ("vaults/read", "View Key Vault", "Key Vault", False),
        ("vaults/write", "Update Key Vault", "Key Vault", False),
        ("vaults/delete", "Delete Key Vault", "Key Vault", False),
        ("deletedVaults/read", "View Soft Deleted Vaults", "Soft Deleted Vault", False),
        ("locations/deletedVaults/read", "View Soft Deleted Key Vault", "Soft Deleted Vault", False),
        ("vaults/secrets/getSecret/action", "Get Secret", "Secret", True),
        ("vaults/secrets/setSecret/action", "Set Secret", "Secret", True),
        ("vaults/secrets/readMetadata/action", "View Secret Properties", "Secret", True),
        ("vaults/secrets/update/action", "Update Secret", "Secret", True),
        ("vaults/secrets/delete", "Delete Secret", "Secret", True),
        ("vaults/secrets/recover/action", "Recover Secret", "Secret", True),
        ("vaults/secrets/purge/action", "Purge Secret", "Secret", True),
    )
)

KEY_VAULT = Provider(
    namespace="Microsoft.KeyVault",
    types=(_VAULTS, vault_secrets(_VERSIONS), _DELETED_VAULTS, _LOCATED_DELETED_VAULTS),
    operations=_OPERATIONS,
    operations_versions=_VERSIONS,
    actions={"checkNameAvailability": Action(run=_check_name, permission="Microsoft.KeyVault/checkNameAvailability/read")},
    actions_versions=_VERSIONS,
)
