"""Hashes of the stored tree: whatever a proof asks for, from the nodes and entries that a store keeps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from idplane.audit.entries import ENTRY_BYTES
from idplane.audit.tree import (
    EMPTY_ROOT,
    KEPT_LEVELS,
    Frontier,
    Node,
    Range,
    consistency_ranges,
    inclusion_ranges,
    joined,
    leaf_hash,
    subtrees,
)
from idplane.ports.tree import LogTree

__all__ = ["TreeDamaged", "consistency_proof", "frontier_at", "inclusion_proof", "leaves_of", "root_at"]


class TreeDamaged(Exception):  # noqa: N818 - an outcome of looking, which callers put into words
    """A stored entry or node is not there; the text says which."""


def leaves_of(entries: bytes) -> Iterable[bytes]:
    """The leaf hashes of a stretch of entries."""
    return (leaf_hash(entries[at : at + ENTRY_BYTES]) for at in range(0, len(entries), ENTRY_BYTES))


async def frontier_at(tree: LogTree, size: int) -> Frontier:
    """The tree's first `size` leaves, to go on from; raises `TreeDamaged`."""
    return Frontier.of(size, [await _node(tree, node) for node in subtrees(0, size)])


async def root_at(tree: LogTree, size: int) -> bytes:
    """The root over the first `size` leaves as they are stored; raises `TreeDamaged`."""
    return (await frontier_at(tree, size)).root() if size else EMPTY_ROOT


async def inclusion_proof(tree: LogTree, index: int, size: int) -> list[bytes]:
    """The proof that a leaf is in the tree of `size` leaves; raises `TreeDamaged`."""
    return await _hashes(tree, inclusion_ranges(index, size))


async def consistency_proof(tree: LogTree, first: int, second: int) -> list[bytes]:
    """The proof that the tree grew from one size to another; raises `TreeDamaged`."""
    return await _hashes(tree, consistency_ranges(first, second))


async def _hashes(tree: LogTree, ranges: Sequence[Range]) -> list[bytes]:
    return [joined([await _node(tree, node) for node in subtrees(*one)]) for one in ranges]


async def _node(tree: LogTree, node: Node) -> bytes:
    level, number = node
    stored = level // KEPT_LEVELS * KEPT_LEVELS
    begin, end = number << (level - stored), (number + 1) << (level - stored)
    hashes = await _leaves(tree, begin, end) if stored == 0 else await _nodes(tree, stored, begin, end)
    above = Frontier()
    for one in hashes:
        above.append(one)
    return above.root()


async def _leaves(tree: LogTree, begin: int, end: int) -> list[bytes]:
    found = list(leaves_of(await tree.entries(begin, end, ENTRY_BYTES)))
    if len(found) != end - begin:
        raise TreeDamaged(f"the tree's entry {begin + len(found)} is missing")
    return found


async def _nodes(tree: LogTree, level: int, begin: int, end: int) -> list[bytes]:
    found = await tree.nodes(level, begin, end)
    missing = next((number for number in range(begin, end) if number not in found), None)
    if missing is not None:
        raise TreeDamaged(f"the tree's node {missing} of level {level} is missing")
    return [found[number] for number in range(begin, end)]
