"""What Azure.Identity and MSAL.NET say to a token endpoint, said again, and their reading of the answers: nothing of .NET runs here.

    replay → sources (which endpoint, as they find it) → wire (one exchange) → reading (what they take from an answer)
           → applications (login.microsoftonline.com)

The argument names the SDK. Requests have the parameters, their order, encoding and headers of the sources named in MIE (MSAL.NET 4.87). An answer
that such a client would read differently than meant ends the program: no cell may pass by accident.
"""

from __future__ import annotations

import json
import platform
import sys
from typing import Any

import applications
import sources
from wire import Cell, RefusedError, UnsupportedError

_NAMES = ("Azure.Identity", "MSAL.NET")


def main() -> None:
    (name,) = sys.argv[1:]
    if name not in _NAMES:
        raise SystemExit(f"say which SDK: {' or '.join(_NAMES)}")
    runtime = f"none; replayed by Python {platform.python_version()}"
    _say({"sdk": name, "version": "replayed, not run", "language": ".NET", "runtime": runtime})
    for line in sys.stdin:
        cell: Cell = json.loads(line)
        _say({"id": cell["id"], **_answered(name, cell)})


def _answered(name: str, cell: Cell) -> dict[str, Any]:
    try:
        token = _token(name, cell)
    except UnsupportedError as error:
        return {"unsupported": str(error)}
    except RefusedError as error:
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
    return {"token": token.value, "expires_on": token.expires_on}


def _token(name: str, cell: Cell) -> sources.Token:
    azure = name == "Azure.Identity"
    if cell.get("times", 1) > 1:
        raise UnsupportedError("a replay keeps no tokens")
    match cell["client"]:
        case "managed-identity":
            return sources.managed_identity(cell["selector"], cell["resource"], azure=azure)
        case "default" if not azure:
            raise UnsupportedError("MSAL.NET has no default credential")
        case "default":
            return sources.default(cell["resource"])
        case "workload-identity":
            return applications.workload_identity(cell["resource"], azure=azure)
        case _:
            return applications.token(cell, azure=azure)


def _say(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
