"""Who makes room for whom: the one that takes most, its longest idle connection first, and never the newcomer."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from idplane.agent.places import Places, Room


@dataclass(eq=False)
class Guest:
    """A connection as far as places look at it."""

    caller: str | None = None
    since: float = 0.0
    answering: bool = False
    dropped: bool = False

    def expire(self, now: float) -> None: ...

    def abort(self) -> None:
        self.dropped = True


def seat(room: Room, *guests: Guest) -> list[Guest]:
    for guest in guests:
        room.seat(guest)
    return list(guests)


def dropped(guests: list[Guest]) -> list[int]:
    return [number for number, guest in enumerate(guests) if guest.dropped]


def test_the_longest_idle_goes_first_and_who_is_being_answered_last() -> None:
    room = Places(most=10, most_each=3).room()
    guests = seat(room, Guest(since=1, answering=True), Guest(since=3), Guest(since=2))
    for number, expected in enumerate(([2], [1, 2], [1, 2, 3])):
        guests += seat(room, Guest(since=4 + number, answering=number > 0))
        assert dropped(guests) == expected
    guests += seat(room, Guest(since=9, answering=True))
    assert dropped(guests) == [0, 1, 2, 3]
    assert len(room) == 3


def test_the_caller_with_the_most_makes_room_for_all_others() -> None:
    room = Places(most=100, most_each=6).room()
    guests = seat(room, Guest("quiet", since=0), *(Guest("noisy", since=9) for _ in range(5)))
    for number in range(4):
        seat(room, Guest(f"other {number}", since=10))
    assert dropped(guests) == [1, 2, 3, 4]


def test_listeners_share_what_all_may_have() -> None:
    places = Places(most=6, most_each=5)
    noisy, quiet = places.room(), places.room()
    crowd = seat(noisy, *(Guest(since=9) for _ in range(5)))
    one = seat(quiet, Guest(since=0))
    more = seat(quiet, Guest(since=1), Guest(since=1))
    assert (dropped(crowd), dropped(one), dropped(more)) == ([0, 1], [], [])
    assert (len(noisy), len(quiet)) == (3, 3)


def test_a_closed_listener_takes_no_places() -> None:
    places = Places(most=2, most_each=2)
    first, second = places.room(), places.room()
    guests = seat(first, Guest(), Guest())
    first.close()
    assert dropped(guests) == [0, 1]
    assert dropped(seat(second, Guest(), Guest())) == []
    first.leave(guests[0])
    assert len(second) == 2


def test_there_is_nobody_to_drop_in_an_empty_house() -> None:
    room = Places().room()
    assert not room.make_room()
    [guest] = seat(room, Guest())
    assert room.make_room()
    assert guest.dropped
    assert not room.make_room()


@given(steps=st.lists(st.tuples(st.integers(0, 2), st.sampled_from("aaabc"), st.booleans(), st.booleans()), max_size=80))
def test_newcomers_get_in_and_those_who_hold_most_pay(steps: list[tuple[int, str, bool, bool]]) -> None:
    places = Places(most=9, most_each=5)
    rooms = [places.room() for _ in range(3)]
    inside: list[tuple[int, Guest]] = []
    for number, (where, caller, answering, leaves) in zip(itertools.count(), steps, strict=False):
        if leaves and inside:
            gone, guest = inside.pop(number % len(inside))
            rooms[gone].leave(guest)
            continue
        held = Counter((room, guest.caller) for room, guest in inside)
        newcomer = Guest(caller, since=number, answering=answering)
        rooms[where].seat(newcomer)
        for room, guest in [it for it in inside if it[1].dropped]:
            inside.remove((room, guest))
            here = [count for (other, _), count in held.items() if other == where]
            assert held[room, guest.caller] == max(here if sum(here) >= 5 else held.values())
        inside.append((where, newcomer))
        assert not newcomer.dropped
        assert len(inside) == sum(map(len, rooms)) <= 9
        assert max(map(len, rooms)) <= 5
