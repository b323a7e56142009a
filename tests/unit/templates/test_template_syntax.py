from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.templates.template_world import evaluator

from idplane.templates.facts import NOWHERE
from idplane.templates.limits import MAX_EXPRESSION
from idplane.templates.problems import TemplateProblem
from idplane.templates.syntax import Call, Index, Member, Node, Number, Text, is_expression, parse, unescaped

NAMES = st.from_regex(r"[A-Za-z_$][A-Za-z0-9_$]{0,10}", fullmatch=True)


def _deeper(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    return st.one_of(
        st.builds(Call, NAMES, st.lists(inner, max_size=3).map(tuple), st.none() | NAMES),
        st.builds(Member, inner, NAMES, st.booleans()),
        st.builds(Index, inner, inner, st.booleans()),
    )


NODES: st.SearchStrategy[Node] = st.recursive(
    st.builds(Text, st.text()) | st.builds(Number, st.integers(-(2**63), 2**63 - 1)), _deeper, max_leaves=10
)


def written(node: Node) -> str:
    """An expression that parses to `node`."""
    if isinstance(node, Text):
        return "'" + node.value.replace("'", "''") + "'"
    if isinstance(node, Number):
        return str(node.value)
    if isinstance(node, Call):
        prefix = f"{node.namespace}." if node.namespace else ""
        return f"{prefix}{node.name}({', '.join(map(written, node.arguments))})"
    mark = "?" if node.safe else ""
    if isinstance(node, Member):
        return f"{written(node.target)}.{mark}{node.name}"
    return f"{written(node.target)}[{mark}{written(node.index)}]"


@given(NODES)
def test_what_is_written_reads_back_as_the_same_tree(node: Node) -> None:
    assert parse(f"[{written(node)}]") == node


@given(st.text())
def test_any_string_can_be_a_literal_of_a_template(text: str) -> None:
    written = f"[{text}" if text.startswith("[") and text.endswith("]") else text
    assert not is_expression(written)
    assert unescaped(written) == text


@given(st.text())
def test_any_string_can_stand_in_an_expression(text: str) -> None:
    assert evaluator().evaluate(f"[{written(Text(text))}]", NOWHERE) == text


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("[[x]", "[x]"),
        ("[[x", "[[x"),
        ("[x", "[x"),
        ("x]", "x]"),
        ("[test] value", "[test] value"),
        ("[[concat('a')]", "[concat('a')]"),
        ("['it''s']", "it's"),
        ("[concat('a', 'b')]", "ab"),
        ("[ concat( 'a' , 'b' ) ]", "ab"),
        ("[CONCAT('a')]", "a"),
        ("", ""),
    ],
)
def test_strings_of_templates(text: str, means: str) -> None:
    assert evaluator().evaluate(text, NOWHERE) == means


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[concat('a']", "expected token 'RightParenthesis' and actual 'EndOfData'"),
        ("[concat('a'))]", "expected token 'EndOfData' and actual 'RightParenthesis'"),
        ("[concat('a',)]", "expected token 'Identifier' and actual 'RightParenthesis'"),
        ("[concat]", "expected token 'LeftParenthesis' and actual 'EndOfData'"),
        ("[]", "expected token 'Identifier' and actual 'EndOfData'"),
        ("['a]", "unexpected character at position '0'"),
        ("[a('b').]", "expected token 'Identifier' and actual 'EndOfData'"),
        ("[a('b')['c']", "expected token 'RightSquareBracket'"),
        ("[add(1, 9223372036854775808)]", "beyond 64 bits"),
        ("[nosuch('a')]", "The template function 'nosuch' is not valid"),
        ("[contoso.f('a')]", "no such user-defined function"),
        ("[concat('\u00e9') ~]", "unexpected character"),
    ],
)
def test_expressions_that_are_refused(text: str, words: str) -> None:
    with pytest.raises(TemplateProblem) as refused:
        evaluator().evaluate(text if text.endswith("]") else f"{text}]", NOWHERE)
    assert words in refused.value.plain


def test_expressions_have_a_length_and_a_depth() -> None:
    with pytest.raises(TemplateProblem, match="length limit exceeded"):
        parse("['" + "a" * MAX_EXPRESSION + "']")
    for hostile in (
        "[" + "a(" * 5000 + ")" * 5000 + "]",
        "[a()" + ".b" * 5000 + "]",
        "[a()" + "[a()" * 3000 + "]" * 3000 + "]",
    ):
        with pytest.raises(TemplateProblem, match="nested deeper"):
            parse(hostile)
