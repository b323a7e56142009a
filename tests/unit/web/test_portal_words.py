from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from idplane.model.failure import Failure, FailureKind
from idplane.web.portal.words import browser, explained, instant, relative

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ago", "told"),
    [
        (timedelta(), "just now"),
        (timedelta(seconds=59), "just now"),
        (timedelta(seconds=60), "1 minute ago"),
        (timedelta(minutes=59), "59 minutes ago"),
        (timedelta(minutes=61), "1 hour ago"),
        (timedelta(hours=-8), "in 8 hours"),
        (timedelta(hours=-8, seconds=1), "in 8 hours"),
        (timedelta(seconds=-5), "in a moment"),
        (timedelta(days=1), "1 day ago"),
        (timedelta(days=400), "1 year ago"),
    ],
)
def test_times_are_told_by_how_long_ago_they_were(ago: timedelta, told: str) -> None:
    assert relative(NOW - ago, NOW) == told


def test_times_are_read_as_the_apis_write_them() -> None:
    assert instant("2026-01-01T12:00:00.0000000Z") == NOW
    assert instant("2026-01-01T12:00:00") == NOW
    assert instant("yesterday") is None
    assert instant(5) is None


@pytest.mark.parametrize("kind", list(FailureKind))
def test_every_failure_has_words(kind: FailureKind) -> None:
    told = explained(Failure(kind, "the widget is round"))
    assert told.title
    assert told.text[0].isupper()
    assert told.text.endswith(".")
    assert explained(Failure(kind)).text


def test_an_internal_failure_tells_nothing_of_itself() -> None:
    assert "widget" not in explained(Failure(FailureKind.INTERNAL, "the widget is round")).text


@pytest.mark.parametrize(
    ("agent", "told"),
    [
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
            "Chrome on Linux",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/120.0 Safari/537.36 Edg/120.0",
            "Edge on Windows",
        ),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:120.0) Gecko/20100101 Firefox/120.0", "Firefox on macOS"),
        ("curl/8.5.0", "curl/8.5.0"),
        ("", "Unknown"),
    ],
)
def test_browsers_are_called_by_their_names(agent: str, told: str) -> None:
    assert browser(agent) == told
