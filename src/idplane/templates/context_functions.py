"""Functions that look at the template, the deployment or the plane around them rather than at their arguments alone."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping

from idplane.model.ids import MANAGEMENT_GROUP
from idplane.templates.builtin import Arguments
from idplane.templates.date_functions import formatted_date
from idplane.templates.evaluation import Contextual, Evaluator, Known, require_count
from idplane.templates.facts import Locals, Lookup, Unresolved
from idplane.templates.ids import at_group, at_subscription, at_tenant, extension_of, typed
from idplane.templates.kinds import HELP, plain
from idplane.templates.problems import TemplateProblem
from idplane.templates.syntax import Call, Node, Text

__all__ = ["CONTEXTUAL"]

_ZONES = 3


def _arguments(it: Evaluator, call: Call, local: Locals, least: int, most: int) -> Arguments:
    require_count(call, least, most)
    return Arguments(call.name, [it.node(one, local) for one in call.arguments])


def _misplaced(call: Call) -> TemplateProblem:
    usage = HELP.format(name=call.name.lower())
    return TemplateProblem(f"The template function '{call.name}' is not expected at this location. {usage}")


# Parameters, variables, loops ---------------------------------------------------------------------------------------


def _parameters(it: Evaluator, call: Call, local: Locals) -> object:
    name = _arguments(it, call, local, 1, 1).text(0)
    values = it.parameters if local.arguments is None else local.arguments
    if name.lower() not in values:
        words = f"The template parameter '{name}' is not found. Please see https://aka.ms/arm-template/#parameters for usage details."
        raise TemplateProblem(words)
    return values[name.lower()]


def _variables(it: Evaluator, call: Call, local: Locals) -> object:
    if local.arguments is not None:
        raise _misplaced(call)
    return it.variable(_arguments(it, call, local, 1, 1).text(0))


def _copy_index(it: Evaluator, call: Call, local: Locals) -> int:
    given = _arguments(it, call, local, 0, 2)
    named = len(given) > 0 and isinstance(given.values[0], str)
    index = local.loops.get(given.text(0).lower()) if named else local.index
    if index is None:
        raise _misplaced(call)
    return index + given.integer(1 if named else 0, 0)


# Logic that evaluates only what it needs ----------------------------------------------------------------------------


def _if(it: Evaluator, call: Call, local: Locals) -> object:
    require_count(call, 3, 3)
    chosen = Arguments(call.name, [it.node(call.arguments[0], local)]).boolean(0)
    return it.node(call.arguments[1 if chosen else 2], local)


def _all_of(it: Evaluator, call: Call, local: Locals) -> bool:
    require_count(call, 1, 100)
    return all(Arguments(call.name, [it.node(one, local)]).boolean(0) for one in call.arguments)


def _any_of(it: Evaluator, call: Call, local: Locals) -> bool:
    require_count(call, 1, 100)
    return any(Arguments(call.name, [it.node(one, local)]).boolean(0) for one in call.arguments)


def _coalesce(it: Evaluator, call: Call, local: Locals) -> object:
    require_count(call, 1, 100)
    return next((value for value in (it.node(one, local) for one in call.arguments) if value is not None), None)


# Lambdas ------------------------------------------------------------------------------------------------------------


class _Lambda:
    """A lambda argument, ready to be applied. It may take fewer values than it is given: an index that it does not want."""

    def __init__(self, it: Evaluator, owner: Call, node: Node, local: Locals) -> None:
        names = node.arguments[:-1] if isinstance(node, Call) and node.name.lower() == "lambda" else ()
        if not names or not all(isinstance(one, Text) for one in names):
            words = f"Unable to evaluate template language function '{owner.name}': its parameter must be a lambda function."
            raise TemplateProblem(words)
        self._it, self._local = it, local
        self._names = [one.value.lower() for one in names if isinstance(one, Text)]
        self._body = node.arguments[-1]  # type: ignore[union-attr]  # names come from a call only

    def __call__(self, *values: object) -> object:
        bound = dict(zip(self._names, values, strict=False))
        return self._it.node(self._body, self._local.where(**bound))

    def true(self, *values: object) -> bool:
        return Arguments("lambda", [self(*values)]).boolean(0)

    def text(self, *values: object) -> str:
        return Arguments("lambda", [self(*values)]).text(0)


def _lambda_variables(it: Evaluator, call: Call, local: Locals) -> object:
    name = _arguments(it, call, local, 1, 1).text(0)
    if name.lower() not in local.variables:
        raise TemplateProblem(f"The lambda variable '{name}' is not found.")
    return local.variables[name.lower()]


def _array_and_lambda(it: Evaluator, call: Call, local: Locals) -> tuple[list[object], _Lambda]:
    require_count(call, 2, 2)
    array = Arguments(call.name, [it.node(call.arguments[0], local)]).array(0)
    return array, _Lambda(it, call, call.arguments[1], local)


def _map(it: Evaluator, call: Call, local: Locals) -> object:
    array, function = _array_and_lambda(it, call, local)
    made = [function(one, at) for at, one in enumerate(array)]
    it.budget.made(made)
    return made


def _filter(it: Evaluator, call: Call, local: Locals) -> object:
    array, function = _array_and_lambda(it, call, local)
    return [one for at, one in enumerate(array) if function.true(one, at)]


def _sort(it: Evaluator, call: Call, local: Locals) -> object:
    array, function = _array_and_lambda(it, call, local)
    order = functools.cmp_to_key(lambda a, b: -1 if function.true(a, b) else int(function.true(b, a)))
    return sorted(array, key=order)


def _reduce(it: Evaluator, call: Call, local: Locals) -> object:
    require_count(call, 3, 3)
    given = Arguments(call.name, [it.node(one, local) for one in call.arguments[:2]])
    function, value = _Lambda(it, call, call.arguments[2], local), given.any(1)
    for at, one in enumerate(given.array(0)):
        value = function(value, one, at)
    it.budget.made(value)
    return value


def _to_object(it: Evaluator, call: Call, local: Locals) -> object:
    require_count(call, 2, 3)
    array = Arguments(call.name, [it.node(call.arguments[0], local)]).array(0)
    key = _Lambda(it, call, call.arguments[1], local)
    value = _Lambda(it, call, call.arguments[2], local) if len(call.arguments) > 2 else None  # noqa: PLR2004 - the optional third
    made = {key.text(one): value(one) if value else one for one in array}
    it.budget.made(made)
    return made


def _group_by(it: Evaluator, call: Call, local: Locals) -> object:
    array, function = _array_and_lambda(it, call, local)
    groups: dict[str, list[object]] = {}
    for one in array:
        groups.setdefault(function.text(one), []).append(one)
    return groups


def _map_values(it: Evaluator, call: Call, local: Locals) -> object:
    require_count(call, 2, 2)
    source = Arguments(call.name, [it.node(call.arguments[0], local)]).members(0)
    function = _Lambda(it, call, call.arguments[1], local)
    made = {name: function(value) for name, value in source.items()}
    it.budget.made(made)
    return made


# Resource ids -------------------------------------------------------------------------------------------------------


def _resource_id(it: Evaluator, call: Call, local: Locals) -> str:
    given = _arguments(it, call, local, 2, 100)
    before, kind_, names = typed(given, most_before=2)
    scope = it.facts.scope
    if len(before) == 2:  # noqa: PLR2004 - subscription and group
        return at_group(before[0], before[1], kind_, names)
    if scope.resource_group is not None:
        return at_group(scope.segments[1], before[0] if before else scope.resource_group, kind_, names)
    if scope.subscription is not None or before:
        return at_subscription(before[0] if before else scope.segments[1], kind_, names)
    return at_tenant(kind_, names)


def _subscription_resource_id(it: Evaluator, call: Call, local: Locals) -> str:
    before, kind_, names = typed(_arguments(it, call, local, 2, 100), most_before=1)
    if not before and it.facts.scope.subscription is None:
        raise _misplaced(call)
    return at_subscription(before[0] if before else it.facts.scope.segments[1], kind_, names)


def _tenant_resource_id(it: Evaluator, call: Call, local: Locals) -> str:
    _, kind_, names = typed(_arguments(it, call, local, 2, 100), most_before=0)
    return at_tenant(kind_, names)


def _management_group_resource_id(it: Evaluator, call: Call, local: Locals) -> str:
    before, kind_, names = typed(_arguments(it, call, local, 2, 100), most_before=1)
    if not before and not it.facts.scope.is_management_group:
        raise _misplaced(call)
    group = f"/providers/{MANAGEMENT_GROUP}/{before[0]}" if before else str(it.facts.scope)
    return extension_of(group, kind_, names)


def _extension_resource_id(it: Evaluator, call: Call, local: Locals) -> str:
    given = _arguments(it, call, local, 3, 100)
    _, kind_, names = typed(Arguments(call.name, given.values[1:]), most_before=0)
    return extension_of(given.text(0), kind_, names)


# Scopes and surroundings --------------------------------------------------------------------------------------------


def _resource_group(it: Evaluator, call: Call, _: Locals) -> object:
    require_count(call, 0, 0)
    if it.facts.group is None:
        raise _misplaced(call)
    return it.facts.group


def _subscription(it: Evaluator, call: Call, _: Locals) -> object:
    require_count(call, 0, 0)
    if it.facts.subscription is None:
        raise _misplaced(call)
    return it.facts.subscription


def _management_group(it: Evaluator, call: Call, _: Locals) -> object:
    require_count(call, 0, 0)
    if it.facts.management_group is None:
        raise _misplaced(call)
    return it.facts.management_group


def _tenant(it: Evaluator, call: Call, _: Locals) -> object:
    require_count(call, 0, 0)
    return it.facts.tenant


def _environment(it: Evaluator, call: Call, _: Locals) -> object:
    require_count(call, 0, 0)
    return it.facts.environment


def _deployer(it: Evaluator, call: Call, _: Locals) -> object:
    require_count(call, 0, 0)
    return it.facts.deployer


def _deployment(it: Evaluator, call: Call, _: Locals) -> object:
    require_count(call, 0, 0)
    facts = it.facts
    id_ = at_tenant("Microsoft.Resources/deployments", [facts.name])
    properties = {"template": plain(it.document), "mode": facts.mode, "provisioningState": "Accepted"}
    shown: dict[str, object] = {
        "name": facts.name,
        "id": f"{facts.scope}{id_}" if facts.scope.segments else id_,
        "properties": properties,
    }
    if facts.location is not None:
        shown["location"] = facts.location
    return shown


def _providers(it: Evaluator, call: Call, local: Locals) -> object:
    """What Azure knows of a type; a list of all types of a namespace is not among what templates read."""
    given = _arguments(it, call, local, 2, 2)
    namespace, path = given.text(0), given.text(1)
    versions = it.facts.versions(f"{namespace}/{path}")
    if not versions:
        raise TemplateProblem(f"The resource type '{namespace}/{path}' is not known to this plane.")
    places = [it.facts.group["location"]] if it.facts.group else []
    return {"resourceType": path, "locations": places, "apiVersions": list(versions)}


def _pick_zones(it: Evaluator, call: Call, local: Locals) -> object:
    """Every place has three zones, and every type them all."""
    given = _arguments(it, call, local, 3, 5)
    count, offset = given.integer(3, 1), given.integer(4, 0)
    if not 1 <= count <= _ZONES or not 0 <= offset < _ZONES or count + offset > _ZONES:
        raise given.refuse(f"there are {_ZONES} zones to pick from.")
    return [str(offset + at + 1) for at in range(count)]


def _utc_now(it: Evaluator, call: Call, local: Locals) -> str:
    given = _arguments(it, call, local, 0, 1)
    if not local.default:
        raise _misplaced(call)
    return formatted_date(it.facts.now, given.text(0, "") or None)


def _new_guid(it: Evaluator, call: Call, local: Locals) -> str:
    require_count(call, 0, 0)
    if not local.default:
        raise _misplaced(call)
    return it.facts.new_guid()


# What only running tells --------------------------------------------------------------------------------------------


def _named(it: Evaluator, word: str) -> tuple[str, Known | None]:
    """The id that the first argument of `reference` and `list*` means, and the resource of the template, if it is one."""
    known = it.names.find(word)
    if known is not None:
        return known.id, known
    if word.startswith("/"):
        return word, None
    if "/" in word and "." in word.split("/", 1)[0]:
        scope = str(it.facts.scope) if it.facts.scope.segments else ""
        return f"{scope}/providers/{word}", it.names.find(f"{scope}/providers/{word}")
    raise TemplateProblem(
        f"The resource '{word}' is not defined in the template. Please see https://aka.ms/arm-syntax for usage details."
    )


def _version(call: Call, given: str, known: Known | None, identifier: str) -> str:
    version = given or (known.api_version if known else "")
    if not version:
        raise TemplateProblem(
            f"The template function '{call.name}' needs an API version for '{identifier}': the resource is not defined in the "
            f"template. {HELP.format(name=call.name.lower())}"
        )
    return version


def _looked_up(it: Evaluator, lookup: Lookup) -> object:
    if lookup not in it.known:
        raise Unresolved(frozenset({lookup}))
    return it.known[lookup]


def _reference(it: Evaluator, call: Call, local: Locals) -> object:
    given = _arguments(it, call, local, 1, 3)
    if not local.runtime:
        raise _misplaced(call)
    identifier, known = _named(it, given.text(0))
    full = given.text(2, "").lower() == "full"
    version = _version(call, given.text(1, ""), known, identifier)
    return _looked_up(it, Lookup(id=identifier, api_version=version, full=full))


def _references(it: Evaluator, call: Call, local: Locals) -> object:
    given = _arguments(it, call, local, 1, 2)
    if not local.runtime:
        raise _misplaced(call)
    loop = it.names.loop(given.text(0))
    if loop is None:
        raise TemplateProblem(f"The resource '{given.text(0)}' is not defined in the template as a symbolic copy loop.")
    full = given.text(1, "").lower() == "full"
    lookups = [Lookup(id=one.id, api_version=one.api_version, full=full) for one in loop]
    missing = frozenset(one for one in lookups if one not in it.known)
    if missing:
        raise Unresolved(missing)
    return [it.known[one] for one in lookups]


def _list(it: Evaluator, call: Call, local: Locals) -> object:
    given = _arguments(it, call, local, 1, 3)
    if not local.runtime:
        raise _misplaced(call)
    identifier, known = _named(it, given.text(0))
    version = _version(call, given.text(1, ""), known, identifier)
    body = json.dumps(plain(given.members(2))) if len(given) > 2 else ""  # noqa: PLR2004 - the optional third
    return _looked_up(it, Lookup(id=identifier, api_version=version, word=call.name, body=body))


def _resource_info(it: Evaluator, call: Call, local: Locals) -> object:
    word = _arguments(it, call, local, 1, 1).text(0)
    known = it.names.find(word)
    if known is None:
        raise TemplateProblem(f"The resource '{word}' is not defined in the template.")
    return {"id": known.id, "name": known.id.rpartition("/")[2], "type": known.type, "apiVersion": known.api_version}


def _lambda(_: Evaluator, call: Call, __: Locals) -> object:
    raise _misplaced(call)


CONTEXTUAL: Mapping[str, Contextual] = {
    "parameters": _parameters,
    "variables": _variables,
    "copyindex": _copy_index,
    "if": _if,
    "and": _all_of,
    "or": _any_of,
    "coalesce": _coalesce,
    "lambda": _lambda,
    "lambdavariables": _lambda_variables,
    "map": _map,
    "filter": _filter,
    "sort": _sort,
    "reduce": _reduce,
    "toobject": _to_object,
    "groupby": _group_by,
    "mapvalues": _map_values,
    "resourceid": _resource_id,
    "subscriptionresourceid": _subscription_resource_id,
    "tenantresourceid": _tenant_resource_id,
    "managementgroupresourceid": _management_group_resource_id,
    "extensionresourceid": _extension_resource_id,
    "resourcegroup": _resource_group,
    "subscription": _subscription,
    "managementgroup": _management_group,
    "tenant": _tenant,
    "environment": _environment,
    "deployer": _deployer,
    "deployment": _deployment,
    "providers": _providers,
    "pickzones": _pick_zones,
    "utcnow": _utc_now,
    "newguid": _new_guid,
    "reference": _reference,
    "references": _references,
    "resourceinfo": _resource_info,
    "list*": _list,
}
"""By lower-case name; `list*` stands for every function whose name starts so."""
