"""Changes that would keep one version from reading the other's records are found."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.upgrade.shapes import compare

_SHAPES: dict[str, Any] = {
    "kept": {"agents": {"$ref": "#/$defs/Agent"}},
    "parts": {
        "Agent": {
            "title": "Agent",
            "type": "object",
            "properties": {
                "id": {"type": "string"},
                "states": {"type": "array", "items": {"$ref": "#/$defs/State"}},
                "host": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
            },
            "required": ["id"],
        },
        "State": {"title": "State", "enum": ["active", "banned"]},
    },
}


def changed(**parts: Any) -> dict[str, Any]:
    """The shapes with other members of the record, or other values of its state."""
    found = copy.deepcopy(_SHAPES)
    for name, value in parts.items():
        if name == "enum":
            found["parts"]["State"]["enum"] = value
        elif value is None:
            del found["parts"]["Agent"]["properties"][name]
        else:
            found["parts"]["Agent"]["properties"][name] = value
    return found


def test_what_is_the_same_or_only_said_otherwise_is_no_difference() -> None:
    for other in (changed(), changed(id={"type": "string", "description": "Who it is."})):
        found = compare(_SHAPES, other)
        assert (found.broken, found.forgotten, found.unread) == (set(), set(), set())


@pytest.mark.parametrize(
    ("parts", "broken"),
    [
        ({"id": {"type": "integer"}}, "Agent.id (written otherwise)"),
        ({"id": None}, "Agent.id (gone)"),
        ({"host": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}, "Agent.host (written otherwise)"),
        ({"enum": ["active"]}, "State.banned (gone)"),
    ],
)
def test_what_breaks_is_named(parts: dict[str, Any], broken: str) -> None:
    assert compare(_SHAPES, changed(**parts)).broken == {broken}


def test_a_member_without_a_default_breaks() -> None:
    other = changed(more={"type": "string"})
    other["parts"]["Agent"]["required"].append("more")
    assert compare(_SHAPES, other).broken == {"Agent.more (has no default)"}


def test_a_collection_that_is_gone_breaks() -> None:
    assert compare(_SHAPES, {**_SHAPES, "kept": {}}).broken == {"agents (gone)"}


def test_what_the_earlier_program_would_drop_or_not_read_is_told() -> None:
    found = compare(_SHAPES, changed(more={"type": "string", "default": ""}, enum=["active", "banned", "locked"]))
    assert (found.broken, found.forgotten, found.unread) == (set(), {"Agent.more"}, {"State.locked"})
