"""What templates put around a source resource: networks of machines, containers of storage accounts, workspaces that logs go to.

None of these bears an identity or does anything here: they are records, stored as sent (without secrets) and shown as stored, so that a
template that works in Azure deploys here whole, and roles can be assigned at them.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

from idplane.arm.declare import NAME, Provider, ResourceType, Write, Written
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
_WORKSPACES = "2025-07-01 2025-02-01 2023-09-01 2022-10-01 2021-12-01-preview 2021-06-01 2020-10-01 2020-08-01"


@dataclass(frozen=True, slots=True)
class _Row:
    """One type. `versions` are separated by spaces, newest first."""

    name: str
    versions: str
    located: bool = True

    def declared(self) -> ResourceType:
        return ResourceType(
            name=self.name,
            api_versions=tuple(self.versions.split()),
            naming=NAME,
            located=self.located,
            taggable=self.located,
            system_data=False,
            put=_put,
        )


_ROWS = (
    _Row("Microsoft.Insights/components", _COMPONENTS),
    _Row("Microsoft.Network/networkInterfaces", _NETWORK),
    _Row("Microsoft.Network/networkSecurityGroups", _NETWORK),
    _Row("Microsoft.Network/networkSecurityGroups/securityRules", _NETWORK, located=False),
    _Row("Microsoft.Network/publicIPAddresses", _NETWORK),
    _Row("Microsoft.Network/virtualNetworks", _NETWORK),
    _Row("Microsoft.Network/virtualNetworks/subnets", _NETWORK, located=False),
    _Row("Microsoft.OperationalInsights/workspaces", _WORKSPACES),
    _Row("Microsoft.Storage/storageAccounts/blobServices", _STORAGE, located=False),
    _Row("Microsoft.Storage/storageAccounts/blobServices/containers", _STORAGE, located=False),
)


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
            )
        )
    return tuple(found.values())


SURROUNDINGS = tuple(
    Provider(namespace=namespace, types=tuple(row.declared() for row in own))
    for namespace, own in itertools.groupby(_ROWS, key=lambda row: row.name.partition("/")[0])
)
