"""Random and hostile conditions: each is read or refused with a position, evaluates to true, false or neither, and never opens by absence."""

from __future__ import annotations

import string

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from idplane.model.attributes import Attributes
from idplane.model.roles import AccessCall
from idplane.rbac.condition_nodes import Node
from idplane.rbac.condition_operators import OPERATORS, SET_FUNCTIONS
from idplane.rbac.conditions import ConditionProblem, meets, read_condition

MANY = settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))

NAMES = ("a/b:one", "a/b:two", "a/b/tags:Key<$key_case_sensitive$>", "subOperation")
SOURCES = ("Resource", "Request")
LITERALS = st.sampled_from(
    ("'x'", "'X*'", "'?'", "'\\*'", "''", "7", "-7", "true", "'2026-01-01T00:00:00Z'", f"'{'a*' * 40}'")
) | st.sampled_from(("8e3af657-a8ff-443c-a75c-2fe8c4bcb635", "'8e3af657-a8ff-443c-a75c-2fe8c4bcb635'"))
ATTRIBUTES = st.builds(
    lambda source, name: f"@{source}[{name}]", st.sampled_from(SOURCES), st.sampled_from(NAMES)
) | st.sampled_from(
    ("@Environment[UtcNow]", "@Environment[isPrivateLink]", "@Principal[Microsoft.Directory/CustomSecurityAttributes/Id:a_b]")
)
SETS = st.lists(LITERALS, min_size=1, max_size=3).map(lambda some: "{" + ", ".join(some) + "}")
COMPARISONS = st.builds(
    lambda left, function, operator, right: f"{left} {function}{operator} {right}",
    ATTRIBUTES,
    st.sampled_from(("", *(f"{one}:" for one in SET_FUNCTIONS))),
    st.sampled_from(sorted(OPERATORS)),
    LITERALS | SETS | ATTRIBUTES,
)
PARTS = st.recursive(
    COMPARISONS
    | st.sampled_from(("ActionMatches{'a/*/read'}", "ActionMatches{'*'}", "SubOperationMatches{'Get'}"))
    | ATTRIBUTES.map(lambda one: f"Exists {one}"),
    lambda inner: st.one_of(
        inner.map(lambda one: f"NOT ({one})"),
        st.builds(
            lambda word, some: "(" + f" {word} ".join(f"({one})" for one in some) + ")",
            st.sampled_from(("AND", "OR")),
            st.lists(inner, min_size=2, max_size=4),
        ),
    ),
    max_leaves=12,
)
JUNK = st.text(string.printable, max_size=80) | st.lists(
    st.sampled_from(
        (
            "(",
            ")",
            "{",
            "}",
            "'",
            "@",
            "[",
            "]",
            "AND",
            " OR ",
            "!",
            "Exists",
            "StringEquals",
            "a",
            "7",
            "\\",
            " ",
            "\u00e9",
            "\ud800",
        )
    )
).map("".join)
VALUES = st.lists(
    st.text(max_size=8) | st.integers() | st.booleans() | st.datetimes().map(lambda one: one.replace(tzinfo=None)), max_size=3
).map(tuple)


def _call(resource: dict[str, tuple[object, ...]] | None = None) -> AccessCall:
    named = {name.lower() if "<" not in name else name: values for name, values in (resource or {}).items()}
    attributes = Attributes(resource=named, request=named)  # type: ignore[arg-type]  # whatever a target could come to say
    return AccessCall(principal_ids=frozenset(), action="a/b/read", data=False, scopes=("/",), attributes=attributes)


def _read(text: str) -> Node | ConditionProblem:
    try:
        return read_condition(text)
    except ConditionProblem as problem:
        return problem


@MANY
@given(JUNK)
def test_junk_is_refused_with_a_position(text: str) -> None:
    read = _read(text)
    if isinstance(read, ConditionProblem):
        assert 0 <= read.position <= len(text) + 1
        assert not meets(_call(), text)


@MANY
@given(PARTS, st.dictionaries(st.sampled_from(NAMES), VALUES))
def test_what_is_read_evaluates(text: str, attributes: dict[str, tuple[object, ...]]) -> None:
    read = _read(text)
    if not isinstance(read, ConditionProblem):
        assert read.holds(_call(attributes)) in (True, False, None)


@MANY
@given(COMPARISONS, st.sampled_from(("", "NOT ", "NOT NOT ", "!")))
def test_absence_alone_opens_nothing(text: str, negation: str) -> None:
    assert not meets(_call(), f"{negation}({text})") or "isPrivateLink" in text
