"""Microsoft.Resources: tenants, subscriptions, resource groups, and the lists that look into them (control-plane.md section 7.4)."""

from __future__ import annotations

import re
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
    Placement,
    Provider,
    ResourceType,
    Visibility,
    Write,
    Written,
)
from idplane.arm.long_running import operation_results
from idplane.model.directory import Subscription
from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject
from idplane.ports.collections import ROLE_ASSIGNMENTS, SUBSCRIPTIONS
from idplane.providers.deployments import deployment_types
from idplane.providers.group_templates import export_group
from idplane.providers.locations import locations_of
from idplane.providers.metadata import ProviderCatalogue
from idplane.providers.moves import move, validate_move
from idplane.providers.operations import operations_of
from idplane.providers.questions import questions
from idplane.providers.resource_lists import GROUP_TYPE, groups_filter, list_resources
from idplane.providers.tag_names import tag_name_types
from idplane.providers.tags import tags_type

__all__ = ["RESOURCES_VERSIONS", "resources_provider"]

RESOURCES_VERSIONS = (
    "2025-04-01",
    "2025-03-01",
    "2024-11-01",
    "2024-07-01",
    "2024-03-01",
    "2023-07-01",
    "2022-12-01",
    "2022-09-01",
    "2022-06-01",
    "2022-05-01",
    "2022-01-01",
    "2021-04-01",
    "2021-01-01",
    "2020-10-01",
    "2020-09-01",
    "2020-08-01",
    "2020-06-01",
    "2020-05-01",
    "2020-01-01",
    "2019-11-01",
    "2019-10-01",
    "2019-09-01",
    "2019-08-01",
    "2019-07-01",
    "2019-06-01",
    "2019-05-10",
    "2019-05-01",
    "2019-03-01",
    "2018-11-01",
    "2018-09-01",
    "2018-08-01",
    "2018-07-01",
    "2018-06-01",
    "2018-05-01",
    "2018-02-01",
    "2018-01-01",
    "2017-08-01",
    "2017-06-01",
    "2017-05-10",
    "2017-05-01",
    "2017-03-01",
    "2016-09-01",
    "2016-07-01",
    "2016-06-01",
    "2016-02-01",
    "2015-11-01",
    "2015-01-01",
    "2014-04-01-preview",
)
"""Resource Manager's own api-versions; every one is served alike."""

_LAST: JsonObject = {"nextLink": ""}
"""What the descriptions of these two lists require of a last page, and clients read as the end."""
_TENANT = "Microsoft.Resources/tenants"
_SUBSCRIPTION = "Microsoft.Resources/subscriptions"
_GROUP_NAMES = NameRule(
    re.compile(r"(?!.*\.$)[\w\-.()]{1,90}"),
    "1 to 90 letters, digits, '_', '-', '.', '(' or ')', not ending with '.'",
)


# Tenants and subscriptions ------------------------------------------------------------------------------------------


async def _tenants(listing: Listing) -> Listed:
    """The caller's own tenant: tokens are of one."""
    tenant = listing.context.tenant
    return Listed(
        items=(
            {
                "id": f"/tenants/{tenant.id}",
                "tenantId": tenant.id,
                "displayName": tenant.display_name,
                "defaultDomain": tenant.domain,
                "domains": [tenant.domain],
                "tenantCategory": "Home",
                "tenantType": "AAD",
            },
        ),
        extra=_LAST,
    )


async def _subscription(lookup: Lookup) -> Item | None:
    found = lookup.context.subscription
    return None if found is None else Item(body=_shown(found))


async def _subscriptions(listing: Listing) -> Listed:
    """The tenant's subscriptions in which the caller holds any role, wherever in it."""
    context = listing.context
    page = await context.store.page(
        SUBSCRIPTIONS, where={"tenant_id": context.tenant.id}, after=listing.after, limit=listing.top
    )
    shown = [_shown(one.value) for one in page.items if await _sees(context, one.value)]
    return Listed(items=tuple(shown), after=page.after, extra=_LAST)


async def _sees(context: Context, subscription: Subscription) -> bool:
    scope = ResourceId(("subscriptions", subscription.id))
    ids = context.caller.principal_ids
    if (await context.access.check(ids, f"{_SUBSCRIPTION}/read", scope)).allowed:
        return True
    for principal_id in ids:
        below = await context.store.page(
            ROLE_ASSIGNMENTS, where={"principal_id": principal_id}, under=("scope_key", scope.key), limit=1
        )
        if below.items:
            return True
    return False


def _shown(subscription: Subscription) -> JsonObject:
    return {
        "id": f"/subscriptions/{subscription.id}",
        "subscriptionId": subscription.id,
        "tenantId": subscription.tenant_id,
        "displayName": subscription.display_name,
        "state": subscription.state,
        "authorizationSource": "RoleBased",
        "managedByTenants": [],
        **({"tags": dict(subscription.tags)} if subscription.tags else {}),
    }


async def _locations(invocation: Invocation) -> Outcome:
    subscription = invocation.context.subscription
    assert subscription is not None  # the kernel has refused unknown subscriptions
    return Outcome(body={"value": locations_of(subscription.id)})


# Resource groups ----------------------------------------------------------------------------------------------------


async def _put_group(write: Write) -> Written:
    """Groups have no properties of their own; what clients send back of them is dropped (`az group update` sends `{}`)."""
    envelope = {name: value for name, value in write.draft.envelope.items() if name == "managedBy"}
    return Written(resource=replace(write.draft, properties={}, envelope=envelope))


# The namespace ------------------------------------------------------------------------------------------------------


def resources_provider(catalogue: ProviderCatalogue) -> Provider:
    """The namespace, with the catalogue that its `providers` views show."""
    metadata = catalogue.view()
    resources = Action(run=list_resources, visibility=Visibility.FILTERED)
    types = (
        ResourceType(
            name=_TENANT,
            api_versions=RESOURCES_VERSIONS,
            placements=frozenset({Placement.TENANT}),
            own=Own(list=_tenants),
            visibility=Visibility.OPEN,
            views={"providers": metadata},
        ),
        ResourceType(
            name=_SUBSCRIPTION,
            api_versions=RESOURCES_VERSIONS,
            placements=frozenset({Placement.TENANT}),
            own=Own(get=_subscription, list=_subscriptions),
            visibility=Visibility.OPEN,
            views={
                "providers": replace(metadata, visibility=Visibility.FILTERED),
                "locations": Action(run=_locations, visibility=Visibility.FILTERED),
                "resources": resources,
            },
        ),
        ResourceType(
            name=GROUP_TYPE,
            api_versions=RESOURCES_VERSIONS,
            placements=frozenset({Placement.SUBSCRIPTION}),
            naming=_GROUP_NAMES,
            permissions="Microsoft.Resources/subscriptions/resourceGroups",
            visibility=Visibility.FILTERED,
            keep=groups_filter,
            put=_put_group,
            delete_missing=404,
            deleted_later=True,
            system_data=False,
            views={"resources": resources},
            actions={
                "exportTemplate": Action(run=export_group),
                "moveResources": Action(run=move),
                "validateMoveResources": Action(run=validate_move),
            },
        ),
        *deployment_types(("2026-06-01", *RESOURCES_VERSIONS)),
        *tag_name_types(RESOURCES_VERSIONS),
        tags_type(RESOURCES_VERSIONS, catalogue.taggable),
        operation_results(RESOURCES_VERSIONS),
    )
    return Provider(
        namespace="Microsoft.Resources",
        types=types,
        operations=operations_of("Microsoft Resources", types),
        actions=questions(RESOURCES_VERSIONS),
        operations_versions=RESOURCES_VERSIONS,
    )
