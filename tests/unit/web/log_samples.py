"""Records of both logs for tests of the portal's pages."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from tests.unit.web.portal_world import PortalWorld

from idplane.model.calls import Workload
from idplane.model.events import ActivityEvent, EventStatus, SignIn
from idplane.ports.collections import ACTIVITY, SIGN_INS
from idplane.ports.store import Append, Batch

__all__ = ["log_activity", "log_sign_ins", "sign_in"]


def sign_in(world: PortalWorld, **members: Any) -> SignIn:
    """A managed identity's, on a host, by a process."""
    entropy = world.server.world.entropy
    found = SignIn(
        id=entropy.guid(),
        at=world.clock.now(),
        tenant_id=world.tenant_id,
        client_id=entropy.guid(),
        principal_id=None,
        principal_name="stock-vm",
        principal_type="ManagedIdentity",
        resource="https://vault.azure.net",
        resource_name="Azure Key Vault",
        error_code=0,
        failure_reason="",
        correlation_id=entropy.guid(),
        token_id="uti-1",
        credential_kind="identity-certificate",
        credential_id="cred-1",
        credential_thumbprint="ab" * 32,
        signing_key="kid-1",
        host=f"{world.subscription}/resourceGroups/stock/providers/Microsoft.Compute/virtualMachines/stock-vm",
        expires_at=world.clock.now() + timedelta(hours=1),
        client_address="192.0.2.40",
        user_agent="azsdk-python",
        workload=Workload(pid=4242, uid=1001, executable="/usr/bin/stock", systemd_unit="stock.service", binding="only-stock"),
    )
    return replace(found, **members)


async def log_sign_ins(world: PortalWorld, *events: SignIn) -> list[int]:
    """Their places."""
    await world.store.commit(Batch.of(*(Append(log=SIGN_INS, event=event) for event in events)))
    found = {one.event.id: one.position for one in await world.store.read_log(SIGN_INS, limit=5000)}
    return [found[event.id] for event in events]


async def log_activity(world: PortalWorld, resource_id: str, **members: Any) -> int:
    """One event; its place."""
    entropy = world.server.world.entropy
    subscription = resource_id.split("/")[2] if resource_id.startswith("/subscriptions/") else None
    event = ActivityEvent(
        id=entropy.guid(),
        at=world.clock.now(),
        started_at=world.clock.now(),
        tenant_id=world.tenant_id,
        subscription_id=subscription,
        resource_id=resource_id,
        operation="Microsoft.Compute/virtualMachines/write",
        status=EventStatus.SUCCEEDED,
        caller_name="Ada",
        caller_id=entropy.guid(),
        correlation_id=entropy.guid(),
        operation_id=entropy.guid(),
    )
    event = replace(event, **members)
    await world.store.commit(Batch.of(Append(log=ACTIVITY, event=event)))
    return next(one.position for one in await world.store.read_log(ACTIVITY, limit=1000) if one.event.id == event.id)
