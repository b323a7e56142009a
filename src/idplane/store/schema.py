"""The numbered migrations, and which of them a database still needs.

A migration is a file `NNNN_words.sql` in `migrations/<database>`; once released it never changes. The table `schema_version` has
one row for each that was applied. Both databases have the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from idplane.model.failure import Failure, FailureKind

__all__ = ["SCHEMA_VERSION_TABLE", "Migration", "migrations", "outstanding"]

SCHEMA_VERSION_TABLE = (
    "create table if not exists schema_version (version integer primary key, name text not null, applied_at text not null)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step of the schema: SQL statements that become effective together."""

    version: int
    name: str
    sql: str


@cache
def migrations(database: str) -> tuple[Migration, ...]:
    """The migrations of `sqlite` or `postgres`, oldest first."""
    folder = files("idplane.store") / "migrations" / database
    found = (
        Migration(version=int(one.name[:4]), name=one.name.removesuffix(".sql"), sql=one.read_text(encoding="utf-8"))
        for one in folder.iterdir()
        if one.name.endswith(".sql")
    )
    return tuple(sorted(found, key=lambda it: it.version))


def outstanding(known: Sequence[Migration], applied: int) -> tuple[Migration, ...]:
    """What a database at version `applied` still needs; raises `Failure(UNAVAILABLE)` for one that a newer program wrote."""
    newest = max((one.version for one in known), default=0)
    if applied > newest:
        raise Failure(
            FailureKind.UNAVAILABLE,
            f"the database was written by a newer idplane (its schema is {applied}, this program knows {newest}): use the newer one",
        )
    return tuple(one for one in known if one.version > applied)
