"""What one server refuses, any other explains, from the moment at which its id was shown."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.needed import postgres
from tests.servers.server_world import Installation, Keeping

pytestmark = pytest.mark.wide

_REFUSALS = "/providers/Idplane.Diagnostics/refusals"
_VERSION = "api-version=2026-11-01"
_UNKNOWN = "00000000-0000-4000-8000-00000000dead"


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Installation]:
    with postgres() as running:
        made = Installation.create(tmp_path, running)
        yield made
        made.stop_all()


def refused(client: Keeping, name: str) -> str:
    """The id that a client of the token service is shown whom nobody knows."""
    form = {"grant_type": "client_credentials", "client_id": name, "client_secret": "x", "scope": "https://a/.default"}
    status, body = client.ask("POST", f"/{client.plane['tenant_id']}/oauth2/v2.0/token", form=form)
    assert status >= 400
    return str(body["trace_id"])


def bearer(client: Keeping) -> dict[str, str]:
    return {"authorization": f"Bearer {client.token()[1]['access_token']}"}


def test_each_explains_what_the_other_has_just_refused(servers: Installation) -> None:
    servers.start("one", "two")
    one, two = (servers.client(servers.ports[name]) for name in ("one", "two"))
    token = bearer(one)
    ids = []
    for at, (here, there) in enumerate(itertools.islice(itertools.cycle(((one, two), (two, one))), 20)):
        ids.append(refused(here, f"client-{at}"))
        status, body = there.ask("GET", f"{_REFUSALS}/{ids[-1]}?{_VERSION}", headers=token)
        assert status == 200, body
        properties = body["properties"]
        assert (properties["kind"], properties["caller"]["clientId"]) == ("CLIENT_UNKNOWN", f"client-{at}")
        assert properties["explanation"]["summary"]
    for client in (one, two):
        _, body = client.ask("GET", f"{_REFUSALS}?{_VERSION}", headers=token)
        assert [it["name"] for it in body["value"]][:20] == ids[::-1]
        assert client.ask("GET", f"{_REFUSALS}/{_UNKNOWN}?{_VERSION}", headers=token)[0] == 404
        client.close()
    assert servers.logs() == ""


def test_a_server_that_ends_has_written_what_it_refused(servers: Installation) -> None:
    servers.start("one", "two")
    one, two = (servers.client(servers.ports[name]) for name in ("one", "two"))
    token = bearer(two)
    ids = [refused(one, f"client-{at}") for at in range(10)]
    one.close()
    assert servers.stop("one") == 0
    for refusal_id in ids:
        assert two.ask("GET", f"{_REFUSALS}/{refusal_id}?{_VERSION}", headers=token)[0] == 200
    two.close()
