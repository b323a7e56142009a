"""The other types that bear identities: each a row of a table, stored as sent and shown as stored.

A row says what clients can notice: the api-versions (those that SDKs and the CLI send, from the published descriptions), which
identity types it takes, and where its success codes are not the usual ones. A type whose rules matter to clients grows out of
this table into a module of its own, like `web`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from idplane.arm.context import Context
from idplane.arm.declare import NAME, Provider, ResourceType, default_members
from idplane.model.resources import IdentityType, Resource
from idplane.model.values import JsonObject
from idplane.providers.hosts import ANY_IDENTITY, EITHER_IDENTITY, NEVER_USER_ALONE, SYSTEM_ONLY, USER_ONLY, host_type
from idplane.providers.operations import operations_of
from idplane.providers.reported_members import with_reported

__all__ = ["FURTHER_HOSTS"]


def _members(resource: Resource, context: Context) -> JsonObject:
    return with_reported(resource, default_members(resource, context))


@dataclass(frozen=True, slots=True)
class _Row:
    """One type. `versions` are separated by spaces, newest first."""

    name: str
    versions: str
    identities: frozenset[IdentityType] = ANY_IDENTITY
    created: int = 201
    updated: int = 200
    deleted: int = 200
    unlocated: bool = False

    def declared(self) -> ResourceType:
        return host_type(
            self.name,
            tuple(self.versions.split()),
            naming=NAME,
            members=_members,
            identities=self.identities,
            location_optional=self.unlocated,
            created_status=self.created,
            updated_status=self.updated,
            deleted_status=self.deleted,
        )


_ROWS = (
    _Row(
        "Microsoft.ApiManagement/service",
        "2025-09-01-preview 2024-05-01 2022-08-01 2021-08-01 2020-12-01 2019-12-01 2019-01-01 2018-01-01",
    ),
    _Row(
        "Microsoft.AppConfiguration/configurationStores",
        "2025-08-01-preview 2024-06-01 2024-05-01 2023-03-01 2022-05-01 2020-06-01 2019-10-01",
    ),
    _Row("Microsoft.Automation/automationAccounts", "2024-10-23 2023-11-01 2023-05-15-preview 2022-08-08 2021-06-22"),
    _Row(
        "Microsoft.Batch/batchAccounts",
        (
            "2025-06-01 2024-07-01 2024-02-01 2023-11-01 2023-05-01 2022-10-01 2022-06-01 2022-01-01 2021-06-01 "
            "2021-01-01 2020-09-01 2020-05-01"
        ),
        identities=EITHER_IDENTITY,
        created=200,
    ),
    _Row(
        "Microsoft.Cache/redis",
        "2025-08-01-preview 2024-11-01 2024-03-01 2023-08-01 2023-04-01 2022-06-01 2022-05-01 2021-06-01",
    ),
    _Row("Microsoft.Chaos/experiments", "2026-08-01-preview 2025-01-01 2024-01-01 2023-11-01"),
    _Row(
        "Microsoft.CognitiveServices/accounts",
        (
            "2026-07-01 2026-05-15-preview 2026-05-01 2026-03-01 2025-12-01 2025-09-01 2025-06-01 2024-10-01 "
            "2023-05-01 2022-12-01 2022-10-01 2022-03-01 2021-10-01 2021-04-30"
        ),
    ),
    _Row("Microsoft.Communication/communicationServices", "2026-03-18 2025-09-01 2025-05-01-preview 2025-05-01 2023-04-01"),
    _Row(
        "Microsoft.ContainerRegistry/registries",
        "2026-03-01-preview 2025-11-01 2025-04-01 2023-07-01 2023-01-01-preview 2022-12-01 2022-02-01-preview 2021-12-01-preview 2021-09-01 2019-05-01 2017-10-01",
    ),
    _Row(
        "Microsoft.DBforMySQL/flexibleServers",
        "2025-12-01-preview 2024-12-30 2023-12-30 2023-06-30 2022-01-01 2021-05-01",
        identities=USER_ONLY,
    ),
    _Row("Microsoft.DBforPostgreSQL/flexibleServers", "2026-04-01-preview 2025-08-01 2024-08-01 2022-12-01"),
    _Row("Microsoft.Dashboard/grafana", "2025-09-01-preview 2025-08-01 2024-10-01 2023-09-01 2022-08-01"),
    _Row("Microsoft.DataFactory/factories", "2018-06-01 2017-09-01-preview", created=200),
    _Row("Microsoft.Databricks/accessConnectors", "2026-01-01 2025-10-01-preview 2024-05-01 2023-05-01"),
    _Row("Microsoft.DevCenter/devcenters", "2026-01-01-preview 2025-02-01 2024-02-01 2023-04-01"),
    _Row("Microsoft.Devices/IotHubs", "2026-05-01-preview 2023-06-30 2021-07-02 2021-07-01 2021-03-31"),
    _Row(
        "Microsoft.DocumentDB/databaseAccounts",
        (
            "2026-04-01-preview 2026-03-15 2025-10-15 2025-04-15 2024-11-15 2024-08-15 2024-05-15 2023-11-15 "
            "2023-09-15 2023-04-15 2023-03-15 2022-11-15 2022-08-15 2022-05-15 2021-10-15 2021-06-15 2021-05-15 "
            "2021-04-15 2021-03-15 2021-01-15"
        ),
        created=200,
        deleted=204,
    ),
    _Row(
        "Microsoft.EventGrid/domains",
        "2025-07-15-preview 2025-02-15 2022-06-15 2021-12-01 2021-06-01-preview 2020-10-15-preview 2020-06-01",
        updated=201,
        deleted=204,
    ),
    _Row(
        "Microsoft.EventGrid/systemTopics",
        "2025-07-15-preview 2025-02-15 2022-06-15 2021-12-01 2021-06-01-preview 2020-10-15-preview 2020-06-01",
        updated=201,
        deleted=204,
    ),
    _Row(
        "Microsoft.EventGrid/topics",
        "2025-07-15-preview 2025-02-15 2022-06-15 2021-12-01 2021-06-01-preview 2020-10-15-preview 2020-06-01",
        updated=201,
        deleted=204,
    ),
    _Row(
        "Microsoft.EventHub/namespaces",
        "2026-07-01-preview 2026-01-01 2024-01-01 2022-10-01-preview 2022-01-01-preview 2021-11-01 2021-06-01-preview 2018-01-01-preview 2017-04-01",
    ),
    _Row(
        "Microsoft.HealthcareApis/services",
        (
            "2025-04-01-preview 2024-03-31 2024-03-01 2023-12-01 2023-11-01 2023-09-06 2023-02-28 2022-12-01 "
            "2022-06-01 2022-05-15 2021-11-01 2021-01-11 2020-03-30 2020-03-15 2019-09-16"
        ),
        identities=SYSTEM_ONLY,
    ),
    _Row(
        "Microsoft.HybridCompute/machines",
        (
            "2026-07-15 2026-06-16-preview 2026-06-04-preview 2026-02-12-preview 2025-06-01 2025-01-13 2024-07-10 "
            "2022-12-27 2022-11-10 2022-03-10 2021-05-20 2020-08-02 2019-12-12"
        ),
        identities=SYSTEM_ONLY,
        created=200,
    ),
    _Row(
        "Microsoft.Kubernetes/connectedClusters",
        "2026-05-01 2026-02-01-preview 2024-01-01 2021-10-01 2021-03-01",
        identities=SYSTEM_ONLY,
    ),
    _Row(
        "Microsoft.Kusto/clusters",
        (
            "2025-02-14 2024-04-13 2023-08-15 2023-05-02 2022-12-29 2022-11-11 2022-07-07 2022-02-01 2021-08-27 "
            "2021-01-01 2020-09-18 2020-06-14 2020-02-15 2019-11-09 2019-09-07"
        ),
    ),
    _Row("Microsoft.LoadTestService/loadTests", "2024-12-01-preview 2022-12-01"),
    _Row("Microsoft.Logic/workflows", "2019-05-01", identities=EITHER_IDENTITY),
    _Row(
        "Microsoft.MachineLearningServices/workspaces",
        (
            "2026-05-15-preview 2026-05-01 2026-03-15-preview 2026-03-01 2026-01-15-preview 2025-12-01 2025-09-01 "
            "2025-06-01 2025-04-01 2024-10-01 2024-04-01 2023-10-01 2023-04-01 2022-10-01 2022-05-01 2021-07-01 "
            "2021-04-01 2021-01-01 2020-08-01 2020-06-01 2020-04-01 2020-03-01 2020-01-01 2019-11-01 2019-06-01 "
            "2019-05-01 2018-11-19"
        ),
    ),
    _Row(
        "Microsoft.MachineLearningServices/workspaces/computes",
        (
            "2026-05-15-preview 2026-05-01 2026-03-15-preview 2026-03-01 2026-01-15-preview 2025-12-01 2025-09-01 "
            "2025-06-01 2025-04-01 2024-10-01 2024-04-01 2023-10-01 2023-04-01 2022-10-01 2022-05-01 2021-07-01 "
            "2021-04-01 2021-01-01 2020-08-01 2020-06-01 2020-04-01 2020-03-01 2020-01-01 2019-11-01 2019-06-01 "
            "2019-05-01 2018-11-19"
        ),
        unlocated=True,
    ),
    _Row(
        "Microsoft.MachineLearningServices/workspaces/onlineEndpoints",
        (
            "2026-05-15-preview 2026-05-01 2026-03-15-preview 2026-03-01 2026-01-15-preview 2025-12-01 2025-09-01 "
            "2025-06-01 2025-04-01 2024-10-01 2024-04-01 2023-10-01 2023-04-01 2022-10-01 2022-05-01"
        ),
    ),
    _Row("Microsoft.Maps/accounts", "2025-10-01-preview 2023-06-01 2021-12-01-preview 2021-02-01 2018-05-01"),
    _Row(
        "Microsoft.Network/applicationGateways",
        (
            "2025-09-01 2025-07-01 2025-05-01 2025-03-01 2025-01-01 2024-10-01 2024-07-01 2024-05-01 2024-03-01 "
            "2024-01-01 2023-11-01 2023-09-01 2023-06-01 2023-05-01 2023-04-01 2023-02-01 2022-11-01 2022-09-01 "
            "2022-07-01 2022-05-01 2022-01-01 2021-08-01 2021-05-01 2021-03-01 2021-02-01 2020-11-01 2020-08-01 "
            "2020-07-01 2020-06-01 2020-05-01 2020-04-01 2020-03-01 2019-12-01 2019-11-01 2019-09-01 2019-08-01 "
            "2019-07-01 2019-06-01 2019-04-01 2019-02-01 2018-12-01 2018-11-01 2018-10-01"
        ),
    ),
    _Row("Microsoft.Purview/accounts", "2024-04-01-preview 2021-12-01 2021-07-01", identities=NEVER_USER_ALONE),
    _Row(
        "Microsoft.RecoveryServices/vaults",
        (
            "2026-07-01 2026-05-31-preview 2026-05-01 2026-02-01 2026-01-01 2025-08-01 2025-02-01 2025-01-01 "
            "2024-10-01 2024-04-01 2024-02-01 2024-01-01 2023-08-01 2023-06-01 2023-04-01 2023-02-01 2023-01-01 "
            "2022-10-01 2022-09-10 2022-08-01 2022-05-01 2022-04-01 2022-03-01 2022-02-01 2022-01-01 2021-12-01 "
            "2021-08-01 2021-07-01 2021-06-01 2021-04-01 2021-03-01 2021-02-10 2021-01-01 2020-10-01 2020-02-02"
        ),
    ),
    _Row(
        "Microsoft.Resources/deploymentScripts",
        "2023-08-01 2020-10-01 2019-10-01-preview",
        identities=USER_ONLY,
    ),
    _Row("Microsoft.Search/searchServices", "2026-09-01-preview 2025-05-01 2023-11-01 2022-09-01 2020-08-01 2020-03-13"),
    _Row(
        "Microsoft.ServiceBus/namespaces",
        "2026-07-01-preview 2026-01-01 2024-01-01 2022-10-01-preview 2022-01-01-preview 2021-11-01 2021-06-01-preview 2018-01-01-preview 2017-04-01",
    ),
    _Row("Microsoft.ServiceFabric/clusters", "2026-03-01-preview 2021-06-01 2020-03-01 2019-03-01 2018-02-01", created=200),
    _Row(
        "Microsoft.ServiceFabric/clusters/applications",
        "2026-03-01-preview 2021-06-01 2020-03-01",
        created=200,
        deleted=204,
        unlocated=True,
    ),
    _Row(
        "Microsoft.ServiceFabric/managedClusters",
        "2026-05-01-preview 2026-02-01 2024-04-01 2022-01-01 2021-05-01",
        created=200,
    ),
    _Row(
        "Microsoft.ServiceFabric/managedClusters/applications",
        "2026-05-01-preview 2026-02-01 2024-04-01 2022-01-01 2021-05-01",
        created=200,
        unlocated=True,
    ),
    _Row(
        "Microsoft.SignalRService/signalR",
        "2025-01-01-preview 2024-03-01 2023-02-01 2022-02-01 2021-10-01",
        identities=EITHER_IDENTITY,
    ),
    _Row(
        "Microsoft.SignalRService/webPubSub",
        "2025-12-01-preview 2024-03-01 2023-02-01 2021-10-01",
        identities=EITHER_IDENTITY,
    ),
    _Row(
        "Microsoft.Sql/servers",
        "2025-08-01-preview 2025-01-01 2023-08-01 2022-05-01-preview 2021-11-01 2021-02-01-preview 2020-11-01-preview 2019-06-01-preview",
    ),
    _Row("Microsoft.StreamAnalytics/streamingjobs", "2021-10-01-preview 2020-03-01"),
    _Row(
        "Microsoft.Synapse/workspaces",
        "2021-06-01-preview 2021-06-01 2021-05-01 2021-03-01 2020-12-01",
        identities=NEVER_USER_ALONE,
    ),
)


def _providers(rows: Iterable[_Row]) -> tuple[Provider, ...]:
    """A provider for each namespace. Rows of one namespace stand together."""
    grouped = itertools.groupby(rows, key=lambda row: row.name.partition("/")[0])
    return tuple(_provider(namespace, tuple(row.declared() for row in own)) for namespace, own in grouped)


def _provider(namespace: str, types: tuple[ResourceType, ...]) -> Provider:
    return Provider(
        namespace=namespace,
        types=types,
        operations=operations_of(namespace.replace(".", " "), types),
        operations_versions=types[0].api_versions,
    )


FURTHER_HOSTS = _providers(_ROWS)
