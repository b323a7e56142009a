"""Links to the portal, as a user gets them: from `idplane up` on a terminal, and from `idplane portal`."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode

import pytest
from tests.stories.planes import IDPLANE, Up

pytestmark = pytest.mark.wide


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    plane = Up(tmp_path_factory.mktemp("plane") / "data")
    yield plane
    plane.stop()


def signed_in(up: Up, link: str) -> str | None:
    """Whom the account page shows after the link was opened; None when it does not count."""
    base, _, code = link.partition("#")
    assert base == f"{up.info['portal']}/sign-in"
    with closing(up.connect()) as connection:
        headers = {"content-type": "application/x-www-form-urlencoded", "origin": up.info["arm"]}
        connection.request("POST", "/portal/sign-in", urlencode({"code": code}), headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 303:
            return None
        cookie = (answer.getheader("set-cookie") or "").partition(";")[0]
        connection.request("GET", "/portal/account", headers={"cookie": cookie})
        page = connection.getresponse().read().decode()
    found = re.search(r'aria-label="Account: ([^"]+)"', page)
    return found[1] if found else None


def test_a_printed_link_signs_the_first_user_in_once(up: Up) -> None:
    done = up.cli("portal")
    assert (done.returncode, done.stderr) == (0, "")
    link = done.stdout.strip()
    assert signed_in(up, link) == "admin@idplane.onmicrosoft.com"
    assert signed_in(up, link) is None


def test_a_link_for_somebody_else(up: Up) -> None:
    body = {
        "accountEnabled": True,
        "displayName": "Ada",
        "mailNickname": "ada",
        "userPrincipalName": "ada@idplane.onmicrosoft.com",
    }
    status, ada = up.arm("POST", "/v1.0/users", body, token=up.operator_token("https://graph.microsoft.com"))
    assert status == 201, ada
    for name in ("ADA@idplane.onmicrosoft.com", ada["id"]):
        made = json.loads(up.cli("portal", "--as", name, "--json").stdout)
        assert (made["user"], made["userId"]) == ("ada@idplane.onmicrosoft.com", ada["id"])
        assert signed_in(up, made["link"]) == "ada@idplane.onmicrosoft.com"


@pytest.mark.parametrize("name", ["nobody@idplane.onmicrosoft.com", "../first", "a/b", "x" * 300, "%2f", "?"])
def test_nobody_else_gets_one(up: Up, name: str) -> None:
    refused = up.cli("portal", "--as", name)
    assert refused.returncode == 1
    assert re.fullmatch(r"idplane: [^\n]+\n( +why: idplane explain [0-9a-f-]{36}\n)?", refused.stderr)
    assert refused.stdout == ""


def test_the_code_is_in_the_answer_and_in_no_log(up: Up) -> None:
    link = up.cli("portal").stdout.strip()
    query = {"api-version": "2015-04-01", "$filter": "eventTimestamp ge 2020-01-01T00:00:00Z"}
    events = json.dumps(up.arm("GET", f"/providers/Microsoft.Insights/eventtypes/management/values?{urlencode(query)}")[1])
    assert "Idplane.Directory/portalLinks/create/action" in events
    assert link.partition("#")[2] not in events


def test_open_names_no_code_where_every_user_of_the_machine_can_read_it(up: Up, tmp_path: Path) -> None:
    browser = tmp_path / "xdg-open"
    browser.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    done = up.cli("portal", "--open", env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert (done.returncode, done.stdout) == (0, "")
    page = up.data / "open-portal.html"
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    found = re.search(r'content="0;url=([^"]+)"', page.read_text())
    assert found
    assert (tmp_path / "opened").read_text().strip() == str(page)
    assert signed_in(up, found[1]) == "admin@idplane.onmicrosoft.com"


def test_up_shows_a_link_to_a_terminal_and_to_no_file(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    command = [*IDPLANE, "up", "--data", str(tmp_path / "data"), "--port", "0"]
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL) as process:
        os.close(theirs)
        shown = b""
        while b"log signins" not in shown:
            shown += os.read(ours, 4096)
        process.terminate()
    os.close(ours)
    assert re.search(rb"https://localhost:\d+/portal/sign-in#[A-Za-z0-9_-]{43}\b", shown)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        lines: list[bytes] = []
        while not any(b"log signins" in line for line in lines):
            lines.append(process.stdout.readline())
        process.terminate()
    written = b"".join(lines)
    assert b"#" not in written
    assert b"idplane portal" in written
