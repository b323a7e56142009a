"""Action patterns: what `Microsoft.KeyVault/vaults/*/read` matches, in time linear in the action.

The rules (control-plane.md section 9): comparison ignores case; `*` stands for any run of characters, none and `/` included; and
`/*/` also matches a single `/`, because built-in roles name operations one level up that way (Managed Identity Operator lists
`userAssignedIdentities/*/read` only, and is meant to read the identities themselves).

A pattern is the literal pieces between its stars. Finding each piece as far left as possible leaves the most room for the rest,
so no backtracking is ever needed: a custom role cannot hold a pattern that is slow to match.
"""

from __future__ import annotations

import itertools

__all__ = ["ActionPattern"]


class ActionPattern:
    """One compiled pattern. A class for the pieces that are worked out once; it never changes."""

    __slots__ = ("_first", "_last", "_last_overlap", "_middle", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        pieces = _pieces(text.lower())
        self._first = pieces[0]
        # Without a star there is one piece, which then is the whole action.
        self._last = pieces[-1] if len(pieces) > 1 else None
        overlaps = [_overlap(left, right) for left, right in itertools.pairwise(pieces)]
        self._middle = tuple(zip(pieces[1:-1], overlaps[:-1], strict=True))
        self._last_overlap = overlaps[-1] if overlaps else 0

    def matches(self, action: str) -> bool:
        """Whether the pattern covers `action`, which must be in lower case already."""
        if self._last is None:
            return action == self._first
        if not (action.startswith(self._first) and action.endswith(self._last)):
            return False
        end = len(self._first)
        for piece, overlap in self._middle:
            found = action.find(piece, end - overlap)
            if found < 0:
                return False
            end = found + len(piece)
        return len(action) - len(self._last) >= end - self._last_overlap

    def __repr__(self) -> str:
        return f"ActionPattern({self.text!r})"


def _pieces(text: str) -> list[str]:
    """The literals between the stars; several stars in a row say no more than one."""
    pieces = text.split("*")
    return [piece for at, piece in enumerate(pieces) if piece or at in {0, len(pieces) - 1}]


def _overlap(left: str, right: str) -> int:
    """1 where the star between two pieces stands between slashes, so that one slash may serve as both."""
    return int(left.endswith("/") and right.startswith("/"))
