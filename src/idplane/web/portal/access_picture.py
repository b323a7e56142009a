"""Paths as a picture: nodes in columns, lines between them, each node a link to the picture around it. Pure.

Sizes are attributes and colours are classes: the pages' policy allows no style of a picture's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from idplane.web.portal.access_paths import Path
from idplane.web.portal.places import Place, scope_tail
from idplane.web.portal.principals import Shown

__all__ = ["Edge", "Node", "Picture", "picture_of"]

_COLUMNS: Final = ("Resources", "Identities", "Groups", "Roles", "Scopes")
_ROWS: Final = 14
"""Nodes in a column, at most."""
_WIDTH: Final = 194
_HEIGHT: Final = 40
_ACROSS: Final = 48
_DOWN: Final = 10
_TOP: Final = 30
_LETTERS: Final = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A box of the picture."""

    key: str
    label: str
    note: str
    to: str
    title: str
    current: bool = False
    x: int = 0
    y: int = 0

    @property
    def shown(self) -> str:
        """The label as far as there is room for it."""
        return self.label if len(self.label) <= _LETTERS else f"{self.label[: _LETTERS - 1]}…"


@dataclass(frozen=True, slots=True)
class Edge:
    """A line from one box to another."""

    x1: int
    y1: int
    x2: int
    y2: int

    @property
    def d(self) -> str:
        """As SVG draws it."""
        middle = (self.x1 + self.x2) // 2
        return f"M{self.x1} {self.y1}C{middle} {self.y1} {middle} {self.y2} {self.x2} {self.y2}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The whole of it."""

    width: int
    height: int
    headings: tuple[tuple[int, str], ...]
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    drawn: int
    """How many paths it shows."""

    box: tuple[int, int] = (_WIDTH, _HEIGHT)


def picture_of(paths: Sequence[Path], current: str = "") -> Picture:
    """The picture of the first paths that there is room for; `current` is the key of the node that it is about."""
    columns: list[dict[str, Node]] = [{} for _ in _COLUMNS]
    lines: dict[tuple[str, str], None] = {}
    drawn = 0
    for path in paths:
        chains = _chains(path, current)
        if any(not _fits(columns, chain) for chain in chains):
            continue
        drawn += 1
        for chain in chains:
            for column, node in chain:
                columns[column].setdefault(node.key, node)
            lines.update(dict.fromkeys((one.key, two.key) for (_, one), (_, two) in pairwise(chain)))
    return _laid_out(columns, list(lines), drawn)


def _chains(path: Path, current: str) -> list[list[tuple[int, Node]]]:
    """The nodes of a path from left to right, once for each of its sources."""
    role = Node(
        key=f"role {path.assignment.role_id} {path.assignment.scope_key}",
        label=path.role_name,
        note="Conditional" if path.assignment.condition else "Role",
        to=f"/portal/access/role/{path.assignment.role_id}",
        title=path.role_name,
        current=current == f"role {path.assignment.role_id}",
    )
    rest = [(1, _principal(path.who, current))]
    if path.through is not None:
        rest.append((2, _principal(path.through, current)))
    rest += [(3, role), (4, _scope(path.place, current))]
    return [[(0, _source(one, current)), *rest] for one in path.sources] or [rest]


def _principal(who: Shown, current: str) -> Node:
    key = f"principal {who.id}"
    to = who.page if who.known else ""
    return Node(key=key, label=who.name, note=who.kind, to=to, title=who.name, current=key == current)


def _scope(place: Place, current: str) -> Node:
    key = f"scope {place.id.key}"
    return Node(key=key, label=place.name, note=place.kind, to=place.reached, title=str(place.id), current=key == current)


def _source(place: Place, current: str) -> Node:
    key = f"source {place.id.key}"
    to = f"/portal/access/source{scope_tail(place.id)}"
    return Node(key=key, label=place.name, note=place.kind, to=to, title=str(place.id), current=key == current)


def _fits(columns: Sequence[dict[str, Node]], chain: Sequence[tuple[int, Node]]) -> bool:
    return all(node.key in columns[column] or len(columns[column]) < _ROWS for column, node in chain)


def _laid_out(columns: Sequence[dict[str, Node]], lines: Sequence[tuple[str, str]], drawn: int) -> Picture:
    used = [(name, column) for name, column in zip(_COLUMNS, columns, strict=True) if column]
    rows = max((len(column) for _, column in used), default=0)
    height = _TOP + rows * (_HEIGHT + _DOWN)
    placed: dict[str, Node] = {}
    for number, (_, column) in enumerate(used):
        above = _TOP + (rows - len(column)) * (_HEIGHT + _DOWN) // 2
        for row, node in enumerate(column.values()):
            x, y = number * (_WIDTH + _ACROSS), above + row * (_HEIGHT + _DOWN)
            placed[node.key] = replace(node, x=x, y=y)
    return Picture(
        width=max(1, len(used) * (_WIDTH + _ACROSS) - _ACROSS),
        height=height,
        headings=tuple((number * (_WIDTH + _ACROSS), name) for number, (name, _) in enumerate(used)),
        nodes=tuple(placed.values()),
        edges=tuple(_edge(placed[one], placed[two]) for one, two in lines),
        drawn=drawn,
    )


def _edge(one: Node, two: Node) -> Edge:
    half = _HEIGHT // 2
    return Edge(one.x + _WIDTH, one.y + half, two.x, two.y + half)
