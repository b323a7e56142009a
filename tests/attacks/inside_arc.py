"""Runs inside an Arc machine's namespace: attacks on the key file, by hand and by way of the real client. Prints what came of each."""

from __future__ import annotations

import json
import os
import stat
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from azure.identity import ManagedIdentityCredential

FOLDER = Path("/var/opt/azcmagent/tokens")
URL = "http://localhost:40342/metadata/identity/oauth2/token?api-version=2020-06-01&resource=https://vault.azure.net"
SCOPE = "https://vault.azure.net/.default"


def ask(authorization: str | None = None) -> tuple[int, str]:
    """One request by hand; status and the path of the challenge's file, or the body."""
    headers = {"Metadata": "true"} | ({} if authorization is None else {"Authorization": authorization})
    try:
        with urllib.request.urlopen(urllib.request.Request(URL, headers=headers)) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, (error.headers["WWW-Authenticate"] or "").partition("=")[2]


def challenge() -> Path:
    """A new challenge's file."""
    status, path = ask()
    assert status == 401
    return Path(path)


def show(content: str) -> int:
    return ask(f"Basic {content}")[0]


def forged() -> dict[str, int]:
    """What is shown instead of the key, each beside a challenge that is open."""
    good = challenge().read_text()
    mine = FOLDER / "mine.key"
    mine.write_text("m" * len(good))
    shown = {
        "the file's own path": str(challenge()),
        "another path": "/etc/passwd",
        "a way out of the folder": "../../../../etc/passwd",
        "the file's name": challenge().name,
        "a file of our own": mine.read_text(),
        "nothing": "",
        "less": good[:-1],
        "more": f"{good}0",
        "twice": good + good,
        "other case": good.upper() if good.upper() != good else f"{good}x",
        "as a user and password": f"user:{good}",
        "in base64 only": "Zm9v",
        "a large one": "0" * 4097,
    }
    found = {name: show(content) for name, content in shown.items()}
    found["another scheme"] = ask(f"Bearer {good}")[0]
    found["the right one"] = show(good)
    found["the right one again"] = show(good)
    return found


def placed() -> dict[str, int]:
    """What others could put where the file was, and what a careless reader then shows."""
    found = {}
    for name, place in PLACED.items():
        path = challenge()
        path.unlink()
        place(path)
        with suppress(OSError):
            found[name] = show(path.read_text(errors="replace").replace("\n", " ").replace("\0", ""))
    return found


def link(path: Path) -> None:
    secret = path.with_name("elsewhere")
    secret.write_text("what the link leads to")
    path.symlink_to(secret)


def oversize(path: Path) -> None:
    path.write_text("0" * 4097)


def swap(path: Path) -> None:
    path.write_text("0" * 96)


def remove(path: Path) -> None:
    assert not path.exists()


PLACED: dict[str, Callable[[Path], None]] = {"symlink": link, "oversize": oversize, "swapped": swap, "removed": remove}


def by_client(place: Callable[[Path], None]) -> str:
    """The real client, whose file is replaced between the challenge and its reading."""

    def replace(response: Any) -> None:
        answer = response.http_response
        if answer.status_code == 401 and "Authorization" not in response.http_request.headers:
            path = Path(answer.headers["WWW-Authenticate"].partition("=")[2])
            path.unlink()
            place(path)

    with ManagedIdentityCredential(raw_response_hook=replace) as credential:
        try:
            credential.get_token(SCOPE)
        except Exception as error:  # noqa: BLE001 - whatever it is, the story looks at it
            return f"{type(error).__name__}: {error}"
    return "token"


def served() -> bool:
    with ManagedIdentityCredential() as credential:
        return bool(credential.get_token(SCOPE).token.count(".") == 2)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Say what is open, wait for another run's key, and report."""
    path = challenge()
    found = path.lstat()
    say(path.read_text())
    others = sys.stdin.readline().strip()
    report = {
        "mode": stat.S_IMODE(found.st_mode),
        "folder": stat.S_IMODE(FOLDER.stat().st_mode),
        "mine": found.st_uid == os.getuid(),
        "another run's": show(others),
        "forged": forged(),
        "placed": placed(),
        "client": {name: by_client(place) for name, place in PLACED.items()},
        "served": served(),
    }
    say(json.dumps(report))
    sys.stdin.readline()


if __name__ == "__main__":
    main()
