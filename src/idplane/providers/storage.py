"""Microsoft.Storage: accounts, as what functions and templates refer to; their services and containers are in `surroundings`.

Nothing is stored in them: their endpoints are Azure's names, where a plane serves nothing. Who asks for an account's keys, as the
Azure CLI does before it makes a function app, is given new ones each time, which open nothing and are kept nowhere.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import replace

from idplane.arm.context import Context
from idplane.arm.declare import Action, Invocation, NameRule, Outcome, Provider, Write
from idplane.arm.envelope import timestamp
from idplane.model.resources import Resource
from idplane.model.values import JsonObject
from idplane.providers.fields import Fields
from idplane.providers.hosts import host_type
from idplane.providers.operations import operations_of

__all__ = ["STORAGE"]

_VERSIONS = (
    "2026-04-01",
    "2025-08-01",
    "2025-06-01",
    "2025-01-01",
    "2024-01-01",
    "2023-05-01",
    "2023-04-01",
    "2023-01-01",
    "2022-09-01",
    "2022-05-01",
    "2021-09-01",
    "2021-08-01",
    "2021-06-01",
    "2021-04-01",
    "2021-02-01",
    "2021-01-01",
    "2020-08-01-preview",
    "2019-06-01",
    "2019-04-01",
    "2018-11-01",
    "2018-07-01",
    "2018-02-01",
)
_NAMES = NameRule(re.compile(r"[a-z0-9]{3,24}"), "3 to 24 lower-case letters and digits")
_SERVICES = ("blob", "dfs", "file", "queue", "table", "web")
_SUFFIX = "core.windows.net"
_KEY_BYTES = 64
_REPORTED = ("primaryEndpoints", "primaryLocation", "statusOfPrimary", "creationTime", "provisioningState")
"""Members of an account's properties that only the plane writes; clients send back what they read."""
_DEFAULTS: JsonObject = {
    "accessTier": "Hot",
    "allowBlobPublicAccess": False,
    "minimumTlsVersion": "TLS1_2",
    "supportsHttpsTrafficOnly": True,
    "networkAcls": {"bypass": "AzureServices", "defaultAction": "Allow", "ipRules": [], "virtualNetworkRules": []},
}


def _prepare(write: Write) -> Resource:
    draft = write.draft
    properties = {name: value for name, value in draft.properties.items() if name not in _REPORTED}
    return replace(
        draft, properties=properties, envelope={"kind": "StorageV2", "sku": {"name": "Standard_LRS"}, **draft.envelope}
    )


def _members(account: Resource, _: Context) -> JsonObject:
    sku = account.envelope.get("sku")
    name = str(sku.get("name", "")) if isinstance(sku, Mapping) else ""
    properties = {
        **_DEFAULTS,
        **account.properties,
        "primaryEndpoints": {service: f"https://{account.id.name}.{service}.{_SUFFIX}/" for service in _SERVICES},
        "primaryLocation": account.location or "",
        "statusOfPrimary": "available",
        "creationTime": timestamp(account.created_at),
        "provisioningState": "Succeeded",
    }
    return {**account.envelope, "sku": {"name": name, "tier": name.partition("_")[0]}, "properties": properties}


async def _keys(invocation: Invocation) -> Outcome:
    context = invocation.context
    keys = [
        {
            "keyName": name,
            "value": base64.b64encode(context.entropy.bytes(_KEY_BYTES)).decode(),
            "permissions": "FULL",
            "creationTime": timestamp(context.now),
        }
        for name in ("key1", "key2")
    ]
    return Outcome(body={"keys": keys})


async def _name_availability(invocation: Invocation) -> Outcome:
    """Account names are unique here within a group only, so a well-formed one can be had."""
    name = Fields(invocation.body).required_text("name", limit=260)
    if _NAMES.pattern.fullmatch(name) is None:
        message = f"{name} is not a valid storage account name. It must have {_NAMES.words}."
        return Outcome(body={"nameAvailable": False, "reason": "AccountNameInvalid", "message": message})
    return Outcome(body={"nameAvailable": True})


_ACCOUNTS = host_type(
    "Microsoft.Storage/storageAccounts",
    _VERSIONS,
    naming=_NAMES,
    prepare=_prepare,
    members=_members,
    actions={"listKeys": Action(run=_keys, permission="Microsoft.Storage/storageAccounts/listkeys/action")},
    created_status=200,
)

STORAGE = Provider(
    namespace="Microsoft.Storage",
    types=(_ACCOUNTS,),
    operations=operations_of("Microsoft Storage", (_ACCOUNTS,)),
    operations_versions=_VERSIONS,
    actions={"checkNameAvailability": Action(run=_name_availability)},
    actions_versions=_VERSIONS,
)
