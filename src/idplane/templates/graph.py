"""The order that dependencies leave."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

__all__ = ["in_circle", "in_order"]


def in_order(needs: Mapping[str, AbstractSet[str]]) -> list[str]:
    """Every key after all that it needs, otherwise in the order given; keys on or behind a circle are left out."""
    waiting = {key: len(wanted) for key, wanted in needs.items()}
    followers: dict[str, list[str]] = {key: [] for key in needs}
    for key, wanted in needs.items():
        for one in wanted:
            followers[one].append(key)
    ready = [key for key, count in waiting.items() if count == 0]
    for key in ready:
        for follower in followers[key]:
            waiting[follower] -= 1
            if waiting[follower] == 0:
                ready.append(follower)
    return ready


def in_circle(needs: Mapping[str, AbstractSet[str]]) -> list[str]:
    """The keys of one circle, each needing the next; empty if there is none."""
    left = set(needs) - set(in_order(needs))
    if not left:
        return []
    seen: dict[str, int] = {}
    walk: list[str] = []
    at = min(left)
    while at not in seen:
        seen[at] = len(walk)
        walk.append(at)
        at = min(needs[at] & left)
    return walk[seen[at] :]
