"""What the activity log says of agents: joining, being refused, being locked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from idplane.audit.activity import activity_event
from idplane.model.calls import Call, Caller
from idplane.model.directory import Agent
from idplane.model.events import ActivityEvent
from idplane.model.failure import Failure
from idplane.model.ids import ResourceId

__all__ = ["AGENTS_TYPE", "ENROLLMENTS_TYPE", "JOIN", "LOCK", "REQUEST", "AgentEvent", "agent_resource"]

AGENTS_TYPE: Final = "Idplane.Workloads/agents"
ENROLLMENTS_TYPE: Final = "Idplane.Workloads/enrollments"
JOIN: Final = f"{ENROLLMENTS_TYPE}/join/action"
LOCK: Final = f"{AGENTS_TYPE}/lock/action"
REQUEST: Final = f"{AGENTS_TYPE}/request/action"
"""What an agent that is not served asks for."""
_MAX_TEXT: Final = 1024


def agent_resource(agent: Agent) -> ResourceId:
    """The id under which Resource Manager shows an agent."""
    return (agent.host or ResourceId(())).extension(AGENTS_TYPE, agent.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentEvent:
    """One thing that an agent, or a machine that would be one, did or brought about."""

    operation: str
    resource_id: ResourceId
    tenant_id: str
    agent_id: str = ""
    facts: Mapping[str, str]
    """Further properties."""
    refusal: Failure | None = None

    def recorded(self, event_id: str, at: datetime, call: Call) -> ActivityEvent:
        """The event for the log."""
        name = f"agent {self.agent_id}" if self.agent_id else "a machine that is not enrolled"
        caller = Caller(
            tenant_id=self.tenant_id, principal_id=self.agent_id, client_id=self.agent_id, display_name=name, token_id=""
        )
        return activity_event(
            event_id=event_id,
            at=at,
            call=call,
            caller=caller,
            resource_id=self.resource_id,
            operation=self.operation,
            decision=None,
            http_status=200 if self.refusal is None else self.refusal.kind.category.value,
            failure_code=None if self.refusal is None else self.refusal.kind.name,
            details={name: value[:_MAX_TEXT] for name, value in self.facts.items()},
        )
