from __future__ import annotations

from typing import Any

import pytest
from tests.unit.templates.template_world import plan

from idplane.templates.planning import outputs
from idplane.templates.problems import TemplateProblem


def _shown(declared: dict[str, Any], **given: Any) -> Any:
    return plan({"parameters": declared}, **given).parameters


def _refused(declared: dict[str, Any], **given: Any) -> TemplateProblem:
    with pytest.raises(TemplateProblem) as refused:
        plan({"parameters": declared}, **given)
    return refused.value


def test_values_and_defaults() -> None:
    declared = {
        "a": {"type": "string"},
        "b": {"type": "string", "defaultValue": "[concat(parameters('A'), parameters('c'))]"},
        "c": {"type": "int", "defaultValue": 3},
        "d": {"type": "string", "nullable": True},
    }
    assert _shown(declared, A="x") == {
        "a": {"type": "String", "value": "x"},
        "b": {"type": "String", "value": "x3"},
        "c": {"type": "Int", "value": 3},
        "d": {"type": "String", "value": None},
    }


def test_an_expression_in_a_given_value_is_text() -> None:
    found = plan(
        {
            "parameters": {"a": {"type": "string"}},
            "outputs": {"a": {"type": "string", "value": "[parameters('a')]"}},
        },
        a="[concat('x')]",
    )
    assert outputs(found)["a"] == {"type": "String", "value": "[concat('x')]"}


def test_secure_values_are_bound_and_never_shown() -> None:
    found = plan(
        {
            "parameters": {"a": {"type": "secureString"}, "b": {"type": "secureObject", "defaultValue": {"k": "hidden"}}},
            "outputs": {
                "a": {"type": "securestring", "value": "[parameters('a')]"},
                "length": {"type": "int", "value": "[length(parameters('a'))]"},
            },
        },
        a="hunter2",
    )
    assert found.parameters == {"a": {"type": "SecureString"}, "b": {"type": "SecureObject"}}
    assert outputs(found) == {"a": {"type": "SecureString"}, "length": {"type": "Int", "value": 7}}
    assert "hunter2" not in repr(found)
    assert "hidden" not in repr(found.parameters)


def test_a_refused_secret_is_not_repeated() -> None:
    problem = _refused({"a": {"type": "securestring", "maxLength": 3}}, a="hunter2")
    assert "hunter2" not in problem.plain


@pytest.mark.parametrize(
    ("declared", "given", "words"),
    [
        ({"type": "string"}, None, "The value for the template parameter 'a' is not provided."),
        ({"type": "string"}, 5, "Expected a value of type 'String', but received a value of type 'Integer'"),
        ({"type": "int"}, "5", "Expected a value of type 'Integer'"),
        ({"type": "int"}, True, "Expected a value of type 'Integer'"),
        ({"type": "bool"}, 1, "Expected a value of type 'Boolean'"),
        ({"type": "array"}, {}, "Expected a value of type 'Array'"),
        ({"type": "object"}, [], "Expected a value of type 'Object'"),
        ({"type": "text"}, "x", "The template parameter type 'text' is not supported"),
        (
            {"type": "string", "allowedValues": ["x", "y"]},
            "z",
            "The provided value 'z' for the template parameter 'a' is not valid. The parameter value is not part of the allowed value(s): 'x,y'.",
        ),
        ({"type": "array", "allowedValues": ["x", "y"]}, ["x", "z"], "not part of the allowed value(s)"),
        ({"type": "string", "minLength": 3}, "ab", "Length of the value should be greater than or equal to '3'"),
        ({"type": "array", "maxLength": 1}, [1, 2], "Length of the value should be less than or equal to '1'"),
        ({"type": "int", "minValue": 3}, 2, "greater than or equal to '3'"),
        ({"type": "int", "maxValue": 3}, 4, "less than or equal to '3'"),
        (
            {"type": "string", "defaultValue": "[nosuch()]"},
            None,
            "The default value of the template parameter 'a' is not valid",
        ),
        ({"type": "string", "defaultValue": 5}, None, "Expected a value of type 'String'"),
        ({"type": "string", "defaultValue": "[variables('x')]"}, None, "The template variable 'x' is not found"),
        ({"type": "string", "defaultValue": "[parameters('a')]"}, None, "defined in terms of itself"),
        ({"$ref": "#/definitions/none"}, "x", "does not lead to a definition"),
    ],
)
def test_values_that_are_refused(declared: dict[str, Any], given: object, words: str) -> None:
    problem = _refused({"a": declared}, **({} if given is None else {"a": given}))
    assert words in problem.plain
    assert problem.code == "InvalidTemplate"


def test_allowed_values_ignore_case_and_arrays_may_be_made_of_them() -> None:
    assert _shown({"a": {"type": "string", "allowedValues": ["Yes"]}}, a="yes")["a"]["value"] == "yes"
    assert _shown({"a": {"type": "array", "allowedValues": ["x", "y"]}}, a=["y", "x"])["a"]["value"] == ["y", "x"]


def test_undeclared_parameters_are_refused() -> None:
    problem = _refused({"a": {"type": "string"}}, a="x", b="y")
    assert "The template parameters 'b' in the parameters file are not valid" in problem.plain
    assert "The only supported parameters for this template are 'a'" in problem.plain


def test_types_of_the_template_s_own() -> None:
    declared = {
        "parameters": {"a": {"$ref": "#/definitions/site"}},
        "definitions": {
            "site": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "minLength": 2},
                    "tags": {"type": "array", "items": {"type": "string"}, "nullable": True},
                },
                "additionalProperties": False,
            }
        },
    }
    assert plan(declared, a={"name": "web"}).parameters["a"] == {"type": "Object", "value": {"name": "web"}}
    for wrong, words in (
        ({}, "missing the required property 'name'"),
        ({"name": "w"}, "Length of the value"),
        ({"name": "web", "tags": [1]}, "Expected a value of type 'String'"),
        ({"name": "web", "x": 1}, "not permitted: 'x'"),
    ):
        with pytest.raises(TemplateProblem, match=words):
            plan(declared, a=wrong)
