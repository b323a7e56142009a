"""A full disk: writes and tokens are refused in the dialect's words, nothing acknowledged is lost, and it passes."""

from __future__ import annotations

import json
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode

import pytest
from tests.stories.planes import IDPLANE, Up, send

from idplane.bootstrap.operator import OPERATOR_FILE, OperatorKey

pytestmark = pytest.mark.wide

ARM = "https://management.azure.com"
MOUNT = 'mount -t tmpfs -o size="$1",mode=700 tmpfs "$2" && shift 2 && exec "$@"'


class SmallUp(Up):
    """A running `idplane up` on a file system of a few megabytes, which only the process and its parent see."""

    def __init__(self, folder: Path, size: str) -> None:
        folder.mkdir()
        inside = folder / "data"
        command = [*IDPLANE, "up", "--data", str(inside), "--port", "0", "--json"]
        self.process = subprocess.Popen(
            ["unshare", "-Urm", "sh", "-c", MOUNT, "sh", size, str(folder), *command], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"idplane up ended with {self.process.wait()}"
        self.info = json.loads(line)
        self.disk = Path(f"/proc/{self.process.pid}/root{folder}")
        self.data = self.disk / "data"
        self._tls = ssl.create_default_context(cafile=str(self.data / "ca.pem"))
        self._operator = OperatorKey.from_pem((self.data / OPERATOR_FILE).read_bytes())
        self.token = self.operator_token(ARM)

    def fill(self) -> None:
        """Take what space is left."""
        with (self.disk / "ballast").open("ab", buffering=0) as ballast:
            for block in (1 << 16, 1 << 9):
                try:
                    while True:
                        ballast.write(b"x" * block)
                except OSError:
                    continue

    def free(self) -> None:
        (self.disk / "ballast").unlink()

    def group(self, method: str, name: str = "") -> tuple[int, object]:
        path = f"/subscriptions/{self.info['subscription_id']}/resourceGroups/{name}".rstrip("/")
        body = {"location": "westeurope", "tags": {"padding": "x" * 200}} if method == "PUT" else None
        return self.arm(method, f"{path}?api-version=2024-11-01", body, token=self.token)

    def token_answer(self) -> tuple[int, dict[str, object]]:
        with closing(self.connect()) as connection:
            form = {"content-type": "application/x-www-form-urlencoded"}
            return send(
                connection, "POST", f"/{self.info['tenant_id']}/oauth2/v2.0/token", urlencode(self.token_form(ARM)), form
            )

    def logged_tokens(self) -> int:
        headers = {"authorization": f"Bearer {self.operator_token('https://graph.microsoft.com')}"}
        path = "/beta/auditLogs/signIns?$top=999&$filter=signInEventTypes/any(t:t%20eq%20'servicePrincipal')"
        with closing(self.connect()) as connection:
            status, body = send(connection, "GET", path, None, headers)
        assert status == 200, body
        return sum(record["status"]["errorCode"] == 0 for record in body["value"])


@pytest.fixture
def small(tmp_path: Path) -> Iterator[SmallUp]:
    up = SmallUp(tmp_path / "small", "4m")
    yield up
    assert up.stop() == 0


def names(listing: object) -> set[str]:
    assert isinstance(listing, dict)
    return {group["name"] for group in listing["value"]}


def test_a_full_disk_refuses_what_it_cannot_keep_and_recovers(small: SmallUp) -> None:
    acknowledged: set[str] = set()
    issued = 2  # the operator's, for Resource Manager and for Graph
    assert small.group("PUT", "before")[0] == 201
    small.fill()
    refused = 0
    for number in range(3000):  # space in files that exist already may last for a while
        status, body = small.group("PUT", f"g{number}")
        if status == 201:
            acknowledged.add(f"g{number}")
            continue
        assert status == 503, body
        assert isinstance(body, dict)
        assert body["error"]["code"] == "ServiceUnavailable"
        assert "no storage left" in body["error"]["message"]
        refused += 1
        if refused == 5:
            break
    assert refused == 5

    # Reading goes on; a token without a record of it does not leave.
    status, listing = small.group("GET")
    assert status == 200
    assert names(listing) == {"before", *acknowledged}
    for _ in range(5):
        status, answer = small.token_answer()
        if status == 200:
            issued += 1
            continue
        assert status == 503
        assert answer["error"] == "temporarily_unavailable"
        assert "full" in str(answer["error_description"])
        assert "access_token" not in answer
    assert small.group("DELETE", "before")[0] == 503

    small.free()
    assert small.group("PUT", "after")[0] == 201
    assert small.token_answer()[0] == 200
    assert small.logged_tokens() == issued + 1
    assert names(small.group("GET")[1]) == {"before", "after", *acknowledged}


def test_a_start_on_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    """At every size that some part of a first start does not fit into."""
    sentences: set[str] = set()
    for number, size in enumerate(("8k", "16k", "40k", "100k", "200k", "400k", "480k")):
        folder = tmp_path / f"full{number}"
        folder.mkdir()
        command = [*IDPLANE, "up", "--data", str(folder / "data"), "--port", "0"]
        ended = subprocess.run(
            ["unshare", "-Urm", "sh", "-c", MOUNT, "sh", size, str(folder), *command],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert ended.returncode == 1, ended
        assert "Traceback" not in ended.stderr
        (line,) = ended.stderr.strip().splitlines()
        assert line.startswith((f"idplane: {folder}/data", "idplane: the "))
        assert "full" in line or "no space left on device" in line, line
        sentences.add(line)
    assert len(sentences) > 1
