"""The parts of a template, checked for their shape and their number before anything is evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from idplane.model.values import JsonObject
from idplane.templates.evaluation import UserFunction
from idplane.templates.limits import MAX_OUTPUTS, MAX_PARAMETERS, MAX_RESOURCES, MAX_VARIABLES
from idplane.templates.problems import AT, Path, TemplateProblem

__all__ = ["Declared", "Template", "read_template"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """One entry of `resources`. `symbol` is its symbolic name in templates that have them; `parent` the resource it stands in."""

    raw: JsonObject
    path: Path
    symbol: str | None = None
    parent: Declared | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A template whose parts have the right shapes. Nothing in it is evaluated."""

    document: JsonObject
    parameters: Mapping[str, JsonObject] = field(default_factory=dict)
    definitions: Mapping[str, JsonObject] = field(default_factory=dict)
    variables: JsonObject = field(default_factory=dict)
    functions: Mapping[tuple[str, str], UserFunction] = field(default_factory=dict)
    resources: tuple[Declared, ...] = ()
    outputs: Mapping[str, JsonObject] = field(default_factory=dict)
    symbolic: bool = False


def read_template(document: object) -> Template:
    """Take a template apart; raises `TemplateProblem`. Members that are not known (`metadata`, `createUiDefinition`) mean nothing."""
    if not isinstance(document, Mapping):
        raise TemplateProblem("Deployment template parse failed: 'the template must be a JSON object'.")
    for name in ("$schema", "contentVersion", "resources"):
        if name not in document:
            raise TemplateProblem(f"Deployment template parse failed: 'Required property '{name}' not found in JSON. Path '''.")
    if not isinstance(document["$schema"], str) or "deploymenttemplate" not in document["$schema"].lower():
        raise TemplateProblem("Deployment template parse failed: 'the '$schema' is not one of a deployment template'.")
    symbolic = isinstance(document["resources"], Mapping)
    if symbolic and not str(document.get("languageVersion", "")).startswith("2"):
        raise TemplateProblem('Resources with symbolic names need \'"languageVersion": "2.0"\'.')
    return Template(
        document=document,
        parameters=_objects(document, "parameters", MAX_PARAMETERS),
        definitions=_objects(document, "definitions", MAX_PARAMETERS),
        variables=_object(document, "variables", MAX_VARIABLES),
        functions=_functions(document.get("functions")),
        resources=_resources(document["resources"], ("resources",), None),
        outputs=_objects(document, "outputs", MAX_OUTPUTS),
        symbolic=symbolic,
    )


def _object(document: JsonObject, name: str, limit: int) -> JsonObject:
    value = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TemplateProblem(f"The template section '{name}'{AT} must be an object.", path=(name,))
    if len(value) > limit:
        words = f"The number of {name} limit exceeded. Limit: '{limit}' and actual: '{len(value)}'."
        raise TemplateProblem(words, path=(name,))
    return value


def _objects(document: JsonObject, name: str, limit: int) -> Mapping[str, JsonObject]:
    found: dict[str, JsonObject] = {}
    folded: set[str] = set()
    for key, value in _object(document, name, limit).items():
        if not isinstance(value, Mapping):
            raise TemplateProblem(f"The template {name.rstrip('s')} '{key}'{AT} must be an object.", path=(name, key))
        if key.lower() in folded:
            raise TemplateProblem(f"The template {name.rstrip('s')} '{key}'{AT} is declared twice.", path=(name, key))
        folded.add(key.lower())
        found[key] = value
    return found


def _functions(raw: object) -> dict[tuple[str, str], UserFunction]:
    if raw is None:
        return {}
    if not isinstance(raw, list):
        raise TemplateProblem(f"The template section 'functions'{AT} must be an array.", path=("functions",))
    made: dict[tuple[str, str], UserFunction] = {}
    for at, group in enumerate(raw):
        members = group.get("members") if isinstance(group, Mapping) else None
        if not isinstance(group, Mapping) or not isinstance(group.get("namespace"), str) or not isinstance(members, Mapping):
            words = f"A group of functions{AT} must have a 'namespace' and 'members'."
            raise TemplateProblem(words, path=("functions", at))
        for name, member in members.items():
            made[group["namespace"].lower(), name.lower()] = _function(name, member, ("functions", at, "members", name))
    return made


def _function(name: str, raw: object, path: Path) -> UserFunction:
    output = raw.get("output") if isinstance(raw, Mapping) else None
    parameters = raw.get("parameters", []) if isinstance(raw, Mapping) else None
    named = isinstance(parameters, list) and all(
        isinstance(one, Mapping) and isinstance(one.get("name"), str) for one in parameters
    )
    if not isinstance(output, Mapping) or "value" not in output or not named or not isinstance(parameters, list):
        raise TemplateProblem(
            f"The function '{name}'{AT} must have 'parameters' with names and an 'output' with a value.", path=path
        )
    return UserFunction(parameters=tuple(one["name"].lower() for one in parameters), value=output["value"])


def _resources(raw: object, path: Path, parent: Declared | None) -> tuple[Declared, ...]:
    """Resources and, flat behind each, those that stand inside it."""
    if isinstance(raw, Mapping):
        entries: list[tuple[str | None, str | int, object]] = [(name, name, one) for name, one in raw.items()]
    elif isinstance(raw, list):
        entries = [(None, at, one) for at, one in enumerate(raw)]
    else:
        raise TemplateProblem(f"The template section 'resources'{AT} must be an array or an object.", path=path)
    found: list[Declared] = []
    for symbol, key, one in entries:
        declared = _resource(symbol, one, (*path, key), parent)
        found.append(declared)
        if "resources" in declared.raw and str(declared.raw.get("type", "")).lower() != "microsoft.resources/deployments":
            found.extend(_resources(declared.raw["resources"], (*declared.path, "resources"), declared))
        if len(found) > MAX_RESOURCES:
            words = f"The number of resources limit exceeded. Limit: '{MAX_RESOURCES}' and actual: '{len(found)}'."
            raise TemplateProblem(words, path=path)
    return tuple(found)


def _resource(symbol: str | None, raw: object, path: Path, parent: Declared | None) -> Declared:
    if not isinstance(raw, Mapping):
        raise TemplateProblem(f"A template resource{AT} must be an object.", path=path)
    for name in ("type", "apiVersion", "name"):
        if not isinstance(raw.get(name), str) or not raw[name]:
            words = (
                f"The template resource '{raw.get('name', '')}'{AT} is not valid: the '{name}' property is missing or empty."
            )
            raise TemplateProblem(words, path=path)
    if len(path) > 20:  # noqa: PLR2004 - ten resources inside one another
        raise TemplateProblem(f"The template resource '{raw['name']}'{AT} stands inside too many others.", path=path)
    return Declared(raw=raw, path=path, symbol=symbol, parent=parent)
