"""Loaded by every Python that starts with this folder in PYTHONPATH: notes each HTTP request that the unmodified program in it sends."""

from __future__ import annotations

import http.client
import os
from typing import Any

_NOTES = os.environ.get("WITNESS_NOTES")


def _watch(notes: str) -> None:
    sent = http.client.HTTPConnection.putrequest

    def putrequest(connection: http.client.HTTPConnection, method: str, url: str, *rest: Any, **options: Any) -> None:
        with open(notes, "a", encoding="utf-8") as file:  # noqa: PTH123 - pathlib is not for every start of Python
            file.write(f"{method} {connection.host} {url.partition('?')[0]}\n")
        sent(connection, method, url, *rest, **options)

    http.client.HTTPConnection.putrequest = putrequest  # type: ignore[assignment]  # its own defaults are passed on


if _NOTES:
    _watch(_NOTES)
