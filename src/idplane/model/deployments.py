"""Deployments of templates, as they are kept: what was asked, how far it came, and what came of it. No secret is in any of it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from idplane.model.ids import ResourceId
from idplane.model.values import JsonObject

__all__ = ["SILENCE", "Deployment", "DeploymentOperation", "DeploymentState", "deployment_key"]

SILENCE = timedelta(seconds=60)
"""How long a running deployment may say nothing. Its process says something every quarter of that; after it, the process is gone."""


class DeploymentState(enum.StrEnum):
    """Where a deployment or one of its operations stands, in the wire's words."""

    ACCEPTED = "Accepted"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELED = "Canceled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self not in (DeploymentState.ACCEPTED, DeploymentState.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One deployment at a scope. Deploying under the same name again replaces it."""

    tenant_id: str
    id: ResourceId
    run_id: str
    """New each time that the name is deployed; also the id of its asynchronous operation."""
    correlation_id: str
    state: DeploymentState
    mode: str
    started_at: datetime
    beat_at: datetime
    """When the process that runs it last said so."""
    template: JsonObject
    template_hash: str
    finished_at: datetime | None = None
    location: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    parameters: JsonObject = field(default_factory=dict)
    """Types and values; of secure parameters the type only."""
    outputs: JsonObject | None = None
    output_resources: tuple[str, ...] = ()
    nested: tuple[str, ...] = ()
    """Ids of the deployments that its template has inside."""
    dependencies: tuple[JsonObject, ...] = ()
    providers: tuple[JsonObject, ...] = ()
    error: JsonObject | None = None
    on_error: tuple[str, str] | None = None
    """Type and name of the earlier deployment that is deployed again when this one fails."""
    rollback: JsonObject | None = None
    """How that ended."""

    @property
    def key(self) -> str:
        """Tenants have scopes of the same name: the tenant itself."""
        return deployment_key(self.tenant_id, self.id)

    def silent(self, now: datetime) -> bool:
        """Whether it should be running, and the process that ran it has gone."""
        return not self.state.ended and now - self.beat_at > SILENCE


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentOperation:
    """What a deployment did about one resource, or about its outputs."""

    deployment: str
    """The deployment's key."""
    id: str
    run_id: str
    action: str
    """`Create`, `Delete`, `Read` or `EvaluateDeploymentOutput`."""
    state: DeploymentState
    started_at: datetime
    finished_at: datetime
    status_code: str
    """HTTP's word for the answer, such as `Created`."""
    target: str | None = None
    """Resource id."""
    error: JsonObject | None = None

    @property
    def key(self) -> str:
        """Unique; operations of a deployment are listed in the order in which they ended."""
        return f"{self.deployment}|{self.id}"


def deployment_key(tenant_id: str, identifier: ResourceId) -> str:
    """The key of a `Deployment`; with a scope for its id, what the deployments of that scope are listed by."""
    return f"{tenant_id}{identifier.key}"
