"""Traffic of Microsoft.Insights' activity log: azure-mgmt-monitor."""

from __future__ import annotations

from azure.mgmt.monitor import MonitorManagementClient
from clients.sdk import fails
from clients.traffic import Wire

__all__ = ["logs"]

_SINCE = "eventTimestamp ge '2020-01-01T00:00:00Z'"


def logs(wire: Wire) -> None:
    """Every operation, served and refused. What the other tests did is what the log holds."""
    with wire.client(MonitorManagementClient) as client:
        assert list(client.activity_logs.list(filter=_SINCE))
        assert list(client.activity_logs.list(filter=_SINCE, select="eventName,operationName,status"))
        assert list(client.tenant_activity_logs.list(filter=_SINCE)) is not None
        assert list(client.event_categories.list())
        assert list(client.operations.list().value)
        fails(
            lambda: client.activity_logs.list(filter="nonsense").next(),
            lambda: client.tenant_activity_logs.list(filter="nonsense").next(),
        )
