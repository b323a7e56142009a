"""The Merkle tree of RFC 6962 section 2.1 (RFC 9162 section 2.1): hashes, roots, and proofs as data. Pure.

A node is named by level and number: node (l, n) is the root of the complete subtree over the leaves n * 2^l to (n + 1) * 2^l - 1. Proofs
are first lists of ranges of leaves; whoever has the nodes turns each range into its hash. Ranges here always begin at a multiple of
the largest power of two that fits into them, as those of the RFC do, so a range is a few complete subtrees of falling size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

__all__ = [
    "EMPTY_ROOT",
    "HASH_BYTES",
    "KEPT_LEVELS",
    "Frontier",
    "Node",
    "Range",
    "consistency_ranges",
    "inclusion_ranges",
    "joined",
    "leaf_hash",
    "node_hash",
    "root_from_consistency",
    "root_from_inclusion",
    "subtrees",
]

Range: TypeAlias = tuple[int, int]
"""From the first leaf, to behind the last."""
Node: TypeAlias = tuple[int, int]
"""Level and number."""

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
KEPT_LEVELS: Final = 8
"""Nodes of every eighth level are stored: a proof reads at most 255 hashes of each of them, and they cost an eighth of a byte per leaf."""


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a node above two others."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(slots=True)
class Frontier:
    """A tree that grows to the right: the roots of its complete subtrees, largest first, which is all that it takes."""

    size: int = 0
    _roots: list[bytes] = field(default_factory=list)

    @classmethod
    def of(cls, size: int, roots: Sequence[bytes]) -> Frontier:
        """The tree of `size` leaves whose nodes `subtrees(0, size)` have these hashes."""
        if len(roots) != size.bit_count():
            raise ValueError("a tree has one complete subtree for each bit of its size")
        return cls(size, list(roots))

    def append(self, leaf: bytes) -> list[tuple[int, int, bytes]]:
        """Add a leaf's hash; the nodes that became complete by it and are of a stored level: level, number, hash."""
        size, roots, level, kept = self.size, self._roots, 0, []
        while size >> level & 1:
            leaf = node_hash(roots.pop(), leaf)
            level += 1
            if level % KEPT_LEVELS == 0:
                kept.append((level, size >> level, leaf))
        roots.append(leaf)
        self.size = size + 1
        return kept

    def root(self) -> bytes:
        """The hash of the whole tree."""
        return joined(self._roots) if self._roots else EMPTY_ROOT

    def copy(self) -> Frontier:
        """A tree that grows by itself."""
        return Frontier(self.size, list(self._roots))


def joined(roots: Sequence[bytes]) -> bytes:
    """The hash of a range, from those of its complete subtrees."""
    *rest, found = roots
    for left in reversed(rest):
        found = node_hash(left, found)
    return found


def subtrees(begin: int, end: int) -> list[Node]:
    """The complete subtrees that a range consists of, from left to right."""
    found = []
    while begin < end:
        level = (end - begin).bit_length() - 1
        found.append((level, begin >> level))
        begin += 1 << level
    return found


def _split(begin: int, end: int) -> int:
    """Where the left part of a range ends: behind the largest power of two that is smaller than it."""
    return begin + (1 << ((end - begin - 1).bit_length() - 1))


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """The ranges whose hashes prove that a leaf is in the tree (RFC 6962 section 2.1.1), from the leaf upwards."""
    if not 0 <= index < size:
        raise ValueError("the leaf is not in the tree")
    found, begin, end = [], 0, size
    while end - begin > 1:
        middle = _split(begin, end)
        if index < middle:
            found.append((middle, end))
            end = middle
        else:
            found.append((begin, middle))
            begin = middle
    return found[::-1]


def consistency_ranges(first: int, second: int) -> list[Range]:
    """The ranges whose hashes prove that a tree grew from `first` to `second` leaves (RFC 6962 section 2.1.2), in its order."""
    if not 0 <= first <= second:
        raise ValueError("a tree does not shrink")
    if first in {0, second}:
        return []
    found, begin, end = [], 0, second
    while first != end:
        middle = _split(begin, end)
        if first <= middle:
            found.append((middle, end))
            end = middle
        else:
            found.append((begin, middle))
            begin = middle
    if begin:
        found.append((begin, end))
    return found[::-1]


def root_from_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root that a proof leads to (RFC 9162 section 2.1.3.2); raises `ValueError` for a proof of the wrong length."""
    ranges = inclusion_ranges(index, size)
    if len(ranges) != len(proof):
        raise ValueError("the proof has the wrong length")
    for (begin, _), other in zip(ranges, proof, strict=True):
        leaf = node_hash(other, leaf) if begin < index else node_hash(leaf, other)
    return leaf


def root_from_consistency(first: int, second: int, first_root: bytes, proof: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The roots of both trees that a proof leads to; raises `ValueError` for a proof of the wrong length.

    The tree has grown only if they are `first_root` and the root of the second tree (RFC 9162 section 2.1.4.2).
    """
    ranges = consistency_ranges(first, second)
    if len(ranges) != len(proof):
        raise ValueError("the proof has the wrong length")
    if first == 0:
        return EMPTY_ROOT, EMPTY_ROOT
    if first == second:
        return first_root, first_root
    # What both trees have at the first tree's right edge: the whole first tree, if that is complete, or else the proof's first range.
    whole = first.bit_count() == 1
    old = new = first_root if whole else proof[0]
    for (begin, _), other in zip(ranges if whole else ranges[1:], proof if whole else proof[1:], strict=True):
        if begin < first:
            old, new = node_hash(other, old), node_hash(other, new)
        else:
            new = node_hash(new, other)
    return old, new
