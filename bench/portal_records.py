"""What the portal's logs and hosts are filled with for `bench_portal.py`: a month of sign-ins and operations, and machines that are hosts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from idplane.directory.sightings import shard_of
from idplane.model.calls import Workload
from idplane.model.directory import Agent
from idplane.model.enrollments import AgentSighting, AgentSightings
from idplane.model.events import ActivityEvent, EventStatus, SignIn
from idplane.model.ids import ResourceId
from idplane.ports.collections import ACTIVITY, AGENT_SIGHTINGS, AGENTS, SIGN_INS
from idplane.ports.store import ABSENT, Append, Put

SIGN_IN_RECORDS = 700_000
ACTIVITY_RECORDS = 300_000
AGENTS_MADE = 1_000
_MONTH = timedelta(days=30)
_REFUSED = 50
_STEP = 7919
_UNKNOWN_PRINCIPAL = 50034


def records(
    tenant_id: str, now: datetime, machine: Callable[[int], str], principal: Callable[[int], str], count: int
) -> Iterator[Append[Any]]:
    """Sign-ins and operations, evenly over a month, of machines and identities in no order."""
    for number in range(SIGN_IN_RECORDS):
        which = number * _STEP % count
        refused = number % _REFUSED == 0
        yield Append(
            log=SIGN_INS,
            event=SignIn(
                id=f"{number:08x}-0005-4000-8000-000000000000",
                at=now - _MONTH * (1 - (number + 1) / SIGN_IN_RECORDS),
                tenant_id=tenant_id,
                client_id=f"{which:08x}-0002-4000-8000-000000000000",
                principal_id=principal(which),
                principal_name=machine(which).rpartition("/")[2],
                principal_type="ManagedIdentity",
                resource="https://vault.azure.net",
                resource_name="Azure Key Vault",
                error_code=_UNKNOWN_PRINCIPAL if refused else 0,
                failure_reason="The identity is not there." if refused else "",
                correlation_id=f"{number:08x}-0006-4000-8000-000000000000",
                token_id=None if refused else f"uti-{number}",
                credential_kind="identity-certificate",
                credential_thumbprint=f"{which:064x}",
                host=machine(which),
                workload=Workload(pid=number % 30_000, uid=1001, executable="/usr/bin/stock", systemd_unit="stock.service"),
            ),
        )
    for number in range(ACTIVITY_RECORDS):
        which = number * _STEP % count
        target = ResourceId.parse(machine(which))
        yield Append(
            log=ACTIVITY,
            event=ActivityEvent(
                id=f"{number:08x}-0007-4000-8000-000000000000",
                at=now - _MONTH * (1 - (number + 1) / ACTIVITY_RECORDS),
                tenant_id=tenant_id,
                subscription_id=target.subscription,
                resource_id=str(target),
                operation="Microsoft.Compute/virtualMachines/write",
                status=EventStatus.SUCCEEDED,
                caller_id=principal(which),
                caller_name="deployer",
                correlation_id=f"{number:08x}-0008-4000-8000-000000000000",
                operation_id=f"{number:08x}-0009-4000-8000-000000000000",
                claims={"uti": f"uti-{number}"},
                properties={"statusCode": "OK"},
            ),
        )


def agents(tenant_id: str, now: datetime, machine: Callable[[int], str], certificate: bytes) -> Iterator[Put[Any]]:
    """Machines that were heard of a moment ago."""
    seen: dict[str, dict[str, AgentSighting]] = {}
    for number in range(AGENTS_MADE):
        host, identifier = ResourceId.parse(machine(number)), f"{number:08x}-000a-4000-8000-000000000000"
        seen.setdefault(shard_of(identifier), {})[identifier] = AgentSighting(at=now, address="192.0.2.1", version="idplane")
        agent = Agent(
            id=identifier,
            display_name=host.name,
            certificate=certificate,
            thumbprint=f"{number:064x}",
            enrolled_at=now,
            hosts=(host.key,),
            method="x509",
            host=host,
            tenant_id=tenant_id,
        )
        yield Put(collection=AGENTS, value=agent, expect=ABSENT)
    for shard, those in seen.items():
        yield Put(collection=AGENT_SIGHTINGS, value=AgentSightings(shard=shard, seen=those), expect=ABSENT)
