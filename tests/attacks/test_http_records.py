"""Each refused attack leaves one record in the sign-in log that names the reason and the caller; then the next good client is served."""

from __future__ import annotations

import itertools
import os

import pytest
from tests.attacks.targets import METADATA, RESOURCE, SECRET, Target, assert_refused

from idplane.model.dialects import Dialect
from idplane.model.events import SignIn
from idplane.testing.local import LocalPlane

NUMBERS = itertools.count()
"""A machine of its own for each test: refusals that are alike are told together."""
SMUGGLED = ("Content-Length: 5", "Transfer-Encoding: chunked")
ATTACKS = {
    "foreign host": (("{proof}",), "evil.example", "FOREIGN_HOST", "Host header"),
    "another spelling": (("{proof}",), "2852039166", "FOREIGN_HOST", "Host header"),
    "forwarded": (("{proof}", "X-Forwarded-For: 10.0.0.1"), None, "FORWARDED", "proxy"),
    "smuggled": (("{proof}", *SMUGGLED), None, "MALFORMED_BODY", "HTTP/1.1"),
    "a folded header": (("{proof}", " X: y"), None, "MALFORMED_BODY", "HTTP/1.1"),
}
UNPROVED = {
    Dialect.IMDS: "METADATA_HEADER_MISSING",
    Dialect.CLOUD_SHELL: "METADATA_HEADER_MISSING",
    **dict.fromkeys(SECRET, "ENDPOINT_SECRET"),
}


class Scene:
    """A machine with one listener, and what the log says of it."""

    def __init__(self, plane: LocalPlane, dialect: Dialect) -> None:
        self.plane = plane
        self.machine = plane.virtual_machine(f"recorded-{next(NUMBERS)}")
        self.target = Target.open(plane, self.machine, dialect)

    def records(self) -> list[SignIn]:
        self.plane.run(self._told())
        return [one for one in self.plane.sign_ins() if one.host == self.machine.id]

    async def _told(self) -> None:
        refusals = self.plane._plane.agent._refusals
        while refusals._telling is not None and not refusals._telling.done():
            await refusals._telling

    def assert_recorded(self, reason: str, words: str) -> None:
        [refused] = self.records()
        assert refused.endpoint is not None
        assert (refused.endpoint.reason, refused.endpoint.dialect) == (reason, self.target.dialect)
        assert refused.endpoint.count == 1
        assert refused.error_code != 0
        assert words in refused.failure_reason
        assert refused.principal_id is None
        assert refused.workload is not None
        assert refused.workload.uid == os.getuid()
        assert self.target.value == "true" or self.target.value not in repr(refused)
        self.target.assert_serves()
        again, served = self.records()
        assert again == refused
        assert (served.error_code, served.endpoint, served.resource) == (0, None, RESOURCE)
        assert served.workload is not None
        assert served.workload.pid == os.getpid()


@pytest.mark.parametrize("case", ATTACKS)
@pytest.mark.parametrize("dialect", METADATA + SECRET)
def test_an_attack_is_one_record(attacked: LocalPlane, dialect: Dialect, case: str) -> None:
    headers, host, reason, words = ATTACKS[case]
    scene = Scene(attacked, dialect)
    target = scene.target
    raw = target.request(*(line.format(proof=target.proof) for line in headers), host=host)
    assert_refused(target.ask(raw), 400)
    scene.assert_recorded(reason, words)


@pytest.mark.parametrize("line", [None, "wrong"], ids=["nothing shown", "wrong"])
@pytest.mark.parametrize("dialect", METADATA + SECRET)
def test_a_missing_or_wrong_proof_is_one_record(attacked: LocalPlane, dialect: Dialect, line: str | None) -> None:
    scene = Scene(attacked, dialect)
    shown = [] if line is None else [f"{scene.target.header}: {line}"]
    assert_refused(scene.target.ask(scene.target.request(*shown)), 400, 401, 404)
    scene.assert_recorded(UNPROVED[dialect], "")


@pytest.mark.parametrize("dialect", METADATA + SECRET)
def test_what_is_merely_wrong_is_no_record(attacked: LocalPlane, dialect: Dialect) -> None:
    """A path, a method or a size is nobody's attempt at a token."""
    scene = Scene(attacked, dialect)
    target = scene.target
    for line, header in (
        ("GET /nothing HTTP/1.1", "X: y"),
        (f"DELETE {target.target} HTTP/1.1", "X: y"),
        (None, "X: " + "y" * 20_000),
    ):
        assert_refused(target.ask(target.request(target.proof, header, line=line)), 400, 404, 405, 431)
    assert scene.records() == []


def test_many_alike_are_told_once_and_counted(attacked: LocalPlane) -> None:
    """A flood of refusals is no flood of records."""
    scene = Scene(attacked, Dialect.APP_SERVICE)
    for number in range(50):
        assert_refused(scene.target.ask(scene.target.request(f"X-IDENTITY-HEADER: {number}")), 401)
    scene.assert_recorded("ENDPOINT_SECRET", "")
