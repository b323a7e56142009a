"""Every sealed value moves to the key that seals now: `idplane admin rewrap`.

Servers go on meanwhile. Each value moves by a commit of its own which names the version that was read, so a value that somebody
changes at the same time is looked at again, and a process that is killed leaves every value with one key or the other: starting again
goes on from there. When none remains, the earlier key is not needed any more, except for backups.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar

from idplane.keys.sealing import private_context
from idplane.model.keys import SigningKey
from idplane.model.security_events import EventStream
from idplane.model.vault import SecretVersion
from idplane.ports.collections import EVENT_STREAMS, SECRETS, SIGNING_KEYS
from idplane.ports.store import Batch, Collection, CommitRefused, Put, Store, Versioned
from idplane.ports.world import KeyCustody
from idplane.store.sealed import key_of
from idplane.sts.security_events import authorization_context

__all__ = ["PLACES", "Place", "Remaining", "remaining", "rewrap"]

T = TypeVar("T")

_PAGE: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Place(Generic[T]):
    """Where sealed values are: of each record the values, with the contexts that they are sealed for, and the record with other ones."""

    collection: Collection[T]
    sealed: Callable[[T], tuple[tuple[bytes, str], ...]]
    resealed: Callable[[T, tuple[bytes, ...]], T]


def _of_key(key: SigningKey) -> tuple[tuple[bytes, str], ...]:
    values = ((key.sealed, private_context(key.id)), (key.mark, key.described))
    return tuple((value, context) for value, context in values if value)


def _key_with(key: SigningKey, values: tuple[bytes, ...]) -> SigningKey:
    rest = iter(values)
    return replace(key, sealed=next(rest) if key.sealed else b"", mark=next(rest) if key.mark else b"")


def _of_secret(secret: SecretVersion) -> tuple[tuple[bytes, str], ...]:
    return ((secret.sealed, secret.key),) if secret.sealed else ()


def _secret_with(secret: SecretVersion, values: tuple[bytes, ...]) -> SecretVersion:
    return replace(secret, sealed=values[0])


def _of_stream(stream: EventStream) -> tuple[tuple[bytes, str], ...]:
    return ((stream.authorization, authorization_context(stream.id)),) if stream.authorization else ()


def _stream_with(stream: EventStream, values: tuple[bytes, ...]) -> EventStream:
    return replace(stream, authorization=values[0])


PLACES: Final[tuple[Place[Any], ...]] = (
    Place(collection=SIGNING_KEYS, sealed=_of_key, resealed=_key_with),
    Place(collection=SECRETS, sealed=_of_secret, resealed=_secret_with),
    Place(collection=EVENT_STREAMS, sealed=_of_stream, resealed=_stream_with),
)
"""Every place where the database has something sealed that is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remaining:
    """How many sealed values there are, by the id of the key that sealed them."""

    current: str
    by_key: dict[str, int]

    @property
    def elsewhere(self) -> int:
        """Values that the current key has not sealed."""
        return sum(count for key, count in self.by_key.items() if key != self.current)


async def remaining(store: Store, custody: KeyCustody) -> Remaining:
    """Count, by what the seals say; opens none."""
    counts: dict[str, int] = {}

    async def count(place: Place[Any], row: Versioned[Any]) -> None:
        for value, _ in place.sealed(row.value):
            counts[key_of(value)] = counts.get(key_of(value), 0) + 1

    await _each(store, count)
    return Remaining(current=custody.key_id, by_key=counts)


async def rewrap(store: Store, custody: KeyCustody, told: Callable[[int], None] = lambda _: None) -> int:
    """Seal anew what another key than the present one has sealed; how many records were moved, also told as it goes on.

    Raises `Failure(INTERNAL)` at a value that no key of the custody opens; what was moved until then stays moved.
    """
    moved = 0

    async def move(place: Place[Any], row: Versioned[Any]) -> None:
        nonlocal moved
        if await _moved(store, custody, place, row):
            moved += 1
            told(moved)

    await _each(store, move)
    return moved


async def _moved(store: Store, custody: KeyCustody, place: Place[Any], row: Versioned[Any]) -> bool:
    current: Versioned[Any] | None = row
    while current is not None:
        values = place.sealed(current.value)
        if all(key_of(value) == custody.key_id for value, _ in values):
            return False
        anew = tuple(_resealed(custody, value, context) for value, context in values)
        record = place.resealed(current.value, anew)
        with suppress(CommitRefused):
            await store.commit(Batch.of(Put(collection=place.collection, value=record, expect=current.version)))
            return True
        current = await store.get(place.collection, place.collection.key(current.value))
    return False


def _resealed(custody: KeyCustody, value: bytes, context: str) -> bytes:
    if key_of(value) == custody.key_id:
        return value
    return custody.seal(custody.unseal(value, context=context), context=context)


async def _each(store: Store, visit: Callable[[Place[Any], Versioned[Any]], Awaitable[None]]) -> None:
    for place in PLACES:
        after: str | None = None
        while True:
            page = await store.page(place.collection, after=after, limit=_PAGE)
            for row in page.items:
                await visit(place, row)
            after = page.after
            if after is None:
                break
