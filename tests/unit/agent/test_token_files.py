"""Files with tokens: replaced in time and whole, read by their owner only, gone at the end."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.cli.run_world import VM_A

from idplane.agent.workload_identity import (
    TOKEN_FILE,
    ProjectedToken,
    Projection,
    TokenFiles,
    TrustingClient,
    client_for,
)
from idplane.model.failure import Failure, FailureKind
from idplane.testing.worlds import FakeClock

HOST = Projection(host=VM_A)


@dataclass
class Platform:
    """Issues numbered tokens that live for an hour."""

    clock: FakeClock = field(default_factory=FakeClock)
    issued: int = 0
    down: bool = False

    async def __call__(self, projection: Projection, /) -> ProjectedToken:
        if self.down:
            raise Failure(FailureKind.UNAVAILABLE, f"nothing for {projection.host}")
        self.issued += 1
        now = self.clock.now()
        return ProjectedToken(
            token=f"token {self.issued}",
            issuer="https://issuer.example",
            subject="system:serviceaccount:shop:cart",
            tenant_id="t",
            issued_at=now,
            expires_at=now + timedelta(hours=1),
        )

    async def settle(self) -> None:
        """Let every task run until it waits."""
        for _ in range(20):
            await asyncio.sleep(0)


def names(folder: Path) -> list[str]:
    return [one.name for one in folder.iterdir()]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


async def test_it_is_replaced_at_four_fifths_of_its_life(tmp_path: Path, folder: int) -> None:
    platform = Platform()
    files = TokenFiles(issue=platform, clock=platform.clock)
    first, close = await files.open(HOST, folder)
    path = tmp_path / TOKEN_FILE
    assert (path.read_text(), first.token) == ("token 1", "token 1")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    await platform.settle()
    for _ in range(47):
        platform.clock.advance(60)
        await platform.settle()
    assert (path.read_text(), platform.issued) == ("token 1", 1)
    reader = path.open()
    platform.clock.advance(60)
    await platform.settle()
    assert (path.read_text(), platform.issued) == ("token 2", 2)
    assert reader.read() == "token 1"  # who had it open reads all of what it opened
    reader.close()
    await close()
    assert names(tmp_path) == []
    platform.clock.advance(3600)
    await platform.settle()
    assert (names(tmp_path), platform.issued) == ([], 2)


async def test_a_clock_that_is_moved_is_followed(tmp_path: Path, folder: int) -> None:
    platform = Platform()
    files = TokenFiles(issue=platform, clock=platform.clock)
    _, close = await files.open(HOST, folder)
    assert await files.turn() == platform.clock.now() + timedelta(minutes=48)
    platform.clock.set(platform.clock.now() + timedelta(days=30))
    assert await files.turn() == platform.clock.now() + timedelta(minutes=48)
    assert (tmp_path / TOKEN_FILE).read_text() == "token 2"
    await close()
    assert await files.turn() is None


async def test_what_is_there_stays_while_there_is_no_successor(tmp_path: Path, folder: int) -> None:
    platform = Platform()
    files = TokenFiles(issue=platform, clock=platform.clock)
    await files.open(HOST, folder)
    platform.down = True
    platform.clock.set(platform.clock.now() + timedelta(minutes=50))
    again = await files.turn()
    assert again == platform.clock.now() + timedelta(minutes=1)
    assert (tmp_path / TOKEN_FILE).read_text() == "token 1"
    platform.down = False
    platform.clock.set(platform.clock.now() + timedelta(minutes=1))
    await files.turn()
    assert (tmp_path / TOKEN_FILE).read_text() == "token 2"
    await files.close()
    assert names(tmp_path) == []


async def test_no_token_no_file(tmp_path: Path, folder: int) -> None:
    platform = Platform(down=True)
    files = TokenFiles(issue=platform, clock=platform.clock)
    with pytest.raises(Failure, match="nothing for"):
        await files.open(HOST, folder)
    assert (names(tmp_path), await files.turn()) == ([], None)


async def test_links_that_wait_are_not_followed(tmp_path: Path, folder: int) -> None:
    """A workload owns the folder, and could point a name at any file that the agent may write."""
    target = tmp_path / "target"
    target.write_text("precious")
    for name in (TOKEN_FILE, f".{TOKEN_FILE}.new"):
        (tmp_path / name).symlink_to(target)
    platform = Platform()
    files = TokenFiles(issue=platform, clock=platform.clock)
    await files.open(HOST, folder)
    assert (target.read_text(), (tmp_path / TOKEN_FILE).is_symlink()) == ("precious", False)
    await files.close()
    assert (target.read_text(), names(tmp_path)) == ("precious", ["target"])


async def test_a_folder_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    descriptor = os.open(gone, os.O_RDONLY | os.O_DIRECTORY)
    gone.rmdir()
    platform = Platform()
    with pytest.raises(Failure, match="the token can't be written") as caught:
        await TokenFiles(issue=platform, clock=platform.clock).open(HOST, descriptor)
    assert caught.value.kind is FailureKind.UNAVAILABLE
    os.close(descriptor)


def trusted_by(*clients: tuple[str, bool]) -> ProjectedToken:
    now = FakeClock().now()
    return ProjectedToken(
        token="",
        issuer="i",
        subject="s",
        tenant_id="t",
        issued_at=now,
        expires_at=now,
        trusted_by=tuple(TrustingClient(client_id=name, name=name, managed=managed) for name, managed in clients),
    )


@pytest.mark.parametrize(
    ("clients", "chosen"),
    [
        ([("a", True)], "a"),
        ([("app", False)], "app"),
        ([("a", True), ("app", False)], "a"),
        ([("a", True), ("b", True)], FailureKind.IDENTITY_AMBIGUOUS),
        ([("app", False), ("bpp", False)], FailureKind.IDENTITY_AMBIGUOUS),
        ([], FailureKind.IDENTITY_NOT_FOUND),
    ],
)
def test_which_identity_is_meant(clients: list[tuple[str, bool]], chosen: str | FailureKind) -> None:
    token = trusted_by(*clients)
    if isinstance(chosen, str):
        assert client_for(VM_A, token) == chosen
        return
    with pytest.raises(Failure) as caught:
        client_for(VM_A, token)
    assert caught.value.kind is chosen


async def test_tokens_are_not_shown() -> None:
    assert "token 1" not in repr(await Platform()(HOST))
