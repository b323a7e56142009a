"""The tree's arithmetic against the definition in RFC 6962, written down as it stands there, and against the vectors everybody uses."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idplane.audit.tree import (
    EMPTY_ROOT,
    Frontier,
    consistency_ranges,
    inclusion_ranges,
    joined,
    leaf_hash,
    root_from_consistency,
    root_from_inclusion,
    subtrees,
)

# The leaves and hashes that implementations of RFC 6962 test themselves with.
LEAVES = [
    bytes.fromhex(one)
    for one in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def naive_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def naive_path(m: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of section 2.1.1."""
    if len(leaves) == 1:
        return []
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m < k:
        return [*naive_path(m, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(m - k, leaves[k:]), naive_root(leaves[:k])]


def naive_subproof(m: int, leaves: list[bytes], *, whole: bool) -> list[bytes]:
    """SUBPROOF of section 2.1.2."""
    if m == len(leaves):
        return [] if whole else [naive_root(leaves)]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m <= k:
        return [*naive_subproof(m, leaves[:k], whole=whole), naive_root(leaves[k:])]
    return [*naive_subproof(m - k, leaves[k:], whole=False), naive_root(leaves[:k])]


def hashes(leaves: list[bytes], ranges: list[tuple[int, int]]) -> list[bytes]:
    return [
        joined([naive_root(leaves[number << level : (number + 1) << level]) for level, number in subtrees(begin, end)])
        for begin, end in ranges
    ]


def grown(leaves: list[bytes]) -> Frontier:
    tree = Frontier()
    for leaf in leaves:
        tree.append(leaf_hash(leaf))
    return tree


trees = st.integers(1, 70).map(lambda size: [str(number).encode() for number in range(size)])


def test_the_known_vectors() -> None:
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert Frontier().root() == EMPTY_ROOT
    for size, root in enumerate(ROOTS, 1):
        assert grown(LEAVES[:size]).root().hex() == root
        assert naive_root(LEAVES[:size]).hex() == root


@given(trees, st.data())
def test_inclusion(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    proof = hashes(leaves, inclusion_ranges(index, len(leaves)))
    assert proof == naive_path(index, leaves)
    root = naive_root(leaves)
    assert root_from_inclusion(leaf_hash(leaves[index]), index, len(leaves), proof) == root
    assert root_from_inclusion(leaf_hash(b"another"), index, len(leaves), proof) != root
    other = data.draw(st.integers(0, len(leaves) - 1))
    if other != index and len(inclusion_ranges(other, len(leaves))) == len(proof):
        assert root_from_inclusion(leaf_hash(leaves[index]), other, len(leaves), proof) != root


@given(trees, st.data())
def test_consistency(leaves: list[bytes], data: st.DataObject) -> None:
    first = data.draw(st.integers(1, len(leaves)))
    proof = hashes(leaves, consistency_ranges(first, len(leaves)))
    assert proof == naive_subproof(first, leaves, whole=True)
    roots = naive_root(leaves[:first]), naive_root(leaves)
    assert root_from_consistency(first, len(leaves), roots[0], proof) == roots
    if first < len(leaves):
        forged = naive_root([b"x", *leaves[1:first]])
        assert root_from_consistency(first, len(leaves), forged, proof) != (forged, roots[1])
        for number in range(len(proof)):
            changed = [*proof[:number], leaf_hash(b"x"), *proof[number + 1 :]]
            assert root_from_consistency(first, len(leaves), roots[0], changed) != roots


@given(trees)
def test_a_tree_goes_on_from_its_subtrees(leaves: list[bytes]) -> None:
    middle = len(leaves) // 2
    roots = [naive_root(leaves[number << level : (number + 1) << level]) for level, number in subtrees(0, middle)]
    tree = Frontier.of(middle, roots)
    for leaf in leaves[middle:]:
        tree.append(leaf_hash(leaf))
    assert tree.root() == naive_root(leaves)


def test_nodes_of_stored_levels_are_told_when_they_are_complete() -> None:
    tree, told = Frontier(), []
    leaves = [str(number).encode() for number in range(513)]
    for leaf in leaves:
        told += tree.append(leaf_hash(leaf))
    assert told == [(8, 0, naive_root(leaves[:256])), (8, 1, naive_root(leaves[256:512]))]


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_there_is_no_proof_of_what_is_not_there(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="not in the tree"):
        inclusion_ranges(index, size)


def test_nothing_proves_a_tree_that_shrinks() -> None:
    with pytest.raises(ValueError, match="does not shrink"):
        consistency_ranges(3, 2)
    assert consistency_ranges(0, 9) == []
    assert root_from_consistency(0, 5, EMPTY_ROOT, []) == (EMPTY_ROOT, EMPTY_ROOT)
    assert root_from_consistency(5, 5, b"root", []) == (b"root", b"root")


@pytest.mark.parametrize("length", [0, 2, 4])
def test_proofs_have_one_length(length: int) -> None:
    with pytest.raises(ValueError, match="wrong length"):
        root_from_inclusion(b"leaf", 2, 8, [b"x"] * length)
    with pytest.raises(ValueError, match="wrong length"):
        root_from_consistency(4, 7, b"root", [b"x"] * length)


def test_a_frontier_has_as_many_roots_as_its_size_has_bits() -> None:
    with pytest.raises(ValueError, match="one complete subtree"):
        Frontier.of(3, [b"x"])
