"""The numbered migrations, and which of them a database still needs.

A migration is a file `NNNN_words.sql` in `migrations/<database>`; once released it never changes. The table `schema_version` has
one row for each that was applied. Both databases have the same numbers.

Servers of two versions run at once while an installation is upgraded, and the newer one migrates. So from 0012 on a migration only adds,
and the database records with it which programs can go on: those that know the migration before it, unless a line
`-- Oldest program: NNNN` says otherwise. An older program refuses the database.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

from idplane.model.failure import Failure, FailureKind

__all__ = ["SCHEMA_VERSION_TABLE", "Migration", "applied_rows", "migrations", "outstanding", "record_of"]

_FIRST_RECORDED = 12
"""The migration that made the column `oldest_program`; programs before it refuse whatever is newer."""
_OLDEST = re.compile(r"^-- Oldest program: ([0-9]{4})$", re.MULTILINE)

SCHEMA_VERSION_TABLE = (
    "create table if not exists schema_version (version integer primary key, name text not null, applied_at text not null)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step of the schema: SQL statements that become effective together."""

    version: int
    name: str
    sql: str

    @property
    def oldest_program(self) -> int:
        """The newest migration that a program must know at least, to work on a database that has this one."""
        if self.version <= _FIRST_RECORDED:
            return self.version
        declared = _OLDEST.search(self.sql)
        return int(declared[1]) if declared else self.version - 1


Applied: TypeAlias = Mapping[int, int]
"""The versions that a database has → the oldest program that can work with each."""


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


def applied_rows(rows: Iterable[Sequence[Any]]) -> Applied:
    """What the rows of `schema_version` say: version, name, time and, since 0012, the oldest program."""
    return {version: (rest[0] if rest else None) or version for version, _, _, *rest in rows}


def record_of(one: Migration, applied_at: str) -> dict[str, int | str]:
    """The columns of `schema_version` for a migration that was just applied."""
    record: dict[str, int | str] = {"version": one.version, "name": one.name, "applied_at": applied_at}
    return record if one.version < _FIRST_RECORDED else {**record, "oldest_program": one.oldest_program}


def outstanding(known: Sequence[Migration], applied: Applied) -> tuple[Migration, ...]:
    """What a database still needs; raises `Failure(UNAVAILABLE)` for one that is too new for this program."""
    newest = max((one.version for one in known), default=0)
    if any(oldest > newest for version, oldest in applied.items() if version > newest):
        raise Failure(
            FailureKind.UNAVAILABLE,
            f"the database was written by a newer idplane (its schema is {max(applied)}, this program knows {newest}): use the newer one",
        )
    return tuple(one for one in known if one.version not in applied)
