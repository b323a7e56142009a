"""Random and hostile templates: each is evaluated or refused in words, within its budget, and nothing else ever comes out."""

from __future__ import annotations

import json
import string
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from idplane.model.ids import ResourceId
from idplane.templates.context_functions import CONTEXTUAL
from idplane.templates.evaluation import Evaluator
from idplane.templates.facts import Facts, Locals, Unresolved
from idplane.templates.lenient import locate, read_lenient
from idplane.templates.library import LIBRARY
from idplane.templates.limits import Budget
from idplane.templates.planning import body, outputs, plan_template
from idplane.templates.problems import TemplateProblem

MANY = settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
FEW = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))

FACTS = Facts(
    scope=ResourceId.parse("/subscriptions/00000051-0000-4000-8000-000000000051/resourceGroups/web"),
    name="main",
    now=datetime(2026, 1, 1, tzinfo=UTC),
    new_guid=lambda: "00000000-0000-4000-8000-000000000001",
    group={"id": "/g", "name": "web", "location": "westeurope"},
    subscription={"subscriptionId": "00000051-0000-4000-8000-000000000051"},
)
NAMES = (*LIBRARY, *(one for one in CONTEXTUAL if one != "list*"), "listKeys", "nosuch", "ns.f")
LEAVES = st.sampled_from(
    ("'a'", "''", "'it''s'", "0", "-1", "5", "9223372036854775807", "null()", "true()", "'P1D'", "'{0:N2}'", "'[x]'", "'2026-01-01'",
     "parameters('a')", "parameters('list')", "variables('v')", "copyIndex()", "lambdaVariables('x')", "'A.B/c'", "'10.0.0.0/8'", "'{'",
     "createObject('a', 1)", "createArray(1, 'b')", "range(0, 10000)", "parameters('long')", "deployment()", "resourceGroup()")
)  # fmt: skip
CALLS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda name, given: f"{name}({', '.join(given)})", st.sampled_from(NAMES), st.lists(inner, max_size=4)),
        st.builds(lambda one, two: f"map({one}, lambda('x', {two}))", inner, inner),
        st.builds(
            lambda one, two: f"reduce({one}, {two}, lambda('x', 'y', concat(lambdaVariables('x'), {two})))", inner, inner
        ),
        st.builds(lambda one, two: f"{one}[{two}]", inner, inner),
        st.builds(lambda one, name: f"{one}.{name}", inner, st.sampled_from(("a", "?b", "properties"))),
    ),
    max_leaves=25,
)
TEXTS = st.text(string.printable) | st.lists(
    st.sampled_from(("(", ")", "[", "]", ".", "?", ",", "'", "a", "1", " ", "concat", "é"))
).map("".join)


def _evaluated(expression: str) -> object:
    evaluator = Evaluator(
        facts=FACTS,
        contextual=CONTEXTUAL,
        parameters={"a": "x", "list": [1, "b", {"c": None}], "long": "y" * 10_000},
        variables={"v": ("[concat('w', parameters('a'))]", Locals())},
        budget=Budget(200_000),
    )
    try:
        return evaluator.evaluate(f"[{expression}]", Locals(index=1, loops={"l": 1}, runtime=True, default=True))
    except (TemplateProblem, Unresolved) as refused:
        return refused


@MANY
@given(TEXTS)
@example("a(" * 20_000)
@example("a()" + ".b" * 8000)
@example("a()" + "[0" * 8000)
@example("'" + "''" * 10_000)
@example("-" * 20_000)
@example("concat(" + "'a'," * 5000 + "'a')")
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    _evaluated(text)


@MANY
@given(CALLS)
@example("reduce(range(0, 10000), parameters('long'), lambda('x', 'y', concat(lambdaVariables('x'), lambdaVariables('x'))))")
@example("reduce(range(0, 10000), 'ab', lambda('x', 'y', replace(lambdaVariables('x'), 'a', lambdaVariables('x'))))")
@example("reduce(range(0, 10000), createArray(1), lambda('x', 'y', createArray(lambdaVariables('x'), lambdaVariables('x'))))")
@example(
    "reduce(range(0, 10000), createObject('a', 1), lambda('x', 'y', createObject('a', lambdaVariables('x'), 'b', lambdaVariables('x'))))"
)
@example("map(range(0, 10000), lambda('x', map(range(0, 10000), lambda('y', range(0, 10000)))))")
@example("string(map(range(0, 10000), lambda('x', parameters('long'))))")
@example("join(map(range(0, 10000), lambda('x', parameters('long'))), parameters('long'))")
@example("sort(range(0, 10000), lambda('x', 'y', false()))")
@example("split(parameters('long'), createArray('y', 'yy', 'yyy'))")
@example("map(range(0, 10000), lambda('x', contains(range(0, 10000), -1)))")
@example("map(range(0, 10000), lambda('x', equals(parameters('list'), parameters('list'))))")
@example("padLeft('a', 4096)")
@example("format('{0,999}{0,999}{0,999}', parameters('long'))")
@example("json(concat('[', join(map(range(0, 3000), lambda('x', '[')), ''), ']'))")
@example(
    "intersection(map(range(0, 2000), lambda('x', createArray(lambdaVariables('x')))), map(range(0, 2000), lambda('x', createArray(lambdaVariables('x')))))"
)
def test_any_calls_give_a_value_or_are_refused(expression: str) -> None:
    found = _evaluated(expression)
    if not isinstance(found, Exception):
        json.dumps(found)


@FEW
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 900) | st.sampled_from(("a", "A.B/c", "2020-01-01", "[copyIndex()]", "[reference('a')]", "[parameters('a')]", "[variables('a')]", "[[x]", "/", "[deployment().properties.template]")),
        lambda inner: st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(("type", "name", "apiVersion", "copy", "count", "mode", "batchSize", "input", "condition", "dependsOn", "scope", "resources", "properties", "value", "defaultValue", "allowedValues", "a", "existing", "resourceGroup", "template", "expressionEvaluationOptions")),
            inner,
            max_size=6,
        ),
        max_leaves=30,
    ),
    st.sampled_from(("parameters", "variables", "resources", "outputs", "functions", "definitions")),
    st.booleans(),
)  # fmt: skip
def test_any_template_is_planned_or_refused(part: Any, section: str, symbolic: bool) -> None:  # noqa: FBT001 - drawn
    base = {"type": "A.B/c", "apiVersion": "2020-01-01", "name": "a"}
    resources: Any = [base, *([{**base, **part}] if isinstance(part, dict) else [])]
    document: dict[str, Any] = {
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "resources": {str(at): one for at, one in enumerate(resources)} if symbolic else resources,
        **({"languageVersion": "2.0"} if symbolic else {}),
    }
    if section != "resources" or not isinstance(part, dict):
        document[section] = part
    try:
        plan = plan_template(document, {}, FACTS)
        for one in plan.resources.values():
            body(plan, one)
        outputs(plan)
    except (TemplateProblem, Unresolved):
        return


@MANY
@given(
    st.text(string.printable + "é\u2028\ufeff\x00")
    | st.lists(
        st.sampled_from(("{", "}", "[", "]", '"', "'", ":", ",", "//", "/*", "*/", "\n", "a", "1", "-", ".", "e", "\\", "true"))
    ).map("".join)
)
@example("/*" * 50_000)
@example("/" * 50_000)
@example('"' + "\\" * 50_001)
@example("[" * 50_000)
@example("1" * 50_000)
@example("{a:" * 50_000)
def test_any_text_is_read_or_refused(text: str) -> None:
    locate(text, ("a", 0, "b"))
    try:
        read_lenient(text)
    except TemplateProblem as problem:
        code = problem.code
    else:
        code = "InvalidRequestContent"
    assert code == "InvalidRequestContent"


@pytest.mark.parametrize("size", [3, 4])
def test_work_is_refused_when_it_grows_too_much(size: int) -> None:
    """Whatever multiplies, the budget ends it."""
    inner = "parameters('list')"
    for _ in range(size):
        inner = f"map(range(0, 500), lambda('x', {inner}))"
    found = _evaluated(inner)
    assert isinstance(found, TemplateProblem)
