"""What templates put around a source resource: networks of machines, containers of storage accounts, workspaces that logs go to.

None of these bears an identity or does anything here: they are records, stored as sent (without secrets) and shown as stored, so that a
template that works in Azure deploys here whole, and roles can be assigned at them.
"""

from __future__ import annotations

import base64
import itertools
from dataclasses import dataclass, replace

from idplane.arm.context import Context
from idplane.arm.declare import (
    ANY_SCOPE,
    NAME,
    Action,
    Invocation,
    Outcome,
    Placement,
    Provider,
    ResourceType,
    Write,
    Written,
    default_members,
)
from idplane.model.resources import Resource
from idplane.model.values import JsonObject
from idplane.providers.reported_members import with_reported
from idplane.providers.secret_members import without_secrets

__all__ = ["SURROUNDINGS", "joined"]

_NETWORK = (
    "2025-09-01 2025-07-01 2025-05-01 2025-03-01 2025-01-01 2024-10-01 2024-07-01 2024-05-01 2024-03-01 2024-01-01 2023-11-01 2023-09-01 2023-06-01 2023-05-01 "
    "2023-04-01 2023-02-01 2022-11-01 2022-09-01 2022-07-01 2022-05-01 2022-01-01 2021-08-01 2021-05-01 2021-03-01 2021-02-01 2020-11-01 "
    "2020-08-01 2020-07-01 2020-06-01 2020-05-01 2020-04-01 2020-03-01 2019-12-01 2019-11-01 2019-09-01 2019-08-01 2019-07-01 2019-06-01 "
    "2019-04-01 2019-02-01 2018-11-01 2018-10-01 2018-08-01 2018-04-01 2017-10-01 2017-06-01 2016-03-30 2015-06-15"
)
_STORAGE = "2025-01-01 2024-01-01 2023-05-01 2023-04-01 2023-01-01 2022-09-01 2022-05-01 2021-09-01 2021-08-01 2021-06-01 2021-04-01 2019-06-01"
_COMPONENTS = "2020-02-02 2020-02-02-preview 2018-05-01-preview 2015-05-01"
_COGNITIVE = "2026-07-01 2026-05-01 2025-12-01 2025-09-01 2025-06-01 2024-10-01 2023-05-01 2022-12-01"
_CLUSTERS = "2025-10-01 2025-05-01 2024-09-01 2024-02-01 2023-08-01 2022-09-01 2021-05-01 2020-09-01"
_FACTORY = "2018-06-01"
_KEY_BYTES = 64
_WORKSPACES = "2025-07-01 2025-02-01 2023-09-01 2022-10-01 2021-12-01-preview 2021-06-01 2020-10-01 2020-08-01"


_SERVICE_BUS = "2026-07-01-preview 2026-01-01 2024-01-01 2022-10-01-preview 2022-01-01-preview 2021-11-01 2021-06-01-preview 2018-01-01-preview 2017-04-01"
_EVENT_HUB = "2026-07-01-preview 2026-01-01 2024-01-01 2022-10-01-preview 2022-01-01-preview 2021-11-01 2021-06-01-preview 2018-01-01-preview 2017-04-01"
_EVENT_GRID = (
    "2025-07-15-preview 2025-02-15 2022-06-15 2021-12-01 2021-10-15-preview 2021-06-01-preview 2020-10-15-preview 2020-06-01"
)
_SQL = "2025-08-01-preview 2025-01-01 2023-08-01 2022-05-01-preview 2021-11-01 2021-02-01-preview 2020-11-01-preview 2020-08-01-preview 2019-06-01-preview 2014-04-01"
_COSMOS = (
    "2026-04-01-preview 2026-03-15 2025-10-15 2025-04-15 2024-11-15 2024-08-15 2024-05-15 2023-11-15 2023-09-15 2023-04-15 2023-03-15 "
    "2022-11-15 2022-08-15 2022-05-15 2021-10-15 2021-06-15 2021-05-15 2021-04-15 2021-03-15 2021-01-15"
)
_AUTOMATION = "2024-10-23 2023-11-01 2023-05-15-preview 2022-08-08 2020-01-13-preview 2019-06-01 2018-06-30 2015-10-31"
_ALERTS = "2018-03-01"
_DNS = "2024-06-01 2020-06-01 2020-01-01 2018-09-01"
_VM = (
    "2025-04-01 2024-11-01 2024-07-01 2024-03-01 2023-09-01 2023-07-01 2023-03-01 2022-11-01 2022-08-01 2022-03-01 2021-11-01 2021-07-01 "
    "2021-04-01 2021-03-01 2020-12-01 2020-06-01 2019-12-01 2019-07-01 2019-03-01 2018-10-01 2018-06-01"
)
_DISKS = "2025-01-02 2024-03-02 2023-10-02 2023-04-02 2023-01-02 2022-07-02 2022-03-02 2021-12-01 2021-04-01 2020-12-01 2020-09-30 2020-06-30 2019-07-01"


@dataclass(frozen=True, slots=True)
class _Row:
    """One type. `versions` are separated by spaces, newest first."""

    name: str
    versions: str
    located: bool = True
    extends: bool = False
    """Whether it may be attached to any resource."""
    keys: tuple[str, ...] = ()
    """Members of the answer to `listKeys`."""

    def declared(self) -> ResourceType:
        return ResourceType(
            name=self.name,
            api_versions=tuple(self.versions.split()),
            placements=ANY_SCOPE if self.extends else frozenset({Placement.GROUP}),
            naming=NAME,
            located=self.located,
            taggable=self.located,
            system_data=False,
            put=_put,
            render=_members,
            actions={word: _keys(self.keys) for word in ("listKeys", "sharedKeys")} if self.keys else {},
        )


_ROWS = (
    _Row("Microsoft.Automation/automationAccounts/jobSchedules", _AUTOMATION, located=False),
    _Row("Microsoft.Automation/automationAccounts/runbooks", _AUTOMATION),
    _Row("Microsoft.Automation/automationAccounts/schedules", _AUTOMATION, located=False),
    _Row("Microsoft.Automation/automationAccounts/variables", _AUTOMATION, located=False),
    _Row("Microsoft.CognitiveServices/accounts/deployments", _COGNITIVE, located=False),
    _Row("Microsoft.Compute/disks", _DISKS),
    _Row("Microsoft.Compute/virtualMachineScaleSets/extensions", _VM, located=False),
    _Row("Microsoft.Compute/virtualMachines/extensions", _VM),
    _Row("Microsoft.ContainerService/managedClusters/agentPools", _CLUSTERS, located=False),
    _Row("Microsoft.DataFactory/factories/datasets", _FACTORY, located=False),
    _Row("Microsoft.DataFactory/factories/linkedservices", _FACTORY, located=False),
    _Row("Microsoft.DataFactory/factories/pipelines", _FACTORY, located=False),
    _Row("Microsoft.DataFactory/factories/triggers", _FACTORY, located=False),
    _Row("Microsoft.DocumentDB/databaseAccounts/sqlDatabases", _COSMOS, located=False),
    _Row("Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers", _COSMOS, located=False),
    _Row("Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments", _COSMOS, located=False),
    _Row("Microsoft.DocumentDB/databaseAccounts/sqlRoleDefinitions", _COSMOS, located=False),
    _Row("Microsoft.EventGrid/systemTopics/eventSubscriptions", _EVENT_GRID, located=False),
    _Row("Microsoft.EventHub/namespaces/authorizationRules", _EVENT_HUB, located=False),
    _Row("Microsoft.EventHub/namespaces/eventhubs", _EVENT_HUB, located=False),
    _Row("Microsoft.EventHub/namespaces/eventhubs/consumergroups", _EVENT_HUB, located=False),
    _Row("Microsoft.Insights/actionGroups", "2024-10-01-preview 2023-01-01 2022-06-01 2021-09-01 2019-06-01 2019-03-01"),
    _Row("Microsoft.Insights/autoscaleSettings", "2022-10-01 2021-05-01-preview 2015-04-01 2014-04-01"),
    _Row("Microsoft.Insights/components", _COMPONENTS),
    _Row(
        "Microsoft.Insights/diagnosticSettings",
        "2021-05-01-preview 2017-05-01-preview 2016-09-01 2015-07-01",
        located=False,
        extends=True,
    ),
    _Row("Microsoft.Insights/metricAlerts", _ALERTS),
    _Row("Microsoft.Network/loadBalancers", _NETWORK),
    _Row("Microsoft.Network/natGateways", _NETWORK),
    _Row("Microsoft.Network/networkInterfaces", _NETWORK),
    _Row("Microsoft.Network/networkSecurityGroups", _NETWORK),
    _Row("Microsoft.Network/networkSecurityGroups/securityRules", _NETWORK, located=False),
    _Row("Microsoft.Network/privateDnsZones", _DNS),
    _Row("Microsoft.Network/privateDnsZones/virtualNetworkLinks", _DNS),
    _Row("Microsoft.Network/privateEndpoints", _NETWORK),
    _Row("Microsoft.Network/privateEndpoints/privateDnsZoneGroups", _NETWORK, located=False),
    _Row("Microsoft.Network/publicIPAddresses", _NETWORK),
    _Row("Microsoft.Network/virtualNetworks", _NETWORK),
    _Row("Microsoft.Network/virtualNetworks/subnets", _NETWORK, located=False),
    _Row("Microsoft.OperationalInsights/workspaces", _WORKSPACES, keys=("primarySharedKey", "secondarySharedKey")),
    _Row("Microsoft.ServiceBus/namespaces/authorizationRules", _SERVICE_BUS, located=False),
    _Row("Microsoft.ServiceBus/namespaces/queues", _SERVICE_BUS, located=False),
    _Row("Microsoft.ServiceBus/namespaces/topics", _SERVICE_BUS, located=False),
    _Row("Microsoft.ServiceBus/namespaces/topics/subscriptions", _SERVICE_BUS, located=False),
    _Row("Microsoft.Sql/servers/databases", _SQL),
    _Row("Microsoft.Sql/servers/firewallRules", _SQL, located=False),
    _Row("Microsoft.Storage/storageAccounts/blobServices", _STORAGE, located=False),
    _Row("Microsoft.Storage/storageAccounts/blobServices/containers", _STORAGE, located=False),
    _Row("Microsoft.Storage/storageAccounts/fileServices", _STORAGE, located=False),
    _Row("Microsoft.Storage/storageAccounts/fileServices/shares", _STORAGE, located=False),
    _Row("Microsoft.Storage/storageAccounts/queueServices", _STORAGE, located=False),
    _Row("Microsoft.Storage/storageAccounts/queueServices/queues", _STORAGE, located=False),
    _Row("Microsoft.Storage/storageAccounts/tableServices", _STORAGE, located=False),
    _Row("Microsoft.Storage/storageAccounts/tableServices/tables", _STORAGE, located=False),
)


def _members(resource: Resource, context: Context) -> JsonObject:
    """What is stored, and what the service would add by itself."""
    return with_reported(resource, default_members(resource, context))


def _keys(names: tuple[str, ...]) -> Action:
    async def run(invocation: Invocation) -> Outcome:
        """New ones each time, which open nothing and are kept nowhere."""
        made = (base64.b64encode(invocation.context.entropy.bytes(_KEY_BYTES)).decode() for _ in names)
        return Outcome(body=dict(zip(names, made, strict=True)))

    return Action(run=run)


async def _put(write: Write) -> Written:
    return Written(resource=replace(write.draft, properties=without_secrets(write.draft.properties)))


def joined(*providers: Provider) -> tuple[Provider, ...]:
    """One provider for each namespace: what a later one has for a namespace of an earlier one is added to it."""
    found: dict[str, Provider] = {}
    for one in providers:
        first = found.get(one.namespace)
        found[one.namespace] = (
            one
            if first is None
            else replace(
                first,
                types=first.types + one.types,
                operations=first.operations + one.operations,
                operations_versions=first.operations_versions or one.operations_versions,
                actions={**first.actions, **one.actions},
                actions_versions=first.actions_versions or one.actions_versions,
                views={**first.views, **one.views},
            )
        )
    return tuple(found.values())


SURROUNDINGS = tuple(
    Provider(namespace=namespace, types=tuple(row.declared() for row in own))
    for namespace, own in itertools.groupby(_ROWS, key=lambda row: row.name.partition("/")[0])
)
