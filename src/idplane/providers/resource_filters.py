"""The `$filter` of resource lists: conditions joined by `and` and `or`, with brackets (Resources - List).

    resourceType eq 'Microsoft.Compute/virtualMachines' and location ne 'westeurope'
    substringof('demo', name) or resourceGroup eq 'web'            `substringof` for name and resourceGroup
    tagName eq 'team' and tagValue eq 'blue'                       a value belongs to the name beside it
    startswith(tagName, 'cost')
    identity/principalId eq '...'                                  of the system-assigned identity

Names of fields, and values except those of tags, are compared without case. A blank filter is no filter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from idplane.model.ids import ResourceId, normalize_location
from idplane.model.resources import Resource
from idplane.ports.store import ColumnValue
from idplane.providers.filters import invalid_filter

__all__ = ["GROUP_FIELDS", "RESOURCE_FIELDS", "ResourceFilter"]

_TOKEN = re.compile(r"\s*(?:('(?:[^']|'')*')|([A-Za-z][A-Za-z0-9_./]*)|([(),]))")
_MOST_TOKENS = 400
_DEEPEST = 8
_PLAN = ("publisher", "product", "name", "version", "promotioncode")
GROUP_FIELDS = frozenset({"name", "location", "tagname", "tagvalue"})
RESOURCE_FIELDS = GROUP_FIELDS | {"resourcetype", "resourcegroup", "identity", "identity/principalid", "plan"}
RESOURCE_FIELDS |= {f"plan/{one}" for one in _PLAN}
_SUBSTRING_FIELDS = frozenset({"name", "resourcegroup"})


@dataclass(frozen=True, slots=True)
class _Condition:
    """`operator` is eq, ne, substringof or startswith."""

    field: str
    operator: str
    value: str


@dataclass(frozen=True, slots=True)
class _All:
    parts: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Any:
    parts: tuple[_Node, ...]


_Node: TypeAlias = "_Condition | _All | _Any"


@dataclass(frozen=True, slots=True)
class ResourceFilter:
    """A parsed filter. `columns` and `principal` are what the store can search by; `keeps` decides."""

    root: _All

    @classmethod
    def of(cls, text: str | None, fields: frozenset[str] = RESOURCE_FIELDS) -> ResourceFilter:
        """Read a filter; raises `Failure(INVALID_FILTER)` for what these lists do not understand."""
        if not (text or "").strip():
            return cls(_All(()))
        node = _Parser(text or "", fields).parsed()
        return cls(node if isinstance(node, _All) else _All((node,)))

    def columns(self, scope: ResourceId) -> dict[str, ColumnValue]:
        """What every match has in common, as far as columns tell."""
        stated = self._equalities()
        where: dict[str, ColumnValue] = {}
        if "resourcetype" in stated:
            where["type"] = stated["resourcetype"].lower()
        if "name" in stated:
            where["name"] = stated["name"].lower()
        if "resourcegroup" in stated and scope.subscription is not None:
            where["group_key"] = f"/subscriptions/{scope.subscription}/resourcegroups/{stated['resourcegroup'].lower()}"
        return where

    @property
    def principal(self) -> str | None:
        """The one principal whose resource is asked for, if the filter says so."""
        return self._equalities().get("identity/principalid")

    def keeps(self, resource: Resource) -> bool:
        """Whether a resource matches."""
        return _holds(self.root, resource)

    def _equalities(self) -> Mapping[str, str]:
        conditions = (one for one in self.root.parts if isinstance(one, _Condition) and one.operator == "eq")
        return {one.field: one.value for one in conditions}


# Evaluation ---------------------------------------------------------------------------------------------------------


def _holds(node: _Node, resource: Resource) -> bool:
    if isinstance(node, _Any):
        return any(_holds(one, resource) for one in node.parts)
    if isinstance(node, _Condition):
        return _condition(node, resource)
    tags = {one.field: one for one in node.parts if isinstance(one, _Condition) and one.field.startswith("tag")}
    rest = [one for one in node.parts if not (isinstance(one, _Condition) and one.field.startswith("tag"))]
    return all(_holds(one, resource) for one in rest) and (not tags or _tagged(tags, resource))


def _tagged(tags: Mapping[str, _Condition], resource: Resource) -> bool:
    name, value = tags["tagname"], tags.get("tagvalue")
    wanted = name.value.lower()
    named = [
        held
        for tag, held in resource.tags.items()
        if (tag.lower().startswith(wanted) if name.operator == "startswith" else tag.lower() == wanted)
    ]
    if value is not None:
        named = [held for held in named if held == value.value]
    return bool(named) != (name.operator == "ne")


def _condition(one: _Condition, resource: Resource) -> bool:
    if one.field.startswith("tag"):
        return _tagged({one.field: one}, resource)
    held = _FIELDS[one.field](resource).lower()
    wanted = normalize_location(one.value) if one.field == "location" else one.value.lower()
    if one.operator == "substringof":
        return wanted in held
    return (held == wanted) == (one.operator == "eq")


def _plan(part: str) -> Callable[[Resource], str]:
    def read(resource: Resource) -> str:
        plan = resource.envelope.get("plan")
        folded = {name.lower(): value for name, value in plan.items()} if isinstance(plan, Mapping) else {}
        return str(folded.get(part, ""))

    return read


def _principal(resource: Resource) -> str:
    return (resource.identity.principal_id or "") if resource.identity else ""


_FIELDS: Mapping[str, Callable[[Resource], str]] = {
    "name": lambda it: it.id.name,
    "location": lambda it: normalize_location(it.location or ""),
    "resourcetype": lambda it: it.type,
    "resourcegroup": lambda it: it.id.resource_group or "",
    "identity": lambda it: it.identity.type.value if it.identity else "None",
    "identity/principalid": _principal,
    "plan": _plan("name"),
    **{f"plan/{one}": _plan(one) for one in _PLAN},
}


# Parsing ------------------------------------------------------------------------------------------------------------


class _Parser:
    """Recursive descent over tokens; everything unexpected is one refusal."""

    def __init__(self, text: str, fields: frozenset[str]) -> None:
        self._text, self._fields = text, fields
        self._tokens = list(self._scanned())
        self._at = 0

    def _scanned(self) -> Iterator[str]:
        at, text = 0, self._text.rstrip()
        for _ in range(_MOST_TOKENS):
            if at == len(text):
                return
            match = _TOKEN.match(text, at)
            if match is None:
                break
            yield match[1] or match[2] or match[3]
            at = match.end()
        raise invalid_filter(self._text)

    def parsed(self) -> _Node:
        node = self._either(0)
        if self._at != len(self._tokens):
            raise invalid_filter(self._text)
        return node

    def _either(self, depth: int) -> _Node:
        parts = [self._both(depth)]
        while self._taken("or"):
            parts.append(self._both(depth))
        return parts[0] if len(parts) == 1 else _Any(tuple(parts))

    def _both(self, depth: int) -> _Node:
        parts = [self._primary(depth)]
        while self._taken("and"):
            parts.append(self._primary(depth))
        self._check_tags(parts)
        return parts[0] if len(parts) == 1 else _All(tuple(parts))

    def _check_tags(self, parts: Sequence[_Node]) -> None:
        """One name of a tag, and a value only beside it. Fields that can have one value only are not asked for twice."""
        equal = [one.field for one in parts if isinstance(one, _Condition) and (one.operator == "eq" or one.field == "tagname")]
        if len(equal) != len(set(equal)) or ("tagvalue" in equal and "tagname" not in equal):
            raise invalid_filter(self._text)

    def _primary(self, depth: int) -> _Node:
        if depth > _DEEPEST:
            raise invalid_filter(self._text)
        if self._taken("("):
            node = self._either(depth + 1)
            self._expect(")")
            return node
        word = self._next().lower()
        if word in ("substringof", "startswith"):
            return self._function(word)
        if word not in self._fields:
            raise invalid_filter(self._text)
        operator = self._next().lower()
        if operator not in ("eq", "ne") or (operator == "ne" and word == "tagvalue"):
            raise invalid_filter(self._text)
        return _Condition(word, operator, self._value())

    def _function(self, word: str) -> _Condition:
        self._expect("(")
        if word == "substringof":
            value = self._value()
            self._expect(",")
            field = self._next().lower()
            allowed = _SUBSTRING_FIELDS
        else:
            field = self._next().lower()
            self._expect(",")
            value = self._value()
            allowed = frozenset({"tagname"})
        self._expect(")")
        if field not in allowed & self._fields:
            raise invalid_filter(self._text)
        return _Condition(field, word, value)

    def _next(self) -> str:
        if self._at == len(self._tokens):
            raise invalid_filter(self._text)
        self._at += 1
        return self._tokens[self._at - 1]

    def _taken(self, word: str) -> bool:
        found = self._at < len(self._tokens) and self._tokens[self._at].lower() == word
        self._at += found
        return found

    def _expect(self, word: str) -> None:
        if not self._taken(word):
            raise invalid_filter(self._text)

    def _value(self) -> str:
        token = self._next()
        if not token.startswith("'"):
            raise invalid_filter(self._text)
        return token[1:-1].replace("''", "'")
