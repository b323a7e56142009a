"""`idplane approve` and the sign-ins that come of it, against a plane as a user starts it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlencode

import pytest
from click.testing import CliRunner, Result
from tests.stories.planes import Up, send

from idplane.cli.main import idplane
from idplane.model.public_clients import AZURE_CLI

SCOPE = "https://management.azure.com/.default offline_access openid profile"


class Terminal:
    """Someone at a terminal, and a program that wants to sign in."""

    def __init__(self, up: Up) -> None:
        self.up = up

    def post(self, path: str, **form: str) -> tuple[int, Any]:
        headers = {"content-type": "application/x-www-form-urlencoded"}
        with closing(self.up.connect()) as connection:
            return send(connection, "POST", f"/organizations/oauth2/v2.0/{path}", urlencode(form), headers)

    def asked(self) -> Any:
        status, flow = self.post("devicecode", client_id=AZURE_CLI, scope=SCOPE)
        assert status == 200, flow
        return flow

    def polled(self, flow: Any) -> tuple[int, Any]:
        grant = "urn:ietf:params:oauth:grant-type:device_code"
        return self.post("token", grant_type=grant, client_id=AZURE_CLI, device_code=flow["device_code"])

    def does(self, *words: str) -> Result:
        command, *rest = words
        return CliRunner().invoke(idplane, [command, *rest, "--data", str(self.up.data)])

    def refused(self, *words: str, code: int = 1) -> str:
        ended = self.does(*words)
        assert ended.exit_code == code, ended.output
        return ended.stderr


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    up = Up(tmp_path_factory.mktemp("plane") / "data")
    yield Terminal(up)
    up.stop()


def test_it_says_who_asks_for_what_and_then_signs_in(terminal: Terminal) -> None:
    flow = terminal.asked()
    assert terminal.polled(flow)[1]["error"] == "authorization_pending"
    ended = terminal.does("approve", flow["user_code"].lower())
    first, second = ended.stdout.splitlines()
    assert first.startswith(f"Microsoft Azure CLI ({AZURE_CLI}) asked from 127.0.0.1 at ")
    assert first.endswith(" for https://management.azure.com/.default")
    assert second == "approved: it signs in as admin@idplane.onmicrosoft.com"
    status, answer = terminal.polled(flow)
    assert (status, answer["token_type"]) == (200, "Bearer")
    token = answer["access_token"]
    assert terminal.up.arm("GET", "/tenants?api-version=2022-12-01", token=token)[0] == 200
    status, _ = terminal.up.arm(
        "PUT",
        f"/subscriptions/{terminal.up.info['subscription_id']}/resourceGroups/hers?api-version=2022-12-01",
        {"location": "westeurope"},
        token=token,
    )
    assert status == 201
    shown = json.loads(terminal.does("log", "signins", "--json").stdout)
    assert [one["userPrincipalName"] for one in shown if one.get("userId")] == ["admin@idplane.onmicrosoft.com"]
    lines = [one.split()[2:5] for one in terminal.does("log", "signins").stdout.splitlines()]
    assert ["issued", "admin@idplane.onmicrosoft.com", "Microsoft"] in lines
    done = json.loads(terminal.does("log", "activity", "--json").stdout)
    assert [one["caller"] for one in done if "resourceGroups/write" in one["operationName"]["value"]][-1:] == [
        "admin@idplane.onmicrosoft.com"
    ]


def test_another_user_and_json(terminal: Terminal) -> None:
    flow = terminal.asked()
    admin = json.loads(terminal.does("approve", flow["user_code"], "--as", "ADMIN@idplane.onmicrosoft.com", "--json").stdout)
    assert (admin["state"], admin["user"]) == ("approved", "admin@idplane.onmicrosoft.com")
    assert "no user 'nobody'" in terminal.refused("approve", terminal.asked()["user_code"], "--as", "nobody")


def test_refusing(terminal: Terminal) -> None:
    flow = terminal.asked()
    assert terminal.does("approve", flow["user_code"], "--deny").stdout.splitlines()[-1] == "denied"
    assert terminal.polled(flow)[1]["error"] == "authorization_declined"
    assert "no sign-in waits" in terminal.refused("approve", flow["user_code"]).lower()


@pytest.mark.parametrize("words", [("approve",), ("approve", "a/b"), ("approve", "X", "--deny", "--as", "ada")])
def test_usage(terminal: Terminal, words: tuple[str, ...]) -> None:
    assert terminal.refused(*words, code=2)


def test_a_code_that_nobody_was_given(terminal: Terminal) -> None:
    assert "no sign-in waits" in terminal.refused("approve", "BCDFGHJKL").lower()
