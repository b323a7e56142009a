"""Batches that only check records and append one event, as every token does, as one statement of PostgreSQL.

What is checked and what is appended are of one snapshot. A change that is committed while the statement runs is not seen, as if the event
had been first; so nobody has to wait for a turn on the feed's end, and tokens of any number of servers are recorded side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from idplane.ports.store import Expect
from idplane.store.plan import AppendRow, Plan, RequireRecord
from idplane.store.tables import Query

__all__ = ["quiet_statement"]

_MOST = 16
"""Records that one statement checks."""


def quiet_statement(plan: Plan) -> tuple[Query, AppendRow] | None:
    """The statement, which answers with the position, or with no row when a record is not as required; None for another batch."""
    rows = [step for step in plan.steps if isinstance(step, AppendRow)]
    required = plan.requirements
    if len(rows) != 1 or not 1 <= len(required) == len(plan.steps) - 1 <= _MOST:
        return None
    (row,) = rows
    kinds = tuple(isinstance(value, int) for value in row.parameters)
    checks = tuple((one.table.name, _kind(one)) for one in required)
    parameters = [*row.parameters]
    for one in required:
        parameters += (one.key, one.expect) if isinstance(one.expect, int) else (one.key,)
    return (_text(row.table.name, row.table.names, kinds, checks), tuple(parameters)), row


def _kind(one: RequireRecord) -> str:
    if isinstance(one.expect, int):
        return "at"
    return "absent" if one.expect is Expect.ABSENT else "present"


@lru_cache(maxsize=256)
def _text(log: str, names: Sequence[str], kinds: Sequence[bool], checks: Sequence[tuple[str, str]]) -> str:
    """Few shapes, so that the statements stay prepared. Tables and columns are declared names, all values are parameters."""
    values = ", ".join(f"${number}::{'bigint' if whole else 'text'}" for number, whole in enumerate(kinds, 1))
    conditions, number = [], len(kinds) + 1
    for table, kind in checks:
        if kind == "at":
            conditions.append(f"(select version from {table} where key = ${number}) = ${number + 1}::bigint")  # noqa: S608 - see above
            number += 2
        else:
            conditions.append(f"{'not ' * (kind == 'absent')}exists (select from {table} where key = ${number})")
            number += 1
    return f"insert into {log} ({', '.join(names)}) select {values} where {' and '.join(conditions)} returning position"
