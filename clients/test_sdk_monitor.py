"""azure-mgmt-monitor against a live plane: the activity log in pages, and what is refused (control-plane.md section 7.5)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from azure.mgmt.monitor import MonitorManagementClient
from clients.sdk import LOCATION, SMALL, pages_of, refused, started
from clients.traffic import Wire

pytestmark = pytest.mark.xdist_group("sdk")
GROUP = "sdk-monitor"
SINCE = "eventTimestamp ge '2020-01-01T00:00:00Z'"


@pytest.fixture
def client(wire: Wire) -> Iterator[MonitorManagementClient]:
    with wire.client(MonitorManagementClient) as client:
        yield client


def test_events(wire: Wire, client: MonitorManagementClient) -> None:
    group = started(wire, GROUP)
    identities = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
    for number in range(5):
        wire.good("PUT", f"{identities}/logged-{number}", "2024-11-30", {"location": LOCATION})
        wire.good("DELETE", f"{identities}/logged-{number}", "2024-11-30")
    wanted = f"{SINCE} and resourceGroupName eq '{GROUP}'"
    assert len(pages_of(client.activity_logs.list(filter=wanted, params=SMALL), lambda one: one.event_data_id)) >= 5
    one = f"{SINCE} and resourceId eq '{identities}/logged-0'"
    told = [str(event.operation_name and event.operation_name.value) for event in client.activity_logs.list(filter=one)]
    assert {word.rpartition("/")[2] for word in told} == {"write", "delete"}
    (chosen, *_) = client.activity_logs.list(filter=one, select="operationName,caller")
    assert chosen.caller
    assert chosen.resource_id is None
    assert list(client.event_categories.list())
    assert len(pages_of(client.activity_logs.list(filter=SINCE, params=SMALL), lambda one: one.event_data_id)) >= 3


def test_errors(wire: Wire, client: MonitorManagementClient) -> None:
    machine = f"{started(wire, GROUP)}/providers/Microsoft.Compute/virtualMachines/nobody"
    wire.good("PUT", machine, "2024-11-01", {"location": LOCATION, "identity": {"type": "SystemAssigned"}})
    stranger = wire.client(MonitorManagementClient, wire.token_of(machine))
    invalid = (400, "InvalidFilterInQueryString")
    refused(
        (invalid, lambda: client.activity_logs.list(filter="")),
        (invalid, lambda: client.activity_logs.list(filter="caller eq 'somebody'")),
        (invalid, lambda: client.activity_logs.list(filter=f"{SINCE} or caller eq 'somebody'")),
        (invalid, lambda: client.activity_logs.list(filter="eventTimestamp ge 'yesterday'")),
        (invalid, lambda: client.tenant_activity_logs.list(filter="nonsense")),
        ((403, "AuthorizationFailed"), lambda: stranger.activity_logs.list(filter=SINCE)),
        ((403, "AuthorizationFailed"), lambda: stranger.tenant_activity_logs.list(filter=SINCE)),
    )
