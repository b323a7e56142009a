"""Every way in which a schema's constraint can be broken, as values: what is there before, and the batch that must be refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from idplane.ports.store import ABSENT, Batch, Collection, Delete, Put, RefusedBecause

__all__ = ["Refusal", "create", "missing", "needed", "unique"]

T = TypeVar("T")


def create(collection: Collection[T], value: T) -> Put[T]:
    """Write a record that is not there yet."""
    return Put(collection=collection, value=value, expect=ABSENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A batch that breaks one constraint, given what is there before it."""

    name: str
    before: Batch
    offending: Batch
    because: RefusedBecause
    collection: str
    key: str


def unique(name: str, collection: Collection[T], first: T, second: T, before: Batch | None = None) -> Refusal:
    """Two records that a unique column keeps apart."""
    return Refusal(
        name=name,
        before=(before or Batch()) + Batch.of(create(collection, first)),
        offending=Batch.of(create(collection, second)),
        because=RefusedBecause.UNIQUE,
        collection=collection.name,
        key=collection.key(second),
    )


def missing(name: str, collection: Collection[T], value: T, before: Batch | None = None) -> Refusal:
    """A record whose reference leads nowhere."""
    return Refusal(
        name=f"{name} is missing",
        before=before or Batch(),
        offending=Batch.of(create(collection, value)),
        because=RefusedBecause.REFERENCE,
        collection=collection.name,
        key=collection.key(value),
    )


def needed(name: str, collection: Collection[T], key: str, before: Batch) -> Refusal:
    """A delete of what another record refers to."""
    return Refusal(
        name=f"{name} is needed",
        before=before,
        offending=Batch.of(Delete(collection=collection, key=key)),
        because=RefusedBecause.REFERENCE,
        collection=collection.name,
        key=key,
    )
