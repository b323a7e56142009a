from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.templates.template_world import GROUP, SCHEMA, SUB, facts, plan

from idplane.templates.facts import Lookup, Unresolved
from idplane.templates.graph import in_circle, in_order
from idplane.templates.planning import Plan, body, outputs, plan_nested, plan_template
from idplane.templates.problems import TemplateProblem

SITES = f"{GROUP}/providers/A.B/sites"


def site(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "A.B/sites", "apiVersion": "2020-01-01", "name": name, **more}


def names(found: Plan) -> list[str]:
    return [one.name for one in found.resources.values()]


def needs(found: Plan) -> dict[str, set[str]]:
    return {found.resources[key].name: {found.resources[one].name for one in wanted} for key, wanted in found.needs.items()}


def bodies(found: Plan) -> dict[str, Any]:
    return {one.name: body(found, one) for one in found.resources.values()}


def refused(*resources: dict[str, Any], **sections: Any) -> TemplateProblem:
    with pytest.raises(TemplateProblem) as caught:
        plan({"resources": list(resources), **sections})
    return caught.value


# Graphs


@given(
    st.integers(1, 30).flatmap(
        lambda size: st.tuples(st.just(size), st.lists(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1))))
    )
)
def test_orders_keep_to_what_is_needed_and_circles_are_found(drawn: tuple[int, list[tuple[int, int]]]) -> None:
    size, edges = drawn
    graph: dict[str, set[str]] = {str(one): set() for one in range(size)}
    for start, end in edges:
        graph[str(start)].add(str(end))
    order = in_order(graph)
    assert len(order) == len(set(order))
    for at, one in enumerate(order):
        assert graph[one] <= set(order[:at])
    circle = in_circle(graph)
    assert bool(circle) == (len(order) < size)
    for before, after in zip(circle, circle[1:] + circle[:1], strict=True):
        assert after in graph[before]


# Resources


def test_members_that_are_about_the_template_are_not_sent() -> None:
    found = plan(
        {
            "resources": [
                site(
                    "a",
                    location="x",
                    comments="c",
                    condition=True,
                    dependsOn=[],
                    metadata={},
                    properties={"p": "[[q]"},
                    tags={"t": "[concat('v')]"},
                )
            ]
        }
    )
    assert bodies(found) == {"a": {"location": "x", "properties": {"p": "[q]"}, "tags": {"t": "v"}}}


def test_names_of_members_may_be_expressions() -> None:
    found = plan({"resources": [site("a", identity={"userAssignedIdentities": {"[resourceId('A.B/sites', 'x')]": {}}})]})
    assert bodies(found)["a"] == {"identity": {"userAssignedIdentities": {f"{SITES}/x": {}}}}


def test_copies_of_resources() -> None:
    found = plan(
        {
            "parameters": {"names": {"type": "array", "defaultValue": ["x", "y"]}},
            "resources": [
                site(
                    "[parameters('names')[copyIndex()]]",
                    copy={"name": "loop", "count": "[length(parameters('names'))]"},
                    n="[copyIndex('loop', 1)]",
                ),
                site("none", copy={"name": "empty", "count": 0}),
                site("after", dependsOn=["loop"]),
            ],
        }
    )
    assert names(found) == ["x", "y", "after"]
    assert bodies(found)["y"] == {"n": 2}
    assert needs(found)["after"] == {"x", "y"}


def test_serial_copies_wait_for_the_batch_before() -> None:
    found = plan(
        {"resources": [site("[format('s{0}', copyIndex())]", copy={"name": "l", "count": 5, "mode": "Serial", "batchSize": 2})]}
    )
    assert needs(found) == {"s0": set(), "s1": set(), "s2": {"s0", "s1"}, "s3": {"s0", "s1"}, "s4": {"s2", "s3"}}


def test_copies_in_properties_and_variables_and_outputs() -> None:
    found = plan(
        {
            "variables": {
                "copy": [{"name": "top", "count": 2, "input": "[copyIndex('top')]"}],
                "inner": {"copy": [{"name": "list", "count": 2, "input": {"n": "[copyIndex('list', 5)]"}}], "kept": 1},
                "uses": "[variables('top')]",
            },
            "resources": [
                site(
                    "[concat('r', copyIndex())]",
                    copy={"name": "l", "count": 2},
                    properties={
                        "copy": [
                            {
                                "name": "disks",
                                "count": 2,
                                "input": {"lun": "[add(mul(copyIndex('l'), 10), copyIndex('disks'))]"},
                            }
                        ]
                    },
                )
            ],
            "outputs": {"all": {"type": "array", "copy": {"count": 2, "input": "[concat('o', copyIndex())]"}}},
        }
    )
    assert found.evaluator.variable("TOP") == [0, 1]
    assert found.evaluator.variable("inner") == {"list": [{"n": 5}, {"n": 6}], "kept": 1}
    assert found.evaluator.variable("uses") == [0, 1]
    assert bodies(found)["r1"] == {"properties": {"disks": [{"lun": 10}, {"lun": 11}]}}
    assert outputs(found) == {"all": {"type": "Array", "value": ["o0", "o1"]}}


def test_conditions() -> None:
    found = plan(
        {
            "resources": [site("a", condition="[equals(1, 2)]"), site("b", dependsOn=["a"])],
            "outputs": {"x": {"type": "string", "condition": False, "value": "[reference('nothing')]"}},
        }
    )
    assert {one.name: one.wanted for one in found.resources.values()} == {"a": False, "b": True}
    assert outputs(found) == {}


def test_one_id_may_stand_twice_under_opposite_conditions() -> None:
    found = plan({"resources": [site("a", condition=False), site("a", location="x")]})
    assert [one.wanted for one in found.resources.values()] == [False, True]
    assert "is defined multiple times in a template" in refused(site("a"), site("A")).plain


def test_children() -> None:
    inner = {"type": "slots", "apiVersion": "2020-01-01", "name": "staging", "properties": {"x": 1}}
    found = plan(
        {"resources": [site("web", resources=[inner]), {**site("web/prod"), "type": "A.B/sites/slots", "dependsOn": ["web"]}]}
    )
    assert [one.id for one in found.resources.values()] == [
        f"{SITES}/web",
        f"{SITES}/web/slots/staging",
        f"{SITES}/web/slots/prod",
    ]
    assert bodies(found)["web"] == {}
    assert "has incorrect segment lengths" in refused(site("web/prod")).plain


def test_extension_resources() -> None:
    roles = {"type": "Microsoft.Authorization/roleAssignments", "apiVersion": "2022-04-01", "name": "r"}
    old = {**roles, "type": "A.B/sites/providers/roleAssignments", "name": "web/Microsoft.Authorization/r"}
    ids = {
        "none": f"{GROUP}/providers/Microsoft.Authorization/roleAssignments/r",
        "[resourceId('A.B/sites', 'web')]": f"{SITES}/web/providers/Microsoft.Authorization/roleAssignments/r",
        "A.B/sites/web": f"{SITES}/web/providers/Microsoft.Authorization/roleAssignments/r",
        "/": "/providers/Microsoft.Authorization/roleAssignments/r",
    }
    for scope, expected in ids.items():
        found = plan({"resources": [roles if scope == "none" else {**roles, "scope": scope}]})
        assert [one.id for one in found.resources.values()] == [expected]
    assert [one.id for one in plan({"resources": [old]}).resources.values()] == [
        f"{SITES}/web/providers/Microsoft.Authorization/roleAssignments/r"
    ]


def test_groups_and_deployments_elsewhere() -> None:
    group = {"type": "Microsoft.Resources/resourceGroups", "apiVersion": "2022-09-01", "name": "g", "location": "x"}
    module = {
        "type": "Microsoft.Resources/deployments",
        "apiVersion": "2022-09-01",
        "name": "m",
        "resourceGroup": "g",
        "dependsOn": ["[subscriptionResourceId('Microsoft.Resources/resourceGroups', 'g')]"],
        "properties": {
            "mode": "Incremental",
            "template": {"[x": "left alone"},
            "parameters": {"p": {"value": "[concat('a', 'b')]"}},
        },
    }
    found = plan({"resources": [group, module]}, scope=SUB)
    assert [one.id for one in found.resources.values()] == [
        f"{SUB}/resourceGroups/g",
        f"{SUB}/resourceGroups/g/providers/Microsoft.Resources/deployments/m",
    ]
    assert needs(found)["m"] == {"g"}
    assert bodies(found)["m"]["properties"] == {
        "mode": "Incremental",
        "template": {"[x": "left alone"},
        "parameters": {"p": {"value": "ab"}},
    }
    assert "resourceGroup" not in bodies(found)["m"]


def test_symbolic_names() -> None:
    template = {
        **SCHEMA,
        "languageVersion": "2.0",
        "resources": {
            "one": site("a"),
            "many": site("[format('m{0}', copyIndex())]", copy={"name": "many", "count": 2}),
            "old": site("there", existing=True),
            "last": site(
                "z",
                dependsOn=["one", "many[1]"],
                properties={"ref": "[reference('old').x]", "id": "[resourceInfo('one').id]", "all": "[references('many')]"},
            ),
        },
    }
    found = plan_template(template, {}, facts())
    assert needs(found)["z"] == {"a", "m0", "m1", "there"}
    last = next(one for one in found.resources.values() if one.name == "z")
    with pytest.raises(Unresolved) as asked:
        body(found, last)
    assert {one.id for one in asked.value.lookups} == {f"{SITES}/there", f"{SITES}/m0", f"{SITES}/m1"}
    for lookup in asked.value.lookups:
        found.evaluator.known[lookup] = {"x": lookup.id[-2:]}
    assert body(found, last) == {"properties": {"ref": "re", "id": f"{SITES}/a", "all": [{"x": "m0"}, {"x": "m1"}]}}
    with pytest.raises(TemplateProblem, match="languageVersion"):
        plan_template({**template, "languageVersion": "1.0"}, {}, facts())


# Dependencies and lookups


def test_references_are_dependencies_and_lookups() -> None:
    found = plan(
        {
            "resources": [
                site("a", properties={"x": "[reference('b').y]", "z": "[if(false(), reference('c').y, 1)]"}),
                site("b"),
                site("c"),
                site("d", properties={"k": "[listKeys(resourceId('A.B/sites', 'b'), '2021-01-01').key]"}),
            ]
        }
    )
    assert needs(found) == {"a": {"b", "c"}, "b": set(), "c": set(), "d": {"b"}}
    first, _, _, last = found.resources.values()
    with pytest.raises(Unresolved) as asked:
        body(found, first)
    (lookup,) = asked.value.lookups
    assert lookup == Lookup(id=f"{SITES}/b", api_version="2020-01-01")
    found.evaluator.known[lookup] = {"y": 5}
    assert body(found, first) == {"properties": {"x": 5, "z": 1}}
    with pytest.raises(Unresolved) as listed:
        body(found, last)
    assert listed.value.lookups == {Lookup(id=f"{SITES}/b", api_version="2021-01-01", word="listKeys")}


def test_what_dependencies_may_be_called() -> None:
    words = ["b", "A.B/sites/b", "[resourceId('A.B/sites', 'b')]", "[concat('A.B/sites/', 'b')]"]
    for word in words:
        assert needs(plan({"resources": [site("a", dependsOn=[word]), site("b")]}))["a"] == {"b"}
    problem = refused(site("a", dependsOn=["x"]))
    assert "The resource 'x' is not defined in the template" in problem.plain
    assert problem.path == ("resources", 0, "dependsOn")


def test_circles() -> None:
    assert "Circular dependency detected on resource" in refused(site("a", dependsOn=["b"]), site("b", dependsOn=["a"])).plain
    assert "Circular dependency detected on resource" in refused(site("a", dependsOn=["a"])).plain


def test_a_resource_of_elsewhere_needs_a_version() -> None:
    problem = refused(site("a", properties={"x": "[reference(resourceId('A.B/sites', 'b')).y]"}))
    assert "needs an API version" in problem.plain
    assert problem.plain.startswith(f"Unable to process template language expressions for resource '{SITES}/a'")


# Nested templates


def test_nested_templates_in_the_outer_scope_see_the_outer_template() -> None:
    outer = plan({"parameters": {"p": {"type": "string"}}, "variables": {"v": "w"}, "resources": [site("outer")]}, p="q")
    inner = {
        **SCHEMA,
        "variables": {"v": "hidden"},
        "resources": [
            site("[concat(parameters('p'), variables('v'), copyIndex())]", copy={"name": "n", "count": 2}, dependsOn=["outer"])
        ],
    }
    found = plan_nested(
        inner, facts(f"{SUB}/resourceGroups/other"), outer.evaluator, next(iter(outer.resources.values())).local
    )
    assert [one.id for one in found.resources.values()] == [
        f"{SUB}/resourceGroups/other/providers/A.B/sites/qw{at}" for at in (0, 1)
    ]
    assert found.parameters == {}


# Refusals


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ({"$schema": None}, "the '$schema' is not one of a deployment template"),
        ({"resources": "x"}, "must be an array or an object"),
        ({"resources": [5]}, "A template resource must be an object"),
        ({"resources": [{"type": "A.B/c", "name": "x"}]}, "the 'apiVersion' property is missing"),
        ({"resources": [site("[reference('x')]")]}, "The template function 'reference' is not expected at this location"),
        ({"resources": [site("a", condition="yes")]}, "The 'condition' must be a boolean"),
        ({"resources": [site("a", copy={"name": "l"})]}, "must have a 'name' and a 'count'"),
        ({"resources": [site("a", copy={"name": "l", "count": 801})]}, "exceeds the maximum of '800'"),
        ({"resources": [site("a", copy={"name": "l", "count": -1})]}, "not negative"),
        ({"resources": [site("a", copy={"name": "l", "count": "2"})]}, "must be an integer"),
        ({"resources": [site("a%b")]}, "is not a resource id"),
        ({"resources": [site(f"s{at}") for at in range(801)]}, "Limit: '800' and actual: '801'"),
        (
            {
                "resources": [
                    site("[concat('s', copyIndex())]", copy={"name": "l", "count": 500}),
                    site("[concat('t', copyIndex())]", copy={"name": "m", "count": 500}),
                ]
            },
            "number of template resources limit",
        ),
        ({"variables": {"a": "[variables('b')]", "b": "[variables('a')]"}}, "defined in terms of itself"),
        ({"variables": {str(at): at for at in range(513)}}, "Limit: '512' and actual: '513'"),
        ({"parameters": {str(at): {"type": "int", "defaultValue": 1} for at in range(257)}}, "Limit: '256'"),
        ({"outputs": {str(at): {"type": "int", "value": 1} for at in range(65)}}, "Limit: '64'"),
        (
            {"outputs": {"x": {"type": "int", "value": "s"}}},
            "The template output 'x' is not valid: Expected a value of type 'Integer'",
        ),
        ({"functions": [{"namespace": "n"}]}, "must have a 'namespace' and 'members'"),
    ],
)
def test_templates_that_are_refused(template: dict[str, Any], words: str) -> None:
    with pytest.raises(TemplateProblem) as caught:
        plan(template)
    assert words in caught.value.plain


def test_what_a_template_must_have() -> None:
    for name in ("$schema", "contentVersion", "resources"):
        template = {key: one for key, one in {**SCHEMA, "resources": []}.items() if key != name}
        with pytest.raises(
            TemplateProblem, match=f"Required property '\\{name}' not found" if name[0] == "$" else f"'{name}' not found"
        ):
            plan_template(template, {}, facts())


def test_user_defined_functions_see_only_their_own_parameters() -> None:
    function = {
        "parameters": [{"name": "p", "type": "string"}],
        "output": {"type": "string", "value": "[toUpper(parameters('P'))]"},
    }
    blind = {"parameters": [], "output": {"type": "string", "value": "[variables('v')]"}}
    endless = {"parameters": [], "output": {"type": "string", "value": "[n.endless()]"}}
    functions = [{"namespace": "N", "members": {"up": function, "blind": blind, "endless": endless}}]
    template = {"functions": functions, "variables": {"v": "[n.UP('a')]"}}
    assert plan(template).evaluator.variable("v") == "A"
    for name, words in (
        ("blind", "is not expected at this location"),
        ("endless", "called from too many others"),
        ("up", "requires 1 argument"),
    ):
        with pytest.raises(TemplateProblem, match=words):
            plan({**template, "variables": {"v": f"[n.{name}()]"}})


def test_problems_say_where() -> None:
    failure = TemplateProblem("The template parameter 'a'\x00 is bad.", path=("x",)).failure((3, 7))
    assert (
        failure.detail
        == "Deployment template validation failed: 'The template parameter 'a' at line '3' and column '7' is bad.'."
    )
    assert failure.data["code"] == "InvalidTemplate"
