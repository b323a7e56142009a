"""What an agent tells the server of its refusals: the first at once, the same again as a count, and nothing that anyone waits for."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.unit.agent.agent_world import OTHER_VM, VM, settle

from idplane.agent import (
    appservice_2017_errors,
    appservice_errors,
    arc_errors,
    cloudshell_errors,
    imds_errors,
    machinelearning_errors,
    servicefabric_errors,
)
from idplane.agent.answers import FROM_SERVER, REFUSAL_ID
from idplane.agent.refusals import UNCHALLENGED, Refusals, explicable, is_reported, refusal_of
from idplane.model.calls import Workload
from idplane.model.failure import Failure, FailureKind
from idplane.model.ids import ResourceId
from idplane.testing.worlds import FakeClock

NOW = datetime(2026, 1, 1, tzinfo=UTC)
UNBOUND = Failure(FailureKind.CALLER_NOT_BOUND, "no")


class Row:
    """A row of refusals, and the server that it is told to."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.told: list[Any] = []
        self.calls = 0
        self.pids = itertools.count()
        self.failure: Exception | None = None
        self.refusals = Refusals(tell=self.tell, clock=self.clock)

    async def tell(self, documents: Sequence[object]) -> None:
        self.calls += 1
        if self.failure is not None:
            raise self.failure
        self.told += documents

    def note(self, host: ResourceId = VM, uid: int = 1, failure: Failure = UNBOUND) -> str:
        """The id that the workload is shown."""
        pid = next(self.pids)
        return self.refusals.note(
            refusal_of(
                failure,
                NOW,
                refusal_id=f"id-{pid}",
                host=host,
                dialect="imds",
                resource=None,
                workload=Workload(pid=pid, uid=uid),
            )
        )

    @property
    def counts(self) -> list[int]:
        return [one["count"] for one in self.told]


@pytest.fixture
def row() -> Row:
    return Row()


async def test_the_first_is_told_at_once_and_the_same_again_is_counted(row: Row) -> None:
    row.note()
    await settle()
    assert row.told == [
        {
            "host": str(VM),
            "at": NOW.isoformat(),
            "reason": "CALLER_NOT_BOUND",
            "detail": "no",
            "dialect": "imds",
            "resource": None,
            "count": 1,
            "id": "id-0",
            "facts": {},
            "workload": {"pid": 0, "uid": 1},
        }
    ]
    assert [row.note() for _ in range(3)] == ["id-0"] * 3
    await settle()
    assert row.counts == [1]
    row.clock.advance(11)
    await settle()
    assert row.counts == [1, 3]
    assert row.note() == "id-4"
    await settle()
    assert row.counts == [1, 3, 1]
    assert [one["id"] for one in row.told] == ["id-0", "id-0", "id-4"]
    await row.refusals.close()


def selecting(name: str) -> Failure:
    return Failure(FailureKind.IDENTITY_NOT_FOUND, "", selector="client_id", selected=name, answer="no fact for the server")


async def test_what_was_asked_tells_refusals_apart(row: Row) -> None:
    shown = [row.note(failure=selecting(name)) for name in ("a", "b", "a")]
    assert shown == ["id-0", "id-1", "id-0"]
    await settle()
    assert [one["facts"] for one in row.told] == [{"selector": "client_id", "selected": name} for name in "ab"]
    await row.refusals.close()


async def test_a_caller_that_makes_up_ever_others_is_counted(row: Row) -> None:
    shown = [row.note(failure=selecting(str(at))) for at in range(500)]
    assert len(set(shown)) == 17
    assert row.note(uid=2, failure=selecting("0")) == "id-500"
    await row.refusals.close()
    assert sum(row.counts) == 501
    assert len(row.told) == 19


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (UNBOUND, "No (refusal id r)"),
        (Failure(FailureKind.IDENTITY_NOT_FOUND, "", **{REFUSAL_ID: "r"}), "No (refusal id r)"),
        (Failure(FailureKind.UNAVAILABLE), "No"),
        (Failure(FailureKind.ENDPOINT_SECRET, "", **{UNCHALLENGED: "yes"}), "No"),
        (Failure(FailureKind.THROTTLED, "", **{FROM_SERVER: "yes"}), "No"),
    ],
)
def test_only_what_can_be_explained_is_told_with_an_id(failure: Failure, text: str) -> None:
    assert explicable("No", failure, "r") == text


def test_a_text_that_has_the_id_stays() -> None:
    assert explicable("No. Trace ID: r", UNBOUND, "r") == "No. Trace ID: r"


async def test_others_are_told_by_themselves(row: Row) -> None:
    row.note(uid=1)
    row.note(uid=2)
    row.note(host=OTHER_VM)
    row.note(failure=Failure(FailureKind.FOREIGN_HOST))
    await settle()
    assert row.counts == [1, 1, 1, 1]
    assert row.told[-1]["detail"] or row.told
    await row.refusals.close()


async def test_an_outage_delays_and_a_bug_loses_one_at_most(row: Row) -> None:
    row.failure = Failure(FailureKind.UNAVAILABLE)
    row.note()
    await settle()
    assert not row.told
    row.failure = None
    row.clock.advance(6)
    await settle()
    assert row.counts == [1]
    for failure in (RuntimeError("bug"), Failure(FailureKind.HOST_NOT_BOUND)):
        row.failure = failure
        row.note(uid=99 if isinstance(failure, Failure) else 98)
        await settle()
        row.failure = None
        row.note(uid=100 if isinstance(failure, Failure) else 101)
        await settle()
    assert [one["workload"]["uid"] for one in row.told] == [1, 101, 100]
    await row.refusals.close()


async def test_the_row_is_bounded(row: Row) -> None:
    row.failure = Failure(FailureKind.UNAVAILABLE)
    for uid in range(3000):
        row.note(uid=uid)
    row.failure = None
    row.clock.advance(6)
    await settle()
    assert len(row.told) == 1000
    assert row.told[-1]["workload"]["uid"] == 2999
    await row.refusals.close()


async def test_closing_tells_what_there_is(row: Row) -> None:
    for host in (VM, OTHER_VM):
        row.note(host=host)
        row.note(host=host)
    await row.refusals.close()
    assert row.counts == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("failure", "reported"),
    [
        (Failure(FailureKind.CALLER_UNPROVEN), True),
        (Failure(FailureKind.CALLER_NOT_BOUND), True),
        (Failure(FailureKind.ENDPOINT_SECRET), True),
        (Failure(FailureKind.ENDPOINT_SECRET, "", **{UNCHALLENGED: "yes"}), False),
        (Failure(FailureKind.FOREIGN_HOST), True),
        (Failure(FailureKind.FORWARDED), True),
        (Failure(FailureKind.METADATA_HEADER_MISSING), True),
        (Failure(FailureKind.THROTTLED), True),
        (Failure(FailureKind.THROTTLED, "", **{FROM_SERVER: "yes"}), False),
        (Failure(FailureKind.IDENTITY_NOT_FOUND), True),
        (Failure(FailureKind.IDENTITY_NOT_FOUND, "", **{REFUSAL_ID: "x"}), False),
        (Failure(FailureKind.AGENT_UNKNOWN), False),
        (Failure(FailureKind.INTERNAL), False),
        (Failure(FailureKind.UNAVAILABLE), False),
        (Failure(FailureKind.PATH_NOT_FOUND), False),
    ],
)
def test_what_the_server_is_told_of(failure: Failure, *, reported: bool) -> None:
    assert is_reported(failure) is reported


@pytest.mark.parametrize("kind", [FailureKind.CALLER_UNPROVEN, FailureKind.CALLER_NOT_BOUND])
@pytest.mark.parametrize(
    "dialect",
    [
        appservice_2017_errors,
        appservice_errors,
        arc_errors,
        cloudshell_errors,
        imds_errors,
        machinelearning_errors,
        servicefabric_errors,
    ],
)
def test_no_client_takes_the_refusal_for_an_absent_endpoint(kind: FailureKind, dialect: Any) -> None:
    """403 ends a chain of credentials; with `unreachable` in it, or as 400, 404, 502 or 504, it would go on (MIE section 1.6)."""
    answer = dialect.render(Failure(kind, "It could not be proved which process asks: it is gone"), "id", NOW)
    assert answer.head.startswith(b"HTTP/1.1 403 ")
    assert b"which process asks" in answer.body
    assert b"unreachable" not in answer.body
