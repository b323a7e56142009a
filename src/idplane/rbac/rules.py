"""Permission blocks, compiled for the one question that is asked of them: whether a role holds an action."""

from __future__ import annotations

from collections.abc import Iterable

from idplane.model.roles import Permission
from idplane.rbac.patterns import ActionPattern

__all__ = ["Rules"]

# Actions are the server's own words, a few hundred at most; the bound is for surfaces that let a caller name any action.
_MEMO_LIMIT = 4096


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
            answer = self._work_out(action.lower(), data=data)
            if len(self._memo) >= _MEMO_LIMIT:
                self._memo.clear()
            self._memo[key] = answer
        return answer

    def _work_out(self, action: str, *, data: bool) -> bool:
        return any(
            any(pattern.matches(action) for pattern in given) and not any(pattern.matches(action) for pattern in taken)
            for given, taken in (block[data] for block in self._blocks)
        )


def _compile(patterns: Iterable[str]) -> tuple[ActionPattern, ...]:
    return tuple(ActionPattern(text) for text in patterns)
