"""Templates in a test's hands: facts that stand still, and short ways to evaluate and plan."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from idplane.model.ids import ResourceId
from idplane.templates.context_functions import CONTEXTUAL
from idplane.templates.evaluation import Evaluator
from idplane.templates.facts import NOWHERE, Facts, Locals
from idplane.templates.planning import Plan, plan_template

__all__ = ["GROUP", "SCHEMA", "SUB", "evaluator", "facts", "plan", "value"]

SUB = "/subscriptions/00000051-0000-4000-8000-000000000051"
GROUP = f"{SUB}/resourceGroups/web"
SCHEMA = {
    "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
    "contentVersion": "1.0.0.0",
}


def facts(scope: str = GROUP) -> Facts:
    return Facts(
        scope=ResourceId.parse(scope),
        name="main",
        now=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
        new_guid=lambda: "00000000-0000-4000-8000-000000000001",
        group={"id": GROUP, "name": "web", "location": "westeurope"} if scope == GROUP else None,
        subscription={"id": SUB, "subscriptionId": SUB.rpartition("/")[2]},
        tenant={"tenantId": "t"},
        location=None if scope == GROUP else "westeurope",
        most_resources=800,
    )


def evaluator(**parameters: object) -> Evaluator:
    return Evaluator(facts=facts(), contextual=CONTEXTUAL, parameters={name.lower(): one for name, one in parameters.items()})


def value(expression: str, local: Locals = NOWHERE, **parameters: object) -> Any:
    """What an expression, written without its brackets, comes to."""
    return evaluator(**parameters).evaluate(f"[{expression}]", local)


def plan(template: dict[str, Any], scope: str = GROUP, **parameters: Any) -> Plan:
    given = {name: {"value": one} for name, one in parameters.items()}
    return plan_template({**SCHEMA, "resources": [], **template}, given, facts(scope))
