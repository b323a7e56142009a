from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idplane.templates.delta import changes, no_effect
from idplane.templates.lenient import locate, read_lenient
from idplane.templates.problems import TemplateProblem

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXT,
    lambda it: st.lists(it) | st.dictionaries(TEXT, it),
    max_leaves=20,
)


@given(JSON, st.sampled_from([None, 1, "\t"]))
def test_json_is_json(value: Any, indent: Any) -> None:
    assert read_lenient(json.dumps(value, indent=indent)) == value
    assert read_lenient(json.dumps(value, indent=indent, ensure_ascii=False)) == value


def test_what_the_command_line_sends() -> None:
    text = """{"properties": {"parameters": {}, "mode": "Incremental", template:{
        // a comment
        "a": "two
lines", /* another, with * and / */
        'b': 'it\\'s "quoted"',
        "list": [1, 2.5, -3e2, true, null,],
    }}}"""
    assert read_lenient(text) == {
        "properties": {
            "parameters": {},
            "mode": "Incremental",
            "template": {"a": "two\nlines", "b": 'it\'s "quoted"', "list": [1, 2.5, -300.0, True, None]},
        }
    }


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"a" 1}', '{"a": }', '{"a": 1 "b": 2}', "[1, 2", '"x', "{} x", '{"a": 01}', '{"a": 1e999}', '{"a": 9223372036854775808}',
     '{"a": "\\q"}', '{"a": "\\ud800"}', '{"a": "\\u0000"}', "nul", "/* open", "[" * 100_000, '{"a":' * 100_000],
)  # fmt: skip
def test_texts_that_are_refused(text: str) -> None:
    with pytest.raises(TemplateProblem) as refused:
        read_lenient(text)
    assert refused.value.code == "InvalidRequestContent"
    assert "Line " in refused.value.plain


def test_where_a_value_stands() -> None:
    text = '{"a": 1,\n  "b": [true,\n    {"c": "x"}]}'
    assert locate(text, ("b", 1, "c")) == (3, 11)
    assert locate(text, ("a",)) == (1, 7)
    assert locate(text, ("b", 2)) is None
    assert locate(text, ("x",)) is None
    assert locate("nonsense", ("x",)) is None


# What-if's comparison


@given(JSON)
def test_equal_states_have_no_changes(value: Any) -> None:
    assert changes({"a": value}, {"a": json.loads(json.dumps(value))}) == []


def test_changes() -> None:
    before = {"same": 1, "gone": "x", "deep": {"n": 1, "kept": True}, "list": [1, {"a": 1}], "type": "s"}
    after = {"same": 1, "deep": {"n": 2, "kept": True, "new": []}, "list": [1, {"a": 2}, 3], "type": ["s"]}
    found = {(one["path"], one["propertyChangeType"]): one for one in changes(before, after)}
    assert set(found) == {
        ("gone", "Delete"),
        ("deep.n", "Modify"),
        ("deep.new", "Create"),
        ("list", "Array"),
        ("type", "Modify"),
    }
    assert (found["deep.n", "Modify"]["before"], found["deep.n", "Modify"]["after"]) == (1, 2)
    children: Any = found["list", "Array"]["children"]
    assert [(one["path"], one["propertyChangeType"]) for one in children] == [("1", "Modify"), ("2", "Create")]
    assert children[0]["children"][0]["path"] == "a"


def test_what_is_sent_and_not_kept_has_no_effect() -> None:
    found = no_effect({"kept": 1, "secret": "x", "deep": {"ro": 1, "k": 2}}, {"kept": 2, "deep": {"k": 2}}, "properties")
    assert [(one["path"], one["propertyChangeType"]) for one in found] == [
        ("properties.secret", "NoEffect"),
        ("properties.deep.ro", "NoEffect"),
    ]
