"""The protocol's side of a program: one line about itself, then one answer for each request (../README.md). Standard library only."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

__all__ = ["Request", "UnsupportedError", "serve"]

Request = dict[str, Any]


class UnsupportedError(Exception):
    """The SDK's API has no way to ask; raised by a program, with the reason."""


def serve(package: str, answer: Callable[[Request], tuple[str, float | None]]) -> None:
    """Answer every request by `answer`, which returns a token and its expiry."""
    runtime = f"{platform.python_implementation()} {platform.python_version()}"
    _say({"sdk": package, "version": version(package), "language": "Python", "runtime": runtime})
    for line in sys.stdin:
        request: Request = json.loads(line)
        _say({"id": request["id"], **_answered(answer, request)})


def _answered(answer: Callable[[Request], tuple[str, float | None]], request: Request) -> dict[str, Any]:
    try:
        token, expires_on = answer(request)
    except UnsupportedError as error:
        return {"unsupported": str(error)}
    except Exception as error:  # noqa: BLE001 - whatever the SDK raises is its answer
        print(f"{request['id']}: {type(error).__name__}: {error}", file=sys.stderr)
        return {"error": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"}
    return {"token": token, "expires_on": expires_on}


def _say(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)
