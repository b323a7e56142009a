"""Microsoft.Web: App Service plans, sites (web apps, function apps and Standard logic apps, told apart by `kind`) and their slots.

Clients read a whole site, change it and PUT it back (control-plane.md section 1 point 8), so everything is stored as it is sent and
what idplane reports itself is left out of what is stored. No code is deployed or run: the record is what identities, roles and
`idplane run` hang on.
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
    Outcome,
    Own,
    OwnWrite,
    Provider,
    ResourceType,
    StoredItem,
    Write,
    Written,
)
from idplane.arm.missing import resource_not_found
from idplane.model.ids import ResourceId
from idplane.model.resources import Resource
from idplane.model.values import JsonObject
from idplane.ports.collections import RESOURCES
from idplane.ports.store import Batch, Put
from idplane.providers.fields import Fields
from idplane.providers.hosts import host_type
from idplane.providers.operations import operations_of
from idplane.providers.secret_members import without_secrets
from idplane.providers.web_stacks import stack_types

__all__ = ["WEB"]

_VERSIONS = (
    "2025-05-01",
    "2025-03-01",
    "2024-11-01",
    "2024-04-01",
    "2023-12-01",
    "2023-01-01",
    "2022-09-01",
    "2022-03-01",
    "2021-03-01",
    "2021-02-01",
    "2021-01-15",
    "2021-01-01",
    "2020-12-01",
    "2020-10-01",
    "2020-09-01",
    "2020-06-01",
    "2019-08-01",
    "2018-11-01",
    "2018-02-01",
    "2016-08-01",
)
_STATE = "siteState"
"""Where it is kept whether a site runs: a member of the stored envelope that no request can write."""
_RUNNING, _STOPPED = "Running", "Stopped"
_REPORTED = (
    "state",
    "hostNames",
    "defaultHostName",
    "repositorySiteName",
    "resourceGroup",
    "usageState",
    "availabilityState",
    "name",
)
"""Members of a site's properties that only the plane writes; clients send back what they read."""
_SITE_NAMES = NameRule(
    re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,58}[A-Za-z0-9])"),
    "2 to 60 letters, digits or '-', not starting or ending with '-'",
)
_SLOT_NAMES = NameRule(
    re.compile(r"(?!production$)[A-Za-z0-9](?:[A-Za-z0-9-]{0,57}[A-Za-z0-9])", re.IGNORECASE),
    "2 to 59 letters, digits or '-', not starting or ending with '-', and not be 'production'",
)
_PLAN_NAMES = NameRule(re.compile(r"[A-Za-z0-9-]{1,60}"), "1 to 60 letters, digits or '-'")


def _prepare(write: Write) -> Resource:
    draft, old = write.draft, write.old
    properties = {name: value for name, value in draft.properties.items() if name not in _REPORTED}
    plan = properties.get("serverFarmId")
    if isinstance(plan, str) and plan and "/" not in plan:
        # A plan of the same group may be told by its name, as `az functionapp create` does.
        properties["serverFarmId"] = str(
            ResourceId(draft.id.segments[:4]).child("providers", "Microsoft.Web", "serverfarms", plan)
        )
    state = old.envelope.get(_STATE, _RUNNING) if old else _RUNNING
    return replace(draft, properties=properties, envelope={"kind": "app", **draft.envelope, _STATE: state})


def _host_name(site: ResourceId) -> str:
    return f"{'-'.join(site.segments[7::2]).lower()}.azurewebsites.net"


def _members(site: Resource, _: Context) -> JsonObject:
    parts = site.id.segments[7::2]
    host_name = _host_name(site.id)
    properties = {
        "enabled": True,
        **site.properties,
        "name": "/".join(parts),
        "state": site.envelope.get(_STATE, _RUNNING),
        "hostNames": [host_name],
        "defaultHostName": host_name,
        "repositorySiteName": parts[0],
        "resourceGroup": site.id.resource_group or "",
        "usageState": "Normal",
        "availabilityState": "Normal",
    }
    envelope = {name: value for name, value in site.envelope.items() if name != _STATE}
    # A slot's name holds its site's, as Azure shows it and the CLI splits it.
    return {**envelope, "name": "/".join(parts), "properties": properties}


def _turning(state: str) -> Action:
    async def run(invocation: Invocation) -> Outcome:
        site = invocation.resource
        assert site is not None  # the type is stored
        return Outcome(resource=replace(site, envelope={**site.envelope, _STATE: state}))

    return Action(run=run)


async def _with_sku(write: Write, written: Written) -> Written:
    """The tier of the site's plan, by which the CLI tells function apps apart. Without a plan it is a consumption plan's, or what was sent."""
    properties = written.resource.properties
    named = properties.get("serverFarmId")
    plan = await write.context.store.get(RESOURCES, named.lower()) if isinstance(named, str) else None
    sku = plan.value.envelope.get("sku") if plan is not None else None
    tier = sku.get("tier") if isinstance(sku, Mapping) else None
    shown = {**properties, "sku": tier or properties.get("sku") or "Dynamic"}
    return replace(written, resource=replace(written.resource, properties=shown))


async def _publish_profile(invocation: Invocation) -> Outcome:
    """A publish profile that publishes nowhere: clients want one, and nothing here takes a deployment."""
    site = invocation.resource
    assert site is not None  # the type is stored
    name = "-".join(site.id.segments[7::2])
    profile = f'<publishProfile profileName="{name}" publishMethod="None" destinationAppUrl="https://{_host_name(site.id)}"/>'
    return Outcome(body=f"<publishData>{profile}</publishData>".encode())


_ACTIONS = {
    "start": _turning(_RUNNING),
    "stop": _turning(_STOPPED),
    "restart": _turning(_RUNNING),
    "publishxml": Action(run=_publish_profile),
}
_SITES = host_type(
    "Microsoft.Web/sites",
    _VERSIONS,
    naming=_SITE_NAMES,
    prepare=_prepare,
    finish=_with_sku,
    members=_members,
    actions=_ACTIONS,
    created_status=200,
)
_SLOTS = host_type(
    "Microsoft.Web/sites/slots",
    _VERSIONS,
    naming=_SLOT_NAMES,
    prepare=_prepare,
    finish=_with_sku,
    members=_members,
    actions=_ACTIONS,
    created_status=200,
)


# Plans --------------------------------------------------------------------------------------------------------------


def _plan_members(plan: Resource, _: Context) -> JsonObject:
    properties = {**plan.properties, "status": "Ready", "resourceGroup": plan.id.resource_group or ""}
    return {"kind": "app", **plan.envelope, "properties": {**properties, "provisioningState": "Succeeded"}}


_PLANS = host_type("Microsoft.Web/serverfarms", _VERSIONS, naming=_PLAN_NAMES, members=_plan_members, created_status=200)


# Configuration ------------------------------------------------------------------------------------------------------


_UNKEPT = frozenset(
    {
        "appsettings",
        "authsettings",
        "authsettingsv2",
        "azurestorageaccounts",
        "connectionstrings",
        "logs",
        "metadata",
        "pushsettings",
        "slotconfignames",
    }
)
"""Configurations that templates write beside `web`. They are full of secrets and nothing here would read them, so none is kept."""


async def _configuration(lookup: Lookup) -> Item | None:
    """`config/web`: what was sent as the site's `siteConfig`. The CLI reads it before it makes a slot. Others show as empty."""
    site = await lookup.context.store.get(RESOURCES, _owner(lookup.id).key)
    name = lookup.id.name.lower()
    if site is None or name not in {"web", *_UNKEPT}:
        return None
    return Item(body=_shown_configuration(site.value, lookup.type.name, lookup.id.name))


async def _put_configuration(write: OwnWrite) -> StoredItem:
    """What templates set beside the site: `web` is merged into its `siteConfig`, the rest is taken and not kept."""
    site = await write.context.store.get(RESOURCES, _owner(write.id).key)
    name = write.id.name.lower()
    if site is None or name not in {"web", *_UNKEPT}:
        raise resource_not_found(write.id)
    if name != "web":
        return StoredItem(body=_shown_configuration(site.value, write.type.name, write.id.name), created=False, batch=Batch())
    sent, old = Fields(write.body).inner("properties").values, site.value.properties.get("siteConfig")
    merged = without_secrets({**(old if isinstance(old, Mapping) else {}), **sent})
    changed = replace(site.value, properties={**site.value.properties, "siteConfig": merged})
    batch = Batch.of(Put(collection=RESOURCES, value=changed, expect=site.version))
    return StoredItem(body=_shown_configuration(changed, write.type.name), created=False, batch=batch)


async def _configurations(listing: Listing) -> Listed:
    site = await listing.context.store.get(RESOURCES, listing.scope.key)
    if site is None:
        raise resource_not_found(listing.scope)
    return Listed(items=(_shown_configuration(site.value, listing.type.name),))


def _owner(configuration: ResourceId) -> ResourceId:
    return ResourceId(configuration.segments[:-2])


def _shown_configuration(site: Resource, kind: str, name: str = "web") -> JsonObject:
    settings = site.properties.get("siteConfig") if name.lower() == "web" else None
    return {
        "id": f"{site.id}/config/{name}",
        "name": "/".join(site.id.segments[7::2]) if name.lower() == "web" else name,
        "type": kind,
        "location": site.location or "",
        "properties": dict(settings) if isinstance(settings, Mapping) else {},
    }


async def _settings(invocation: Invocation) -> Outcome:
    """POST `config/appsettings/list` and `config/connectionstrings/list`: secrets, hence never stored, hence none."""
    site = await invocation.context.store.get(RESOURCES, _owner(invocation.id).key)
    if site is None or invocation.id.name.lower() not in {"appsettings", "connectionstrings"}:
        raise resource_not_found(invocation.id)
    kind = invocation.id.type
    return Outcome(body={"id": str(invocation.id), "name": invocation.id.name, "type": kind, "properties": {}})


def _configuration_of(owner: str) -> ResourceType:
    return ResourceType(
        name=f"{owner}/config",
        api_versions=_VERSIONS,
        own=Own(get=_configuration, list=_configurations, put=_put_configuration),
        actions={"list": Action(run=_settings)},
        taggable=False,
    )


async def _name_availability(invocation: Invocation) -> Outcome:
    """Site names are unique here within a group only, so a well-formed one can be had."""
    name = Fields(invocation.body).required_text("name", limit=260)
    if _SITE_NAMES.pattern.fullmatch(name) is None:
        message = f"The name must have {_SITE_NAMES.words}."
        return Outcome(body={"nameAvailable": False, "reason": "Invalid", "message": message})
    return Outcome(body={"nameAvailable": True, "reason": "", "message": ""})


_TYPES = (
    _PLANS,
    _SITES,
    _configuration_of("Microsoft.Web/sites"),
    _SLOTS,
    _configuration_of("Microsoft.Web/sites/slots"),
    *stack_types(_VERSIONS),
)

WEB = Provider(
    namespace="Microsoft.Web",
    types=_TYPES,
    operations=operations_of("Microsoft Web Apps", _TYPES),
    operations_versions=_VERSIONS,
    actions={"checkNameAvailability": Action(run=_name_availability)},
    actions_versions=_VERSIONS,
)
