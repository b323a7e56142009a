"""Reading a log as it grows: nothing twice, nothing left out."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from idplane.cli.log import COLUMNS, caller_words
from idplane.cli.log_reading import ACTIVITY, SIGN_INS, Follower, parse_since

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def event(number: int, seconds: float) -> Mapping[str, object]:
    return {"id": str(number), "createdDateTime": (NOW + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")}


def ids(events: list[Mapping[str, object]]) -> list[object]:
    return [one["id"] for one in events]


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("10m", NOW - timedelta(minutes=10)),
        ("2h", NOW - timedelta(hours=2)),
        ("7d", NOW - timedelta(days=7)),
        ("2025-12-31", datetime(2025, 12, 31, tzinfo=UTC)),
        ("2025-12-31T10:00:00Z", datetime(2025, 12, 31, 10, tzinfo=UTC)),
        ("2025-12-31T10:00:00+02:00", datetime(2025, 12, 31, 8, tzinfo=UTC)),
    ],
)
def test_since(text: str, instant: datetime) -> None:
    assert parse_since(text, NOW) == instant


@pytest.mark.parametrize("text", ["", "x", "10", "10y", "-1h", "1h2m", "yesterday", "2025-13-01", "9999999d"])
def test_since_that_means_nothing(text: str) -> None:
    with pytest.raises(click.BadParameter):
        parse_since(text, NOW)


def test_events_are_shown_oldest_first_and_once() -> None:
    follower = Follower(SIGN_INS, NOW)
    assert ids(follower.start([event(2, 2), event(1, 1)])) == ["1", "2"]
    assert ids(follower.fresh([event(3, 3), event(2, 2), event(1, 1)])) == ["3"]
    assert ids(follower.fresh([event(3, 3)])) == []


def test_an_event_that_is_written_late_is_not_lost() -> None:
    follower = Follower(SIGN_INS, NOW)
    follower.start([event(1, 10)])
    assert ids(follower.fresh([event(3, 40)])) == ["3"]
    assert follower.since <= NOW + timedelta(seconds=20)
    assert ids(follower.fresh([event(3, 40), event(2, 20)])) == ["2"]


def test_what_the_limit_left_out_stays_out() -> None:
    follower = Follower(SIGN_INS, NOW)
    follower.start([event(9, 9), event(8, 8)])
    assert follower.since >= NOW + timedelta(seconds=8)


@given(st.lists(st.floats(0, 29), max_size=30), st.data())
def test_overlapping_reads_show_each_event_once(times: list[float], data: st.DataObject) -> None:
    """Whatever the order in which events are written, while none is later than the overlap."""
    written = [event(number, seconds) for number, seconds in enumerate(times)]
    follower = Follower(SIGN_INS, NOW - timedelta(minutes=5))
    shown: list[object] = []
    position = 0
    while position < len(written):
        position = data.draw(st.integers(position + 1, len(written)))
        visible = [one for one in written[:position] if datetime.fromisoformat(str(one["createdDateTime"])) >= follower.since]
        shown += ids(follower.fresh(reversed(visible)))
    assert sorted(map(str, shown)) == sorted(str(number) for number in range(len(times)))


def test_an_event_without_a_readable_time_is_still_shown() -> None:
    follower = Follower(ACTIVITY, NOW)
    assert len(follower.fresh([{"eventDataId": "1", "eventTimestamp": "soon"}])) == 1


def test_columns_survive_missing_members() -> None:
    for kind in (ACTIVITY, SIGN_INS):
        assert all(isinstance(cell, str) for cell in COLUMNS[kind]({}))


def test_a_refusal_tells_why() -> None:
    refused = {
        "createdDateTime": "2026-01-01T12:00:00.123456Z",
        "servicePrincipalName": "stock-vm",
        "status": {"errorCode": 700016, "failureReason": "Application not found.\r\nTrace ID: x"},
        "managedServiceIdentity": {"msiType": "systemAssigned"},
        "resourceDisplayName": "Azure Key Vault",
    }
    assert list(COLUMNS[SIGN_INS](refused)) == [
        "2026-01-01 12:00:00",
        "refused 700016",
        "stock-vm",
        "systemAssigned",
        "Azure Key Vault",
        "",
        "Application not found.",
    ]


def test_what_a_host_s_agent_refused_names_the_host_and_the_process() -> None:
    refused = {
        "createdDateTime": "2026-01-01T12:00:00Z",
        "servicePrincipalName": "",
        "appId": "",
        "status": {"errorCode": 50105, "failureReason": "No binding of the resource admits the process (3 times)."},
        "managedServiceIdentity": {"msiType": "none"},
        "azureResourceId": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/stock-vm",
        "@idplane.resource": "https://vault.azure.net",
        "@idplane.workload": {"pid": 7, "executable": "/usr/bin/curl", "systemdUnit": None},
    }
    assert list(COLUMNS[SIGN_INS](refused))[1:] == [
        "refused 50105",
        "stock-vm",
        "",
        "https://vault.azure.net",
        "7 curl",
        "No binding of the resource admits the process (3 times).",
    ]


@pytest.mark.parametrize(
    ("workload", "words"),
    [
        (None, ""),
        ([], ""),
        ({}, ""),
        ({"pid": None, "executable": None}, ""),
        ({"pid": 7, "uid": 0, "executable": "/usr/bin/python3.11", "cgroup": "/x"}, "7 python3.11"),
        ({"pid": 7, "executable": "/opt/app (deleted)", "systemdUnit": "app.service", "runId": "r"}, "7 app app.service"),
        ({"pid": 7, "executable": "/app", "container": f"docker:{'f' * 64}", "runId": "r"}, f"7 app docker:{'f' * 12}"),
        ({"runId": "c9f9967bfd7a"}, "run:c9f9967bfd7a"),
        ({"pid": 7, "executable": "/tmp/\x1b[2J\rnothing to see\u202e"}, "7 ?[2J?nothing to see?"),
        ({"pid": "7", "executable": 5, "container": 9}, "7 5"),
    ],
)
def test_the_asking_process_in_words(workload: object, words: str) -> None:
    assert caller_words(workload) == words
