"""What an agent takes servers' certificates by, while authorities succeed one another, are tainted, and are lied about."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from tests.unit.agent.host_world import HostWorld

from idplane.agent import host
from idplane.agent.process import AgentProcess
from idplane.agent.remote import ServerAddress
from idplane.agent.state import AgentState, load_state
from idplane.agent.trust import NO_TRUST, Anchors, Trust, TrustProblem
from idplane.bootstrap.server import Server
from idplane.bootstrap.world import SystemEntropy
from idplane.keys import RunAuthority
from idplane.model.failure import Failure, FailureKind
from idplane.model.keys import KeyState, SigningKey
from idplane.testing.local import LocalPlane
from idplane.testing.worlds import FakeClock


def authority(name: str = "a.test") -> bytes:
    return RunAuthority.create(FakeClock(datetime(2026, 1, 1, tzinfo=UTC)), SystemEntropy(), domains=(name,)).ca_pem


def digest(pem: bytes) -> str:
    return x509.load_pem_x509_certificate(pem).fingerprint(SHA256()).hex()


def count(pem: bytes) -> int:
    return len(x509.load_pem_x509_certificates(pem))


A, B, C = authority(), authority(), authority()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for news and finds none does not wait for any."""
    monkeypatch.setattr(host, "_POLL_SECONDS", 0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    path.write_bytes(A)
    return path


def test_file_and_word_of_servers_count_together(file: Path) -> None:
    anchors = Anchors(file)
    assert anchors.read() == A
    assert not anchors.beyond_file()
    anchors.trust = Trust(version="1", anchors=A + B)
    assert count(anchors.read()) == 2
    assert anchors.beyond_file()
    file.write_bytes(C)
    assert [one in anchors.read() for one in (A, B, C)] == [True, True, True]


def test_what_is_tainted_counts_never_again_not_even_in_the_file(file: Path) -> None:
    anchors = Anchors(file)
    tainted = Trust(version="2", anchors=B, tainted=(digest(A),))
    anchors.trust = tainted
    assert anchors.read() == B
    anchors.trust = tainted.followed_by(Trust(version="3", anchors=A + B))
    assert anchors.read() == B


def test_a_file_that_is_gone_or_unreadable_costs_nothing_once_servers_have_spoken(file: Path) -> None:
    anchors = Anchors(file)
    anchors.trust = Trust(version="1", anchors=B)
    file.write_text("no certificate")
    assert anchors.read() == B
    file.unlink()
    assert anchors.read() == B
    with pytest.raises(FileNotFoundError):
        Anchors(file).read()


def test_a_file_that_holds_nothing_is_told_by_whoever_uses_it(file: Path) -> None:
    file.write_text("no certificate")
    assert Anchors(file).read() == b"no certificate"


def test_a_file_may_hold_all_the_web_s_authorities(file: Path) -> None:
    """Servers may say so many only; who gives an agent its file knows what it trusts."""
    file.write_bytes(b"".join(authority() for _ in range(70)) + A)
    anchors = Anchors(file)
    assert count(anchors.read()) == 71
    assert anchors.common(Trust(version="2", anchors=A)) == A


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (Trust(version="2", anchors=C), "have all been replaced"),
        (Trust(version="2", anchors=A + B, tainted=(digest(A),)), "have all been replaced"),
        (Trust(version="2", anchors=b""), "holds no certificates"),
        (Trust(version="2", anchors=b"\xff"), "holds no certificates"),
        (Trust(version="2", anchors=A * 65), "too many|have all|holds"),
    ],
)
def test_what_is_no_successor_of_what_counts_is_not_followed(file: Path, said: Trust, words: str) -> None:
    if said.anchors == A * 65:
        said = Trust(version="2", anchors=b"".join(authority() for _ in range(65)))
    with pytest.raises(TrustProblem, match=words):
        Anchors(file).common(said)


def test_only_what_counts_before_and_after_vouches_for_the_news(file: Path) -> None:
    assert Anchors(file).common(Trust(version="2", anchors=C + B + A)) == A


# With a server: a plane in a thread, and an agent whose duties are run by hand.


@pytest.fixture
def world(tmp_path: Path) -> Iterator[HostWorld]:
    with closing(LocalPlane()) as plane:
        yield HostWorld(plane, plane.virtual_machine("vm"), tmp_path)


@dataclass
class Authorities:
    """What an operator does to them, at once followed by the listeners."""

    world: HostWorld

    @property
    def server(self) -> Server:
        return self.world.plane._plane.server

    def run(self, *moves: Coroutine[object, object, object]) -> None:
        for move in (*moves, self.server.certificates.turn()):
            self.world.plane._thread.run(move)

    def signing(self, keys: tuple[SigningKey, ...]) -> str:
        return next(key.id for key in keys if key.state is KeyState.ACTIVE and not key.tainted)


@pytest.fixture
def authorities(world: HostWorld) -> Authorities:
    return Authorities(world)


async def heard(process: AgentProcess) -> None:
    """As far as an agent gets that is told of what has happened."""
    await process.agent.turn()
    await process.renewal.turn()


async def test_an_agent_learns_of_a_successor_and_keeps_it(world: HostWorld, authorities: Authorities) -> None:
    async with world.joined() as process:
        await heard(process)
        assert count(process.renewal.state.trust.anchors) == 1
        await asyncio.to_thread(authorities.run, authorities.server.tls.rotate())
        await heard(process)
        assert count(process.renewal.state.trust.anchors) == 2
    state = load_state(world.folder / "agent")
    assert state is not None
    assert state.trust.anchors == authorities.server.tls.trust_pem
    # The file that it was given holds the old one only, and no server shows anything under that any more.
    async with world.agent() as process:
        await heard(process)
        assert process.agent.condition.problem is None
        assert await world.token(process)
        described = json.loads((world.folder / "agent" / "plane.json").read_text())
        assert described["ca_file"] == str(world.folder / "agent" / "ca.pem")
        assert count((world.folder / "agent" / "ca.pem").read_bytes()) == 2


async def test_an_agent_whose_file_is_gone_goes_on(world: HostWorld) -> None:
    async with world.joined() as process:
        await heard(process)
    world.ca_file.unlink()
    async with world.agent() as process:
        await heard(process)
        assert await world.token(process)


async def test_a_tainted_authority_is_dropped_by_the_word_of_a_good_one(world: HostWorld, authorities: Authorities) -> None:
    tls = authorities.server.tls
    first = authorities.signing(tls.keys)
    async with world.joined() as process:
        await heard(process)
        await asyncio.to_thread(authorities.run, tls.rotate())
        await heard(process)
        await asyncio.to_thread(authorities.run, tls.taint(first))
        await heard(process)
        assert process.renewal.state.trust.tainted == tls.tainted_anchors
        assert process._authority.read() == tls.trust_pem
        assert world.ca_file.read_bytes() not in process._authority.read()
        assert await world.token(process)


async def test_the_word_of_the_tainted_one_alone_changes_nothing(world: HostWorld, authorities: Authorities) -> None:
    """Whoever has its key would say the same. The agent goes on by what it knows, and is told what it needs."""
    tls = authorities.server.tls
    async with world.joined() as process:
        await heard(process)
        before = process.renewal.state.trust
        await asyncio.to_thread(world.plane._thread.run, tls.taint(authorities.signing(tls.keys)))
        await heard(process)
        assert process.agent.condition.trust is not None
        assert process.renewal.state.trust == before


async def test_the_end_of_an_authority_is_heard_over_a_connection_of_one_that_stays(
    world: HostWorld, authorities: Authorities
) -> None:
    """While the listener still shows the tainted one's certificate nobody is believed; once it shows its successor's, that counts."""
    tls = authorities.server.tls
    first = authorities.signing(tls.keys)
    async with world.joined() as process:
        await heard(process)
        await asyncio.to_thread(world.plane._thread.run, tls.rotate())
        await heard(process)
        await asyncio.to_thread(world.plane._thread.run, tls.taint(first))
        await heard(process)
        assert process.renewal.state.trust.tainted == ()
        await asyncio.to_thread(authorities.run)
        await heard(process)
        assert process.renewal.state.trust.tainted == tls.tainted_anchors


async def test_a_server_that_says_nothing_of_authorities_is_followed_by_the_file(world: HostWorld) -> None:
    async with world.joined() as process:
        await process.agent.turn()
        process.agent.condition.trust = None
        await process.renewal.turn()
        assert process.renewal.state.trust == NO_TRUST
        assert await world.token(process)


async def test_an_agent_renews_soon_after_another_authority_signs(world: HostWorld, authorities: Authorities) -> None:
    async with world.joined() as process:
        await heard(process)
        before = process.renewal.state.certificate
        assert process.agent.condition.renew_within is None
        await asyncio.to_thread(authorities.run, authorities.server.credentials.rotate())
        await heard(process)
        due = process.renewal._due
        assert due - process.clock.now() <= timedelta(seconds=300)
        await process.renewal.turn()
        assert process.renewal._due <= due  # asked once, not put off by being asked again
        process.renewal._due = process.clock.now()
        await process.renewal.turn()
        assert process.renewal.state.certificate != before
        await heard(process)
        assert process.agent.condition.renew_within is None
        assert authorities.server.credentials.is_current(process.renewal.state.certificate)


async def test_rotation_first_then_taint_costs_no_host_its_place(world: HostWorld, authorities: Authorities) -> None:
    """What an operator does where hosts joined by tokens, which are spent."""
    credentials = authorities.server.credentials
    first = authorities.signing(credentials.keys)
    async with world.joined() as process:
        await heard(process)
        await asyncio.to_thread(authorities.run, credentials.rotate())
        await heard(process)
        process.renewal._due = process.clock.now()
        await process.renewal.turn()
        await asyncio.to_thread(authorities.run, credentials.taint(first))
        await heard(process)
        assert process.agent.condition.refused is None
        assert await world.token(process)


async def test_a_tainted_authority_ends_a_host_that_joined_by_a_token(world: HostWorld, authorities: Authorities) -> None:
    credentials = authorities.server.credentials
    async with world.joined() as process:
        await heard(process)
        await asyncio.to_thread(world.plane._thread.run, credentials.taint(authorities.signing(credentials.keys)))
        await heard(process)
        assert process.agent.condition.refused is not None
        with pytest.raises(Failure) as caught:
            await world.token(process)
        assert caught.value.kind is FailureKind.AGENT_UNKNOWN


async def test_an_agent_that_no_listener_lets_in_any_more_joins_again(world: HostWorld, authorities: Authorities) -> None:
    """Its connections were gone before it could be told: the listener's word, in TLS, has to do."""
    credentials = authorities.server.credentials
    async with world.joined() as process:
        await heard(process)
        tried: list[str] = []

        async def again() -> AgentState:
            tried.append("again")
            raise Failure(FailureKind.ENROLLMENT_REFUSED, "not today")

        process.renewal._rejoin = again
        await asyncio.to_thread(authorities.run, credentials.taint(authorities.signing(credentials.keys)))
        await process.upstream.close()
        await process.agent.turn()
        assert process.agent.condition.refused is None
        assert process.agent.condition.silent_since is not None
        await process.renewal.turn()
        assert tried == []  # not at the first failure
        process.agent.condition.silent_since -= 60
        await process.renewal.turn()
        assert tried == ["again"]


async def test_servers_that_are_away_make_nobody_join_again(world: HostWorld) -> None:
    async with world.joined() as process:
        await heard(process)
        process.renewal._rejoin = unwanted
        process.agent.condition.silent_since = process.clock.monotonic() - 60
        await process.renewal.turn()  # they answer: it was something else
        dead = (ServerAddress(host="localhost", port=1),)
        object.__setattr__(process._options, "servers", dead)
        process.upstream._servers = dead
        await process.upstream.close()
        await process.agent.turn()
        assert process.agent.condition.silent_since is not None
        process.agent.condition.silent_since -= 60
        await process.renewal.turn()


async def unwanted() -> AgentState:
    raise AssertionError
