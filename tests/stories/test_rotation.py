"""Must-show 7: under the test clock certificates renew and signing keys rotate, while every token verifies until it expires.

The verifier stands outside: it knows the JWKS address and nothing else of the plane (joserfc with the test's time, PyJWT beside it).
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from http.client import HTTPConnection, HTTPSConnection
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import jwt as pyjwt
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from idplane.agent.host import Dialect
from idplane.bootstrap.plane import Plane
from idplane.bootstrap.world import SystemClock, SystemEntropy, World
from idplane.model.directory import Credential, CredentialKind
from idplane.model.profile import AZURE
from idplane.ports.collections import CREDENTIALS
from idplane.testing.local import LocalPlane, VirtualMachine
from idplane.testing.worlds import FakeClock, MemoryCustody, memory_store

AUDIENCE = "https://vault.azure.net"
FOUR_MONTHS = timedelta(days=125)


@pytest.fixture
def plane() -> Iterator[LocalPlane]:
    """One of its own: its keys grow old."""
    made = LocalPlane()
    yield made
    made.close()


@pytest.fixture
def workload(plane: LocalPlane) -> Iterator[Workload]:
    with closing(Workload(plane, plane.virtual_machine("vm"))) as made:
        yield made


@pytest.fixture
def verifier(plane: LocalPlane) -> Iterator[Verifier]:
    with closing(Verifier(plane)) as made:
        yield made


@dataclass(frozen=True)
class Token:
    """A token as a workload got it."""

    text: str
    kid: str
    expires: float


class Verifier:
    """Somebody's API that accepts the plane's tokens. Ends with `close`."""

    def __init__(self, plane: LocalPlane) -> None:
        self._plane = plane
        tls = ssl.create_default_context(cafile=str(plane.ca_file))
        self._connection = HTTPSConnection(urlsplit(plane.url).netloc, context=tls)
        described = self._fetch(f"{plane.url}/{plane.tenant_id}/.well-known/openid-configuration")
        self._keys_at = described["jwks_uri"]
        self._issuer = described["issuer"]

    def close(self) -> None:
        self._connection.close()

    def key_set(self) -> dict[str, Any]:
        """The JWKS of this moment."""
        found: dict[str, Any] = self._fetch(self._keys_at)
        return found

    def accepts(self, token: Token, key_set: dict[str, Any], *, lifetime: bool = True, at: datetime | None = None) -> None:
        """Verify signature, issuer, audience and times as of `at`, or the plane's own time; raises what the libraries raise."""
        decoded = jwt.decode(token.text, KeySet.import_key_set(key_set), algorithms=["RS256"])  # type: ignore[arg-type]  # its own TypedDict
        now = int((at or self._plane.clock.now()).timestamp()) if lifetime else int(token.expires) - 1
        rules = jwt.JWTClaimsRegistry(
            now=lambda: now,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": AUDIENCE},
            exp={"essential": True},
            nbf={"essential": True},
        )
        rules.validate(decoded.claims)

    def accepts_elsewhere(self, token: Token, key_set: dict[str, Any]) -> None:
        """The same by PyJWT, which knows no time but the real one."""
        times = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
        key = pyjwt.PyJWKSet.from_dict(key_set)[token.kid]
        pyjwt.decode(token.text, key, algorithms=["RS256"], audience=AUDIENCE, issuer=self._issuer, options=times)  # type: ignore[arg-type]  # its own TypedDict

    def _fetch(self, url: str) -> Any:
        self._connection.request("GET", url.removeprefix(self._plane.url))
        return json.load(self._connection.getresponse())


class Workload:
    """Code on a machine that asks its metadata endpoint. Ends with `close`."""

    def __init__(self, plane: LocalPlane, machine: VirtualMachine) -> None:
        self._plane = plane
        self.machine = machine
        imds = plane.environment(machine, dialect=Dialect.IMDS)["AZURE_POD_IDENTITY_AUTHORITY_HOST"]
        self._connection = HTTPConnection(urlsplit(imds).netloc)

    def close(self) -> None:
        self._connection.close()

    def token(self) -> Token:
        target = f"/metadata/identity/oauth2/token?api-version=2018-02-01&resource={AUDIENCE}"
        self._connection.request("GET", target, headers={"Metadata": "true"})
        answer = self._connection.getresponse()
        body = json.load(answer)
        assert answer.status == 200, body
        text = body["access_token"]
        header, claims = pyjwt.get_unverified_header(text), pyjwt.decode(text, options={"verify_signature": False})
        return Token(text, header["kid"], claims["exp"])

    def certificates(self) -> list[Credential]:
        """The identity's certificates that the server knows."""
        assert self.machine.identity is not None
        where = {"principal_id": self.machine.identity.principal_id, "kind": CredentialKind.IDENTITY_CERTIFICATE.value}
        return [row.value for row in self._plane.run(self._plane.store.all(CREDENTIALS, where=where))]


def test_every_token_verifies_from_its_first_to_its_last_moment(
    plane: LocalPlane, workload: Workload, verifier: Verifier
) -> None:
    chance = random.Random(7)
    start = plane.clock.now()
    alive: list[Token] = []
    seen: dict[str, datetime] = {}
    used: dict[str, datetime] = {}
    certificates: list[Credential] = []
    longest = timedelta()
    while (now := plane.clock.now()) - start < FOUR_MONTHS:
        token, keys = workload.token(), verifier.key_set()
        for key in keys["keys"]:
            seen.setdefault(key["kid"], now)
        used.setdefault(token.kid, now)
        # The plane's clock goes on, and one of them may have a second left: what lives now had its key in the set that was just read.
        read = plane.clock.now()
        alive = [one for one in {*alive, token} if one.expires > read.timestamp()]
        for one in alive:
            verifier.accepts(one, keys, at=read)
        verifier.accepts_elsewhere(token, keys)
        (certificate,) = workload.certificates()
        assert certificate.not_before <= now < certificate.not_after
        if not certificates or certificates[-1].id != certificate.id:
            certificates.append(certificate)
        # Now and then to the last second of the oldest token.
        to_the_end = timedelta(seconds=min(one.expires for one in alive) - now.timestamp() - 1)
        step = to_the_end if chance.random() < 0.2 and to_the_end > timedelta() else timedelta(hours=chance.uniform(0.5, 30))
        longest = max(longest, step)
        plane.advance(step)

    assert len(used) == 3, "two rotations in four months"
    first, *successors = used
    for kid in successors:
        assert used[kid] - seen[kid] >= AZURE.signing_key_lead - longest, "published before use"
    assert first not in {key["kid"] for key in verifier.key_set()["keys"]}, "gone once its last token has died"
    assert len(certificates) == 3, "renewed at half life, twice"
    half = AZURE.identity_certificate_lifetime / 2
    for old, new in pairwise(certificates):
        assert half <= new.not_before - old.not_before <= half + longest + timedelta(hours=1)
        assert new.thumbprint != old.thumbprint


@pytest.mark.parametrize("back", [timedelta(minutes=30), timedelta(days=2), timedelta(days=60)])
@pytest.mark.parametrize("age", [timedelta(days=1), AZURE.signing_key_lifetime - timedelta(hours=1)])
def test_a_clock_that_is_set_back_breaks_no_token(
    plane: LocalPlane, workload: Workload, verifier: Verifier, back: timedelta, age: timedelta
) -> None:
    plane.advance(age)
    before = workload.token()
    plane.advance(-back)

    after = workload.token()
    verifier.accepts(after, verifier.key_set())
    verifier.accepts(before, verifier.key_set(), lifetime=False)
    while (now := plane.clock.now().timestamp()) < before.expires:
        keys = verifier.key_set()
        verifier.accepts(before, keys, lifetime=False)
        verifier.accepts(workload.token(), keys)
        if now < after.expires:
            verifier.accepts(after, keys)
        plane.advance(timedelta(hours=23))


def test_a_plane_that_slept_through_a_rotation_goes_on(plane: LocalPlane, workload: Workload, verifier: Verifier) -> None:
    """A suspended laptop: months pass at once, and nothing was due in between."""
    first = workload.token()
    plane.clock.advance(timedelta(days=200))
    second = workload.token()
    verifier.accepts(second, verifier.key_set())
    plane.advance(timedelta(days=4))
    third = workload.token()
    verifier.accepts(third, verifier.key_set())
    assert first.kid != third.kid
    (certificate,) = workload.certificates()
    assert certificate.not_before <= plane.clock.now() < certificate.not_after


@asynccontextmanager
async def running(clock: FakeClock) -> AsyncIterator[Plane]:
    """A plane with its duties, as the process of `idplane up` runs them."""
    store = await memory_store(clock)
    world = World(clock=clock, entropy=SystemEntropy(), store=store, custody=MemoryCustody(), profile=AZURE)
    plane = await Plane.open(world)
    duties = asyncio.create_task(plane.server.duties())
    try:
        yield plane
    finally:
        duties.cancel()
        with suppress(asyncio.CancelledError):
            await duties
        await plane.close()
        await store.close()


async def test_keys_rotate_by_themselves() -> None:
    clock = FakeClock(SystemClock().now())
    lead = AZURE.signing_key_lead
    beats = {
        "successor prepared": (AZURE.signing_key_lifetime - lead, {"active", "prepared"}),
        "successor active": (lead, {"retired", "active"}),
        "predecessor gone": (AZURE.managed_identity_token_lifetime + timedelta(hours=1), {"active"}),
    }
    async with running(clock) as plane, asyncio.timeout(20):
        for _ in range(2):
            for wait, states in beats.values():
                before = plane.server.ring.keys
                clock.advance(wait)
                while plane.server.ring.keys == before:  # the duties look at the clock twice a minute
                    clock.advance(timedelta(seconds=5))
                    await asyncio.sleep(0)
                assert {key.state.value for key in plane.server.ring.keys} == states
                assert len(plane.server.ring.jwks()["keys"]) == len(states)  # type: ignore[arg-type]  # JSON
