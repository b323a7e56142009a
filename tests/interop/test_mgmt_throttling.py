"""The real clients' own patience with 429: they wait as long as they are told, and are served. Their waiting moves the plane's clock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.transport import RequestsTransport
from azure.mgmt.msi import ManagedServiceIdentityClient
from azure.mgmt.msi.models import Identity

from idplane.model.profile import AZURE
from idplane.testing.local import LocalPlane


class Patient(RequestsTransport):  # type: ignore[misc]  # azure-core declares no type for it
    """Sleeps by the plane's clock, and remembers for how long."""

    def __init__(self, plane: LocalPlane) -> None:
        super().__init__(connection_verify=str(plane.ca_file))
        self.plane = plane
        self.slept: list[float] = []

    def sleep(self, duration: float) -> None:
        self.slept.append(duration)
        self.plane.clock.advance(timedelta(seconds=duration))


@pytest.fixture(scope="module")
def plane() -> Iterator[LocalPlane]:
    made = LocalPlane(profile=AZURE)
    yield made
    made.close()


def client(plane: LocalPlane, transport: Patient, **options: int) -> ManagedServiceIdentityClient:
    arguments: dict[str, Any] = {**plane.client, "transport": transport, **options}
    credential: Any = plane.credential
    return ManagedServiceIdentityClient(credential, plane.subscription_id, **arguments)


def test_a_client_that_asks_too_often_waits_and_is_served(plane: LocalPlane) -> None:
    plane.resource_group()
    transport = Patient(plane)
    identities = client(plane, transport).user_assigned_identities
    for number in range(8):
        made = identities.create_or_update("tests", "busy", Identity(location="westeurope", tags={"number": str(number)}))
        assert made.tags == {"number": str(number)}
    assert len(transport.slept) == 3
    assert all(1 <= seconds <= 4 for seconds in transport.slept)


def test_a_client_without_patience_is_told_when_to_come_back(plane: LocalPlane) -> None:
    plane.resource_group()
    transport = Patient(plane)
    identities = client(plane, transport, retry_total=0).user_assigned_identities
    for _ in range(5):
        identities.create_or_update("tests", "hasty", Identity(location="westeurope"))
    with pytest.raises(HttpResponseError) as refused:
        identities.create_or_update("tests", "hasty", Identity(location="westeurope"))
    assert refused.value.status_code == 429
    assert refused.value.error is not None
    assert refused.value.error.code == "TooManyRequests"
    response: Any = refused.value.response
    assert 1 <= int(response.headers["Retry-After"]) <= 4
    assert transport.slept == []
