from __future__ import annotations

import json
import uuid
from datetime import UTC, timedelta
from typing import TYPE_CHECKING

import pytest
from azure.core.exceptions import HttpResponseError
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.authorization.v2022_04_01.models import RoleAssignmentCreateParameters
from azure.mgmt.monitor import MonitorManagementClient
from azure.mgmt.monitor.models import EventData
from tests.interop.mgmt import client_of, credential_of, refusal

if TYPE_CHECKING:
    from idplane.testing.local import LocalPlane

READER = "/providers/Microsoft.Authorization/roleDefinitions/acdd72a7-3385-48ef-bd42-f606fba81ae7"


@pytest.fixture
def client(idplane: LocalPlane) -> MonitorManagementClient:
    return client_of(MonitorManagementClient, idplane)


@pytest.fixture
def since(idplane: LocalPlane) -> str:
    """The log outlives a test, so each looks at what happened since it began."""
    return f"eventTimestamp ge '{idplane.clock.now().isoformat()}'"


@pytest.mark.parametrize("quote", ["'", ""])
def test_what_happened_is_in_the_log(idplane: LocalPlane, client: MonitorManagementClient, since: str, quote: str) -> None:
    machine = idplane.virtual_machine("web")
    text = f"{since.replace(chr(39), quote)} and resourceId eq '{machine.id}'"
    event, start = client.activity_logs.list(filter=text)
    assert start.status is not None
    assert (start.status.value, start.operation_id) == ("Started", event.operation_id)
    assert event.operation_name is not None
    assert event.operation_name.value == "Microsoft.Compute/virtualMachines/write"
    assert event.status is not None
    assert event.status.value == "Succeeded"
    assert event.resource_group_name == "tests"
    assert event.subscription_id == idplane.subscription_id
    assert event.event_timestamp is not None
    assert abs(event.event_timestamp - idplane.clock.now().astimezone(UTC)) < timedelta(minutes=1)
    assert event.caller
    assert event.http_request is not None
    assert event.http_request.method == "PUT"


def test_filters_select_and_pages(idplane: LocalPlane, client: MonitorManagementClient, since: str) -> None:
    for number in range(5):
        idplane.user_assigned_identity(f"id-{number}")
    idplane.user_assigned_identity("elsewhere", group="other")
    text = f"{since} and resourceGroupName eq 'tests' and resourceProvider eq 'Microsoft.ManagedIdentity' and status eq 'Succeeded'"
    listed = client.activity_logs.list(filter=text, select="eventTimestamp,resourceId,operationName", params={"$top": "2"})
    pages = [list(page) for page in listed.by_page()]
    events = [event for page in pages for event in page]
    assert [(event.resource_id or "").rpartition("/")[2] for event in events] == [f"id-{number}" for number in (4, 3, 2, 1, 0)]
    assert [len(page) for page in pages if page] == [2, 2, 1]
    assert {event.caller for event in events} == {None}


def test_refusals_are_in_the_log_with_who_was_refused(idplane: LocalPlane, client: MonitorManagementClient, since: str) -> None:
    machine = idplane.virtual_machine("web")
    assert machine.identity is not None
    scope = idplane.resource_group()
    theirs = client_of(AuthorizationManagementClient, idplane, credential_of(idplane, machine))
    wanted = RoleAssignmentCreateParameters(role_definition_id=READER, principal_id=machine.identity.principal_id)
    with pytest.raises(HttpResponseError):
        theirs.role_assignments.create(scope, str(uuid.uuid4()), wanted)
    text = f"{since} and status eq 'Failed' and caller eq '{machine.identity.principal_id}'"
    (event,) = client.activity_logs.list(filter=text)
    assert event.operation_name is not None
    assert event.operation_name.value == "Microsoft.Authorization/roleAssignments/write"
    assert event.level == "Error"


def test_the_filter_is_required_and_narrow(client: MonitorManagementClient, since: str) -> None:
    for text in ("resourceGroupName eq 'tests'", f"{since} or status eq 'Failed'"):
        with pytest.raises(HttpResponseError) as refused:
            list(client.activity_logs.list(filter=text))
        assert refusal(refused) == (400, "InvalidFilterInQueryString")


def test_the_tenant_s_log_and_the_categories(idplane: LocalPlane, client: MonitorManagementClient, since: str) -> None:
    idplane.virtual_machine("web")
    assert not [event for event in client.tenant_activity_logs.list(filter=since) if event.subscription_id]
    assert "Administrative" in {one.value for one in client.event_categories.list()}


def test_reading_the_log_needs_a_role(idplane: LocalPlane, since: str) -> None:
    machine = idplane.virtual_machine("web")
    assert machine.identity is not None
    theirs = client_of(MonitorManagementClient, idplane, credential_of(idplane, machine))
    with pytest.raises(HttpResponseError) as refused:
        list(theirs.activity_logs.list(filter=since))
    assert refusal(refused) == (403, "AuthorizationFailed")
    idplane.grant(machine.identity, "Monitoring Reader", f"/subscriptions/{idplane.subscription_id}")
    assert list(theirs.activity_logs.list(filter=since))


def test_grants_and_their_removal_can_be_told_from_the_log(
    idplane: LocalPlane, client: MonitorManagementClient, since: str
) -> None:
    """The pairs that `az role assignment list-changelogs` joins: what was asked from the start, what was taken from the end."""
    machine = idplane.virtual_machine("web")
    assert machine.identity is not None
    assignments = client_of(AuthorizationManagementClient, idplane).role_assignments
    scope, name = idplane.resource_group(), str(uuid.uuid4())
    wanted = RoleAssignmentCreateParameters(role_definition_id=READER, principal_id=machine.identity.principal_id)
    assignments.create(scope, name, wanted)
    assignments.delete(scope, name)
    text = f"resourceProvider eq Microsoft.Authorization and {since.replace(chr(39), '')}"
    started: dict[str | None, EventData] = {}
    ended: dict[str | None, EventData] = {}
    for event in client.activity_logs.list(filter=text):
        assert event.status is not None
        (started if event.status.value == "Started" else ended)[event.operation_id] = event
    told = []
    for operation, start in started.items():
        end = ended[operation]
        assert start.http_request is not None
        assert end.authorization is not None
        put = start.http_request.method == "PUT"
        body = (start.properties or {})["requestbody"] if put else (end.properties or {})["responseBody"]
        told.append((start.http_request.method, json.loads(body)["properties"]["principalId"], end.authorization.scope))
    where = f"{scope}/providers/Microsoft.Authorization/roleAssignments/{name}"
    assert told == [
        ("DELETE", machine.identity.principal_id, where),
        ("PUT", machine.identity.principal_id, where),
    ]
