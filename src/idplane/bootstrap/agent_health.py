"""What makes an agent ready, and the private listener that tells.

An agent without a server to ask is ready all the same: it serves what it holds, and a workload that is taken out of service
because of it would be worse off.
"""

from __future__ import annotations

from contextlib import AsyncExitStack

from idplane.agent.process import AgentProcess
from idplane.bootstrap.health import Health, Unready
from idplane.web.health import HealthApp, bind_private

__all__ = ["agent_health", "serve_health"]


def agent_health(process: AgentProcess) -> Health:
    """The checks of an agent."""

    async def accepted() -> None:
        if process.agent.condition.refused is not None:
            raise Unready("the servers refuse this agent")

    async def connected() -> None:
        if process.agent.condition.heard_at is None:
            raise Unready("no server has been reached since the start")

    async def endpoints() -> None:
        if process.endpoints.waiting:
            raise Unready("an endpoint can't be opened yet")

    return Health({"accepted": accepted, "connected": connected, "endpoints": endpoints}, clock=process.clock)


async def serve_health(stack: AsyncExitStack, process: AgentProcess, listen: str) -> None:
    """Answer `/livez` and `/readyz` until the stack ends; raises as `bind_private` does."""
    health = agent_health(process)
    stack.push_async_callback(health.close)
    listener = await HealthApp(ready=health.report).listen(bind_private(listen))
    stack.push_async_callback(listener.close)
