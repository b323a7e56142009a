"""Places for connections: a bounded number, and a newcomer always gets one, because somebody else makes room.

Who makes room is whoever takes most: of all listeners and callers, the one with the most connections loses the one that has been
idle longest. So however many one client opens, and however slowly it uses them, others get in.
"""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from typing import Protocol

__all__ = ["Places", "Room", "Seated"]

_MOST = 4096
_MOST_EACH = 512
_SHARE = 4


class Seated(Protocol):
    """What holds a place: a connection from the moment it is accepted, before any handshake, until it is gone."""

    @property
    def caller(self) -> Hashable:
        """Who is at the other end, as far as known; all of whom nothing is known are one."""
        ...

    @property
    def answering(self) -> bool:
        """Whether a request is being answered, which is worth more than waiting for one."""
        ...

    @property
    def since(self) -> float:
        """When it last began or finished something, in monotonic seconds."""
        ...

    def expire(self, now: float, /) -> None:
        """Drop it if it has taken too long for what it is doing."""
        ...

    def abort(self) -> None:
        """Drop it."""
        ...


class Places:
    """The places of all listeners of an agent: so many in all, and so many each."""

    def __init__(self, *, most: int | None = None, most_each: int = _MOST_EACH) -> None:
        self._most = _most() if most is None else most
        self._most_each = most_each
        self._rooms: set[Room] = set()

    def room(self, *, most: int | None = None) -> Room:
        """The places of one more listener, until it is closed; `most` where its connections are dear."""
        room = Room(self, self._most_each if most is None else most)
        self._rooms.add(room)
        return room

    def make_room(self) -> bool:
        """Drop one connection of whoever holds most; False if there is none at all."""
        return _drop_one(self._rooms)

    def before(self, room: Room) -> None:
        """Make what room a newcomer to `room` needs."""
        if len(room) >= room.most:
            _drop_one((room,))
        elif sum(map(len, self._rooms)) >= self._most:
            _drop_one(self._rooms)

    def forget(self, room: Room) -> None:
        """A listener is gone."""
        self._rooms.discard(room)


class Room:
    """The places of one listener."""

    def __init__(self, places: Places, most: int) -> None:
        self.most = most
        """How many connections it may have."""
        self._places = places
        self._seated: dict[Seated, None] = {}

    def __len__(self) -> int:
        return len(self._seated)

    def __iter__(self) -> Iterator[Seated]:
        """Those that are here now; they may leave meanwhile."""
        return iter(tuple(self._seated))

    def seat(self, newcomer: Seated) -> None:
        """Give it a place, which somebody else may have to leave."""
        self._places.before(self)
        self._seated[newcomer] = None

    def leave(self, seated: Seated) -> None:
        """It is gone, or as good as gone; again does nothing."""
        self._seated.pop(seated, None)

    def make_room(self) -> bool:
        """Drop one connection, here or elsewhere, of whoever holds most; False if there is none at all."""
        return self._places.make_room()

    def close(self) -> None:
        """Drop everything."""
        self._places.forget(self)
        for seated in self:
            seated.abort()
        self._seated.clear()


def _drop_one(rooms: Iterable[Room]) -> bool:
    counts = Counter({(room, caller): count for room in rooms for caller, count in Counter(it.caller for it in room).items()})
    if not counts:
        return False
    [((room, caller), _)] = counts.most_common(1)
    leaving = min((it for it in room if it.caller == caller), key=lambda it: (it.answering, it.since))
    room.leave(leaving)
    leaving.abort()
    return True


def _most() -> int:
    """A part of the descriptors that the process may have, so that the rest of it keeps working under a flood."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if limit == resource.RLIM_INFINITY else min(_MOST, limit // _SHARE)
