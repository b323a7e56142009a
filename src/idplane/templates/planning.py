"""From a template to the resources that it means: ids, copies, conditions and dependencies, settled before anything is deployed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from idplane.model.failure import Failure
from idplane.model.ids import MANAGEMENT_GROUP, ResourceId
from idplane.model.values import JsonObject
from idplane.templates.context_functions import CONTEXTUAL
from idplane.templates.document import Declared, Template, read_template
from idplane.templates.evaluation import Evaluator, Loop, Names, loop_count
from idplane.templates.facts import NOWHERE, Facts, Locals, Unresolved
from idplane.templates.graph import in_circle
from idplane.templates.ids import interleaved, normalized
from idplane.templates.kinds import as_text, kind
from idplane.templates.limits import MAX_OUTPUT_TEXT, MAX_RESOURCES
from idplane.templates.naming import Index, Planned
from idplane.templates.parameters import SECURE, TYPES, bind, require_type
from idplane.templates.problems import AT, TemplateProblem
from idplane.templates.syntax import calls, is_expression, parse

__all__ = ["Plan", "body", "outputs", "plan_nested", "plan_template"]

_NOT_BODY = frozenset(
    {
        "apiversion",
        "asserts",
        "comments",
        "condition",
        "copy",
        "dependson",
        "existing",
        "metadata",
        "name",
        "resources",
        "scope",
        "type",
        "@options",
    }
)
"""Members of a template's resource that are about the template and not sent, lower case."""
_GROUPS_ABOVE = f"{MANAGEMENT_GROUP.lower()}/"
_SYNTAX = "Please see https://aka.ms/arm-syntax-resources for usage details."


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What deploying a template means. `needs` has, for each resource's key, the keys that go first."""

    template: Template
    evaluator: Evaluator
    home: ResourceId
    """The scope that it is deployed at."""
    resources: Mapping[str, Planned]
    needs: Mapping[str, frozenset[str]]
    parameters: Mapping[str, object] = field(default_factory=dict)
    """As they may be shown: secure ones without values."""


def plan_template(document: object, given: JsonObject, facts: Facts) -> Plan:
    """Plan a template with its own parameters; raises `TemplateProblem`."""
    template = read_template(document)
    evaluator = Evaluator(
        facts=facts,
        contextual=CONTEXTUAL,
        functions=template.functions,
        document=template.document,
        variables=_variables(template),
    )
    bound = bind(template, given, evaluator)
    return _planned(template, evaluator, NOWHERE, None, bound.shown)


def plan_nested(document: object, facts: Facts, outer: Evaluator, local: Locals) -> Plan:
    """Plan a nested template whose expressions are evaluated in the scope of the template around it; raises `TemplateProblem`.

    Parameters, variables and functions are the outer template's, and so are the group and the subscription that functions give;
    only where its resources go is its own.
    """
    template = read_template(document)
    evaluator = replace(outer)
    return _planned(template, evaluator, local, outer.names, {}, scope=facts.scope)


def body(plan: Plan, one: Planned) -> dict[str, object]:
    """What is sent to create a resource; raises `TemplateProblem` and `Unresolved`.

    The template inside a nested deployment is left as it is: it is evaluated when that deployment runs.
    """
    raw = {name: value for name, value in one.declared.raw.items() if name.lower() not in _NOT_BODY}
    inner: object = None
    properties = raw.get("properties")
    if one.is_deployment:
        raw = {name: value for name, value in raw.items() if name.lower() not in ("resourcegroup", "subscriptionid")}
        if isinstance(properties, Mapping) and "template" in properties:
            inner = properties["template"]
            raw["properties"] = {name: value for name, value in properties.items() if name != "template"}
    try:
        made = plan.evaluator.evaluate(raw, one.local.running())
    except TemplateProblem as problem:
        raise _at_resource(one, problem) from problem
    assert isinstance(made, dict)  # evaluating an object makes one
    if inner is not None and isinstance(made.get("properties"), dict):
        made["properties"]["template"] = inner
    return made


def outputs(plan: Plan) -> dict[str, object]:
    """The values of the template's outputs, as they may be shown; raises `TemplateProblem` and `Unresolved`."""
    made: dict[str, object] = {}
    for name, raw in plan.template.outputs.items():
        try:
            if _condition(plan.evaluator, raw, NOWHERE):
                made[name] = _output(plan.evaluator, raw)
        except TemplateProblem as problem:
            words = f"The template output '{name}'{AT} is not valid: {problem.plain}"
            raise TemplateProblem(words, code="DeploymentOutputEvaluationFailed", path=("outputs", name)) from problem
    if len(as_text(made)) > MAX_OUTPUT_TEXT:
        words = f"The outputs of the template are longer than {MAX_OUTPUT_TEXT} characters."
        raise TemplateProblem(words, code="DeploymentOutputEvaluationFailed", path=("outputs",))
    return made


def _output(evaluator: Evaluator, raw: JsonObject) -> dict[str, object]:
    declared = str(raw.get("type", "")).lower()
    if declared not in TYPES:
        raise TemplateProblem(f"The type '{raw.get('type')}' is not supported.")
    loop = raw.get("copy")
    local = NOWHERE.running()
    if isinstance(loop, Mapping):
        count = loop_count(evaluator, loop.get("count"), NOWHERE, "outputs")
        value: object = [evaluator.evaluate(loop.get("input"), local.at("outputs", turn)) for turn in range(count)]
    else:
        value = evaluator.evaluate(raw.get("value"), local)
    if value is not None or raw.get("nullable") is not True:
        require_type(declared, value)
    shown = TYPES[declared][0]
    return {"type": shown} if declared in SECURE else {"type": shown, "value": value}


# Variables ----------------------------------------------------------------------------------------------------------


def _variables(template: Template) -> dict[str, tuple[object, Locals]]:
    """Every variable, those that copy loops make included."""
    made: dict[str, tuple[object, Locals]] = {}
    for name, raw in template.variables.items():
        if name.lower() != "copy":
            made[name.lower()] = (raw, NOWHERE)
            continue
        for loop in raw if isinstance(raw, list) else ():
            if not isinstance(loop, Mapping) or not isinstance(loop.get("name"), str):
                words = f"A copy loop{AT} must be an object with 'name', 'count' and 'input'."
                raise TemplateProblem(words, path=("variables", name))
            made[loop["name"].lower()] = (Loop(name=loop["name"], raw=loop), NOWHERE)
    return made


# Resources ----------------------------------------------------------------------------------------------------------


def _planned(
    template: Template,
    evaluator: Evaluator,
    local: Locals,
    around: Names | None,
    shown: Mapping[str, object],
    scope: ResourceId | None = None,
) -> Plan:
    home = scope or evaluator.facts.scope
    found = [one for declared in template.resources for one in _copies(evaluator, declared, local, home)]
    most = min(MAX_RESOURCES, evaluator.facts.most_resources or MAX_RESOURCES)
    if len(found) > most:
        words = f"The number of template resources limit exceeded. Limit: '{most}' and actual: '{len(found)}'."
        raise TemplateProblem(f"{words} {_SYNTAX}")
    index = Index(found, around)
    evaluator.names = index
    resources = {one.key: one for one in found}
    needs = {one.key: _needs(evaluator, index, one) for one in found}
    plan = Plan(template=template, evaluator=evaluator, home=home, resources=resources, needs=needs, parameters=shown)
    _refuse_circles(plan)
    _rehearse(plan)
    return plan


def _copies(evaluator: Evaluator, declared: Declared, local: Locals, home: ResourceId) -> Iterator[Planned]:
    loop = declared.raw.get("copy")
    if declared.parent is not None and isinstance(declared.parent.raw.get("copy"), Mapping):
        for around in _turns(evaluator, declared.parent, local):
            yield from _instances(evaluator, declared, around, home, loop)
    else:
        yield from _instances(evaluator, declared, local, home, loop)


def _instances(evaluator: Evaluator, declared: Declared, local: Locals, home: ResourceId, loop: object) -> Iterator[Planned]:
    if not isinstance(loop, Mapping):
        yield _one(evaluator, declared, local, home, None)
        return
    batch = _batch(loop)
    for turn, inner in enumerate(_turns(evaluator, declared, local)):
        yield replace(
            _one(evaluator, declared, inner, home, turn), loop=str(loop["name"]), batch=turn // batch if batch else None
        )


def _turns(evaluator: Evaluator, declared: Declared, local: Locals) -> list[Locals]:
    loop = declared.raw["copy"]
    if not isinstance(loop, Mapping) or not isinstance(loop.get("name"), str) or "count" not in loop:
        words = f"The copy loop of the template resource '{declared.raw['name']}'{AT} must have a 'name' and a 'count'."
        raise TemplateProblem(words, path=(*declared.path, "copy"))
    try:
        count = loop_count(evaluator, loop["count"], local, loop["name"])
    except TemplateProblem as problem:
        raise TemplateProblem(_named(declared, problem), code=problem.code, path=declared.path) from problem
    return [local.at(loop["name"], turn) for turn in range(count)]


def _batch(loop: Mapping[str, object]) -> int | None:
    """How many turns of a serial loop run at once; None for a parallel one."""
    if str(loop.get("mode", "parallel")).lower() != "serial":
        return None
    size = loop.get("batchSize", 1)
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise TemplateProblem("The 'batchSize' of a copy loop must be a positive integer.")
    return size


def _one(evaluator: Evaluator, declared: Declared, local: Locals, home: ResourceId, turn: int | None) -> Planned:
    raw = declared.raw
    try:
        kind_ = _full_type(evaluator, declared, local)
        name = _full_name(evaluator, declared, local)
        identifier = _identifier(evaluator, declared, local, home, (kind_, name))
        wanted = _condition(evaluator, raw, local) and (
            declared.parent is None or _condition(evaluator, declared.parent.raw, local)
        )
        version = evaluator.text(raw["apiVersion"], local, "apiVersion")
        return Planned(
            declared=declared,
            local=local,
            id=identifier,
            type=kind_,
            name=name,
            api_version=version,
            wanted=wanted,
            existing=raw.get("existing") is True,
            turn=turn,
        )
    except TemplateProblem as problem:
        raise TemplateProblem(_named(declared, problem), code=problem.code, path=declared.path) from problem


def _named(declared: Declared, problem: TemplateProblem) -> str:
    if AT in problem.words or problem.code != "InvalidTemplate":
        return problem.words
    usage = "" if "Please see" in problem.plain else f" {_SYNTAX}"
    return f"The template resource '{declared.raw['name']}'{AT} is not valid: {problem.plain}{usage}"


def _condition(evaluator: Evaluator, raw: Mapping[str, object], local: Locals) -> bool:
    value = evaluator.evaluate(raw["condition"], local) if raw.get("condition") is not None else True
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise TemplateProblem(f"The 'condition' must be a boolean; it is of type '{kind(value)}'.")
    return value


def _full_type(evaluator: Evaluator, declared: Declared, local: Locals) -> str:
    own = evaluator.text(declared.raw["type"], local, "type").strip("/")
    if declared.parent is None:
        return own
    outer = _full_type(evaluator, declared.parent, local)
    return own if own.lower().startswith(outer.lower() + "/") else f"{outer}/{own.removeprefix('/')}"


def _full_name(evaluator: Evaluator, declared: Declared, local: Locals) -> str:
    own = evaluator.text(declared.raw["name"], local, "name").strip("/")
    if declared.parent is None:
        return own
    outer = _full_name(evaluator, declared.parent, local)
    return own if own.lower().startswith(outer.lower() + "/") else f"{outer}/{own}"


def _identifier(evaluator: Evaluator, declared: Declared, local: Locals, home: ResourceId, typed: tuple[str, str]) -> str:
    kind_, name = typed
    names = name.split("/")
    if kind_.count("/") != len(names):
        raise TemplateProblem(
            f"The template resource '{name}'{AT} for type '{kind_}' has incorrect segment lengths. A nested resource type must have "
            "identical number of segments as its resource name. A root resource type must have segment length one greater than its "
            "resource name. Please see https://aka.ms/arm-template/#resources for usage details."
        )
    scope = _scope(evaluator, declared, local, home)
    text = normalized(f"{scope.rstrip('/')}/providers/{interleaved(kind_, names)}")
    try:
        return str(ResourceId.parse(text))
    except Failure as failure:
        raise TemplateProblem(f"'{text[:200]}' is not a resource id.") from failure


def _scope(evaluator: Evaluator, declared: Declared, local: Locals, home: ResourceId) -> str:
    """Where a resource goes: the deployment's scope, or what `scope`, `subscriptionId` and `resourceGroup` say."""
    top = declared
    while top.parent is not None:
        top = top.parent
    raw = top.raw
    if raw.get("scope") is not None:
        stated = evaluator.text(raw["scope"], local, "scope")
        # Management groups are the tenant's, whatever the deployment's own scope is.
        base = str(home) if home.segments and not stated.lower().startswith(_GROUPS_ABOVE) else ""
        return stated if stated.startswith("/") else f"{base}/providers/{stated}"
    group = evaluator.text(raw["resourceGroup"], local, "resourceGroup") if raw.get("resourceGroup") else home.resource_group
    if raw.get("subscriptionId"):
        subscription: str | None = evaluator.text(raw["subscriptionId"], local, "subscriptionId")
        group = group if raw.get("resourceGroup") else None
    else:
        subscription = home.segments[1] if home.subscription else None
    if subscription is None:
        return str(home) if home.is_management_group else "/"
    return f"/subscriptions/{subscription}/resourceGroups/{group}" if group else f"/subscriptions/{subscription}"


# Dependencies -------------------------------------------------------------------------------------------------------


def _needs(evaluator: Evaluator, index: Index, one: Planned) -> frozenset[str]:
    found: set[str] = set()
    stated = one.declared.raw.get("dependsOn") or []
    if not isinstance(stated, list):
        raise TemplateProblem(
            _named(one.declared, TemplateProblem("The 'dependsOn' must be an array.")), path=one.declared.path
        )
    for raw in stated:
        try:
            found.update(index.all(evaluator.text(raw, one.local, "entry of dependsOn")))
        except TemplateProblem as problem:
            raise TemplateProblem(_named(one.declared, problem), path=(*one.declared.path, "dependsOn")) from problem
    found.update(index.earlier_batch(one))
    found.update(_implied(evaluator, index, one))
    return frozenset(found)


def _implied(evaluator: Evaluator, index: Index, one: Planned) -> set[str]:
    """What `reference` and `list*` name among the template's resources: it goes first, said or not."""
    found: set[str] = set()
    for text in _texts(one):
        try:
            named = [call for call in calls(parse(text)) if call.namespace is None and call.arguments and _looks_up(call.name)]
        except TemplateProblem as problem:
            raise _at_resource(one, problem) from problem
        for call in named:
            try:
                word = evaluator.node(call.arguments[0], one.local)
            except (TemplateProblem, Unresolved):
                continue
            if isinstance(word, str):
                found.update(index.implied(word, loops=call.name.lower() == "references"))
    found.discard(one.key)
    return found


def _looks_up(name: str) -> bool:
    return name.lower() in ("reference", "references") or name.lower().startswith("list")


def _texts(one: Planned) -> Iterator[str]:
    """Every expression of a resource that is evaluated with it: those of a nested template only where its scope is this one."""
    raw = {name: value for name, value in one.declared.raw.items() if name.lower() not in _NOT_BODY}
    properties = raw.get("properties")
    if one.is_deployment and isinstance(properties, Mapping) and one.inner_scope:
        raw["properties"] = {name: value for name, value in properties.items() if name != "template"}
    stack: list[object] = [raw]
    while stack:
        value = stack.pop()
        if isinstance(value, Mapping):
            stack.extend((*value.keys(), *value.values()))
        elif isinstance(value, list):
            stack.extend(value)
        elif isinstance(value, str) and is_expression(value):
            yield value


def _refuse_circles(plan: Plan) -> None:
    circle = in_circle(plan.needs)
    if circle:
        first = plan.resources[circle[0]]
        listed = ", ".join(plan.resources[key].id for key in circle[:10])
        words = f"Circular dependency detected on resource: '{first.id}'{AT}: '{listed}'. {_SYNTAX}"
        raise TemplateProblem(words, path=first.declared.path)


def _rehearse(plan: Plan) -> None:
    """Evaluate everything that needs no lookup, so that mistakes show before anything is deployed."""
    for name in plan.evaluator.variables:
        try:
            plan.evaluator.variable(name)
        except TemplateProblem as problem:
            words = f"The template variable '{name}'{AT} is not valid: {problem.plain}"
            raise TemplateProblem(words, code=problem.code, path=("variables", name)) from problem
    for one in plan.resources.values():
        if one.wanted and not one.existing:
            try:
                body(plan, one)
            except Unresolved:
                continue
    try:
        outputs(plan)
    except Unresolved:
        return
    except TemplateProblem as problem:
        raise TemplateProblem(problem.words, path=problem.path) from problem


def _at_resource(one: Planned, problem: TemplateProblem) -> TemplateProblem:
    if problem.words.startswith("Unable to process"):
        return problem
    words = f"Unable to process template language expressions for resource '{one.id}'{AT}. '{problem.plain}'"
    return TemplateProblem(words, code=problem.code, path=one.declared.path)
