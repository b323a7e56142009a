"""What the suites of Azure's management SDKs share: pages, refusals, and the group that a suite works in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from clients.traffic import Wire

__all__ = ["LOCATION", "SMALL", "fails", "pages_of", "refused", "started"]

LOCATION = "westeurope"
SMALL = {"$top": "2"}
"""The query that makes pages small, in clients that have no parameter for it."""


def started(wire: Wire, group: str) -> str:
    """A resource group; its id."""
    identifier = f"{wire.subscription}/resourceGroups/{group}"
    wire.good("PUT", identifier, "2024-11-01", {"location": LOCATION})
    return identifier


def pages_of(listed: Any, key: Callable[[Any], str] = lambda one: str(one.name)) -> list[list[str]]:
    """The names on each page; no page twice, and no name twice."""
    pages = [[key(one) for one in page] for page in listed.by_page()]
    names = [name for page in pages for name in page]
    assert len(names) == len(set(names))
    return pages


def fails(*calls: Callable[[], Any]) -> None:
    """Each call is refused."""
    for call in calls:
        with pytest.raises(HttpResponseError):
            call()


def refused(*cases: tuple[tuple[int, str], Callable[[], Any]]) -> None:
    """Each call is refused with its status and code, as the client understands them."""
    for expected, call in cases:
        told = _refusal(call)
        assert told is not None, f"not refused with {expected}"
        assert (told.status_code, told.error.code if told.error else None) == expected, told


def _refusal(call: Callable[[], Any]) -> HttpResponseError | None:
    try:
        result = call()
        if isinstance(result, Iterable):
            list(result)
    except HttpResponseError as told:
        return told
    return None
