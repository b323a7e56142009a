"""The pattern matcher against a naive reference, and the laws of matching."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from idplane.model.roles import Permission
from idplane.rbac.patterns import ActionPattern
from idplane.rbac.rules import Rules

_PATTERNS = st.text(alphabet="ab/*.", max_size=10)
_ACTIONS = st.text(alphabet="ab/.", max_size=12)


def _variants(pattern: str) -> set[str]:
    """Every way of letting some of the `/*/` cover a single slash."""
    seen = {pattern}
    waiting = [pattern]
    while waiting:
        text = waiting.pop()
        for at in range(len(text) - 2):
            shorter = text[:at] + "/" + text[at + 3 :]
            if text[at : at + 3] == "/*/" and shorter not in seen:
                seen.add(shorter)
                waiting.append(shorter)
    return seen


def _reference(pattern: str, action: str) -> bool:
    collapsed = re.sub(r"\*+", "*", pattern)
    return any(
        re.fullmatch("".join(".*" if char == "*" else re.escape(char) for char in variant), action, re.DOTALL) is not None
        for variant in _variants(collapsed)
    )


@given(_PATTERNS, _ACTIONS)
@example("a/*/b", "a/b")
@example("a/*/*/b", "a/b")
@example("a/*/*/b", "a/a/b")
@example("/*/", "/")
@example("*/*", "/")
@example("a*a", "a")
@example("a/**/b", "a/b")
@example("", "")
@example("*", "")
def test_the_matcher_equals_the_reference(pattern: str, action: str) -> None:
    assert ActionPattern(pattern).matches(action) is _reference(pattern, action)


@given(st.lists(st.text(alphabet="ab.", max_size=3), min_size=1, max_size=5), st.data())
def test_what_a_pattern_was_made_from_matches(segments: list[str], data: st.DataObject) -> None:
    action = "/".join(segments)
    stars = data.draw(st.sets(st.sampled_from(range(len(segments)))))
    pattern = "/".join("*" if at in stars else segment for at, segment in enumerate(segments))
    assert ActionPattern(pattern).matches(action)


@given(_PATTERNS, _ACTIONS)
def test_case_of_patterns_does_not_matter(pattern: str, action: str) -> None:
    assert ActionPattern(pattern.upper()).matches(action) is ActionPattern(pattern).matches(action)


@given(_PATTERNS, _ACTIONS)
def test_another_star_never_narrows(pattern: str, action: str) -> None:
    assert not ActionPattern(pattern).matches(action) or ActionPattern(pattern + "*").matches(action)


def test_a_hostile_pattern_is_answered_at_once() -> None:
    pattern = ActionPattern("*a" * 1000 + "b")
    assert not pattern.matches("a" * 100_000)


def test_answers_do_not_depend_on_how_many_were_asked() -> None:
    rules = Rules([Permission(actions=("Microsoft.Compute/*",), not_actions=("*/n7",))])
    for _ in range(2):
        held = [rules.hold(f"microsoft.compute/n{number}", data=False) for number in range(5000)]
        assert held.count(False) == 1
        assert held[7] is False


def test_a_pattern_shows_its_text() -> None:
    assert repr(ActionPattern("A/*")) == "ActionPattern('A/*')"
