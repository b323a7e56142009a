"""Whether a subscription takes a namespace's resources. Every namespace is registered until it is unregistered."""

from __future__ import annotations

from idplane.arm.registry import InstanceRoute, Route, Verb
from idplane.arm.task import Task
from idplane.model.failure import Failure, FailureKind

__all__ = ["require_registered"]


def require_registered(task: Task, route: Route) -> None:
    """Raises `Failure(NOT_REGISTERED)` for a PUT of what belongs to a namespace that the subscription has unregistered."""
    subscription = task.context.subscription
    if task.verb is not Verb.PUT or subscription is None or not isinstance(route, InstanceRoute):
        return
    if route.type.namespace.lower() in subscription.unregistered:
        namespace = route.type.namespace
        raise Failure(FailureKind.NOT_REGISTERED, "the subscription does not take this namespace", namespace=namespace)
