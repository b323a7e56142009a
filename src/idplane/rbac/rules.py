"""Permission blocks, compiled for the one question that is asked of them: whether a role holds an action."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from idplane.model.roles import Permission
from idplane.rbac.patterns import ActionPattern

__all__ = ["Listing", "Rules"]

# Actions are the server's own words, a few hundred at most; the bound is for surfaces that let a caller name any action.
_MEMO_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class Listing:
    """What one block of a role says of an action that it lists."""

    given: str
    """The pattern that lists it."""
    taken: str | None
    """The pattern by which the same block takes it back."""


class Rules:
    """The permissions of one role or deny assignment, with the answers that were already worked out.

    An action is held when one block lists it and the same block does not take it back. What a block takes back, another block or
    another role may still give: `notActions` is not a deny (control-plane.md section 9).
    """

    __slots__ = ("_blocks", "_memo")

    def __init__(self, permissions: Iterable[Permission]) -> None:
        self._blocks = tuple(
            (
                (_compile(block.actions), _compile(block.not_actions)),
                (_compile(block.data_actions), _compile(block.not_data_actions)),
            )
            for block in permissions
        )
        self._memo: dict[tuple[str, bool], bool] = {}

    def hold(self, action: str, *, data: bool) -> bool:
        """Whether the control action, or with `data` the data action, is held. Case does not matter."""
        key = (action, data)
        answer = self._memo.get(key)
        if answer is None:
            answer = self._work_out(action, data=data)
            if len(self._memo) >= _MEMO_LIMIT:
                self._memo.clear()
            self._memo[key] = answer
        return answer

    def listings(self, action: str, *, data: bool) -> Iterator[Listing]:
        """What the blocks that list the action say of it: it is held if one of them does not take it back."""
        folded = action.lower()
        for given, taken in (block[data] for block in self._blocks):
            listed = _first(given, folded)
            if listed is not None:
                yield Listing(listed, _first(taken, folded))

    def _work_out(self, action: str, *, data: bool) -> bool:
        return any(one.taken is None for one in self.listings(action, data=data))


def _first(patterns: tuple[ActionPattern, ...], action: str) -> str | None:
    return next((pattern.text for pattern in patterns if pattern.matches(action)), None)


def _compile(patterns: Iterable[str]) -> tuple[ActionPattern, ...]:
    return tuple(ActionPattern(text) for text in patterns)
