"""Parameters: what a template declares, what a caller gives, and the values that come of it.

Values of secure types are bound like any other and never shown: `Bound.shown`, which is stored and answered, has their types alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from idplane.model.values import JsonObject
from idplane.templates.document import Template
from idplane.templates.evaluation import Evaluator
from idplane.templates.facts import Locals
from idplane.templates.graph import in_circle, in_order
from idplane.templates.kinds import equal, kind
from idplane.templates.limits import MAX_DEPTH
from idplane.templates.problems import AT, TemplateProblem
from idplane.templates.syntax import Text, calls, is_expression, parse

__all__ = ["SECURE", "TYPES", "Bound", "bind", "require_type"]

TYPES: Mapping[str, tuple[str, frozenset[str]]] = {
    "string": ("String", frozenset({"String"})),
    "securestring": ("SecureString", frozenset({"String"})),
    "int": ("Int", frozenset({"Integer"})),
    "bool": ("Bool", frozenset({"Boolean"})),
    "object": ("Object", frozenset({"Object"})),
    "secureobject": ("SecureObject", frozenset({"Object"})),
    "array": ("Array", frozenset({"Array"})),
}
"""By lower-case name: how the type is shown, and the JSON types that it takes."""
SECURE = frozenset({"securestring", "secureobject"})
_PARAMETER_FILE = "Please see https://aka.ms/arm-create-parameter-file for usage details."
_PASSING = "Please see https://aka.ms/arm-pass-parameter-values for usage details."
_BOUNDS = ("minLength", "maxLength", "minValue", "maxValue")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Bound parameters: every value by lower-case name, and what may be shown of them."""

    values: dict[str, object]
    shown: dict[str, object]


def bind(template: Template, given: JsonObject, evaluator: Evaluator) -> Bound:
    """Bind what a caller gives to what the template declares; raises `TemplateProblem`.

    `evaluator` computes defaults; its `parameters` are filled as they become known.
    """
    _require_declared(template, given)
    folded = {name.lower(): value for name, value in given.items()}
    values: dict[str, object] = {}
    evaluator.parameters = values
    shown: dict[str, object] = {}
    for name in _in_order(template):
        declared = _resolved(template, template.parameters[name])
        values[name.lower()] = value = _value(template, name, declared, folded.get(name.lower()), evaluator)
        kind_ = str(declared.get("type", "")).lower()
        shown[name] = {"type": TYPES[kind_][0]} if kind_ in SECURE else {"type": TYPES[kind_][0], "value": value}
    return Bound(values=values, shown={name: shown[name] for name in template.parameters})


def _require_declared(template: Template, given: JsonObject) -> None:
    declared = {name.lower() for name in template.parameters}
    strangers = [name for name in given if name.lower() not in declared]
    if strangers:
        raise TemplateProblem(
            f"The template parameters '{', '.join(strangers)}' in the parameters file are not valid; they are not present in the "
            "original template and can therefore not be provided at deployment time. The only supported parameters for this "
            f"template are '{', '.join(template.parameters)}'. {_PASSING}"
        )


def _in_order(template: Template) -> list[str]:
    """Parameters whose defaults use others come after them."""
    canonical = {name.lower(): name for name in template.parameters}
    needs = {
        name: {canonical[one] for one in _used(declared.get("defaultValue")) if one in canonical}
        for name, declared in template.parameters.items()
    }
    circle = in_circle(needs)
    if circle:
        words = f"The default value of the template parameter '{circle[0]}'{AT} is defined in terms of itself."
        raise TemplateProblem(words, path=("parameters", circle[0]))
    return in_order(needs)


def _used(raw: object) -> set[str]:
    """Names in `parameters('...')` anywhere in a value, lower case."""
    found: set[str] = set()
    stack = [raw]
    while stack:
        one = stack.pop()
        if isinstance(one, Mapping):
            stack.extend((*one.keys(), *one.values()))
        elif isinstance(one, list):
            stack.extend(one)
        elif isinstance(one, str) and is_expression(one):
            named = (call.arguments[0] for call in calls(parse(one)) if call.name.lower() == "parameters" and call.arguments)
            found.update(first.value.lower() for first in named if isinstance(first, Text))
    return found


def _resolved(template: Template, declared: JsonObject, depth: int = 0) -> JsonObject:
    """A declaration with its `$ref` followed; what stands beside the reference wins."""
    reference = declared.get("$ref")
    if not isinstance(reference, str):
        kind_ = declared.get("type")
        if not isinstance(kind_, str) or kind_.lower() not in TYPES:
            raise TemplateProblem(f"The template parameter type '{kind_}' is not supported.")
        return declared
    target = template.definitions.get(reference.removeprefix("#/definitions/"))
    if target is None or depth > MAX_DEPTH:
        raise TemplateProblem(f"The type reference '{reference}' does not lead to a definition of the template.")
    beside = {name: value for name, value in declared.items() if name != "$ref"}
    return {**_resolved(template, target, depth + 1), **beside}


def _value(template: Template, name: str, declared: JsonObject, given: object, evaluator: Evaluator) -> object:
    if given is not None and (not isinstance(given, Mapping) or not {"value", "reference"} & given.keys()):
        words = f"The parameter '{name}' must be given as an object with the member 'value'."
        raise TemplateProblem(words, code="InvalidDeploymentParameterValue")
    path = ("parameters", name)
    if isinstance(given, Mapping) and given.get("value") is not None:
        value = given["value"]
        _check(template, name, declared, value)
        return value
    if "defaultValue" in declared:
        try:
            value = evaluator.evaluate(declared["defaultValue"], Locals(default=True))
        except TemplateProblem as problem:
            words = f"The default value of the template parameter '{name}'{AT} is not valid: {problem.plain}"
            raise TemplateProblem(words, path=path) from problem
        if value is not None or declared.get("nullable") is not True:
            _check(template, name, declared, value)
        return value
    if declared.get("nullable") is True:
        return None
    words = f"The value for the template parameter '{name}'{AT} is not provided. {_PARAMETER_FILE}"
    raise TemplateProblem(words, path=path)


def _check(template: Template, name: str, declared: JsonObject, value: object) -> None:
    path = ("parameters", name)
    try:
        require_type(str(declared["type"]), value)
        _require_rules(template, declared, value, 0)
    except TemplateProblem as problem:
        secure = str(declared["type"]).lower() in SECURE
        what = f"The provided value '{value}'" if isinstance(value, str) and not secure else "The provided value"
        words = f"{what} for the template parameter '{name}'{AT} is not valid. {problem.plain}"
        raise TemplateProblem(words, path=path) from problem


def require_type(declared: str, value: object) -> None:
    """Refuse a value whose JSON type is not the declared one; raises `TemplateProblem`."""
    if declared.lower() not in TYPES:
        raise TemplateProblem(f"The type '{declared}' is not supported.")
    expected = TYPES[declared.lower()][1]
    if kind(value) not in expected:
        words = f"Expected a value of type '{', '.join(sorted(expected))}', but received a value of type '{kind(value)}'."
        raise TemplateProblem(f"{words} {_PARAMETER_FILE}")


def _require_rules(template: Template, declared: JsonObject, value: object, depth: int) -> None:
    allowed = declared.get("allowedValues")
    if isinstance(allowed, list):
        _require_allowed(allowed, value)
    _require_bounds(declared, value)
    if depth > MAX_DEPTH:
        raise TemplateProblem(f"A value is nested deeper than {MAX_DEPTH} levels.")
    if isinstance(value, Mapping):
        _require_members(template, declared, value, depth)
    elif isinstance(value, list) and isinstance(declared.get("items"), Mapping):
        items = _resolved(template, declared["items"])  # type: ignore[arg-type]  # a mapping, as the line above asks
        for one in value:
            _require_inner(template, items, one, depth)


def _require_members(template: Template, declared: JsonObject, value: Mapping[str, object], depth: int) -> None:
    properties = declared.get("properties")
    if not isinstance(properties, Mapping):
        return
    for name, raw in properties.items():
        inner = _resolved(template, raw) if isinstance(raw, Mapping) else None
        if inner is None:
            continue
        if value.get(name) is None:
            if inner.get("nullable") is not True:
                raise TemplateProblem(f"The value is missing the required property '{name}'.")
            continue
        _require_inner(template, inner, value[name], depth)
    if declared.get("additionalProperties") is False:
        strangers = [name for name in value if name not in properties]
        if strangers:
            raise TemplateProblem(f"The following properties are not permitted: '{', '.join(strangers)}'.")


def _require_inner(template: Template, declared: JsonObject, value: object, depth: int) -> None:
    require_type(str(declared["type"]), value)
    _require_rules(template, declared, value, depth + 1)


def _require_allowed(allowed: list[object], value: object) -> None:
    """One of the allowed values; an array may also be made of them. Strings are compared without case, as Azure does."""
    if any(_same(one, value) for one in allowed):
        return
    if isinstance(value, list) and all(any(_same(one, part) for one in allowed) for part in value):
        return
    listed = ",".join(str(one) for one in allowed)
    raise TemplateProblem(f"The parameter value is not part of the allowed value(s): '{listed}'.")


def _same(allowed: object, value: object) -> bool:
    if isinstance(allowed, str) and isinstance(value, str):
        return allowed.lower() == value.lower()
    return equal(allowed, value)


def _require_bounds(declared: JsonObject, value: object) -> None:
    least, most, smallest, largest = (declared.get(name) for name in _BOUNDS)
    if isinstance(value, str | list):
        if isinstance(least, int) and len(value) < least:
            raise TemplateProblem(f"Length of the value should be greater than or equal to '{least}'. {_PARAMETER_FILE}")
        if isinstance(most, int) and len(value) > most:
            raise TemplateProblem(f"Length of the value should be less than or equal to '{most}'. {_PARAMETER_FILE}")
    if isinstance(value, int) and not isinstance(value, bool):
        if isinstance(smallest, int) and value < smallest:
            raise TemplateProblem(f"The value should be greater than or equal to '{smallest}'. {_PARAMETER_FILE}")
        if isinstance(largest, int) and value > largest:
            raise TemplateProblem(f"The value should be less than or equal to '{largest}'. {_PARAMETER_FILE}")
